//! From a claim to the app's answer, and from there to the mark, the next attempt or the dead-letter topic.

use std::time::Duration;

use super::claiming::{ask, latest_deadline};
use super::leaving::{give_back, release};
use super::{Effect, Effects, End, Event, Hold, InDoubt, Life, Scene, State};
use crate::domain::claim::{ClaimValue, Spent};
use crate::domain::reasons::DeadLetterReason;
use crate::domain::time::UnixMillis;
use crate::domain::verdict::{Judgement, Verdict};

/// Decides on the events between the claim and the mark.
pub(super) fn step(life: Life, event: Event, scene: &Scene) -> (Life, Effects) {
    match (life.state, event) {
        (State::Claimed { hold }, Event::Slot) => slot(life, hold, scene),
        (State::Sending { hold }, Event::Answered(judgement)) => answered(life, hold, judgement, scene),
        (State::LookingUp { hold }, Event::LookedUpApplied) => mark_done(life, hold),
        (State::LookingUp { hold }, Event::LookedUpAbsent) => {
            let hold = Hold { in_doubt: false, doubt_until: UnixMillis(0), ..hold };
            ready(Life { waits: 0, ..life }, hold)
        }
        (State::LookingUp { hold }, Event::LookedUpUnclear) => wait(life, hold, None, scene),
        (State::HeldByOther { .. }, Event::Timer) => ask(Life { waited: true, ..life }, scene),
        (State::BackingOff { hold }, Event::Timer) => next_attempt(life, hold, scene),
        (State::DeadLettering { reason, hold }, Event::LetterSent) => match hold {
            Some(hold) => mark_dead(life, reason, hold),
            None => life.end(End::DeadLettered(reason)),
        },
        // Its next owner would wait for it for as long as the topic refuses, and nobody's page would say why.
        (State::DeadLettering { hold, .. }, Event::LetterFailed) if life.leaving => give_back(life, hold),
        (State::DeadLettering { .. }, Event::LetterFailed) => {
            let (life, pause) = pause(life, scene);
            (life, Effects::one(Effect::Wake(pause)))
        }
        (State::DeadLettering { reason, hold }, Event::Timer) => letter(life, reason, hold),
        (State::Blocked { hold: Some(hold), .. }, Event::Probe) => next_attempt(life, hold, scene),
        (State::Blocked { hold: Some(hold), .. }, Event::Unblock) => {
            next_attempt(life, Hold { retries: 0, ..hold }, scene)
        }
        (State::Blocked { reason, hold: None }, Event::Unblock) => dead_letter(life, reason, None, scene),
        _ => life.ignore(),
    }
}

/// Its turn, and room for one more request: what goes first?
fn slot(life: Life, hold: Hold, scene: &Scene) -> (Life, Effects) {
    if hold.in_doubt {
        match scene.rules.in_doubt {
            InDoubt::Repeat => {}
            rule if life.is_repeated(rule) => {}
            InDoubt::DeadLetter => return dead_letter(life, DeadLetterReason::InDoubt, Some(hold), scene),
            InDoubt::Lookup if scene.now.wall < hold.surely_over() => {
                // Looked at again in between: another host's clock may be far ahead of ours.
                let rest = Duration::from_millis(hold.surely_over().0 - scene.now.wall.0);
                let rest = rest.min(scene.rules.app_timeout * 2);
                return (life.to(State::BackingOff { hold }), Effects::one(Effect::Wake(rest)));
            }
            InDoubt::Lookup => return (life.to(State::LookingUp { hold }), Effects::one(Effect::LookUp)),
        }
    }
    let deadline = scene.now.wall.after(scene.rules.app_timeout);
    if hold.sent || deadline > hold.written.deadline {
        return renew(life, hold, scene);
    }
    let delivery = hold.delivery();
    let attempt = hold.written.attempt;
    (
        life.to(State::Sending { hold: Hold { sent: true, request_deadline: deadline, ..hold } }),
        Effects::one(Effect::Send { delivery, attempt, deadline }),
    )
}

/// Writes the next attempt's number and deadline before a request may carry them.
fn renew(life: Life, hold: Hold, scene: &Scene) -> (Life, Effects) {
    let written = Spent {
        attempt: hold.last_attempt().saturating_add(1),
        retries: hold.retries,
        deadline: latest_deadline(scene).max(hold.doubt_until),
    };
    let next = Hold { written, written_in_doubt: hold.in_doubt, sent: false, fresh: false, ..hold };
    let effect = Effect::Replace { expected: hold.value(&life), value: next.value(&life) };
    (life.to(State::Renewing { hold: next }), Effects::one(effect))
}

fn next_attempt(life: Life, hold: Hold, scene: &Scene) -> (Life, Effects) {
    if life.leaving {
        release(life, hold)
    } else if hold.sent {
        renew(life, hold, scene)
    } else {
        ready(life, hold)
    }
}

fn ready(life: Life, hold: Hold) -> (Life, Effects) {
    let life = life.to(State::Claimed { hold });
    if life.leaving { release(life, hold) } else { (life, Effects::one(Effect::Ready)) }
}

