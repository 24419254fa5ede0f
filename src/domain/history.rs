//! The history of a namespace: how we notice that the store has forgotten.

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
    pub fn forgotten_since(&self, before: &Self) -> Option<super::reasons::HistoryExtent> {
        use super::reasons::HistoryExtent::{All, Recent};
        if self.sentinel != before.sentinel {
            Some(All)
        } else if self.replication != before.replication {
            Some(Recent)
        } else {
            None
        }
    }
}
