//! What the pipeline asks of the store: claims, sessions, the history, and what is kept of partitions.

use std::future::Future;
use std::time::Duration;

use crate::domain::claim::{ClaimValue, IdHash, SessionId, Stored};
use crate::domain::history::History;
use crate::domain::past_codec::Owner;
use crate::domain::record::TopicPartition;

/// One command to the store of claims. All of them may be sent again after a lost reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimCommand {
    /// Write `value` if nothing stands there, and tell what stood there (`SET key value NX GET PX keep`).
    Claim {
        /// The message.
        id: IdHash,
        /// What to write.
        value: ClaimValue,
        /// How long it lives.
        keep: Duration,
    },
    /// Write `value` if exactly `expected` stands there (compare-and-set script). Finding `value` itself is success.
    Replace {
        /// The message.
        id: IdHash,
        /// What must stand there.
        expected: ClaimValue,
        /// What to write.
        value: ClaimValue,
        /// How long it lives.
        keep: Duration,
    },
    /// Write `value` whatever stands there, and tell what stood there (`SET key value GET PX keep`).
    Mark {
        /// The message.
        id: IdHash,
        /// What to write: done or dead.
        value: ClaimValue,
        /// How long it lives.
        keep: Duration,
    },
    /// Let what stands there live no longer than `keep` from now; it is not prolonged (`PEXPIRE key keep LT`).
    Shorten {
        /// The message.
        id: IdHash,
        /// How long it lives at most.
        keep: Duration,
    },
    /// Tell what stands there (`GET key`).
    Look {
        /// The message.
        id: IdHash,
    },
    /// Tell whether a session lives (`EXISTS key`).
    IsAlive {
        /// The session asked for.
        session: SessionId,
    },
}

/// The answer to the command at the same place of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimReply {
    /// What stood there before a claim or a mark, or stands there now (look).
    Was(Stored),
    /// The new value stands there.
    Replaced,
    /// Something else stands there; nothing was written.
    NotReplaced(Stored),
    /// It lives no longer than was asked.
    Shortened,
    /// Whether the session's key exists.
    Alive(bool),
}

/// The answers to a batch, in its order, and the sentinel as it stood when they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimBatch {
    /// One answer for each command.
    pub replies: Vec<ClaimReply>,
    /// The sentinel's value; `None`: gone, the store has forgotten everything.
    pub sentinel: Option<String>,
}

/// What stood where a partition's past is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredPast {
    /// Nothing.
    Nothing,
    /// These bytes; see `past_codec`.
    Bytes(Vec<u8>),
    /// A value of another kind: not ours.
    Foreign,
}

/// What became of a past that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It stands there.
    Kept,
    /// Another owner has taken the partition; nothing was written.
    NotOurs,
    /// A value of another kind stands there; nothing was written.
    Foreign,
}

/// Why the store gave no answer. Some commands of the batch may have been carried out, or may be later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Away: timeout, dead connection, READONLY, OOM, LOADING, MISCONF, CLUSTERDOWN. Ask again.
    #[error("redis is away: {0}")]
    Away(String),
    /// Refuses us until somebody changes its or our settings: NOAUTH, NOPERM, WRONGPASS, CROSSSLOT.
    #[error("redis refuses us: {0}")]
    Refused(String),
}

/// The store of claims and sessions of one namespace.
pub trait Claims: Send + Sync + 'static {
    /// Sends all commands in one write, in order, with a read of the sentinel; waits for all answers or the timeout.
    fn batch(&self, commands: Vec<ClaimCommand>) -> impl Future<Output = Result<ClaimBatch, StoreError>> + Send;

    /// Makes the key of a new session.
    fn open_session(&self, session: SessionId, lease: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Prolongs a session's key; `false` when it is gone (never makes it anew).
    fn renew_session(
        &self,
        session: SessionId,
        lease: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes the key of a session that holds no claims any more.
    fn close_session(&self, session: SessionId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads the namespace's history, and makes a sentinel that is gone anew.
    fn history(&self) -> impl Future<Output = Result<History, StoreError>> + Send;

    /// Makes `owner` the only one who may keep these partitions' pasts, and tells what stood there, in the same order.
    /// May be sent again after a lost reply.
    fn take_pasts(
        &self,
        partitions: Vec<(TopicPartition, Owner)>,
    ) -> impl Future<Output = Result<Vec<StoredPast>, StoreError>> + Send;

    /// Writes pasts, each with its owner (`past_codec`), unless another owner has taken the partition; tells, in the same
    /// order, what became of each.
    fn keep_pasts(
        &self,
        pasts: Vec<(TopicPartition, Vec<u8>)>,
    ) -> impl Future<Output = Result<Vec<Keeping>, StoreError>> + Send;
}
