//! Closed sets of label values that the domain has no words for.

use crate::domain::verdict::Verdict;

/// Why a record waits for another attempt: the verdicts that lead to one. The label `reason` of `retries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryReason {
    /// The app failed.
    Failed,
    /// The app asks us to slow down.
    Overloaded,
    /// The app cannot be reached.
    Unavailable,
    /// Nobody knows whether the effect happened.
    Unknown,
}

impl RetryReason {
    /// Every member.
    pub const ALL: &'static [Self] = &[Self::Failed, Self::Overloaded, Self::Unavailable, Self::Unknown];

    /// The word that stands in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// The reason that follows from a verdict; `None` for one that ends the record.
    pub fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Accepted | Verdict::Refused => None,
            Verdict::Failed => Some(Self::Failed),
            Verdict::Overloaded => Some(Self::Overloaded),
            Verdict::Unavailable => Some(Self::Unavailable),
            Verdict::Unknown => Some(Self::Unknown),
        }
    }
}
