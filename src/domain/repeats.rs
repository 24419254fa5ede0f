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
}
