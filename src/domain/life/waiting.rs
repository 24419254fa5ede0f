//! What an open record waits for, where that is not just its turn: for operators who ask what holds a partition.

use super::{InDoubt, Life, State};
use crate::domain::reasons::DeadLetterReason;

/// What a record waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// To be tried again: so many of its retries are spent.
    Retry(u32),
    /// To be tried again: it was put off so many times in a row, which spends no retry.
    PutOff(u32),
    /// For the app to say whether it was applied.
    Lookup,
    /// For another session that holds its claim.
    Session,
    /// For an operator, or for the budget of dead letters: it is given up.
    GivenUp(DeadLetterReason),
}

impl Life {
    /// What it waits for; `None`: just for its turn, or for an answer that is on its way.
    pub fn waits_for(&self, rule: InDoubt) -> Option<Wait> {
        let (hold, asks) = match self.state {
            State::HeldByOther { .. } => return Some(Wait::Session),
            // It looks again now and then.
            State::Claiming { .. } if self.waited && self.waits > 0 => return Some(Wait::Session),
            State::Blocked { reason, .. } => return Some(Wait::GivenUp(reason)),
            State::LookingUp { .. } => return Some(Wait::Lookup),
            State::BackingOff { hold } => (hold, true),
            State::Claimed { hold } | State::Renewing { hold } | State::Sending { hold } => (hold, self.waits > 0),
            _ => return self.spent(),
        };
        let asked_about = rule == InDoubt::Lookup && hold.in_doubt && !self.is_repeated(rule);
        match self.waits {
            _ if asked_about && asks && !self.is_sending() => Some(Wait::Lookup),
            0 => self.spent(),
            waits => Some(Wait::PutOff(waits)),
        }
    }

    fn spent(&self) -> Option<Wait> {
        Some(self.retries()).filter(|retries| *retries > 0).map(Wait::Retry)
    }
}
