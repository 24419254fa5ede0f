//! Variants that are broken on purpose, each a wrapper around the real decisions: the checker must refute every one.

use kafka_once::domain::claim::{ClaimValue, SessionId, Spent, Stored};
use kafka_once::domain::history::History;
use kafka_once::domain::life::{Effect, Effects, Event, Life, Scene, State, step};
use kafka_once::domain::low_water::LowWater;
use kafka_once::domain::record::NextOffset;
use kafka_once::domain::time::UnixMillis;
use kafka_once::domain::verdict::{Delivery, Judgement, Verdict};

use super::host::{Host, Lease};
use super::turn::Turn;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Nothing.
    Whole,
    /// A claim is taken for a mark: whoever finds one settles as a duplicate.
    ClaimTakenForMark,
    /// Our own claim, found after a lost reply, is taken for somebody's mark.
    OwnClaimTakenForMark,
    /// A claim is taken over without asking whether its session lives.
    TakeOverUnasked,
    /// Doubt is known and not told: a take-over says `first`.
    TakeOverSaysFirst,
    /// A second record with an ID that is worked on here is settled at once.
    TwinSettledAtOnce,
    /// What was taken in is committed, settled or not.
    CommitPassesOpenRecords,
    /// A record that was given back counts as settled.
    ReleasedCountsAsSettled,
    /// A request without an answer counts as failed.
    UnknownCountsAsFailed,
    /// A request that was cancelled counts as failed.
    CancelledCountsAsFailed,
    /// A release forgets that an attempt is in doubt.
    ReleaseForgetsDoubt,
    /// A release overwrites whatever stands there.
    ReleaseWithoutCompare,
    /// The number of a claim that was not sent is given back for the next owner to use.
    UnsentNumberComesAgain,
    /// A request may leave although the lease is over.
    LeaseNotWatched,
    /// Whatever is open at a revoke's deadline is dropped, and its claim left behind.
    OpenForgottenAtDeadline,
    /// The sentinel is not read with each batch; heartbeats alone tell of a loss.
    SentinelNotRead,
    /// A loss of memory leaves the records that are open untouched.
    OpenNotDoubted,
    /// Commits carry the history of now, whatever is in doubt above them.
    LossNotCarried,
    /// The history beside a committed offset is not looked at.
    CommittedPastIgnored,
    /// After a fail-over the session goes on.
    SessionSurvivesFailOver,
    /// The app is asked at once, while the earlier attempt may be at work.
    LooksUpTooEarly,
    /// What the dead-letter topic did not take counts as there.
    LetterNotAwaited,
}

impl Variant {
    /// What a record hears when this happens.
    pub fn hears(self, life: &Life, own: SessionId, event: Event) -> Vec<Event> {
        let failed = Event::Answered(Judgement { verdict: Verdict::Failed, retry_after: None, status: None });
        match (self, event) {
            (Self::ClaimTakenForMark, Event::Was(Stored::Value(found @ ClaimValue::Claimed { .. }))) => {
                vec![mark(&found)]
            }
            (Self::OwnClaimTakenForMark, Event::Was(Stored::Value(found @ ClaimValue::Claimed { session, .. })))
                if session == own && matches!(life.state, State::Claiming { .. }) =>
            {
                vec![mark(&found)]
            }
            (Self::UnknownCountsAsFailed, Event::Answered(Judgement { verdict: Verdict::Unknown, .. })) => vec![failed],
            (Self::CancelledCountsAsFailed, Event::Fenced | Event::CutOff) if life.is_sending() => vec![failed, event],
            (Self::LetterNotAwaited, Event::LetterFailed) => vec![Event::LetterSent],
            _ => vec![event],
        }
    }

    /// The decision itself.
    pub fn step(self, life: Life, event: Event, scene: &Scene) -> (Life, Effects) {
        if self == Self::LooksUpTooEarly && event == Event::Slot {
            let mut later = *scene;
            later.now.wall = UnixMillis(u64::MAX);
            let decided = step(life, event, &later);
            if matches!(decided.0.state, State::LookingUp { .. }) {
                return decided;
            }
        }
        step(life, event, scene)
    }

    /// What is done when this is decided.
    pub fn does(self, before: &Life, effect: Effect) -> Effect {
        match (self, effect) {
            (Self::TakeOverSaysFirst, Effect::Send { attempt, deadline, .. }) => {
                Effect::Send { delivery: Delivery::First, attempt, deadline }
            }
            (
                Self::ReleaseForgetsDoubt,
                Effect::Replace { expected, value: ClaimValue::Released { spent, position, digest, .. } },
            ) => Effect::Replace { expected, value: ClaimValue::Released { spent, in_doubt: false, position, digest } },
            (
                Self::UnsentNumberComesAgain,
                Effect::Replace { expected, value: ClaimValue::Released { spent, in_doubt, position, digest } },
            ) if matches!(before.state, State::Claimed { .. } | State::TakingOver { .. }) => {
                let spent = Spent { attempt: spent.attempt.saturating_sub(1), ..spent };
                Effect::Replace { expected, value: ClaimValue::Released { spent, in_doubt, position, digest } }
            }
            _ => effect,
        }
    }

    /// What the store is asked when this is to be done; `there`: what stands under the ID.
    pub fn asks(self, command: &Effect, there: Stored) -> Effect {
        match (self, *command, there) {
            (
                Self::ReleaseWithoutCompare,
                Effect::Replace { value: value @ ClaimValue::Released { .. }, .. },
                Stored::Value(expected),
            ) => Effect::Replace { expected, value },
            (_, command, _) => command,
        }
    }

    /// What is due to be committed.
    pub fn commits(self, low_water: &LowWater) -> Option<NextOffset> {
        match self {
            Self::CommitPassesOpenRecords => Some(low_water.taken_to()).filter(|next| *next > low_water.committed()),
            _ => low_water.due(),
        }
    }

    /// What stands beside a commit.
    pub fn beside(self, metadata: String, now: &History) -> String {
        if self == Self::LossNotCarried { now.to_metadata() } else { metadata }
    }

    /// Whether a claimed record may be sent now.
    pub fn may_send(self, host: &Host) -> bool {
        Turn::may_send(host) || (self == Self::LeaseNotWatched && host.lease == Lease::Over)
    }
}

/// The mark that a claim is taken for.
fn mark(found: &ClaimValue) -> Event {
    Event::Was(Stored::Value(ClaimValue::Done { position: found.position(), digest: found.digest() }))
}
