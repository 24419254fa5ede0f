//! The judgement on one attempt.

use std::time::Duration;

/// What a request says of earlier attempts (`Once-Delivery`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// No earlier request for this message can have had its effect.
    First,
    /// An earlier attempt may have had its effect.
    PossibleRepeat,
}

impl Delivery {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::PossibleRepeat => "possible-repeat",
        }
    }
}

/// What the app may say over its status (`Once-Verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overrule {
    /// The effect happened.
    Accepted,
    /// It never will.
    Refused,
    /// It did not happen; try again.
    Failed,
}

/// What came of a request, before judgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A whole answer came.
    Status {
        /// The HTTP status.
        code: u16,
        /// `Once-Verdict`, when it holds one of its three words.
        overrule: Option<Overrule>,
        /// `Retry-After`, from now, when it can be read.
        retry_after: Option<Duration>,
    },
    /// No connection: nothing of the request was sent. The text says why.
    NotSent(String),
    /// The request may have been sent, and no whole answer came. The text says why.
    NoAnswer(String),
}
