//! Where a partition starts, once it is known what the group has committed and where the log begins and ends.

use super::config::Start;
use crate::domain::group_start::GroupStart;
use crate::domain::record::NextOffset;

/// How far the group is with a topic of which a partition has no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Nothing hangs on it.
    Irrelevant,
    /// No partition has an offset: it starts now.
    StartsNow(GroupStart),
    /// Some have. `None`: they do not say how many partitions there were.
    Started(Option<GroupStart>),
}

impl Group {
    /// By what is committed of all partitions of the topic.
    pub(super) fn of(committed: &[Option<(NextOffset, String)>]) -> Self {
        let mut known = committed.iter().flatten().map(|(_, metadata)| GroupStart::from_metadata(metadata)).peekable();
        if known.peek().is_some() {
            // Should two disagree, the lower one takes more partitions for added ones, and skips nothing.
            return Self::Started(known.flatten().min());
        }
        Self::StartsNow(GroupStart(u32::try_from(committed.len()).unwrap_or(u32::MAX)))
    }

    /// What the commits of a partition without an offset will say.
    pub(super) fn start(self) -> Option<GroupStart> {
        match self {
            Self::Irrelevant => None,
            Self::StartsNow(start) => Some(start),
            Self::Started(start) => start,
        }
    }

    /// Where a partition without an offset starts. One that was added after the group had started is read from its
    /// beginning, or what was written before we knew of it would be skipped. One that was there is only not begun yet: by
    /// another sidecar that starts with us, or that died.
    pub(super) fn policy(self, partition: i32, configured: Start) -> Start {
        match self {
            Self::Started(start) if !start.is_some_and(|start| start.had(partition)) => Start::Earliest,
            Self::Irrelevant | Self::StartsNow(_) | Self::Started(_) => configured,
        }
    }
}

/// Where to start: at the committed offset if the log still holds it, else at the earliest record left.
pub(super) fn start(
    committed: Option<NextOffset>,
    log_start: NextOffset,
    log_end: NextOffset,
    policy: Start,
) -> NextOffset {
    match (committed, policy) {
        (Some(next), _) if next >= log_start && next <= log_end => next,
        (None, Start::Latest) => log_end,
        (Some(_), _) | (None, Start::Earliest) => log_start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_starts_where_the_group_left_it_or_at_the_earliest_left() {
        let table = [
            (Some(5), Start::Earliest, 5),
            (Some(3), Start::Latest, 3),
            (Some(9), Start::Latest, 9),
            (Some(2), Start::Latest, 3),
            (Some(10), Start::Latest, 3),
            (None, Start::Earliest, 3),
            (None, Start::Latest, 9),
        ];
        for (committed, policy, expected) in table {
            let got = start(committed.map(NextOffset), NextOffset(3), NextOffset(9), policy);
            assert_eq!(got, NextOffset(expected), "{committed:?} {policy:?}");
        }
    }

    #[test]
    fn a_partition_without_offset_is_an_added_one_unless_it_was_there_when_the_group_started() {
        type Case<'a> = (&'a [Option<(NextOffset, String)>], i32, Start);
        let said = |metadata: &str| Some((NextOffset(5), metadata.to_owned()));
        let table: [Case<'_>; 8] = [
            (&[None, None, None], 2, Start::Latest),
            (&[said("once1:ab:cd:3"), None, None], 2, Start::Latest),
            (&[said("once1:ab:cd:2"), None, None], 2, Start::Earliest),
            (&[said("once1:ab:cd:2"), None, None], 1, Start::Latest),
            (&[said("once1:ab:cd:3"), said("once1:ab:cd:2"), None], 2, Start::Earliest),
            (&[said("once1:ab:cd:3"), said("another tool"), None], 2, Start::Latest),
            (&[said("once1:ab:cd"), None, None], 1, Start::Earliest),
            (&[said(""), None, None], 1, Start::Earliest),
        ];
        for (committed, partition, policy) in table {
            let group = Group::of(committed);
            assert_eq!(group.policy(partition, Start::Latest), policy, "{partition} of {committed:?}");
            assert_eq!(group.policy(partition, Start::Earliest), Start::Earliest);
        }
        assert_eq!(Group::of(&[None, None]).start(), Some(GroupStart(2)));
    }
}
