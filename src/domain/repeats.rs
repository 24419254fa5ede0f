//! How often the same thing is said: the first time at once, then one line for many.

use std::collections::BTreeMap;
use std::time::Duration;

use super::time::Moment;

/// Between two lines that say the same.
const QUIET: Duration = Duration::from_secs(10);

/// What kind of thing is said, and which of its kind: of closed sets, so this stays small.
pub type Topic = (&'static str, &'static str);

/// What was said when, and how often it would have been said since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repeats(BTreeMap<Topic, (Moment, u64)>);

impl Repeats {
    /// Whether it may be said now; `Some`: yes, and so many times it was not said since the last time.
    pub fn may_say(&mut self, what: Topic, now: Moment) -> Option<u64> {
        let Some((said, unsaid)) = self.0.get_mut(&what) else {
            self.0.insert(what, (now, 0));
            return Some(0);
        };
        if now.since(*said) < QUIET {
            *unsaid += 1;
            return None;
        }
        *said = now;
        Some(std::mem::take(unsaid))
    }

    /// Whether what was left out the last time, and is still so, may be said after all. Does not count as another time.
    pub fn may_catch_up(&mut self, what: Topic, now: Moment) -> Option<u64> {
        let (said, unsaid) = self.0.get_mut(&what).filter(|(_, unsaid)| *unsaid > 0)?;
        if now.since(*said) < QUIET {
            return None;
        }
        *said = now;
        Some(std::mem::take(unsaid) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_then_one_for_many() {
        let mut repeats = Repeats::default();
        let at = |seconds| Moment::default().after(Duration::from_secs(seconds));
        let table = [
            ("a", 0, Some(0)),
            ("a", 1, None),
            ("b", 1, Some(0)),
            ("a", 9, None),
            ("a", 10, Some(2)),
            ("a", 11, None),
            ("a", 30, Some(1)),
            ("a", 60, Some(0)),
        ];
        for (what, second, said) in table {
            assert_eq!(repeats.may_say(("x", what), at(second)), said, "{what} at {second}");
        }
    }

    #[test]
    fn what_was_left_out_and_is_still_so_is_said_when_it_may_be() {
        let mut repeats = Repeats::default();
        let at = |seconds| Moment::default().after(Duration::from_secs(seconds));
        let what = ("x", "a");
        assert_eq!(repeats.may_catch_up(what, at(0)), None, "it was never so");
        assert_eq!(repeats.may_say(what, at(0)), Some(0));
        assert_eq!(repeats.may_catch_up(what, at(20)), None, "nothing was left out");
        assert_eq!(repeats.may_say(what, at(21)), Some(0));
        for second in [22, 23] {
            assert_eq!(repeats.may_say(what, at(second)), None);
        }
        assert_eq!(repeats.may_catch_up(what, at(30)), None, "too early");
        assert_eq!(repeats.may_catch_up(what, at(31)), Some(1), "the last one is the one that is said");
        assert_eq!(repeats.may_catch_up(what, at(50)), None);
    }
}
