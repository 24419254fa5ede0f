//! One process: its session, its partitions and its open records, as `src/pipeline/` keeps them.

use kafka_once::domain::claim::SessionId;
use kafka_once::domain::doubt::Doubt;
use kafka_once::domain::life::{Effect, Event, Life};
use kafka_once::domain::low_water::{LowWater, Slot};
use kafka_once::domain::record::NextOffset;

use super::store::Past;

/// One process. After a crash there is a new one in its place, without a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Sessions named so far: no name is ever used again.
    pub named: u8,
    /// `src/pipeline/leases.rs`: our own session, and how sure we are of it.
    pub lease: Lease,
    /// The session that claims are made for; while none lives, the last one that did.
    pub current: SessionId,
    pub history: Option<Past>,
    pub link: Link,
    /// The sentinel was seen to be another: the whole history is being asked for.
    pub asks_history: bool,
    pub homes: Vec<Home>,
    /// In the order in which they were taken in: of those with one ID the first one works on it, the others wait
    /// behind it (`src/pipeline/table.rs`).
    pub entries: Vec<Entry>,
    /// SIGTERM was heard.
    pub drains: bool,
    /// A command was given up while draining: the session must run out.
    pub owes: bool,
}

/// What a process knows of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lease {
    None,
    /// It surely holds.
    Holds,
    /// It may be over, by our own clock, and we are about to notice.
    Over,
}

/// The connection to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    Up,
    /// It is dead and we have not noticed.
    Dead,
    /// The store is away: its history is asked for before anything else.
    Away,
}

/// `src/pipeline/homes.rs`: one partition that is ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    pub partition: usize,
    pub phase: Phase,
    pub low_water: LowWater,
    /// What stood beside the group's commit when the partition was assigned; taken when it is judged.
    pub committed_at_start: Option<String>,
    pub start_due: bool,
    /// A commit that is on its way.
    pub committing: Option<(NextOffset, String)>,
    pub doubt: Doubt,
    /// The group has given it to others and we have not heard.
    pub lost: bool,
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Starting,
    Running,
    Leaving,
    Committing,
}

/// `src/pipeline/table.rs`: one open record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub token: u8,
    pub record: usize,
    pub life: Life,
    /// Whether its partition is still ours.
    pub at_home: bool,
    pub slot: Slot,
    pub pending: Pending,
    /// How often it has looked again at a claim where nothing had changed.
    pub polls: u8,
}

/// What an open record waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant)] // one for each record of a small world
pub enum Pending {
    Nothing,
    /// A command at the desk or on its way, and its answer once the store has carried it out.
    Command(Effect, Option<Answer>),
    /// The app's answer, until this time.
    Request {
        first: bool,
        deadline: u64,
    },
    /// Whether the app has applied the message, once that is known.
    LookUp(Option<bool>),
    Letter,
    Timer,
}

/// An answer of the store, and the sentinel as it stood then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    pub event: Event,
    pub sentinel: Option<u8>,
}

impl Host {
    /// A process that has just started; `named`: sessions of those in its place before.
    pub fn new(named: u8) -> Self {
        Self {
            named,
            lease: Lease::None,
            current: SessionId([0; 16]),
            history: None,
            link: Link::Up,
            asks_history: false,
            homes: Vec::new(),
            entries: Vec::new(),
            drains: false,
            owes: false,
        }
    }

    /// The session that it believes in.
    pub fn session(&self) -> Option<SessionId> {
        (self.lease != Lease::None).then_some(self.current)
    }

    pub fn home(&self, partition: usize) -> Option<&Home> {
        self.homes.iter().find(|home| home.partition == partition)
    }

    pub fn entry(&self, token: u8) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.token == token)
    }

    /// A token that no open record has.
    pub fn free_token(&self) -> u8 {
        (0..=u8::MAX).find(|token| self.entry(*token).is_none()).expect("few records")
    }
}
