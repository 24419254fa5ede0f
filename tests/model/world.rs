//! The whole state: the store, the group, two processes, what is on its way, and what has really happened.

use std::hash::{DefaultHasher, Hash, Hasher};

use kafka_once::domain::claim::SessionId;
use kafka_once::domain::life::Effect;
use kafka_once::domain::record::NextOffset;

use super::host::Host;
use super::scope::{Faults, Scope};
use super::store::Store;

/// The wall clock at the beginning, in milliseconds.
const DAWN: u64 = 10_000;

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub store: Store,
    pub group: Vec<Seat>,
    pub hosts: Vec<Host>,
    pub late: Vec<Late>,
    pub truth: Truth,
    /// Wall-clock time, the same on every host.
    pub wall: u64,
    /// Faults that may still happen.
    pub left: Faults,
    /// How often the wall clock may still advance.
    pub ticks: u8,
}

/// One partition as the group knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seat {
    pub owner: Option<usize>,
    pub committed: Option<(NextOffset, String)>,
}

/// What may still happen although nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Late {
    /// A command to the store for this ID.
    Command(usize, Effect),
    /// A request that said `first`, for this message: the app may be at work until then.
    Request(usize, u64),
}

/// What has really happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Truth {
    /// Effects of each message: none, one, or more (counted only where none may repeat).
    pub effects: Vec<u8>,
    /// Effects of each message whose request said `first`.
    pub firsts: Vec<u8>,
    /// Whether a message stands on the dead-letter topic.
    pub letters: Vec<bool>,
    /// Numbers of the requests that were sent for each message, one bit each.
    pub numbers: Vec<u16>,
    /// Whether a request has said `possible-repeat`.
    pub doubted: bool,
    /// The first promise that was seen broken.
    pub breach: Option<Breach>,
}

/// A promise that is broken in one moment, and cannot be seen afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A claim of this session was taken over while its key stood in the store.
    LiveClaimTaken(SessionId),
    /// A request was sent under a session whose key was gone, although the store had forgotten nothing.
    SentWithoutSession(SessionId),
    /// Two requests for one message had the same number, although the store had forgotten nothing.
    NumberUsedTwice(u32),
}

impl World {
    /// Nothing has happened yet.
    pub fn new(scope: &Scope) -> Self {
        let messages = scope.records.len();
        Self {
            store: Store::new(scope.ids(), scope.faults.fail_overs > 0),
            group: vec![Seat::default(); scope.partitions()],
            hosts: vec![Host::new(0); scope.hosts],
            late: Vec::new(),
            truth: Truth {
                effects: vec![0; messages],
                firsts: vec![0; messages],
                letters: vec![false; messages],
                numbers: vec![0; messages],
                doubted: false,
                breach: None,
            },
            wall: DAWN,
            left: scope.faults,
            ticks: scope.ticks.unwrap_or(0),
        }
    }

    /// Whether nothing of a record can be lost any more.
    pub fn is_kept(&self, scope: &Scope, record: usize) -> bool {
        let message = scope.message(record);
        self.truth.effects[message] > 0 || self.truth.letters[message]
    }

    /// Whether everything is committed and nothing open.
    pub fn is_settled(&self, scope: &Scope) -> bool {
        let committed = |partition: usize| self.group[partition].committed.as_ref().map_or(0, |(next, _)| next.0);
        let all = |partition: &usize| usize::try_from(committed(*partition)) == Ok(scope.log(*partition).count());
        (0..scope.partitions()).all(|partition| all(&partition))
            && self.hosts.iter().all(|host| host.entries.is_empty())
    }

    /// Something may still happen although nobody waits for it. Beyond the bound it never does, which may be as well.
    pub fn add_late(&mut self, scope: &Scope, late: Late) {
        if self.late.len() < scope.late && !self.late.contains(&late) {
            self.late.push(late);
            self.late.sort_by_cached_key(|late| {
                let mut hasher = DefaultHasher::new();
                late.hash(&mut hasher);
                hasher.finish()
            });
        }
    }

    /// All that decides how a world without faults goes on.
    pub fn essence(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.store, &self.group, &self.hosts, &self.truth.effects, self.wall).hash(&mut hasher);
        hasher.finish()
    }

    /// A promise was seen broken.
    pub fn breach(&mut self, breach: Breach) {
        self.truth.breach.get_or_insert(breach);
    }
}
