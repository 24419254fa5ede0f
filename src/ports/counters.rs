//! What the log counts up and the pipeline down: records of a partition's window, and bytes held.

use std::sync::atomic::{AtomicU64, Ordering};

/// Records of one partition between low water and the last one taken in. The log counts up, the pipeline down.
#[derive(Debug, Default)]
pub struct Window(AtomicU64);

impl Window {
    /// The log took one more in; returns the new size.
    pub fn taken(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Low water passed `count` records.
    pub fn passed(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::AcqRel);
    }

    /// The size now, in records.
    pub fn size(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Bytes of records held in memory, for all partitions. The log counts up, the pipeline down.
#[derive(Debug, Default)]
pub struct HeldBytes(AtomicU64);

impl HeldBytes {
    /// A record was taken in; returns the new sum.
    pub fn taken(&self, bytes: u64) -> u64 {
        self.0.fetch_add(bytes, Ordering::AcqRel) + bytes
    }

    /// A record was let go.
    pub fn freed(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The sum now, in bytes.
    pub fn sum(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