fn answered(life: Life, hold: Hold, judgement: Judgement, scene: &Scene) -> (Life, Effects) {
    match judgement.verdict {
        Verdict::Accepted => mark_done(life, hold),
        Verdict::Refused => dead_letter(life, DeadLetterReason::Refused, Some(hold), scene),
        Verdict::Failed => spend_retry(life, hold, scene),
        Verdict::Unknown => spend_retry(life.with_new_doubt(), in_doubt(hold), scene),
        Verdict::Overloaded => wait(life, hold, judgement.retry_after, scene),
        Verdict::Unavailable => ready(life, Hold { sent: false, ..hold }),
    }
}

/// The request of this hold may have its effect until its deadline.
pub(super) fn in_doubt(hold: Hold) -> Hold {
    Hold { in_doubt: true, doubt_until: hold.request_deadline, foreign_clock: false, ..hold }
}

fn spend_retry(life: Life, hold: Hold, scene: &Scene) -> (Life, Effects) {
    let hold = Hold { retries: hold.retries.saturating_add(1), ..hold };
    let life = Life { waits: 0, ..life };
    if life.leaving {
        release(life, hold)
    } else if scene.rules.retry.exhausted(hold.retries) {
        dead_letter(life, DeadLetterReason::Exhausted, Some(hold), scene)
    } else {
        let pause = scene.rules.retry.delay(hold.retries, scene.chance);
        (life.to(State::BackingOff { hold }), Effects::one(Effect::Wake(pause)))
    }
}

/// Waits without spending a retry: the app is overloaded, or did not say.
fn wait(life: Life, hold: Hold, retry_after: Option<Duration>, scene: &Scene) -> (Life, Effects) {
    if life.leaving {
        return release(life, hold);
    }
    let (life, pause) = pause(life, scene);
    let pause = retry_after.map_or(pause, |asked| scene.rules.retry.bounded(asked).max(pause));
    (life.to(State::BackingOff { hold }), Effects::one(Effect::Wake(pause)))
}

/// The next wait in a row that spends no retry.
fn pause(life: Life, scene: &Scene) -> (Life, Duration) {
    let pause = scene.rules.retry.delay(life.waits.saturating_add(1), scene.chance);
    (Life { waits: life.waits.saturating_add(1), ..life }, pause)
}

/// Another live session holds the claim: look again after a bounded, jittered, growing wait.
pub(super) fn waited_for_other(life: Life, scene: &Scene) -> (Life, Effects) {
    let (life, pause) = pause(life, scene);
    (life, Effects::one(Effect::Wake(pause.min(scene.rules.longest_wait))))
}

fn mark_done(life: Life, hold: Hold) -> (Life, Effects) {
    let done = ClaimValue::Done { position: life.position, digest: life.digest };
    (life.to(State::Marking { hold }), Effects::two(Effect::Mark(done), Effect::Accepted))
}

/// The letter is acknowledged. Dead is written over our own claim only: while the letter was on its way our session may
/// have ended and another one may have taken over, and its done is a fact.
fn mark_dead(life: Life, reason: DeadLetterReason, hold: Hold) -> (Life, Effects) {
    let effect = Effect::Replace { expected: hold.value(&life), value: hold.dead(&life) };
    (life.to(State::MarkingDead { reason, hold }), Effects::one(effect))
}

/// It cannot go to the app (any more). `hold`: the claim that the dead mark will replace; `None` when the ID is not ours.
pub(super) fn dead_letter(life: Life, reason: DeadLetterReason, hold: Option<Hold>, scene: &Scene) -> (Life, Effects) {
    // Leaving, only what the app has just judged still goes to the dead-letter topic, and nothing may block.
    let may = scene.rules.dead_letters && (scene.affords || !draws_on_budget(reason));
    if life.leaving && (!life.is_sending() || !may) {
        return give_back(life, hold);
    }
    if !may {
        return (life.to(State::Blocked { reason, hold }), Effects::one(Effect::Blocked(reason)));
    }
    let (life, effects) = letter(life, reason, hold);
    (life, if draws_on_budget(reason) { effects.behind(Effect::Draw) } else { effects })
}

/// Whether it is the app that gives the record up.
fn draws_on_budget(reason: DeadLetterReason) -> bool {
    use DeadLetterReason as Reason;
    match reason {
        Reason::Refused | Reason::Exhausted => true,
        Reason::MissingId | Reason::AmbiguousId | Reason::IdReuse => false,
        Reason::InDoubt | Reason::TooLarge | Reason::Unreadable => false,
    }
}

fn letter(life: Life, reason: DeadLetterReason, hold: Option<Hold>) -> (Life, Effects) {
    let before = (life.carried.spent.attempt, life.carried.in_doubt);
    let (attempts, in_doubt) = hold.map_or(before, |hold| (hold.last_attempt(), hold.in_doubt));
    (life.to(State::DeadLettering { reason, hold }), Effects::one(Effect::DeadLetter { reason, attempts, in_doubt }))
}
