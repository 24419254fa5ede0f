//! The claims desk: what records want of the store, sent in batches; what has gathered while one was out is the next.

use std::collections::VecDeque;
use std::time::Duration;

use super::table::Token;
use crate::domain::claim::SessionId;
use crate::domain::time::Moment;
use crate::ports::{ClaimCommand, ClaimReply};

/// Commands in one batch at most: bounds the size of a write and the latency of the commands behind it.
const BATCH: usize = 256;

/// Between two tries while the store is away.
const RETRY: Duration = Duration::from_millis(50);

/// Whom an answer is for: a record in one epoch of its life, or all that ask for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Record(Token, u32),
    Session(SessionId),
}

/// The queue before the store. Bounded: each open record has at most one command here, each foreign session one.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: VecDeque<(Asker, ClaimCommand)>,
    /// The batch that is out; it is sent again, whole, until it is answered.
    out: Vec<(Asker, ClaimCommand)>,
    is_out: bool,
    not_before: Moment,
    /// Claims among all of these.
    claims: usize,
}

impl Desk {
    pub(super) fn push(&mut self, asker: Asker, command: ClaimCommand) {
        self.claims += usize::from(is_claim(&command));
        self.waiting.push_back((asker, command));
    }

    /// Claims that are not answered yet.
    pub(super) fn claims(&self) -> usize {
        self.claims
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.out.is_empty()
    }

    /// When a batch that failed may be sent again.
    pub(super) fn wakes_at(&self) -> Option<Moment> {
        (!self.is_out && !self.is_empty()).then_some(self.not_before)
    }

    /// The batch to send now, if none is out.
    pub(super) fn next_batch(&mut self, now: Moment) -> Option<Vec<ClaimCommand>> {
        if self.is_out || self.is_empty() || now < self.not_before {
            return None;
        }
        let room = BATCH.saturating_sub(self.out.len()).min(self.waiting.len());
        self.out.extend(self.waiting.drain(..room));
        self.is_out = true;
        Some(self.out.iter().map(|(_, command)| *command).collect())
    }

    /// The batch was answered: whom each reply is for.
    pub(super) fn answered(&mut self, replies: Vec<ClaimReply>) -> Vec<(Asker, ClaimReply)> {
        self.is_out = false;
        let asked = std::mem::take(&mut self.out);
        self.claims -= asked.iter().filter(|(_, command)| is_claim(command)).count();
        asked.into_iter().map(|(asker, _)| asker).zip(replies).collect()
    }

    /// The batch got no answer. Commands whose asker has gone are dropped; the rest is sent again.
    pub(super) fn failed(&mut self, now: Moment, wanted: impl Fn(Asker) -> bool) {
        self.is_out = false;
        self.not_before = now.after(RETRY);
        self.out.retain(|(asker, _)| wanted(*asker));
        self.drop_unwanted(wanted);
    }

    /// Drops commands that were not sent and whose asker does not wait for them any more.
    pub(super) fn drop_unwanted(&mut self, wanted: impl Fn(Asker) -> bool) {
        self.waiting.retain(|(asker, _)| wanted(*asker));
        self.claims = self.out.iter().chain(&self.waiting).filter(|(_, command)| is_claim(command)).count();
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
        assert_eq!(desk.next_batch(Moment(0)), Some(vec![command]));
        let (asker, later) = ask(OTHER);
        desk.push(asker, later);
        assert_eq!(desk.next_batch(Moment(0)), None, "one batch at a time");
        let answers = desk.answered(vec![ClaimReply::Alive(true)]);
        assert_eq!(answers, [(Asker::Session(SESSION), ClaimReply::Alive(true))]);
        assert_eq!(desk.next_batch(Moment(0)), Some(vec![later]));
    }

    #[test]
    fn a_batch_without_an_answer_is_sent_again_whole_after_a_pause() {
        let mut desk = desk();
        let batch = desk.next_batch(Moment(0)).expect("a batch");
        desk.failed(Moment(0), |_| true);
        assert_eq!(desk.next_batch(Moment(0)), None, "not at once");
        let again = desk.wakes_at().expect("a time to try again");
        assert_eq!(desk.next_batch(again), Some(batch));
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent_again() {
        let mut desk = desk();
        desk.next_batch(Moment(0));
        desk.failed(Moment(0), |asker| asker == Asker::Session(OTHER));
        let again = desk.wakes_at().expect("a time to try again");
        assert_eq!(desk.next_batch(again), Some(vec![ask(OTHER).1]));
        assert_eq!(desk.answered(vec![ClaimReply::Was(Stored::Nothing)]).len(), 1);
        assert!(desk.is_empty() && desk.wakes_at().is_none());
    }
}
