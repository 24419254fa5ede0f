//! The claims desk: what records want of the store, sent in batches; what has gathered while some were out is the next.

use std::collections::VecDeque;
use std::time::Duration;

use super::table::Token;
use crate::domain::claim::{ClaimValue, IdHash, SessionId};
use crate::domain::time::Moment;
use crate::ports::{ClaimCommand, ClaimReply};

/// Commands in one batch at most: bounds the size of a write and the latency of the commands behind it.
const BATCH: usize = 256;

/// Between two tries while the store is away.
const RETRY: Duration = Duration::from_millis(50);

/// Whom an answer is for: a record in one epoch of its life, whoever keeps its claim from expiring, or all that ask for
/// a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Record(Token, u32),
    Keeping(Token, u32),
    Session(SessionId),
    /// Nobody waits for it.
    Nobody,
}

/// Batches out at once.
const BATCHES: usize = 2;

/// A batch goes out beside another only when so many commands wait: below, waiting for company costs less than a
/// round trip of its own.
const WORTH_A_TRIP: usize = 32;

/// Commands that nobody waits for which ride with a batch of others.
const RIDERS: usize = 64;

/// Of those that wait at most; what is beyond is not done.
const MOST_RIDERS: usize = 262_144;

/// Which of the batches that may be out.
pub(super) type BatchPlace = usize;

/// The queue before the store. Bounded: each open record has at most one command here, its claim one that keeps it, each
/// foreign session one.
///
/// Batches may be answered in any order: a record asks again only when it has been answered.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: VecDeque<(Asker, ClaimCommand)>,
    /// Marks to shorten, and for how long they may live: beside the others, never before them.
    riders: VecDeque<IdHash>,
    rider_keep: Duration,
    batches: [Batch; BATCHES],
    not_before: Moment,
    /// Claims among all of these.
    claims: usize,
}

/// Sent again, whole, until it is answered.
#[derive(Debug, Default)]
struct Batch {
    commands: Vec<(Asker, ClaimCommand)>,
    is_out: bool,
}

impl Desk {
    pub(super) fn push(&mut self, asker: Asker, command: ClaimCommand) {
        self.claims += usize::from(is_claim(&command));
        self.waiting.push_back((asker, command));
    }

    /// Shortens marks when there is room beside what somebody waits for.
    pub(super) fn shorten(&mut self, marks: Vec<IdHash>, keep: Duration) {
        let room = MOST_RIDERS.saturating_sub(self.riders.len());
        self.riders.extend(marks.into_iter().take(room));
        self.rider_keep = keep;
    }

    /// Called from time to time: where nobody else goes, the riders go alone.
    pub(super) fn let_riders_go(&mut self) {
        if self.waiting.is_empty() {
            let riders = self.board(BATCH);
            self.waiting.extend(riders);
        }
    }

    fn board(&mut self, most: usize) -> Vec<(Asker, ClaimCommand)> {
        let (count, keep) = (self.riders.len().min(most), self.rider_keep);
        self.riders.drain(..count).map(|id| (Asker::Nobody, ClaimCommand::Shorten { id, keep })).collect()
    }

    /// Claims that are not answered yet.
    pub(super) fn claims(&self) -> usize {
        self.claims
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.batches.iter().all(|batch| batch.commands.is_empty())
    }

    /// When a batch that failed may be sent again.
    pub(super) fn wakes_at(&self) -> Option<Moment> {
        let idle = self.batches.iter().all(|batch| !batch.is_out);
        (idle && !self.is_empty()).then_some(self.not_before)
    }

    /// The next batch to send now, if any; call again until there is none.
    pub(super) fn next_batch(&mut self, now: Moment) -> Option<(BatchPlace, Vec<ClaimCommand>)> {
        if now < self.not_before {
            return None;
        }
        let alone = self.batches.iter().all(|batch| !batch.is_out);
        let failed = |batch: &Batch| !batch.is_out && !batch.commands.is_empty();
        let place = self.batches.iter().position(failed).or_else(|| {
            let worth = if alone { 1 } else { WORTH_A_TRIP };
            (self.waiting.len() >= worth).then(|| self.batches.iter().position(|batch| !batch.is_out))?
        })?;
        if self.batches[place].commands.is_empty() {
            let riders = self.board(RIDERS);
            let others = self.waiting.drain(..self.waiting.len().min(BATCH));
            self.batches[place].commands.extend(others.chain(riders));
        }
        let batch = &mut self.batches[place];
        batch.is_out = true;
        Some((place, batch.commands.iter().map(|(_, command)| *command).collect()))
    }

    /// A batch was answered: whom each reply is for.
    pub(super) fn answered(&mut self, place: BatchPlace, replies: Vec<ClaimReply>) -> Vec<(Asker, ClaimReply)> {
        let Batch { commands, .. } = std::mem::take(&mut self.batches[place]);
        self.claims -= commands.iter().filter(|(_, command)| is_claim(command)).count();
        commands.into_iter().map(|(asker, _)| asker).zip(replies).collect()
    }

    /// A batch got no answer. Commands whose asker has gone are dropped; the rest is sent again.
    pub(super) fn failed(&mut self, place: BatchPlace, now: Moment, wanted: impl Fn(Asker) -> bool) {
        self.not_before = now.after(RETRY);
        let batch = &mut self.batches[place];
        batch.is_out = false;
        batch.commands.retain(|(asker, _)| wanted(*asker));
        self.drop_unwanted(wanted);
    }

