//! Which records of a partition are in doubt after the store has forgotten, and what its commits must say of that.

use super::history::History;
use super::record::{NextOffset, Offset};

/// One partition's doubt, and where its log ends: what stands in it by then may have been handled before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Doubt {
    end: NextOffset,
    /// Records below this may have been handled by a past that the store has forgotten, and the history of that past:
    /// commits carry it until low water has passed them, so that a crash in between hides nothing.
    below: Option<(NextOffset, History)>,
    /// The true end of the log at the loss is not known yet: the next one that is told counts, and until then whatever
    /// is taken in may have stood there.
    grows: bool,
}

impl Doubt {
    /// None so far, in a log that ends here.
    pub fn none(end: NextOffset) -> Self {
        Self { end, below: None, grows: false }
    }

    /// Where the log ends, as far as is known.
    pub fn end(&self) -> NextOffset {
        self.end
    }

    /// The store has forgotten since it had the history `before`: all that stands in the log now, and all that was
    /// taken in (up to `taken_to`), is in doubt.
    pub fn spread(&mut self, before: &History, taken_to: NextOffset) {
        let below = self.end.max(taken_to);
        self.below = Some(match self.below.take() {
            Some((old, oldest)) => (below.max(old), oldest),
            None => (below, before.clone()),
        });
    }

    /// The end that is known may be older than the loss: the next one that is told counts.
    pub fn grow(&mut self) {
        self.grows = true;
    }

    /// It turned out to be another log, which ends here.
    pub fn another_ends_at(&mut self, end: NextOffset) {
        self.end = end;
    }

    /// The log ends here now.
    pub fn ends_at(&mut self, end: NextOffset) {
        self.end = self.end.max(end);
        if std::mem::take(&mut self.grows)
            && let Some((below, _)) = &mut self.below
        {
            *below = end.max(*below);
        }
    }

    /// Whether the store may have forgotten that a record at this offset was handled.
    pub fn covers(&self, offset: Offset) -> bool {
        self.below.as_ref().is_some_and(|(below, _)| self.grows || below.is_above(offset))
    }

    /// What stands beside a commit of this low water: the history of the oldest past that still matters.
    pub fn metadata(&mut self, now: &History, low_water: NextOffset) -> String {
        let grows = self.grows;
        self.below.take_if(|(below, _)| !grows && *below <= low_water);
        self.below.as_ref().map_or(now, |(_, before)| before).to_metadata()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(sentinel: &str) -> History {
        History { sentinel: sentinel.to_owned(), replication: String::new() }
    }

    #[test]
    fn commits_carry_the_old_history_until_low_water_has_passed_everything_in_doubt() {
        let (old, new) = (history("a"), history("b"));
        let mut doubt = Doubt::none(NextOffset(5));
        assert_eq!(doubt.metadata(&old, NextOffset(2)), old.to_metadata());
        doubt.spread(&old, NextOffset(7));
        assert_eq!((doubt.covers(Offset(6)), doubt.covers(Offset(7))), (true, false));
        assert_eq!(doubt.metadata(&new, NextOffset(6)), old.to_metadata());
        assert_eq!(doubt.metadata(&new, NextOffset(7)), new.to_metadata());
        assert!(!doubt.covers(Offset(6)), "it is over");
    }

    #[test]
    fn a_second_loss_widens_the_doubt_and_keeps_the_oldest_past() {
        let (oldest, old, new) = (history("a"), history("b"), history("c"));
        let mut doubt = Doubt::none(NextOffset(5));
        doubt.spread(&oldest, NextOffset(0));
        doubt.ends_at(NextOffset(9));
        assert!(!doubt.covers(Offset(5)), "produced after the loss");
        doubt.spread(&old, NextOffset(0));
        assert!(doubt.covers(Offset(8)));
        assert_eq!(doubt.metadata(&new, NextOffset(8)), oldest.to_metadata());
    }

    #[test]
    fn an_end_that_was_not_known_at_the_loss_counts_once() {
        let mut doubt = Doubt::none(NextOffset(5));
        doubt.spread(&history("a"), NextOffset(0));
        doubt.grow();
        doubt.ends_at(NextOffset(8));
        doubt.ends_at(NextOffset(20));
        assert_eq!((doubt.covers(Offset(7)), doubt.covers(Offset(8)), doubt.end()), (true, false, NextOffset(20)));
    }

    #[test]
    fn after_a_loss_all_is_in_doubt_until_the_end_of_the_log_is_known() {
        let (before, now) = (history("a"), history("b"));
        let mut doubt = Doubt::none(NextOffset(0));
        assert!(!doubt.covers(Offset(0)));
        doubt.spread(&before, NextOffset(0));
        doubt.grow();
        assert!(doubt.covers(Offset(7)), "it may have stood in the log at the loss");
        assert_eq!(doubt.metadata(&now, NextOffset(3)), before.to_metadata(), "low water has passed all that is known");
        assert!(doubt.covers(Offset(7)), "still");
        doubt.ends_at(NextOffset(5));
        assert!(doubt.covers(Offset(4)) && !doubt.covers(Offset(5)), "now the end is known");
        assert_eq!(doubt.metadata(&now, NextOffset(3)), before.to_metadata(), "low water has not passed it");
    }
}
