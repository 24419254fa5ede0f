//! What becomes of a letter that somebody wants sent back, by what the store holds for its message.

use super::claim::{ClaimValue, Digest};
use super::inspection::{Held, Sighting};
use super::record::Offset;

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent back. What it says of itself tells the sidecar which mark is no news.
    Send {
        /// Where the mark `dead` of the same message stands, partition and offset: there another record of it was given
        /// up, where that is not the letter's own. `None`: there is no such mark.
        dead_at: Option<(i32, Offset)>,
    },
    /// The same message was applied since: it stays.
    DoneSince,
    /// The same message is being worked on, or will be: it stays.
    InProgress,
    /// What stands under its key is not ours: it stays.
    Foreign,
}

/// Decides by what stands under the message's key, and the digest of the letter's payload.
///
/// A mark of another payload is another message's: the letter is judged again. A mark `dead` stays, until the record that
/// is sent back takes it over: it keeps the old record, should its offset not be committed yet, from being forwarded as
/// if nobody had tried it. A claim of a session that is dead keeps nobody: its record may be committed, and then nobody
/// would ever ask about it again; whoever comes first takes it over, in doubt.
pub fn fate(seen: &Sighting, digest: Digest) -> Fate {
    let value = match seen.held {
        Held::Nothing => return Fate::Send { dead_at: None },
        Held::Unreadable { .. } | Held::OtherType => return Fate::Foreign,
        Held::Value(value) if value.digest() != digest => return Fate::Send { dead_at: None },
        Held::Value(value) => value,
    };
    match value {
        ClaimValue::Dead { position, .. } => Fate::Send { dead_at: Some((position.partition, position.offset)) },
        ClaimValue::Done { .. } => Fate::DoneSince,
        ClaimValue::Claimed { .. } if seen.session_lives == Some(false) => Fate::Send { dead_at: None },
        ClaimValue::Claimed { .. } | ClaimValue::Released { .. } => Fate::InProgress,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claim::{SessionId, Spent};
    use crate::domain::record::Position;

    #[test]
    fn the_mark_decides_whether_a_letter_is_sent_back() {
        let position = Position { partition: 3, offset: Offset(5), timestamp: 0 };
        let (digest, other) = (Digest([1; 16]), Digest([2; 16]));
        let (spent, in_doubt) = (Spent::default(), false);
        let dead = |digest| Held::Value(ClaimValue::Dead { attempt: 1, in_doubt: false, position, digest });
        let done = |digest| Held::Value(ClaimValue::Done { position, digest });
        let claimed = |digest| {
            Held::Value(ClaimValue::Claimed { session: SessionId([0; 16]), spent, in_doubt, position, digest })
        };
        let released = |digest| Held::Value(ClaimValue::Released { spent, in_doubt, position, digest });
        let send = Fate::Send { dead_at: None };
        for (held, session_lives, expected) in [
            (Held::Nothing, None, send),
            (Held::OtherType, None, Fate::Foreign),
            (Held::Unreadable { first: Some(9), length: 3 }, None, Fate::Foreign),
            (dead(digest), None, Fate::Send { dead_at: Some((3, Offset(5))) }),
            (done(digest), None, Fate::DoneSince),
            (claimed(digest), Some(true), Fate::InProgress),
            (claimed(digest), None, Fate::InProgress), // not known: as if it lived
            (claimed(digest), Some(false), send),
            (released(digest), None, Fate::InProgress),
            (dead(other), None, send),
            (done(other), None, send),
            (claimed(other), Some(true), send),
            (released(other), None, send),
        ] {
            let seen = Sighting { held, session_lives, keeps: None };
            assert_eq!(fate(&seen, digest), expected, "{seen:?}");
        }
    }
}
