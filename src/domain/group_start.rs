//! How many partitions a topic had when the group started to read it: what tells a partition that was added since from one
//! that nobody has begun yet.

use super::history::History;

/// That number. It stands beside every offset that the group commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupStart(pub u32);

impl GroupStart {
    /// Reads it from a commit's offset metadata; `None` where it is not ours, or does not say.
    pub fn from_metadata(text: &str) -> Option<Self> {
        History::from_metadata(text)?;
        text.split(':').nth(3)?.parse().ok().map(Self)
    }

    /// Offset metadata that says it, beside a history.
    pub fn beside(self, history: &str) -> String {
        format!("{history}:{}", self.0)
    }

    /// Whether a partition was there. Kafka numbers them from 0 on, and never takes one away.
    pub fn had(self, partition: i32) -> bool {
        u32::try_from(partition).is_ok_and(|number| number < self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_from_beside_the_history_and_each_is_read_without_the_other() {
        let history = History { sentinel: "ab".to_owned(), replication: String::new() };
        let (alone, both) = (history.to_metadata(), GroupStart(7).beside(&history.to_metadata()));
        assert_eq!(both, "once1:ab::7");
        assert_eq!(
            (History::from_metadata(&both), GroupStart::from_metadata(&both)),
            (Some(history.clone()), Some(GroupStart(7)))
        );
        assert_eq!((History::from_metadata(&alone), GroupStart::from_metadata(&alone)), (Some(history), None));
        for other in ["", "7", "tool:ab::7", "once1:ab::x", "once1:ab::7:8", "once1:ab::-7", "once1:ab::"] {
            assert_eq!(GroupStart::from_metadata(other), None, "{other}");
        }
    }

    #[test]
    fn partitions_are_numbered_from_0_on() {
        assert!(GroupStart(3).had(0) && GroupStart(3).had(2) && !GroupStart(3).had(3) && !GroupStart(3).had(-1));
    }
}
