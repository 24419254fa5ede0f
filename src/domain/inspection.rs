//! What the store holds for a message, for people: also what is not ours is told apart there.

use std::time::Duration;

use super::claim::ClaimValue;

/// What stands under a message's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// A value of ours.
    Value(ClaimValue),
    /// Bytes that this version cannot read: a later layout, or somebody else's.
    Unreadable {
        /// The first byte, where ours have their version; `None`: it is empty.
        first: Option<u8>,
        /// How many there are.
        length: usize,
    },
    /// A value that is no string.
    OtherType,
}

/// What was seen of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What stands under its key.
    pub held: Held,
    /// Whether the session that has claimed it lives; `None`: nobody has claimed it.
    pub session_lives: Option<bool>,
    /// How long the key still lives; `None`: not known, or for ever.
    pub keeps: Option<Duration>,
}
