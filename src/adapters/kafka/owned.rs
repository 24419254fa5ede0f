//! The partitions that are ours: which of them must not be read now, and why.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::past::Landmark;
use crate::domain::record::{NextOffset, Position, Topic, TopicPartition};
use crate::ports::{Assignment, Window};

/// Which partitions are ours now, and since which assignment: for the thread that commits, beside the polling one.
#[derive(Clone, Debug, Default)]
pub(super) struct Register(Arc<Mutex<HashMap<TopicPartition, Assignment>>>);

impl Register {
    /// Whether a partition is ours, and not only since an assignment that is newer than `seen`.
    pub(super) fn holds(&self, at: &TopicPartition, seen: Assignment) -> bool {
        self.lock().get(at).is_some_and(|assignment| *assignment <= seen)
    }

    /// Each change is one call: what a poisoned lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<TopicPartition, Assignment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One partition of ours. It is read iff it has begun and nothing holds it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // independent reasons to hold a partition, any of which may come and go
struct Owned {
    window: Arc<Window>,
    next: NextOffset,
    /// The last record that was read: it tells this log from another one of the same name.
    last: Option<Landmark>,
    begun: bool,
    told: bool,
    full: bool,
    /// What the client was told last.
    paused: bool,
    /// What the pipeline was told last of our bounds.
    bound: bool,
}

/// All partitions of ours, and the bounds on them.
#[derive(Debug)]
pub(super) struct Partitions {
    owned: HashMap<Topic, BTreeMap<i32, Owned>>,
    register: Register,
    /// The newest assignment.
    newest: Assignment,
    max_open: u64,
    max_held: u64,
    /// Held bytes reached their bound and have not come down to half of it.
    held: bool,
    /// The pipeline takes nothing.
    stalled: bool,
}

/// A partition that starts elsewhere than the client was told when it was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// The newest assignment that its order knew.
    pub seen: Assignment,
    /// The partition.
    pub at: TopicPartition,
    /// Where it starts.
    pub to: NextOffset,
}

/// Partitions whose state changed: to `true`, and to `false`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Held now.
    pub on: Vec<TopicPartition>,
    /// No longer held.
    pub off: Vec<TopicPartition>,
}

impl Partitions {
    pub(super) fn new(max_open: u64, max_held: u64) -> Self {
        let (max_open, max_held) = (max_open.max(1), max_held.max(1));
        let (owned, register) = (HashMap::new(), Register::default());
        Self { owned, register, newest: Assignment::default(), max_open, max_held, held: false, stalled: false }
    }

    /// What is ours, for other threads.
    pub(super) fn register(&self) -> Register {
        self.register.clone()
    }

    /// A partition became ours; the client has been told to pause it. Returns which assignment that is.
    pub(super) fn insert(&mut self, at: &TopicPartition, start: NextOffset, window: Arc<Window>) -> Assignment {
        self.newest = Assignment(self.newest.0 + 1);
        self.register.lock().insert(at.clone(), self.newest);
        let fresh = Owned {
            window,
            next: start,
            last: None,
            begun: false,
            told: false,
            full: false,
            paused: true,
            bound: false,
        };
        self.owned.entry(Arc::clone(&at.topic)).or_default().insert(at.partition, fresh);
        self.newest
    }

    /// Whether a partition is ours, and not only since an assignment that is newer than `seen`.
    pub(super) fn holds(&self, at: &TopicPartition, seen: Assignment) -> bool {
        self.register.holds(at, seen)
    }

    /// Those of an order that are still the assignments it was given for.
    pub(super) fn known(&self, mut partitions: Vec<TopicPartition>, seen: Assignment) -> Vec<TopicPartition> {
        partitions.retain(|at| self.register.holds(at, seen));
        partitions
    }

    /// Partitions are no longer ours; returns those that were.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut gone = Vec::new();
        for at in partitions {
            let Some(topic) = self.owned.get_mut(&at.topic) else { continue };
            if topic.remove(&at.partition).is_some() {
                self.register.lock().remove(at);
                gone.push(at.clone());
            }
            if topic.is_empty() {
                self.owned.remove(&at.topic);
            }
        }
        gone
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<TopicPartition> {
        self.iter().map(|(at, _)| at).collect()
    }

    /// Those that the client was not told to pause.
    pub(super) fn reading(&self) -> Vec<TopicPartition> {
        self.iter().filter(|(_, owned)| !owned.paused).map(|(at, _)| at).collect()
    }

    /// The next offset of each.
    pub(super) fn positions(&self) -> Vec<(TopicPartition, NextOffset)> {
        self.iter().map(|(at, owned)| (at, owned.next)).collect()
    }

    /// The next offset of one that is ours.
    pub(super) fn next(&self, at: &TopicPartition) -> Option<NextOffset> {
        self.get(at).map(|owned| owned.next)
    }

    /// Whether a partition may be read by the pipeline's word.
    pub(super) fn has_begun(&self, at: &TopicPartition) -> bool {
        self.get(at).is_some_and(|owned| owned.begun)
    }

    /// Whether a partition is ours.
    pub(super) fn contains(&self, at: &TopicPartition) -> bool {
        self.get(at).is_some()
    }

