//! The history of a namespace: how we notice that the store has forgotten, and whether somebody must look then.

use super::life::InDoubt;
use super::reasons::HistoryExtent;

/// What a store remembers of itself. Two equal histories: nothing was forgotten in between.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// The sentinel key's random value (in a cluster a hash over one for each primary). Lower-case hex, 32 digits.
    pub sentinel: String,
    /// The primary's replication ID (in a cluster a hash over all). Hex; empty where the store hides it.
    pub replication: String,
}

/// The version of the offset metadata we write.
const VERSION: &str = "once1";

/// The longest metadata that is worth a look: ours are below 100 bytes, the broker's limit is 4,096.
const LONGEST: usize = 4096;

impl History {
    /// The text that stands in a commit's offset metadata, below 100 bytes.
    pub fn to_metadata(&self) -> String {
        format!("{VERSION}:{}:{}", self.sentinel, self.replication)
    }

    /// Reads a commit's offset metadata; `None` for anything that is not ours (another tool's, another version's). A number
    /// may follow, see [`GroupStart`](super::group_start::GroupStart).
    pub fn from_metadata(text: &str) -> Option<Self> {
        let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut parts = text.get(..text.len().min(LONGEST))?.split(':');
        let (version, sentinel, replication) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = version == VERSION && !sentinel.is_empty() && hex(sentinel) && hex(replication);
        let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (ours && parts.next().is_none_or(number) && parts.next().is_none())
            .then(|| Self { sentinel: sentinel.to_owned(), replication: replication.to_owned() })
    }

    /// How much may be forgotten in a store that has this history now and had `before` then.
    pub fn forgotten_since(&self, before: &Self) -> Option<HistoryExtent> {
        if self.sentinel != before.sentinel {
            Some(HistoryExtent::All)
        } else if self.replication != before.replication {
            Some(HistoryExtent::Recent)
        } else {
            None
        }
    }
}

/// What follows when the store forgot (`ONCE_ON_HISTORY_LOSS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnHistoryLoss {
    /// Go on, with what may repeat marked.
    Continue,
    /// When everything was forgotten: wait until somebody resumes.
    Pause,
}

impl OnHistoryLoss {
    /// Whether what is in doubt by the loss waits for a person. Where doubt ends on the dead-letter topic it always
    /// does, whatever was forgotten: else one loss would drain the topic into the dead-letter topic.
    pub fn waits(self, extent: HistoryExtent, in_doubt: InDoubt) -> bool {
        let everything = extent == HistoryExtent::All;
        in_doubt == InDoubt::DeadLetter || (self == Self::Pause && everything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_must_look_when_asked_for_and_always_where_doubt_ends_on_the_dead_letter_topic() {
        use HistoryExtent::{All, Recent};
        use InDoubt::{DeadLetter, Lookup, Repeat};
        use OnHistoryLoss::{Continue, Pause};
        for (setting, extent, in_doubt, waits) in [
            (Continue, All, Repeat, false),
            (Continue, All, Lookup, false),
            (Continue, All, DeadLetter, true),
            (Continue, Recent, DeadLetter, true),
            (Pause, All, Repeat, true),
            (Pause, All, Lookup, true),
            (Pause, Recent, Repeat, false),
            (Pause, Recent, DeadLetter, true),
        ] {
            assert_eq!(setting.waits(extent, in_doubt), waits, "{setting:?} {extent} {in_doubt:?}");
        }
    }
}
