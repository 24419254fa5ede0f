//! The life of one record, from its lane to its end: every state, every event, every effect.
//!
//! [`step`] decides; the pipeline carries out. Late and repeated events are natural (replies get lost, timers race), so
//! an event that does not fit the state changes nothing.

mod answering;
mod claiming;
mod leaving;
#[cfg(test)]
mod tests;
mod waiting;

pub use waiting::Wait;

use std::time::Duration;

use super::claim::{ClaimValue, Digest, SessionId, Spent, Stored};
use super::letter::SentBack;
use super::reasons::{DeadLetterReason, DuplicateCause};
use super::record::Position;
use super::retry::RetryPolicy;
use super::time::{Now, UnixMillis};
use super::verdict::{Delivery, Judgement};

/// How far the wall clocks of two hosts may be apart: another host's deadline counts as passed only so long after it.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(5);

/// What to do with a record whose earlier attempt may have had its effect (`ONCE_IN_DOUBT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InDoubt {
    /// Forward it as `possible-repeat`.
    Repeat,
    /// Ask the app first.
    Lookup,
    /// Give it to a person.
    DeadLetter,
}

/// What to do with the same ID and another payload (`ONCE_ID_REUSE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdReuse {
    /// It is another message that must not vanish.
    DeadLetter,
    /// The producer builds its message anew on each retry: still the same message.
    Duplicate,
}

/// What is the same for every record of this process.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long one request may take in all.
    pub app_timeout: Duration,
    /// When and how often to try again.
    pub retry: RetryPolicy,
    /// What to do in doubt.
    pub in_doubt: InDoubt,
    /// What to do with a reused ID.
    pub id_reuse: IdReuse,
    /// Whether a dead-letter topic is set.
    pub dead_letters: bool,
    /// Bounds the wait between two looks at another session's claim.
    pub longest_wait: Duration,
}

/// What a decision may depend on besides the record's own state.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// What is the same for every record.
    pub rules: &'a Rules,
    /// The session that claims are made for.
    pub session: SessionId,
    /// The present.
    pub now: Now,
    /// Chance, in `0.0..1.0`, for jitter.
    pub chance: f64,
    /// Whether one more dead letter that the app's answers cause is within their budget.
    pub affords: bool,
}

/// What one record has been through so far. Copied, compared and hashed by the model checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /// Where in its life the record is.
    pub state: State,
    /// Its partition is not ours any more, or we are shutting down: finish what has begun, begin nothing.
    pub leaving: bool,
    /// It has waited for another record with the same ID.
    pub waited: bool,
    /// It was given up before, and sent back from the dead-letter topic.
    back: Option<Back>,
    position: Position,
    digest: Digest,
    carried: Carried,
    /// Waits in a row that spent no retry; they lengthen the next one.
    waits: u32,
}

/// What must survive when a claim is won anew: it was spent under a claim that the store may have forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Carried {
    spent: Spent,
    in_doubt: bool,
}

/// A record that was sent back from the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Back {
    /// What it says of the letter that it was.
    letter: SentBack,
    /// Whoever sent it back knew of its doubt, and there is no other one since: it is not given up again for that.
    doubt_known: bool,
    /// It has another ID than its letter, which was in doubt: by this one the app does not know what it did by that.
    renamed: bool,
}

/// A claim that is ours, as it stands in the store, and what has happened under it since.
///
/// Only [`step`] makes one, and only from the store's answer.
#[allow(clippy::struct_excessive_bools)] // four facts, none excludes another
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    session: SessionId,
    /// As written in the store.
    written: Spent,
    /// As written in the store.
    written_in_doubt: bool,
    /// Whether a request with the written attempt number has been sent.
    sent: bool,
    /// Whether nothing stood there before it but a mark of its letter, and nothing was written since.
    fresh: bool,
    /// Retries spent by now.
    retries: u32,
    /// Whether an earlier attempt may have had its effect.
    in_doubt: bool,
    /// Until when the attempt in doubt may still be at work.
    doubt_until: UnixMillis,
    /// That time is by another host's clock.
    foreign_clock: bool,
    /// `Once-Deadline` of the last request.
    request_deadline: UnixMillis,
}

