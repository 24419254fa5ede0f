//! The partitions that are ours: low water, what is committed, and whether they are on their way out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::chronicle::Chronicle;
use super::losses::Loss;
use super::marks::Marks;
use crate::domain::doubt::Doubt;
use crate::domain::group_start::GroupStart;
use crate::domain::history::History;
use crate::domain::horizon::Horizon;
use crate::domain::low_water::{LowWater, Slot};
use crate::domain::past_codec::Owner;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::domain::time::Moment;
use crate::domain::watchdog::Watchdog;
use crate::ports::{Assigned, Assignment, Window};
use crate::telemetry::TopicId;

/// How far a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Assigned; waits for a session, and for its start to be committed when the group had committed nothing.
    Starting,
    /// Its records are taken in.
    Running,
    /// The group wants it back, or we are leaving: what is open is finished until the deadline.
    Leaving {
        /// What is open then is given back.
        until: Moment,
    },
    /// Nothing is open; the last commit is on its way until the deadline.
    Committing {
        /// It is given up then.
        until: Moment,
    },
}

/// One partition that is ours.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
#[derive(Debug)]
pub(super) struct Home {
    pub(super) partition: TopicPartition,
    pub(super) assignment: Assignment,
    pub(super) topic: TopicId,
    pub(super) topic_index: u32,
    pub(super) phase: Phase,
    pub(super) low_water: LowWater,
    pub(super) window: Arc<Window>,
    /// Where the log began when the partition was assigned.
    pub(super) log_start: NextOffset,
    /// It is known to be another log than the one that was read before.
    pub(super) another: bool,
    /// What is kept of it beside its commits.
    pub(super) chronicle: Chronicle,
    /// What was lost before its start, told once that start is committed: else its next owner finds and tells it again.
    pub(super) untold: Option<Loss>,
    /// Records were lost, and nothing is committed before an operator has looked.
    pub(super) holds_commits: bool,
    /// What the group had committed when the partition was assigned.
    pub(super) committed_at_start: Option<(NextOffset, String)>,
    /// What its commits say of the group's start.
    pub(super) group_start: Option<GroupStart>,
    /// Whether the start itself must be committed before anything is forwarded.
    pub(super) start_due: bool,
    /// A commit of the start is on its way, perhaps still while the partition is on its way out.
    pub(super) start_sent: bool,
    /// The start is not committed again before this.
    pub(super) start_after: Moment,
    pub(super) committing: Option<NextOffset>,
    /// Its last commit was refused: there is no other one.
    pub(super) refused: bool,
    /// Marks that may be shortened once their offset is committed.
    pub(super) marks: Marks,
    /// Its records that are open in this process.
    pub(super) open: usize,
    /// Where its log ends, and which of its records the store may have forgotten.
    pub(super) doubt: Doubt,
    /// The client has something left to read there.
    pub(super) unread: bool,
    /// As of when its log has been read to its end.
    pub(super) horizon: Horizon,
    /// Grows with each of its records that is taken in or settled, and with each answer to the commit of its start.
    pub(super) moves: u64,
    /// Whether it stands still.
    pub(super) watchdog: Watchdog,
    /// The store had forgotten when it came, and an operator must look before its records go on.
    pub(super) awaits_operator: bool,
    /// Its bound holds it back.
    pub(super) bound: bool,
    /// The log was told to pause it.
    pub(super) paused: bool,
}

/// All partitions that are ours. Bounded by the group's assignment.
#[derive(Debug, Default)]
pub(super) struct Homes {
    /// In the order in which they came, so that whatever is done to all of them is done in the same order each time.
    by_index: BTreeMap<u32, Home>,
    by_name: HashMap<TopicPartition, u32>,
    topics: HashMap<Arc<str>, u32>,
    next: u32,
    /// Marks that all of them remember.
    marks: usize,
}

impl Home {
    /// One of its records is settled: low water, and the window that the log looks at, move as far as they can.
    pub(super) fn settle(&mut self, slot: Slot) {
        self.open -= 1;
        self.moves += 1;
        let passed = self.low_water.settle(slot);
        self.window.passed(passed);
        self.chronicle.passed(passed);
    }

    /// What to commit.
    pub(super) fn due(&self) -> Option<NextOffset> {
        self.low_water.due().filter(|_| !self.holds_commits && !self.refused)
    }

