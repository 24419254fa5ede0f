//! What becomes of a letter that somebody wants sent back, by what the store holds for its message.

use super::claim::{ClaimValue, Digest, Stored};

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent back. What it says of itself tells the sidecar that the mark of its letter is no news.
    Send,
    /// The same message was applied since: it stays.
    DoneSince,
    /// The same message is being worked on: it stays.
    InProgress,
    /// What stands under its key is not ours: it stays.
    Foreign,
}

/// Decides by what stands under the message's key, and the digest of the letter's payload.
///
/// A mark of another payload is another message's: the letter is judged again. A mark `dead` stays, until the record that
/// is sent back takes it over: it keeps the old record, should its offset not be committed yet, from being forwarded as
/// if nobody had tried it.
pub fn fate(stored: Stored, digest: Digest) -> Fate {
    match stored {
        Stored::Nothing => Fate::Send,
        Stored::Foreign => Fate::Foreign,
        Stored::Value(value) if value.digest() != digest => Fate::Send,
        Stored::Value(ClaimValue::Dead { .. }) => Fate::Send,
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
    fn the_mark_decides_whether_a_letter_is_sent_back() {
        let position = Position { partition: 0, offset: Offset(5), timestamp: 0 };
        let (digest, other) = (Digest([1; 16]), Digest([2; 16]));
        let (spent, in_doubt) = (Spent::default(), false);
        let dead = |digest| ClaimValue::Dead { attempt: 1, in_doubt: false, position, digest };
        let done = |digest| ClaimValue::Done { position, digest };
        let claimed = |digest| ClaimValue::Claimed { session: SessionId([0; 16]), spent, in_doubt, position, digest };
        let released = |digest| ClaimValue::Released { spent, in_doubt, position, digest };
        for (stored, expected) in [
            (Stored::Nothing, Fate::Send),
            (Stored::Foreign, Fate::Foreign),
            (Stored::Value(dead(digest)), Fate::Send),
            (Stored::Value(done(digest)), Fate::DoneSince),
            (Stored::Value(claimed(digest)), Fate::InProgress),
            (Stored::Value(released(digest)), Fate::InProgress),
            (Stored::Value(dead(other)), Fate::Send),
            (Stored::Value(done(other)), Fate::Send),
            (Stored::Value(claimed(other)), Fate::Send),
            (Stored::Value(released(other)), Fate::Send),
        ] {
            assert_eq!(fate(stored, digest), expected, "{stored:?}");
        }
    }
}
