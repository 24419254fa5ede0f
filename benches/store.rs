//! What Redis says of itself: commands, reads, memory, CPU.

use std::ops::Sub;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

/// A connection of our own to Redis, open all the time so that asking costs little.
pub struct Store(Mutex<redis::Connection>);

/// Counters at one moment, or between two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Commands carried out.
    pub commands: f64,
    /// Reads from sockets that brought them: round trips.
    pub reads: f64,
    /// Seconds of CPU, user and system.
    pub cpu: f64,
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { commands: self.commands - before.commands, reads: self.reads - before.reads, cpu: self.cpu - before.cpu }
    }
}

/// What is stored now.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Keys.
    pub keys: u32,
    /// Bytes of `used_memory`.
    pub bytes: f64,
}

impl Store {
    /// Connects.
    pub fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(redis::Client::open(url)?.get_connection()?)))
    }

    /// One figure of `INFO everything`, as text.
    pub fn figure(&self, name: &str) -> anyhow::Result<String> {
        find(&self.info()?, name)
    }

    /// The counters now.
    pub fn counters(&self) -> anyhow::Result<Counters> {
        let info = self.info()?;
        let number = |name| anyhow::Ok(find(&info, name)?.parse::<f64>()?);
        Ok(Counters {
            commands: number("total_commands_processed")?,
            reads: number("total_reads_processed")?,
            cpu: number("used_cpu_sys")? + number("used_cpu_user")?,
        })
    }

    /// Keys and memory now.
    pub fn stored(&self) -> anyhow::Result<Stored> {
        let keys = redis::cmd("DBSIZE").query(&mut *self.lock())?;
        Ok(Stored { keys, bytes: self.figure("used_memory")?.parse()? })
    }

    /// Forgets everything.
    pub fn flush(&self) -> anyhow::Result<()> {
        Ok(redis::cmd("FLUSHALL").arg("SYNC").query(&mut *self.lock())?)
    }

    fn info(&self) -> anyhow::Result<String> {
        Ok(redis::cmd("INFO").arg("everything").query(&mut *self.lock())?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, redis::Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(info: &str, name: &str) -> anyhow::Result<String> {
    let mut values = info.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().map(str::to_owned).with_context(|| format!("redis does not tell {name}"))
}
