//! The books: every count and gauge in one place, so that one lock gives one snapshot in which everything adds up.

use std::collections::{BTreeMap, HashMap};

use super::labels::RetryReason;
use crate::domain::reasons::{
    CommitResult, DeadLetterReason, DuplicateCause, HistoryExtent, LossCause, Outcome, PauseReason,
};
use crate::domain::record::{Topic, TopicPartition};
use crate::domain::verdict::Verdict;

/// What is counted for one topic, since the process began.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicBook {
    pub received: u64,
    pub delivered: u64,
    pub duplicates: [u64; DuplicateCause::ALL.len()],
    pub dead_letters: [u64; DeadLetterReason::ALL.len()],
    pub released: u64,
    pub possible_repeats: u64,
    pub overlaps: u64,
    pub id_reuse: u64,
    pub missing_id: u64,
    pub lost: [u64; LossCause::ALL.len()],
    pub suspected: u64,
    pub recovered: u64,
    pub sequence_unreadable: u64,
    pub producers_forgotten: u64,
    pub retries: [u64; RetryReason::ALL.len()],
}

impl TopicBook {
    /// How many records ended so. Duplicates and dead letters are sums over their causes: they cannot drift apart.
    pub fn settled(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Delivered => self.delivered,
            Outcome::Duplicate => self.duplicates.iter().sum(),
            Outcome::DeadLettered => self.dead_letters.iter().sum(),
        }
    }

    /// Received and neither settled nor released. Below zero only by a defect, which must not be hidden.
    pub fn open(&self) -> i64 {
        let closed = Outcome::ALL.iter().map(|outcome| self.settled(*outcome)).sum::<u64>() + self.released;
        self.received.cast_signed().wrapping_sub(closed.cast_signed())
    }
}

/// What is shown for one assigned partition.
#[derive(Clone, Copy, Debug, Default)]
pub struct PartitionBook {
    pub lag: u64,
    pub paused: [bool; PauseReason::ALL.len()],
}

/// What is counted and shown for the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessBook {
    pub attempts: [u64; Verdict::ALL.len()],
    pub commits: [u64; CommitResult::ALL.len()],
    pub history_lost: [u64; HistoryExtent::ALL.len()],
    pub sessions_started: u64,
    pub spans_lost: u64,
    pub in_flight: u64,
    pub in_flight_limit: u64,
    pub held_bytes: u64,
    pub store_up: bool,
    pub app_up: bool,
    pub broker_up: bool,
}

/// All books. Bounded by the topics that were ever assigned and the partitions that are.
#[derive(Debug, Default)]
pub struct Books {
    topics: Vec<(Topic, TopicBook)>,
    places: HashMap<Topic, usize>,
    partitions: BTreeMap<TopicPartition, PartitionBook>,
    pub process: ProcessBook,
}

impl Books {
    /// The place of a topic's book; opens one at the first call.
    pub fn place(&mut self, topic: &Topic) -> usize {
        if let Some(place) = self.places.get(topic) {
            return *place;
        }
        let place = self.topics.len();
        self.topics.push((Topic::clone(topic), TopicBook::default()));
        self.places.insert(Topic::clone(topic), place);
        place
    }

    /// The book at a place; `None` for a place of other books.
    pub fn topic_at(&mut self, place: usize) -> Option<&mut TopicBook> {
        self.topics.get_mut(place).map(|(_, book)| book)
    }

    /// Opens the books of a partition and its topic.
    pub fn assign(&mut self, partition: &TopicPartition) {
        self.place(&partition.topic);
        self.partitions.entry(partition.clone()).or_default();
    }

    /// Closes a partition's book; its topic's goes on.
    pub fn unassign(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
    }

    /// The book of a partition while it is assigned: a late word on a revoked one must not bring its series back.
    pub fn partition(&mut self, partition: &TopicPartition) -> Option<&mut PartitionBook> {
        self.partitions.get_mut(partition)
    }

    /// A copy of everything, to be written out without holding the lock.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            topics: self.topics.clone(),
            partitions: self.partitions.iter().map(|(partition, book)| (partition.clone(), *book)).collect(),
            process: self.process,
        }
    }
}

/// All books at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub topics: Vec<(Topic, TopicBook)>,
    pub partitions: Vec<(TopicPartition, PartitionBook)>,
    pub process: ProcessBook,
}

impl Snapshot {
    /// Open records of all topics.
    pub fn open(&self) -> i64 {
        self.topics.iter().map(|(_, book)| book.open()).sum()
    }
}
