//! What becomes of a letter that somebody wants sent back, by what the store holds for its message.

use super::claim::{ClaimValue, Digest, Stored};

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent back, so that it counts as new.
    Send {
        /// The mark that must be removed before, exactly as it stood there.
        remove: Option<ClaimValue>,
    },
    /// The same message was applied since: it stays.
    DoneSince,
    /// The same message is being worked on: it stays.
    InProgress,
    /// What stands under its key is not ours: it stays.
    Foreign,
}

/// Decides by what stands under the message's key, and the digest of the letter's payload.
///
/// A mark of another payload is another message's: the letter is judged again, and that mark stays. So does the mark of
/// an ID that was made from the position: back in its topic the record has another position, so another ID, and the old
/// mark still keeps the old record from being forwarded, should its offset not be committed yet.
pub fn fate(stored: Stored, digest: Digest, position_made: bool) -> Fate {
    match stored {
        Stored::Nothing => Fate::Send { remove: None },
        Stored::Foreign => Fate::Foreign,
        Stored::Value(value) if value.digest() != digest => Fate::Send { remove: None },
        Stored::Value(value @ ClaimValue::Dead { .. }) => Fate::Send { remove: (!position_made).then_some(value) },
        Stored::Value(ClaimValue::Done { .. }) => Fate::DoneSince,
        Stored::Value(ClaimValue::Claimed { .. } | ClaimValue::Released { .. }) => Fate::InProgress,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claim::{SessionId, Spent};
    use crate::domain::record::{Offset, Position};

    #[test]
    fn the_mark_decides_and_only_a_dead_one_of_this_very_message_is_removed() {
        let position = Position { partition: 0, offset: Offset(5), timestamp: 0 };
        let (digest, other) = (Digest([1; 16]), Digest([2; 16]));
        let (spent, in_doubt) = (Spent::default(), false);
        let dead = |digest| ClaimValue::Dead { position, digest };
        let done = |digest| ClaimValue::Done { position, digest };
        let claimed = |digest| ClaimValue::Claimed { session: SessionId([0; 16]), spent, in_doubt, position, digest };
        let released = |digest| ClaimValue::Released { spent, in_doubt, position, digest };
        let goes = Fate::Send { remove: None };
        for (stored, named, position_made) in [
            (Stored::Nothing, goes, goes),
            (Stored::Foreign, Fate::Foreign, Fate::Foreign),
            (Stored::Value(dead(digest)), Fate::Send { remove: Some(dead(digest)) }, goes),
            (Stored::Value(done(digest)), Fate::DoneSince, Fate::DoneSince),
            (Stored::Value(claimed(digest)), Fate::InProgress, Fate::InProgress),
            (Stored::Value(released(digest)), Fate::InProgress, Fate::InProgress),
            (Stored::Value(dead(other)), goes, goes),
            (Stored::Value(done(other)), goes, goes),
            (Stored::Value(claimed(other)), goes, goes),
            (Stored::Value(released(other)), goes, goes),
        ] {
            assert_eq!(fate(stored, digest, false), named, "{stored:?}");
            assert_eq!(fate(stored, digest, true), position_made, "{stored:?}");
        }
    }
}