/// Where in its life a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Behind others; the store has not been asked.
    Waiting,
    /// The claim is on its way.
    Claiming {
        /// The value we asked for.
        mine: ClaimValue,
    },
    /// This process holds the claim for another record with the same ID.
    AwaitingTwin {
        /// What stood in the store.
        found: ClaimValue,
    },
    /// Another session holds it.
    HeldByOther {
        /// What stood in the store.
        found: ClaimValue,
    },
    /// A compare-and-set is on its way: a dead session's claim, a released one or the mark of its own letter becomes ours.
    TakingOver {
        /// What we asked for.
        hold: Hold,
    },
    /// Ours; waits for its turn and for a slot.
    Claimed {
        /// The claim.
        hold: Hold,
    },
    /// Ours; the next attempt's number and deadline are being written before the request may be sent.
    Renewing {
        /// As it will be.
        hold: Hold,
    },
    /// The app is being asked whether it has applied the message.
    LookingUp {
        /// The claim.
        hold: Hold,
    },
    /// A request is open.
    Sending {
        /// The claim.
        hold: Hold,
    },
    /// Waits before the next attempt.
    BackingOff {
        /// The claim.
        hold: Hold,
    },
    /// The effect happened; the mark is on its way.
    Marking {
        /// The claim.
        hold: Hold,
    },
    /// On its way to the dead-letter topic, or waiting to be sent there again.
    DeadLettering {
        /// Why.
        reason: DeadLetterReason,
        /// The claim; `None` when the ID is not ours to mark.
        hold: Option<Hold>,
    },
    /// It must be dead-lettered, and no topic is set or the budget is spent: it blocks its lane until an operator acts,
    /// or until it is tried once more.
    Blocked {
        /// Why.
        reason: DeadLetterReason,
        /// The claim; `None` when the ID is not ours to mark.
        hold: Option<Hold>,
    },
    /// On the dead-letter topic; the mark is on its way.
    MarkingDead {
        /// Why.
        reason: DeadLetterReason,
        /// The claim.
        hold: Hold,
    },
    /// The claim is being given back.
    Releasing,
    /// Nothing follows.
    Ended(End),
}

/// How a record's life in this process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The app has it.
    Delivered {
        /// Another session had the record too.
        overlap: bool,
    },
    /// It was settled before.
    Duplicate {
        /// Why it is one.
        cause: DuplicateCause,
        /// Its payload was another one.
        reused: bool,
    },
    /// It stands on the dead-letter topic.
    DeadLettered(DeadLetterReason),
    /// Given back: its next owner receives it again.
    Released,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its lane lets it ask the store.
    Start,
    /// What the store held before our claim, or before our mark.
    Was(Stored),
    /// Our compare-and-set took place.
    Replaced,
    /// It did not: something else stood there.
    NotReplaced(Stored),
    /// Whether a session lives: the one that holds the claim, if it still does.
    Alive(SessionId, bool),
    /// The record with the same ID in this process has ended.
    TwinEnded,
    /// This process has no open record with the same ID.
    NoTwin,
    /// It may send a request now.
    Slot,
    /// Its request was answered, or never will be.
    Answered(Judgement),
    /// The app has applied the message already.
    LookedUpApplied,
    /// The app has not applied the message.
    LookedUpAbsent,
    /// The app did not say.
    LookedUpUnclear,
    /// The time asked for has passed.
    Timer,
    /// The dead-letter topic has it.
    LetterSent,
    /// The dead-letter topic did not take it.
    LetterFailed,
    /// It cannot be forwarded at all: no ID, ambiguous, too large, unreadable.
    Unfit(DeadLetterReason),
    /// An operator wants a blocked record tried again.
    Unblock,
    /// A blocked record shall be sent to the app once more, to see whether it still says no.
    Probe,
    /// The partition is wanted back, or we are shutting down.
    Leave,
    /// The deadline of a drain has passed; an open request was cancelled.
    CutOff,
    /// Our session may be over; an open request was cancelled. A new session follows.
    Fenced,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask the store for the claim.
    Claim(ClaimValue),
    /// Write `value` if `expected` stands there.
    Replace {
        /// What must stand there.
        expected: ClaimValue,
        /// What to write.
        value: ClaimValue,
    },
    /// Write the mark of what the app has accepted.
    Mark(ClaimValue),
    /// Ask whether a session lives, then say [`Event::Alive`].
    AskAlive(SessionId),
    /// Say [`Event::TwinEnded`] when the open record with this ID has ended, or [`Event::NoTwin`] now.
    AwaitTwin,
    /// Say [`Event::Slot`] when it is its turn and a slot is free.
    Ready,
    /// Send a request.
    Send {
        /// `Once-Delivery`.
        delivery: Delivery,
        /// `Once-Attempt`.
        attempt: u32,
        /// `Once-Deadline`.
        deadline: UnixMillis,
    },
    /// Ask the app whether it has applied the message.
    LookUp,
    /// Say [`Event::Timer`] after this long.
    Wake(Duration),
    /// The mark is on its way: the lane's next record may already claim.
    Accepted,
    /// The app's answer costs one dead letter of the budget.
    Draw,
    /// Produce it to the dead-letter topic.
    DeadLetter {
        /// Why.
        reason: DeadLetterReason,
        /// Requests sent so far.
        attempts: u32,
        /// Whether one of them may have had its effect.
        in_doubt: bool,
    },
    /// Tell the operator that it blocks its lane.
    Blocked(DeadLetterReason),
    /// Say [`Event::Start`] when a session lives again.
    Restart,
    /// Nothing follows.
    End(End),
}

