//! From the lane to a claim that is ours: what the store's answers mean.

use std::time::Duration;

use super::answering::{dead_letter, waited_for_other};
use super::leaving::release;
use super::{Effect, Effects, End, Event, Hold, IdReuse, Life, Scene, State};
use crate::domain::claim::{ClaimValue, SessionId, Spent, Stored};
use crate::domain::reasons::{DeadLetterReason, DuplicateCause};
use crate::domain::time::UnixMillis;

/// Decides on the events of claiming.
pub(super) fn step(life: Life, event: Event, scene: &Scene) -> (Life, Effects) {
    match (life.state, event) {
        (State::Waiting, Event::Start) => ask(life, scene),
        (State::AwaitingTwin { .. }, Event::TwinEnded) => ask(Life { waited: true, ..life }, scene),
        (State::Waiting, Event::TwinEnded) => (Life { waited: true, ..life }, Effects::none()),
        (State::AwaitingTwin { found }, Event::NoTwin) => stale(life, found, scene),
        (State::Claiming { mine }, Event::Was(stored)) => judge(life, mine, stored, scene),
        (State::HeldByOther { found }, Event::Alive(session, alive)) if holder(&found) == Some(session) => {
            if alive {
                waited_for_other(life, scene)
            } else {
                stale(life, found, scene)
            }
        }
        (State::TakingOver { hold } | State::Renewing { hold }, Event::Replaced) => won(life, hold),
        (State::TakingOver { hold }, Event::NotReplaced(stored)) => judge(life, hold.value(&life), stored, scene),
        (State::Renewing { .. }, Event::NotReplaced(stored)) => overtaken(life, stored, scene),
        (State::Marking { hold }, Event::Was(before)) => {
            life.end(End::Delivered { overlap: is_overlap(&life, &hold, before) })
        }
        (State::MarkingDead { hold, .. }, Event::NotReplaced(Stored::Nothing)) => {
            // The store forgot: written if nobody has come between.
            (life, Effects::one(Effect::Claim(hold.dead(&life))))
        }
        (State::MarkingDead { reason, .. }, Event::Replaced | Event::NotReplaced(_) | Event::Was(_)) => {
            life.end(End::DeadLettered(reason))
        }
        (State::Releasing, Event::Replaced | Event::NotReplaced(_)) => life.end(End::Released),
        _ => life.ignore(),
    }
}

/// Asks the store for the claim. The value tells the attempt that will be sent and the latest it may last.
pub(super) fn ask(life: Life, scene: &Scene) -> (Life, Effects) {
    if life.leaving {
        return life.end(End::Released);
    }
    let mine = claim(&life, life.carried.spent, life.carried.in_doubt, scene).value(&life);
    (life.to(State::Claiming { mine }), Effects::one(Effect::Claim(mine)))
}

/// A claim of ours that follows on what was spent before.
fn claim(life: &Life, before: Spent, in_doubt: bool, scene: &Scene) -> Hold {
    let carried = life.carried.spent;
    let retries = before.retries.max(carried.retries);
    let doubt_until = if in_doubt { before.deadline.max(carried.deadline) } else { UnixMillis(0) };
    let mut deadline = latest_deadline(scene).max(doubt_until);
    if deadline == before.deadline {
        // Never the value that was given back before: a release of that one that is carried out late would undo ours.
        deadline = deadline.after(Duration::from_millis(1));
    }
    let written = Spent { attempt: before.attempt.max(carried.attempt).saturating_add(1), retries, deadline };
    let session = scene.session;
    Hold {
        session,
        written,
        written_in_doubt: in_doubt,
        sent: false,
        fresh: false,
        retries,
        in_doubt,
        doubt_until,
        foreign_clock: in_doubt,
        request_deadline: UnixMillis(0),
    }
}

/// What a claim says of its request's deadline before it is sent: one timeout to wait for a slot, one to be answered.
pub(super) fn latest_deadline(scene: &Scene) -> UnixMillis {
    scene.now.wall.after(scene.rules.app_timeout * 2)
}

/// What stood in the store when we asked for the claim `mine`.
fn judge(life: Life, mine: ClaimValue, stored: Stored, scene: &Scene) -> (Life, Effects) {
    match (stored, life.state) {
        // What we were about to take over is gone: whatever was spent and in doubt under it must not be forgotten too.
        (Stored::Nothing, State::TakingOver { hold }) => ask(carry(life, &hold), scene),
        (Stored::Nothing, _) => match held(mine, &life, scene) {
            Some(hold) => won(life, hold),
            None => life.ignore(),
        },
        (Stored::Foreign, State::TakingOver { hold }) => unreadable(carry(life, &hold), scene),
        (Stored::Foreign, _) => unreadable(life, scene),
        (Stored::Value(found), _) if found == mine => match held(mine, &life, scene) {
            Some(hold) => won(life, hold), // an earlier reply was lost
            None => life.ignore(),
        },
        (Stored::Value(found), _) => judge_found(life, found, scene),
    }
}

fn judge_found(life: Life, found: ClaimValue, scene: &Scene) -> (Life, Effects) {
    match found {
        ClaimValue::Dead { attempt, in_doubt, position, digest }
            if life.was_letter_of(position) && digest == life.digest =>
        {
            // The mark of its own letter. When its last request ended nobody remembers.
            let spent = Spent { attempt, retries: 0, deadline: doubted_deadline(scene) };
            take_over(life, found, spent, in_doubt, scene)
        }
        ClaimValue::Done { .. } | ClaimValue::Dead { .. } => settled_before(life, found, scene),
        ClaimValue::Released { spent, in_doubt, .. } => take_over(life, found, spent, in_doubt, scene),
        ClaimValue::Claimed { session, .. } if session == scene.session => {
            (life.to(State::AwaitingTwin { found }), Effects::one(Effect::AwaitTwin))
        }
        ClaimValue::Claimed { session, .. } => {
            (life.to(State::HeldByOther { found }), Effects::one(Effect::AskAlive(session)))
        }
    }
}

