//! Giving a record back: the partition is revoked, we shut down, or our session is over.

use super::answering::in_doubt;
use super::claiming::carry;
use super::{Effect, Effects, End, Event, Hold, Life, State};
use crate::domain::claim::ClaimValue;

/// Decides on the events that end what is open.
pub(super) fn step(life: Life, event: Event) -> (Life, Effects) {
    match event {
        Event::Leave => leave(Life { leaving: true, ..life }),
        Event::CutOff => cut_off(Life { leaving: true, ..life }),
        Event::Fenced => fenced(life),
        _ => life.ignore(),
    }
}

/// Finish what has begun, begin nothing.
fn leave(life: Life) -> (Life, Effects) {
    match life.state {
        State::Waiting | State::AwaitingTwin { .. } | State::HeldByOther { .. } => life.end(End::Released),
        State::Claimed { hold } | State::BackingOff { hold } | State::LookingUp { hold } => release(life, hold),
        State::Blocked { hold, .. } => give_back(life, hold),
        // The store's answer is on its way; what it means is decided when it is here.
        State::Claiming { .. } | State::TakingOver { .. } | State::Renewing { .. } => life.ignore(),
        State::Sending { .. } | State::Marking { .. } | State::DeadLettering { .. } | State::MarkingDead { .. } => {
            life.ignore()
        }
        State::Releasing | State::Ended(_) => life.ignore(),
    }
}

/// No time is left. What was accepted or dead-lettered is settled, marked or not; the rest is given back.
fn cut_off(life: Life) -> (Life, Effects) {
    match life.state {
        State::Sending { hold } => release(life, in_doubt(hold)),
        State::Marking { .. } => life.end(End::Delivered { overlap: false }),
        State::MarkingDead { reason, .. } => life.end(End::DeadLettered(reason)),
        State::DeadLettering { hold, .. } => give_back(life, hold),
        State::Claiming { .. } | State::TakingOver { .. } => life.end(End::Released),
        State::Renewing { .. } | State::Releasing => life.end(End::Released),
        _ => leave(life),
    }
}

/// The session that our claims name may be over. Start again, and remember what was spent and what is in doubt.
fn fenced(life: Life) -> (Life, Effects) {
    let life = if life.is_sending() { life.with_new_doubt() } else { life };
    let hold = match life.state {
        State::Sending { hold } => in_doubt(hold),
        State::Claimed { hold } | State::BackingOff { hold } | State::LookingUp { hold } => hold,
        State::Renewing { hold } | State::TakingOver { hold } => hold,
        State::Blocked { hold: Some(hold), .. } => hold, // it will block again, under a claim that is ours
        State::Claiming { .. } | State::HeldByOther { .. } | State::AwaitingTwin { .. } => {
            return (life.to(State::Waiting), Effects::one(Effect::Restart));
        }
        // Done and dead are facts, whoever writes them; a release names the old session itself.
        State::Marking { .. } | State::MarkingDead { .. } | State::DeadLettering { .. } | State::Releasing => {
            return life.ignore();
        }
        State::Waiting | State::Blocked { hold: None, .. } | State::Ended(_) => return life.ignore(),
    };
    (carry(life, &hold).to(State::Waiting), Effects::one(Effect::Restart))
}

/// Gives a record back, and its claim where it is ours.
pub(super) fn give_back(life: Life, hold: Option<Hold>) -> (Life, Effects) {
    match hold {
        Some(hold) => release(life, hold),
        None => life.end(End::Released),
    }
}

/// Gives a claim back by compare-and-set, so that the next owner need not wait for a lease and the attempts survive.
pub(super) fn release(life: Life, hold: Hold) -> (Life, Effects) {
    let value = ClaimValue::Released {
        spent: hold.spent(),
        in_doubt: hold.in_doubt,
        position: life.position,
        digest: life.digest,
    };
    (life.to(State::Releasing), Effects::one(Effect::Replace { expected: hold.value(&life), value }))
}