/// The effects of one step: two at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects([Option<Effect>; 2]);

impl Effects {
    fn none() -> Self {
        Self::default()
    }

    fn one(effect: Effect) -> Self {
        Self([Some(effect), None])
    }

    fn two(first: Effect, second: Effect) -> Self {
        Self([Some(first), Some(second)])
    }

    /// The one effect, behind another.
    fn behind(self, first: Effect) -> Self {
        Self([Some(first), self.0[0]])
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Effect>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

impl Life {
    /// A record that has just been taken in. `in_doubt`: the store may have forgotten that it was handled.
    pub fn new(position: Position, digest: Digest, in_doubt: bool) -> Self {
        let carried = Carried { in_doubt, ..Carried::default() };
        Self { state: State::Waiting, leaving: false, waited: false, back: None, position, digest, carried, waits: 0 }
    }

    /// The same, sent back from the dead-letter topic: it goes on counting where its letter stopped. `position_made`: its
    /// ID was made from where it stands now.
    #[must_use]
    pub fn sent_back(self, letter: SentBack, position_made: bool) -> Self {
        let spent = Spent { attempt: letter.attempts, ..self.carried.spent };
        let doubt_known = letter.in_doubt && !self.carried.in_doubt;
        let carried = Carried { spent, in_doubt: self.carried.in_doubt || letter.in_doubt };
        let back = Some(Back { letter, doubt_known, renamed: position_made && letter.in_doubt });
        Self { back, carried, ..self }
    }

    /// There is a doubt that nobody knew of who sent it back.
    fn with_new_doubt(self) -> Self {
        Self { back: self.back.map(|back| Back { doubt_known: false, ..back }), ..self }
    }

    /// Whether it is repeated as it is, because of whoever sent it back: what the rules say of doubt has been done, or
    /// cannot be.
    fn is_repeated(&self, rule: InDoubt) -> bool {
        self.back.is_some_and(|back| match rule {
            InDoubt::Repeat => true,
            InDoubt::Lookup => back.renamed,
            InDoubt::DeadLetter => back.doubt_known,
        })
    }

    /// Whether a mark at that position is the one of the letter that it was.
    fn was_letter_of(&self, position: Position) -> bool {
        let at = (position.partition, position.offset);
        at != (self.position.partition, self.position.offset) && self.back.is_some_and(|back| back.letter.source == at)
    }

    /// The store may have forgotten that it was handled: neither a claim that is won as new nor one that was just won
    /// proves that nobody had the message before. What is sent already said what was known then; what follows on it, the
    /// next request or a letter, says what is known now.
    pub fn doubt(&mut self) {
        self.carried.in_doubt = true;
        *self = self.with_new_doubt();
        let hold = match &mut self.state {
            State::Claimed { hold } | State::TakingOver { hold } | State::Renewing { hold } => hold,
            State::Sending { hold } | State::BackingOff { hold } => hold,
            State::DeadLettering { hold: Some(hold), .. } | State::Blocked { hold: Some(hold), .. } => hold,
            _ => return,
        };
        if !hold.in_doubt {
            hold.in_doubt = true;
            hold.doubt_until = hold.written.deadline;
        }
    }

    /// Whether a request is open.
    pub fn is_sending(&self) -> bool {
        matches!(self.state, State::Sending { .. })
    }

    /// The claim as it stands in the store, where it is ours and nothing about it is on its way there.
    pub fn resting_claim(&self) -> Option<ClaimValue> {
        match self.state {
            State::Claimed { hold }
            | State::LookingUp { hold }
            | State::Sending { hold }
            | State::BackingOff { hold } => Some(hold.value(self)),
            State::DeadLettering { hold, .. } | State::Blocked { hold, .. } => hold.map(|hold| hold.value(self)),
            State::Waiting | State::Claiming { .. } | State::AwaitingTwin { .. } | State::HeldByOther { .. } => None,
            State::TakingOver { .. } | State::Renewing { .. } | State::Releasing => None,
            State::Marking { .. } | State::MarkingDead { .. } | State::Ended(_) => None,
        }
    }

    /// How many retries are spent on it, as far as is known.
    pub fn retries(&self) -> u32 {
        let held = match self.state {
            State::Claimed { hold }
            | State::Renewing { hold }
            | State::LookingUp { hold }
            | State::Sending { hold }
            | State::BackingOff { hold } => hold.retries,
            _ => 0,
        };
        held.max(self.carried.spent.retries)
    }

    /// How it will end, when that is decided and only the mark is missing.
    pub fn decided(&self) -> Option<End> {
        match self.state {
            State::Marking { .. } => Some(End::Delivered { overlap: false }),
            State::MarkingDead { reason, .. } => Some(End::DeadLettered(reason)),
            _ => None,
        }
    }

    fn to(self, state: State) -> Self {
        Self { state, ..self }
    }

    fn end(self, end: End) -> (Self, Effects) {
        (self.to(State::Ended(end)), Effects::one(Effect::End(end)))
    }

    fn ignore(self) -> (Self, Effects) {
        (self, Effects::none())
    }
}

impl Hold {
    /// The claim exactly as it stands in the store, for compare-and-set.
    fn value(&self, life: &Life) -> ClaimValue {
        ClaimValue::Claimed {
            session: self.session,
            spent: self.written,
            in_doubt: self.written_in_doubt,
            position: life.position,
            digest: life.digest,
        }
    }

    /// The mark of its letter.
    fn dead(&self, life: &Life) -> ClaimValue {
        let (attempt, in_doubt) = (self.last_attempt(), self.in_doubt);
        ClaimValue::Dead { attempt, in_doubt, position: life.position, digest: life.digest }
    }

    /// Number of the last request that was sent, here or by whoever had it before.
    fn last_attempt(&self) -> u32 {
        if self.sent { self.written.attempt } else { self.written.attempt.saturating_sub(1) }
    }

    /// What the next owner of the message must know.
    ///
    /// A number that was written after another one counts as spent, sent or not: values that come again would let a
    /// compare-and-set that is carried out late (its reply was lost, it was sent again) take effect twice.
    fn spent(&self) -> Spent {
        let deadline = if self.in_doubt { self.doubt_until } else { self.written.deadline };
        let attempt = if self.fresh { self.last_attempt() } else { self.written.attempt };
        Spent { attempt, retries: self.retries, deadline }
    }

    /// When the attempt in doubt is surely not at work any more, by our own clock.
    fn surely_over(&self) -> UnixMillis {
        self.doubt_until.after(if self.foreign_clock { CLOCK_MARGIN } else { Duration::ZERO })
    }

    fn delivery(&self) -> Delivery {
        Delivery::of(self.in_doubt)
    }
}

/// Decides what an event means for a record. The one way a life changes.
pub fn step(life: Life, event: Event, scene: &Scene) -> (Life, Effects) {
    match event {
        Event::Start | Event::Was(_) | Event::Replaced | Event::NotReplaced(_) => claiming::step(life, event, scene),
        Event::Alive(..) | Event::TwinEnded | Event::NoTwin => claiming::step(life, event, scene),
        Event::Slot | Event::Answered(_) | Event::Timer => answering::step(life, event, scene),
        Event::LookedUpApplied | Event::LookedUpAbsent | Event::LookedUpUnclear => answering::step(life, event, scene),
        Event::LetterSent | Event::LetterFailed | Event::Unblock | Event::Probe => answering::step(life, event, scene),
        Event::Unfit(reason) => answering::dead_letter(life, reason, None, scene),
        Event::Leave | Event::CutOff | Event::Fenced => leaving::step(life, event),
    }
}