/// Whose claim it is.
fn holder(found: &ClaimValue) -> Option<SessionId> {
    match found {
        ClaimValue::Claimed { session, .. } => Some(*session),
        ClaimValue::Released { .. } | ClaimValue::Done { .. } | ClaimValue::Dead { .. } => None,
    }
}

/// The claim is nobody's: its session is dead, or it is our own and no open record goes with it.
fn stale(life: Life, found: ClaimValue, scene: &Scene) -> (Life, Effects) {
    match found {
        ClaimValue::Claimed { spent, .. } => take_over(life, found, spent, true, scene),
        _ => ask(life, scene),
    }
}

fn take_over(life: Life, found: ClaimValue, spent: Spent, in_doubt: bool, scene: &Scene) -> (Life, Effects) {
    if life.leaving {
        return life.end(End::Released);
    }
    if found.digest() != life.digest && scene.rules.id_reuse == IdReuse::DeadLetter {
        return dead_letter(life, DeadLetterReason::IdReuse, None, scene);
    }
    let life = if is_known_doubt(&life, &found) { life } else { life.with_new_doubt() };
    let fresh = matches!(found, ClaimValue::Dead { .. });
    let hold = Hold { fresh, ..claim(&life, spent, in_doubt || life.carried.in_doubt, scene) };
    let value = hold.value(&life);
    (life.to(State::TakingOver { hold }), Effects::one(Effect::Replace { expected: found, value }))
}

/// Whether there is no doubt under a claim that is taken over but that of the letter that the record was.
fn is_known_doubt(life: &Life, found: &ClaimValue) -> bool {
    match found {
        ClaimValue::Dead { .. } => true,
        ClaimValue::Released { spent, .. } => life.back.is_some_and(|back| spent.attempt <= back.letter.attempts),
        ClaimValue::Claimed { .. } | ClaimValue::Done { .. } => false,
    }
}

/// What stands under its key is not ours: what was done under it nobody knows.
fn unreadable(life: Life, scene: &Scene) -> (Life, Effects) {
    let carried = super::Carried { in_doubt: true, ..life.carried };
    dead_letter(Life { carried, ..life }, DeadLetterReason::Unreadable, None, scene)
}

/// The claim we asked for stands in the store: it is ours. In doubt as well when the store was seen to have forgotten
/// since we asked: then it is no proof that nobody had the message before.
fn held(mine: ClaimValue, life: &Life, scene: &Scene) -> Option<Hold> {
    let ClaimValue::Claimed { session, spent, in_doubt: written_in_doubt, .. } = mine else { return None };
    let in_doubt = written_in_doubt || life.carried.in_doubt;
    let doubt_until = if in_doubt { life.carried.spent.deadline.max(doubted_deadline(scene)) } else { UnixMillis(0) };
    let hold = Hold {
        session,
        written: spent,
        written_in_doubt,
        sent: false,
        fresh: true,
        retries: spent.retries,
        in_doubt,
        doubt_until,
        foreign_clock: false, // a whole timeout of our own, from now on
        request_deadline: UnixMillis(0),
    };
    (session == scene.session).then_some(hold)
}

/// When nobody remembers the earlier attempt's deadline, a whole timeout from now is after it.
fn doubted_deadline(scene: &Scene) -> UnixMillis {
    scene.now.wall.after(scene.rules.app_timeout)
}

fn won(life: Life, hold: Hold) -> (Life, Effects) {
    let life = life.to(State::Claimed { hold });
    if life.leaving { release(life, hold) } else { (life, Effects::one(Effect::Ready)) }
}

/// Our claim changed under us while we were renewing it: whoever wrote there knows better.
fn overtaken(life: Life, stored: Stored, scene: &Scene) -> (Life, Effects) {
    let State::Renewing { hold } = life.state else { return life.ignore() };
    let life = carry(life, &hold);
    match stored {
        Stored::Nothing => ask(life, scene),
        Stored::Foreign => unreadable(life, scene),
        Stored::Value(found) => judge_found(life, found, scene),
    }
}

/// Remembers what was spent under a claim that is not ours any more.
pub(super) fn carry(life: Life, hold: &Hold) -> Life {
    let carried = super::Carried { spent: hold.spent(), in_doubt: hold.in_doubt || life.carried.in_doubt };
    Life { carried, ..life }
}

fn settled_before(life: Life, found: ClaimValue, scene: &Scene) -> (Life, Effects) {
    let reused = found.digest() != life.digest;
    if reused && scene.rules.id_reuse == IdReuse::DeadLetter {
        return dead_letter(life, DeadLetterReason::IdReuse, None, scene);
    }
    let cause = if found.position() == life.position {
        DuplicateCause::Redelivery
    } else if life.waited {
        DuplicateCause::InFlight
    } else {
        DuplicateCause::Producer
    };
    life.end(End::Duplicate { cause, reused })
}

/// Whether the value that our mark replaced shows that another session had the record too.
///
/// Nothing there: the store forgot, nobody else. Our own mark there: an earlier reply was lost.
fn is_overlap(life: &Life, hold: &Hold, before: Stored) -> bool {
    match before {
        Stored::Nothing => false,
        Stored::Foreign => true,
        Stored::Value(ClaimValue::Claimed { session, position, .. }) => {
            session != hold.session || position != life.position
        }
        Stored::Value(ClaimValue::Done { position, .. }) => position != life.position,
        Stored::Value(ClaimValue::Released { .. } | ClaimValue::Dead { .. }) => true,
    }
}
