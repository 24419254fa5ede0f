//! The seam: what the pipeline asks of its neighbours (store, app, log, dead letters), in domain words.
//!
//! An adapter translates and waits; it decides nothing about a record. The simulation stands in for every one of them.

mod counters;
mod spans;
mod store;
pub use counters::{HeldBytes, Window};
pub use spans::{Span, Spans, TraceContext};
pub use store::{ClaimBatch, ClaimCommand, ClaimReply, Claims, Keeping, StoreError, StoredPast};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::claim::{Digest, IdHash};
use crate::domain::group_start::GroupStart;
use crate::domain::identity::WireId;
use crate::domain::letter::SentBack;
use crate::domain::numbering::Numbered;
use crate::domain::past::Landmark;
use crate::domain::reasons::{CommitResult, DeadLetterReason};
use crate::domain::record::{NextOffset, Record, Topic, TopicPartition};
use crate::domain::time::UnixMillis;
use crate::domain::verdict::{Answer, Delivery};

// ---- the app -------------------------------------------------------------------------------------------------------

/// One request for one record.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is delivered.
    pub record: Arc<Record>,
    /// Its message ID as it stands on the wire (`Idempotency-Key`).
    pub id: WireId,
    /// `Once-Delivery`.
    pub delivery: Delivery,
    /// `Once-Attempt`.
    pub attempt: u32,
    /// `Once-Deadline`.
    pub deadline: UnixMillis,
    /// How long to wait for the whole answer.
    pub timeout: Duration,
}

/// What the app said when asked whether it has applied a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// 200 or 204.
    Applied,
    /// 404.
    NotApplied,
    /// Anything else; ask again. The text says what came.
    Unclear(String),
}

/// The app beside us.
pub trait App: Send + Sync + 'static {
    /// A connection's worth of requests, one after another.
    type Line: AppLine;

    /// A new line; connects when it is first used.
    fn line(&self) -> Self::Line;

    /// Whether an app that was ready has said that it is not any more: asks only where there is somebody to ask
    /// (`ONCE_APP_READY_URL`).
    fn still_ready(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether the app takes requests; the error says why not.
    fn ready(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Asks whether the app has applied a message (`ONCE_APP_LOOKUP_URL`).
    fn look_up(&self, topic: &Topic, id: &WireId) -> impl Future<Output = Lookup> + Send;
}

/// One connection to the app, kept alive between requests.
pub trait AppLine: Send + 'static {
    /// Sends one request and waits for its answer. Dropping the future closes the connection.
    fn deliver(&mut self, request: &Request) -> impl Future<Output = Answer> + Send;
}

// ---- the log -------------------------------------------------------------------------------------------------------

/// A record that was taken in, and who it is. Naming costs, and needs nobody: it happens on the log's own thread.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The record.
    pub record: Arc<Record>,
    /// Who it is, or why it can never be forwarded.
    pub identity: Result<Identity, Unfit>,
    /// Which of its producer's messages it is.
    pub numbered: Numbered,
    /// What it says of the letter that it was.
    pub sent_back: Option<SentBack>,
}

/// Who a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the store knows its message ID by.
    pub hash: IdHash,
    /// Its message ID as it stands on the wire.
    pub wire: WireId,
    /// Whether the ID was made from the position: then only Kafka itself can bring the message again.
    pub position_made: bool,
    /// The digest of its payload.
    pub digest: Digest,
}

/// Why a record can never be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The reason on the dead-letter topic.
    pub reason: DeadLetterReason,
    /// In words.
    pub detail: String,
}

/// Names a record.
pub type Naming = Box<dyn Fn(Record) -> Taken + Send>;

/// What the log tells the pipeline, in order, over a bounded channel.
#[derive(Debug)]
pub enum Intake {
    /// Partitions became ours. Their records follow once the pipeline has said [`LogCommand::Begin`].
    Assigned(Vec<Assigned>),
    /// Records, in the order of their offsets within each partition.
    Records(Vec<Taken>),
    /// The group wants partitions back: finish, commit, then say [`LogCommand::Release`].
    Revoking(Vec<TopicPartition>),
    /// Partitions are gone already: commit nothing for them.
    Lost(Vec<TopicPartition>),
    /// A commit request ended.
    Committed {
        /// The newest assignment that its order knew.
        seen: Assignment,
        /// What of it ended so; what ended in another way is told by itself.
        offsets: Vec<(TopicPartition, NextOffset)>,
        /// How it ended.
        result: CommitResult,
    },
    /// Where logs end now, for the lag.
    Ends(Vec<LogEnd>),
    /// Records that nobody took in are gone from a log, and reading goes on behind them.
    Jumped {
        /// The partition.
        partition: TopicPartition,
        /// The first offset that is gone.
        from: NextOffset,
        /// Where the log begins now.
        to: NextOffset,
    },
    /// What became of a [`LogCommand::Look`].
    Looked(Looked),
    /// Partitions whose bound holds them back (`true`) or no longer does.
    Bound(Vec<TopicPartition>, bool),
    /// Whether any broker answers.
    BrokerUp(bool),
    /// The client is beyond healing: the process must end.
    Fatal(String),
    /// The cluster refuses us until somebody changes its or our settings; the text says what.
    Refused(String),
    /// The group is left; nothing follows.
    Left,
}

