//! As of when a log has been read to its end: what stood in it by then has been seen, and only what comes later can
//! still be late.

use super::record::NextOffset;
use super::time::Moment;

/// What is said of a log from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogNews {
    /// It ends here.
    pub end: NextOffset,
    /// It is observed up to here.
    pub observed_to: NextOffset,
    /// Nothing has held its reading back since the last news.
    pub reading: bool,
    /// The client has fetched all there is, and nothing that was taken in is open. Offsets without a record (transaction
    /// markers, compaction) are never observed.
    pub all_fetched: bool,
}

/// Up to when one partition's log has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Where the log ended at a moment; not read to there yet.
    ahead: Option<(Moment, NextOffset)>,
    /// All was fetched at this moment, when so much was observed.
    fetched: Option<(Moment, NextOffset)>,
    /// The log has been read to where it ended at this moment.
    read: Option<Moment>,
    /// The ends that are told are those of now: at the first one after a pause the client may not have asked yet.
    fresh: bool,
}

impl Horizon {
    /// Takes news in.
    pub fn hear(&mut self, news: LogNews, now: Moment) {
        let LogNews { end, observed_to, reading, all_fetched } = news;
        if !reading {
            return self.stop();
        }
        if !std::mem::replace(&mut self.fresh, true) {
            return;
        }
        self.observed(observed_to);
        if self.ahead.is_none() {
            self.ahead = Some((now, end));
            self.observed(observed_to);
        }
        // What was fetched then and not yet observed would have been observed since.
        let before = self.fetched.take();
        if all_fetched {
            let settled = before.filter(|(_, then)| *then == observed_to).map(|(moment, _)| moment);
            self.read = self.read.max(settled);
            self.fetched = Some((now, observed_to));
        }
    }

    /// Reading is held back: where the log ends is not known from now on.
    pub fn stop(&mut self) {
        (self.fetched, self.fresh) = (None, false);
    }

    /// The moment as of which all that stood in the log has been read, if there is one; `observed_to` is read now.
    pub fn read_as_of(&mut self, observed_to: NextOffset) -> Option<Moment> {
        self.observed(observed_to);
        self.read
    }

    fn observed(&mut self, observed_to: NextOffset) {
        if let Some((moment, _)) = self.ahead.take_if(|(_, end)| *end <= observed_to) {
            self.read = self.read.max(Some(moment));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(seconds))
    }

    fn news(end: i64, observed_to: i64) -> LogNews {
        LogNews { end: NextOffset(end), observed_to: NextOffset(observed_to), reading: true, all_fetched: false }
    }

    #[test]
    fn a_log_that_grows_all_the_time_is_still_read_to_where_it_ended() {
        let mut horizon = Horizon::default();
        horizon.hear(news(5, 0), at(1));
        horizon.hear(news(10, 5), at(2));
        assert_eq!(horizon.read_as_of(NextOffset(9)), None);
        horizon.hear(news(20, 9), at(3));
        assert_eq!(horizon.read_as_of(NextOffset(10)), Some(at(2)), "as it was first, not as it is now");
        horizon.hear(news(30, 11), at(4));
        assert_eq!(horizon.read_as_of(NextOffset(29)), Some(at(2)));
        assert_eq!(horizon.read_as_of(NextOffset(30)), Some(at(4)));
    }

    #[test]
    fn while_reading_is_held_back_and_at_the_first_word_after_that_no_end_counts() {
        let mut horizon = Horizon::default();
        horizon.hear(news(5, 5), at(1));
        horizon.hear(news(5, 5), at(2));
        assert_eq!(horizon.read_as_of(NextOffset(5)), Some(at(2)));
        horizon.hear(LogNews { reading: false, ..news(5, 5) }, at(3));
        assert_eq!(horizon.read_as_of(NextOffset(5)), Some(at(2)), "held back");
        horizon.hear(news(5, 5), at(4));
        assert_eq!(horizon.read_as_of(NextOffset(5)), Some(at(2)), "it may be an old word");
        horizon.hear(news(9, 5), at(5));
        assert_eq!(horizon.read_as_of(NextOffset(9)), Some(at(5)));
        horizon.hear(news(12, 9), at(6));
        horizon.stop();
        assert_eq!(horizon.read_as_of(NextOffset(12)), Some(at(6)), "what was known before still counts");
    }

    #[test]
    fn a_log_that_ends_without_a_record_is_read_once_all_is_fetched_and_nothing_moves() {
        let mut horizon = Horizon::default();
        let fetched = |observed_to| LogNews { all_fetched: true, ..news(9, observed_to) };
        horizon.hear(news(9, 5), at(1));
        horizon.hear(fetched(5), at(2));
        horizon.hear(fetched(6), at(3));
        assert_eq!(horizon.read_as_of(NextOffset(6)), None, "it moved: there may be more on its way");
        horizon.hear(fetched(6), at(4));
        assert_eq!(horizon.read_as_of(NextOffset(6)), Some(at(3)));
        horizon.hear(news(9, 6), at(5));
        horizon.hear(fetched(6), at(6));
        assert_eq!(horizon.read_as_of(NextOffset(6)), Some(at(3)), "not all was fetched in between");
    }
}