    /// Drops claims and take-overs that were not sent and whose record has gone; marks and releases stay.
    pub(super) fn drop_gone_claims(&mut self, wanted: impl Fn(Asker) -> bool) {
        self.waiting.retain(|(asker, command)| wanted(*asker) || !makes_a_claim(command));
        self.drop_unwanted(|_| true);
    }

    /// Drops commands that were not sent and whose asker does not wait for them any more.
    pub(super) fn drop_unwanted(&mut self, wanted: impl Fn(Asker) -> bool) {
        self.waiting.retain(|(asker, _)| wanted(*asker));
        let out = self.batches.iter().flat_map(|batch| &batch.commands);
        self.claims = out.chain(&self.waiting).filter(|(_, command)| is_claim(command)).count();
    }
}

/// Whether it writes a claim, rather than a mark or a release.
fn makes_a_claim(command: &ClaimCommand) -> bool {
    match command {
        ClaimCommand::Claim { .. } => true,
        ClaimCommand::Replace { value, .. } => matches!(value, ClaimValue::Claimed { .. }),
        ClaimCommand::Mark { .. }
        | ClaimCommand::Shorten { .. }
        | ClaimCommand::Look { .. }
        | ClaimCommand::IsAlive { .. } => false,
    }
}

fn is_claim(command: &ClaimCommand) -> bool {
    matches!(command, ClaimCommand::Claim { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claim::Stored;

    const SESSION: SessionId = SessionId([1; 16]);
    const OTHER: SessionId = SessionId([2; 16]);

    fn ask(session: SessionId) -> (Asker, ClaimCommand) {
        (Asker::Session(session), ClaimCommand::IsAlive { session })
    }

    fn desk() -> Desk {
        let mut desk = Desk::default();
        for session in [SESSION, OTHER] {
            let (asker, command) = ask(session);
            desk.push(asker, command);
        }
        desk
    }

    #[test]
    fn what_gathers_while_a_batch_is_out_is_the_next_batch() {
        let mut desk = Desk::default();
        let (asker, command) = ask(SESSION);
        desk.push(asker, command);
        assert_eq!(desk.next_batch(Moment(0)), Some((0, vec![command])));
        let (asker, later) = ask(OTHER);
        desk.push(asker, later);
        assert_eq!(desk.next_batch(Moment(0)), None, "a few commands are not worth a trip of their own");
        let answers = desk.answered(0, vec![ClaimReply::Alive(true)]);
        assert_eq!(answers, [(Asker::Session(SESSION), ClaimReply::Alive(true))]);
        assert_eq!(desk.next_batch(Moment(0)), Some((0, vec![later])));
    }

    #[test]
    fn many_commands_do_not_wait_for_the_batch_before_them_but_for_the_one_before_that() {
        let mut desk = desk();
        assert!(desk.next_batch(Moment(0)).is_some());
        for _ in 0..WORTH_A_TRIP {
            let (asker, command) = ask(OTHER);
            desk.push(asker, command);
        }
        let (place, commands) = desk.next_batch(Moment(0)).expect("a second batch");
        assert_eq!((place, commands.len()), (1, WORTH_A_TRIP));
        for _ in 0..WORTH_A_TRIP {
            let (asker, command) = ask(OTHER);
            desk.push(asker, command);
        }
        assert_eq!(desk.next_batch(Moment(0)), None, "two at once");
        assert_eq!(desk.answered(1, vec![ClaimReply::Alive(true); WORTH_A_TRIP]).len(), WORTH_A_TRIP, "in any order");
        assert_eq!(desk.next_batch(Moment(0)).map(|(place, _)| place), Some(1));
    }

    #[test]
    fn a_batch_without_an_answer_is_sent_again_whole_after_a_pause() {
        let mut desk = desk();
        let batch = desk.next_batch(Moment(0)).expect("a batch");
        desk.failed(0, Moment(0), |_| true);
        assert_eq!(desk.next_batch(Moment(0)), None, "not at once");
        let again = desk.wakes_at().expect("a time to try again");
        assert_eq!(desk.next_batch(again), Some(batch));
    }

    #[test]
    fn marks_to_shorten_ride_with_others_and_alone_only_when_told_and_never_twice() {
        let (one, keep) = (IdHash([7; 16]), Duration::from_secs(5));
        let shorten = ClaimCommand::Shorten { id: one, keep };
        let mut desk = Desk::default();
        desk.shorten(vec![one; RIDERS + 1], keep);
        assert_eq!((desk.next_batch(Moment(0)), desk.is_empty()), (None, true), "nobody waits for them");
        let (asker, command) = ask(SESSION);
        desk.push(asker, command);
        let (place, commands) = desk.next_batch(Moment(0)).expect("a batch");
        assert_eq!((commands[0], &commands[1..]), (command, [shorten; RIDERS].as_slice()), "behind the others");
        desk.failed(place, Moment(0), |asker| asker != Asker::Nobody);
        let again = desk.wakes_at().expect("a time to try again");
        assert_eq!(desk.next_batch(again), Some((place, vec![command])));
        desk.answered(place, vec![ClaimReply::Alive(true)]);
        desk.let_riders_go();
        assert_eq!(desk.next_batch(again), Some((place, vec![shorten])));
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent_again() {
        let mut desk = desk();
        desk.next_batch(Moment(0));
        desk.failed(0, Moment(0), |asker| asker == Asker::Session(OTHER));
        let again = desk.wakes_at().expect("a time to try again");
        assert_eq!(desk.next_batch(again), Some((0, vec![ask(OTHER).1])));
        assert_eq!(desk.answered(0, vec![ClaimReply::Was(Stored::Nothing)]).len(), 1);
        assert!(desk.is_empty() && desk.wakes_at().is_none());
    }
}
