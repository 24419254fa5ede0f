//! Whether the loops of the process still turn: each beats as it turns, `/live` looks for one that stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::time::Moment;

/// A loop that must turn for the process to be of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// The thread that polls Kafka.
    Kafka,
    /// The thread of pipeline, Redis and HTTP.
    Pipeline,
}

impl Loop {
    /// Every loop.
    pub const ALL: &'static [Self] = &[Self::Kafka, Self::Pipeline];

    /// Its name in `/live` and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Pipeline => "pipeline",
        }
    }
}

/// When each loop turned last. A loop is watched from its first beat until it rests.
#[derive(Debug, Default)]
pub struct Pulses([AtomicU64; Loop::ALL.len()]);

/// What stands for a loop that is not watched; a beat is its microseconds plus one.
const RESTING: u64 = 0;

impl Pulses {
    /// A loop turned.
    pub fn beat(&self, of: Loop, now: Moment) {
        self.0[of as usize].store(now.0.saturating_add(1), Ordering::Release);
    }

    /// A loop ended as it should (drained); nobody waits for it.
    pub fn rest(&self, of: Loop) {
        self.0[of as usize].store(RESTING, Ordering::Release);
    }

    /// A number that changes with every turn of a loop; `None` when it is not watched.
    pub fn beats(&self, of: Loop) -> Option<u64> {
        Some(self.0[of as usize].load(Ordering::Acquire)).filter(|beat| *beat != RESTING)
    }

    /// Every watched loop with how long ago it turned last.
    pub fn ages(&self, now: Moment) -> Vec<(Loop, Duration)> {
        let age = |of: Loop| match self.0[of as usize].load(Ordering::Acquire) {
            RESTING => None,
            beat => Some((of, now.since(Moment(beat - 1)))),
        };
        Loop::ALL.iter().copied().filter_map(age).collect()
    }

    /// The watched loop that turned longest ago.
    pub fn oldest(&self, now: Moment) -> Option<(Loop, Duration)> {
        self.ages(now).into_iter().max_by_key(|(_, age)| *age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_loop_is_watched_from_its_first_beat_until_it_rests() {
        let pulses = Pulses::default();
        assert_eq!(pulses.oldest(at(60)), None);
        pulses.beat(Loop::Kafka, at(0));
        pulses.beat(Loop::Pipeline, at(3));
        assert_eq!(pulses.oldest(at(10)), Some((Loop::Kafka, Duration::from_secs(10))));
        pulses.beat(Loop::Kafka, at(8));
        assert_eq!(pulses.oldest(at(10)), Some((Loop::Pipeline, Duration::from_secs(7))));
        pulses.rest(Loop::Pipeline);
        assert_eq!(pulses.ages(at(10)), [(Loop::Kafka, Duration::from_secs(2))]);
    }

    #[test]
    fn a_beat_after_the_reader_looked_at_its_clock_is_no_age_at_all() {
        let pulses = Pulses::default();
        pulses.beat(Loop::Kafka, at(5));
        assert_eq!(pulses.oldest(at(4)), Some((Loop::Kafka, Duration::ZERO)));
    }
}
