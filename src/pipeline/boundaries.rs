//! Which boundary of a record's life it stands at: where failpoints let a test strike.

use crate::domain::claim::{ClaimValue, SessionId};
use crate::domain::life::{Effect, State};
use crate::failpoints::Failpoint;

/// Before an effect is carried out.
pub(super) fn before(effect: &Effect) -> Option<Failpoint> {
    match effect {
        Effect::Claim(_) => Some(Failpoint::ClaimDue),
        Effect::Replace { value: ClaimValue::Dead { .. }, .. } => Some(Failpoint::DeadMarkDue),
        Effect::Replace { value: ClaimValue::Released { .. }, .. } => Some(Failpoint::ReleaseDue),
        Effect::Replace { expected, value } if holder(expected) == holder(value) => Some(Failpoint::AttemptDue),
        Effect::Replace { .. } => Some(Failpoint::TakeOverDue),
        Effect::Mark(_) => Some(Failpoint::MarkDue),
        Effect::Send { .. } => Some(Failpoint::RequestDue),
        _ => None,
    }
}

/// When the store has answered a record in this state, and the record has not heard it.
pub(super) fn answered(state: &State) -> Option<Failpoint> {
    match state {
        State::Claiming { .. } => Some(Failpoint::ClaimAnswered),
        State::TakingOver { .. } => Some(Failpoint::TakeOverAnswered),
        State::Renewing { .. } => Some(Failpoint::AttemptAnswered),
        State::Marking { .. } => Some(Failpoint::MarkAnswered),
        State::Releasing => Some(Failpoint::ReleaseAnswered),
        _ => None,
    }
}

fn holder(value: &ClaimValue) -> Option<SessionId> {
    match value {
        ClaimValue::Claimed { session, .. } => Some(*session),
        ClaimValue::Released { .. } | ClaimValue::Done { .. } | ClaimValue::Dead { .. } => None,
    }
}