    /// Whether its past is to be kept. Not before the start that follows a loss is committed, nor before an operator has
    /// looked: whoever comes next must find the loss as this process has found it.
    pub(super) fn keeps(&self) -> bool {
        self.chronicle.is_due() && self.may_keep()
    }

    /// Whether what is observed now may be kept soon; where it may not, nothing new is told, or it would be told again.
    pub(super) fn may_keep(&self) -> bool {
        self.chronicle.is_read() && !self.holds_commits && !self.start_due
    }

    /// It is read from here on; `commits`: which must be committed before anything is forwarded.
    pub(super) fn starts_at(&mut self, start: NextOffset, commits: bool) {
        self.low_water = LowWater::starting_at(start);
        self.start_due = commits;
    }

    /// The store has forgotten since it had the history `before`: all that stands in the log now is in doubt.
    pub(super) fn doubt_all(&mut self, before: &History) {
        self.doubt.spread(before, self.low_water.taken_to());
    }

    /// What stands beside a commit of low water now.
    pub(super) fn metadata(&mut self, now: &History) -> String {
        let history = self.doubt.metadata(now, self.low_water.position());
        match self.group_start {
            Some(start) => start.beside(&history),
            None => history,
        }
    }
}

impl Homes {
    pub(super) fn add(&mut self, assigned: Assigned, topic: TopicId, owner: Owner) -> u32 {
        let index = self.next;
        self.next = self.next.wrapping_add(1);
        let topics = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
        let topic_index = *self.topics.entry(Arc::clone(&assigned.partition.topic)).or_insert(topics);
        self.by_name.insert(assigned.partition.clone(), index);
        let home = Home {
            partition: assigned.partition,
            assignment: assigned.assignment,
            topic,
            topic_index,
            phase: Phase::Starting,
            low_water: LowWater::starting_at(assigned.start),
            window: assigned.window,
            log_start: assigned.log_start,
            another: assigned.another,
            chronicle: Chronicle::new(assigned.start, owner),
            untold: None,
            holds_commits: false,
            start_due: assigned.committed.as_ref().is_none_or(|(next, _)| *next != assigned.start),
            committed_at_start: assigned.committed,
            group_start: assigned.group_start,
            start_sent: false,
            start_after: Moment(0),
            committing: None,
            refused: false,
            marks: Marks::default(),
            open: 0,
            doubt: Doubt::none(assigned.log_end),
            unread: false,
            horizon: Horizon::default(),
            moves: 0,
            watchdog: Watchdog::default(),
            awaits_operator: false,
            bound: false,
            paused: false,
        };
        self.by_index.insert(index, home);
        index
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Home> {
        let home = self.by_index.remove(&index)?;
        self.by_name.remove(&home.partition);
        self.marks_gone(home.marks.len());
        Some(home)
    }

    pub(super) fn index(&self, partition: &TopicPartition) -> Option<u32> {
        self.by_name.get(partition).copied()
    }

    pub(super) fn get(&self, index: u32) -> Option<&Home> {
        self.by_index.get(&index)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Home> {
        self.by_index.get_mut(&index)
    }

    pub(super) fn named(&mut self, partition: &TopicPartition) -> Option<&mut Home> {
        let index = self.index(partition)?;
        self.by_index.get_mut(&index)
    }

    pub(super) fn marks(&self) -> usize {
        self.marks
    }

    pub(super) fn mark_added(&mut self) {
        self.marks += 1;
    }

    pub(super) fn marks_gone(&mut self, count: usize) {
        self.marks -= count;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_index.is_empty()
    }

    /// Whether no partition is on its way in or out: by far the most common.
    pub(super) fn all_run(&self) -> bool {
        self.by_index.values().all(|home| home.phase == Phase::Running)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Home> {
        self.by_index.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Home> {
        self.by_index.values_mut()
    }

    pub(super) fn indices(&self) -> Vec<u32> {
        self.by_index.keys().copied().collect()
    }

    /// The next deadline of a partition on its way out.
    pub(super) fn wakes_at(&self) -> Option<Moment> {
        let deadlines = self.by_index.values().filter_map(|home| match home.phase {
            Phase::Leaving { until } | Phase::Committing { until } => Some(until),
            Phase::Starting | Phase::Running => None,
        });
        deadlines.min()
    }
}
