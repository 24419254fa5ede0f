//! Whether something that should move stands still without a reason: the worst failure of a consumer is one that is up,
//! ready, and reads nothing.

use std::time::Duration;

use super::time::Moment;

/// Time between two looks counts up to this: a process that was frozen proves nothing by having moved nothing.
const LONGEST_STEP: Duration = Duration::from_secs(2);

/// Notices that a counter stands still although it should move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watchdog {
    seen: Option<(u64, Moment)>,
    stood: Duration,
}

impl Watchdog {
    /// Looks at the counter; tells for how long it has stood still by now. `due`: it should move, and no reason is known
    /// why it does not. To be called often, at least once in 2 s.
    pub fn look(&mut self, counter: u64, due: bool, now: Moment) -> Duration {
        let before = self.seen.replace((counter, now)).filter(|(before, _)| due && *before == counter);
        self.stood = before.map_or(Duration::ZERO, |(_, at)| self.stood + now.since(at).min(LONGEST_STEP));
        self.stood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn only_what_is_due_and_does_not_move_stands_still() {
        let mut dog = Watchdog::default();
        for (second, counter, due, stood) in [
            (0, 7, true, 0),
            (1, 7, true, 1),
            (2, 7, true, 2),
            (3, 8, true, 0), // it moved
            (4, 8, true, 1),
            (5, 8, false, 0), // a reason is known
            (6, 8, true, 1),
        ] {
            assert_eq!(dog.look(counter, due, at(second)), Duration::from_secs(stood), "second {second}");
        }
    }

    #[test]
    fn a_frozen_process_has_not_stood_still_for_long() {
        let mut dog = Watchdog::default();
        dog.look(7, true, at(0));
        assert_eq!(dog.look(7, true, at(3600)), LONGEST_STEP);
    }
}
