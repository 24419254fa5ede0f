//! What Redis remembers of a message ID, and what its answer means for the record that asked.

use super::record::Position;
use super::time::UnixMillis;

/// A message ID as Redis knows it: a 128-bit hash of namespace, topic and ID with unambiguous separators.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash(pub [u8; 16]);

/// A digest of key and value, 128 bits: the same ID with another digest is another message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

/// The name of one running process: random, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

macro_rules! hex_display {
    ($($name:ident),+) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}
hex_display!(IdHash, Digest, SessionId);

/// What is spent on a message so far; it outlives the process that spent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Number of the last request that may have been sent (`Once-Attempt`); 0 = none.
    pub attempt: u32,
    /// Retries spent: failed and unknown answers only.
    pub retries: u32,
    /// No request of ours is waited for after this; the app may be at work until then.
    pub deadline: UnixMillis,
}

/// The value of a message ID in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimValue {
    /// A session is working on it.
    Claimed {
        /// Whose it is. The claim is stale exactly when this session's key is gone.
        session: SessionId,
        /// What is spent, this session's next request included.
        spent: Spent,
        /// Whether an earlier attempt may have had its effect.
        in_doubt: bool,
        /// The record that is worked on.
        position: Position,
        /// Its payload.
        digest: Digest,
    },
    /// Nobody is; what was spent is remembered.
    Released {
        /// What was spent.
        spent: Spent,
        /// Whether an attempt may have had its effect.
        in_doubt: bool,
        /// The record that was given back.
        position: Position,
        /// Its payload.
        digest: Digest,
    },
    /// The effect happened.
    Done {
        /// The record that was delivered.
        position: Position,
        /// Its payload.
        digest: Digest,
    },
    /// It stands on the dead-letter topic.
    Dead {
        /// Number of the last request that was sent for it.
        attempt: u32,
        /// Whether one of them may have had its effect.
        in_doubt: bool,
        /// The record that was dead-lettered.
        position: Position,
        /// Its payload.
        digest: Digest,
    },
}

impl ClaimValue {
    /// The digest of the payload it was written for.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Claimed { digest, .. }
            | Self::Released { digest, .. }
            | Self::Done { digest, .. }
            | Self::Dead { digest, .. } => *digest,
        }
    }

    /// The position it was written for.
    pub fn position(&self) -> Position {
        match self {
            Self::Claimed { position, .. }
            | Self::Released { position, .. }
            | Self::Done { position, .. }
            | Self::Dead { position, .. } => *position,
        }
    }
}

/// What stands under an ID's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// Nothing.
    Nothing,
    /// A value of ours.
    Value(ClaimValue),
    /// Something that is not ours: another type, an unknown version, garbage. Never new, never a duplicate.
    Foreign,
}
