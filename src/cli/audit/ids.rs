//! Which message IDs have been seen, by their hashes: exact up to a bound, shared by all that read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::domain::claim::IdHash;
use crate::domain::hashed::SetByHash;

/// How many message IDs are remembered unless the command line says otherwise: some 150 MiB.
pub(super) const MOST_IDS: u64 = 5_000_000;

/// Parts with a lock each, so that readers seldom meet.
const SHARDS: usize = 64;

/// What is known of an ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody had it before; it is remembered now.
    New,
    /// It was seen before.
    Seen,
    /// It is not remembered, before or now: there is no room.
    NoRoom,
}

/// The IDs seen so far.
#[derive(Debug)]
pub(super) struct SeenIds {
    shards: Vec<Mutex<SetByHash<IdHash>>>,
    remembered: AtomicU64,
    most: u64,
}

impl SeenIds {
    /// Remembers at most so many.
    pub(super) fn new(most: u64) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, remembered: AtomicU64::new(0), most }
    }

    /// Takes one in.
    pub(super) fn see(&self, id: IdHash) -> Known {
        // The set looks at the first bytes: those of one shard must not have them in common.
        let shard = usize::from(id.0[15]) % SHARDS;
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        // Readers that come to the bound together may pass it, by one each.
        if self.remembered.load(Ordering::Relaxed) >= self.most {
            return if shard.contains(&id) { Known::Seen } else { Known::NoRoom };
        }
        if !shard.insert(id) {
            return Known::Seen;
        }
        self.remembered.fetch_add(1, Ordering::Relaxed);
        Known::New
    }

    /// How many are remembered.
    pub(super) fn remembered(&self) -> u64 {
        self.remembered.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> IdHash {
        IdHash(*blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().expect("16 bytes"))
    }

    #[test]
    fn up_to_the_bound_every_duplicate_is_seen_and_beyond_it_those_of_remembered_ones_are() {
        let ids = SeenIds::new(1_000);
        assert!((0..1_000).all(|number| ids.see(id(number)) == Known::New));
        assert!((0..1_000).all(|number| ids.see(id(number)) == Known::Seen));
        assert!((1_000..1_100).all(|number| ids.see(id(number)) == Known::NoRoom));
        assert_eq!((ids.see(id(7)), ids.remembered()), (Known::Seen, 1_000));
    }
}