/// Numbers the assignments of partitions to this process, in their order. A partition that went away and came back is
/// another assignment: nothing that was said of the first is about the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assignment(pub u64);

/// Where the log of one partition ends now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogEnd {
    /// The partition.
    pub partition: TopicPartition,
    /// Where the log ends for a reader of committed records.
    pub end: NextOffset,
    /// Whether the client has something left to read there, and a broker to read it from. Offsets without a record
    /// (transaction markers, compaction) are nothing to read.
    pub unread: bool,
    /// The client has just heard it: it has a broker to read from, and nothing keeps it from asking.
    pub fresh: bool,
}

/// What became of a look for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The newest assignment that its order knew.
    pub seen: Assignment,
    /// The partition.
    pub partition: TopicPartition,
    /// Whether its log is the one that the landmark stood in.
    pub standing: Standing,
    /// Where the log began and ended then.
    pub log: (NextOffset, NextOffset),
}

/// Whether a log is the one that a record stood in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The record stands there, or others prove that it did.
    Same,
    /// Another record stands there, or the log ends below.
    Other,
    /// No record stands there, and the log goes on behind: compaction has taken it, or it is another log.
    Unclear,
}

/// One partition as it was when it became ours.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The partition.
    pub partition: TopicPartition,
    /// Which assignment it is.
    pub assignment: Assignment,
    /// The next offset that will be read.
    pub start: NextOffset,
    /// What the group had committed, with the metadata beside it.
    pub committed: Option<(NextOffset, String)>,
    /// How many partitions the topic had when the group started to read it, if that is known and matters.
    pub group_start: Option<GroupStart>,
    /// Where the log begins.
    pub log_start: NextOffset,
    /// Where the log ended when the partition was assigned.
    pub log_end: NextOffset,
    /// It is known to be another log than the one that was read before under the same name.
    pub another: bool,
    /// How many of its records are between low water and the last one taken in.
    pub window: Arc<Window>,
}

/// A command to the log, with the newest assignment that the pipeline knew: of what was assigned since, it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOrder {
    /// The newest assignment known.
    pub seen: Assignment,
    /// What is asked.
    pub command: LogCommand,
}

/// What the pipeline asks of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogCommand {
    /// Start reading partitions that were assigned, each from there on.
    Begin(Vec<(TopicPartition, NextOffset)>),
    /// Look whether a record still stands in a partition's log; [`Intake::Looked`] tells.
    Look(TopicPartition, Landmark),
    /// Commit, without blocking; [`Intake::Committed`] tells the end.
    Commit(Vec<Commit>),
    /// Take nothing more from these until told; polling goes on.
    Pause(Vec<TopicPartition>),
    /// Go on taking from these.
    Resume(Vec<TopicPartition>),
    /// Let go of partitions the group wanted back.
    Release(Vec<TopicPartition>),
    /// Leave the group; [`Intake::Left`] tells the end.
    Leave,
}

/// One partition's part of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub partition: TopicPartition,
    /// The low water.
    pub next: NextOffset,
    /// The history, at most 4,096 bytes.
    pub metadata: String,
}

// ---- dead letters --------------------------------------------------------------------------------------------------

/// A record for the dead-letter topic, with what is said about it.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The record, untouched.
    pub record: Arc<Record>,
    /// `once-error`.
    pub reason: DeadLetterReason,
    /// `once-detail`.
    pub detail: String,
    /// `once-status`: the HTTP status, when there was a request.
    pub status: Option<u16>,
    /// `once-attempts`.
    pub attempts: u32,
    /// `once-delivery`: whether one of them may have had its effect.
    pub in_doubt: bool,
    /// `once-message-id`; absent when the record has none.
    pub id: Option<WireId>,
    /// `once-at`.
    pub at: UnixMillis,
}

/// The dead-letter topic.
pub trait DeadLetters: Send + Sync + 'static {
    /// Produces with acks=all; returns once every in-sync replica has it. The error says why not.
    fn send(&self, letter: DeadLetter) -> impl Future<Output = Result<(), String>> + Send;
}

// ---- operations ----------------------------------------------------------------------------------------------------

/// What an operator asks of the running pipeline, over a bounded channel. A dropped `reply`: the pipeline has ended.
#[derive(Debug)]
pub enum Operation {
    /// Take nothing more until resumed (reason `operator`).
    Pause {
        /// Which partitions.
        scope: Scope,
        /// Told once intake is paused.
        reply: oneshot::Sender<Result<(), NotAssigned>>,
    },
    /// Go on: ends every pause that waits for an operator.
    Resume {
        /// Which partitions.
        scope: Scope,
        /// Told once intake goes on.
        reply: oneshot::Sender<Result<(), NotAssigned>>,
    },
    /// Finish what is open, take nothing new, leave the group. May be asked again while it is under way and after.
    Drain {
        /// Told once drained.
        reply: oneshot::Sender<()>,
    },
}

/// The partitions an operation is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every partition, also those assigned later.
    All,
    /// Every partition of one topic.
    Topic(Topic),
    /// One partition.
    Partition(TopicPartition),
}

/// The topic or partition of an operation is not assigned to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not assigned to this process")]
pub struct NotAssigned;
