//! Closed sets of label values that the domain has no words for (yet).

/// Judgement on one attempt, as the label `verdict` of `attempts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The effect happened.
    Accepted,
    /// It never will.
    Refused,
    /// It did not happen; a retry is spent.
    Failed,
    /// The app asks us to slow down; no retry is spent.
    Overloaded,
    /// Nothing was sent: no connection, or the app is not ready.
    Unavailable,
    /// The request may have been sent and no whole answer came.
    Unknown,
}

impl Verdict {
    /// Every member, in the order of the specification.
    pub const ALL: &'static [Self] =
        &[Self::Accepted, Self::Refused, Self::Failed, Self::Overloaded, Self::Unavailable, Self::Unknown];

    /// The word that stands in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }
}

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