    /// The shared name of the topic of a partition that is ours.
    pub(super) fn topic(&self, topic: &str, partition: i32) -> Option<Topic> {
        let (name, partitions) = self.owned.get_key_value(topic)?;
        partitions.contains_key(&partition).then(|| Arc::clone(name))
    }

    /// A record was taken in, and so many bytes are held now; whether a bound is reached.
    pub(super) fn taken(&mut self, topic: &str, position: Position, held: u64) -> bool {
        self.held |= held >= self.max_held;
        let Some(owned) = self.owned.get_mut(topic).and_then(|topic| topic.get_mut(&position.partition)) else {
            return self.held;
        };
        owned.next = position.offset.next();
        owned.last = Some(Landmark { offset: position.offset, timestamp: position.timestamp });
        owned.full |= owned.window.taken() >= self.max_open;
        owned.full || self.held
    }

    /// Lets go of what has come down to half of its bound: the client throws away what it has prefetched at every pause.
    pub(super) fn relax(&mut self, held: u64) {
        self.held &= held > self.max_held / 2;
        for owned in self.owned.values_mut().flat_map(BTreeMap::values_mut) {
            owned.full &= owned.window.size() > self.max_open / 2;
        }
    }

    /// The pipeline takes nothing, or takes again.
    pub(super) fn stall(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// May be read from now on, each from where it is said, unless it was assigned anew since. Those for which the client
    /// has to be told first that they start elsewhere are returned, and do not begin before [`Partitions::jump`].
    pub(super) fn begin(&mut self, starts: &[(TopicPartition, NextOffset)], seen: Assignment) -> Vec<Move> {
        let mut moves = Vec::new();
        for (at, to) in starts {
            if !self.register.holds(at, seen) {
                continue;
            }
            match self.get_mut(at) {
                Some(owned) if owned.next == *to => owned.begun = true,
                Some(_) => moves.push(Move { seen, at: at.clone(), to: *to }),
                None => {}
            }
        }
        moves
    }

    /// Goes on, or begins, elsewhere. The client has been told, and to pause it.
    pub(super) fn jump(&mut self, at: &TopicPartition, to: NextOffset) {
        if let Some(owned) = self.get_mut(at) {
            (owned.next, owned.begun, owned.paused) = (to, true, true);
        }
    }

    /// The last record that was read of each of these, where there is one.
    pub(super) fn landmarks(&self) -> HashMap<TopicPartition, Landmark> {
        self.iter().filter_map(|(at, owned)| Some((at, owned.last?))).collect()
    }

    /// The pipeline wants nothing of these for now (`true`), or again.
    pub(super) fn tell(&mut self, partitions: &[TopicPartition], paused: bool) {
        self.each(partitions, |owned| owned.told = paused);
    }

    /// The client has forgotten what was paused: what it was told last counts as `paused` for all.
    pub(super) fn assume_paused(&mut self) {
        for owned in self.owned.values_mut().flat_map(BTreeMap::values_mut) {
            owned.paused = true;
        }
    }

    /// What the client must be told to pause and to resume; counts as told.
    pub(super) fn pause_changes(&mut self) -> Changes {
        let all = self.held || self.stalled;
        self.changes(|owned| {
            let pause = all || !owned.begun || owned.told || owned.full;
            (std::mem::replace(&mut owned.paused, pause), pause)
        })
    }

    /// What the pipeline must be told of our bounds; counts as told.
    pub(super) fn bound_changes(&mut self) -> Changes {
        let held = self.held;
        self.changes(|owned| {
            let bound = held || owned.full;
            (std::mem::replace(&mut owned.bound, bound), bound)
        })
    }

    /// Whether something is held that may be let go at any moment.
    pub(super) fn waits(&self) -> bool {
        self.held || self.stalled || self.iter().any(|(_, owned)| owned.full || !owned.begun)
    }

    fn changes(&mut self, mut was_and_is: impl FnMut(&mut Owned) -> (bool, bool)) -> Changes {
        let mut changes = Changes::default();
        for (topic, partitions) in &mut self.owned {
            for (&partition, owned) in partitions {
                let at = || TopicPartition { topic: Arc::clone(topic), partition };
                match was_and_is(owned) {
                    (false, true) => changes.on.push(at()),
                    (true, false) => changes.off.push(at()),
                    _ => {}
                }
            }
        }
        changes
    }

    fn each(&mut self, partitions: &[TopicPartition], change: impl Fn(&mut Owned)) {
        for at in partitions {
            if let Some(owned) = self.get_mut(at) {
                change(owned);
            }
        }
    }

    fn get(&self, at: &TopicPartition) -> Option<&Owned> {
        self.owned.get(&at.topic)?.get(&at.partition)
    }

    fn get_mut(&mut self, at: &TopicPartition) -> Option<&mut Owned> {
        self.owned.get_mut(&at.topic)?.get_mut(&at.partition)
    }

    fn iter(&self) -> impl Iterator<Item = (TopicPartition, &Owned)> {
        self.owned.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(&partition, owned)| (TopicPartition { topic: Arc::clone(topic), partition }, owned))
        })
    }
}

#[cfg(test)]
mod tests;
