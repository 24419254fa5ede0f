//! How much is measured: sizes, numbers of rounds, and the bound of the whole run.

use std::env;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;

/// Bytes of a message's value.
pub const VALUE_BYTES: usize = 1024;

/// Partitions of every topic.
pub const PARTITIONS: i32 = 8;

/// How many requests a contender may have open at once.
pub const IN_FLIGHT: u32 = 64;

/// Messages a second where the producer sets the pace.
pub const PACE: u32 = 1_000;

/// No round begins later than this after the start; with the longest round and the end the run stays below 8 minutes.
const BUDGET: Duration = Duration::from_secs(390);

/// What the caller asked for.
pub struct Plan {
    /// `BENCH_ROUNDS`: rounds at full speed, each with every contender; a slow app and a set pace get half as many.
    pub rounds: u32,
    /// `BENCH_MESSAGES`: messages of a round at full speed; at least 1,000.
    pub messages: u32,
    started: Instant,
}

impl Plan {
    /// Reads `BENCH_ROUNDS` (5) and `BENCH_MESSAGES` (200000).
    pub fn from_environment() -> anyhow::Result<Self> {
        let rounds = number("BENCH_ROUNDS", 5)?.max(1);
        let messages = number("BENCH_MESSAGES", 200_000)?.max(1_000);
        Ok(Self { rounds, messages, started: Instant::now() })
    }

    /// Rounds where each one takes long and varies little.
    pub fn fewer_rounds(&self) -> u32 {
        self.rounds.div_ceil(2)
    }

    /// Whether the time is used up.
    pub fn is_over(&self) -> bool {
        let over = self.started.elapsed() > BUDGET;
        if over {
            eprintln!("bench: time is up, the remaining rounds are left out");
        }
        over
    }
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str, default: T) -> anyhow::Result<T> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}
