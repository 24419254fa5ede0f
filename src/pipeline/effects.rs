//! Carries out what a step of a record's life decides, and clears up when a life has ended.

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Asker, BatchPlace};
use super::table::{Entry, Token};
use super::{Pipeline, Report, boundaries};
use crate::domain::claim::Stored;
use crate::domain::lanes::Turn;
use crate::domain::life::{Effect, End, Event, Scene, State, step};
use crate::domain::reasons::DeadLetterReason;
use crate::failpoints;
use crate::ports::{App, ClaimBatch, ClaimCommand, ClaimReply, Claims, DeadLetters, StoreError};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// The one place where a record's life changes.
    pub(super) fn live(&mut self, token: Token, event: Event) {
        let chance = self.clock.chance();
        let Some(entry) = self.table.get_mut(token) else { return };
        let session = self.leases.current();
        let affords = self.parked.affords();
        let scene = Scene { rules: &self.rules, session, now: self.now, chance, affords };
        let (life, effects) = step(entry.life, event, &scene);
        entry.life = life;
        for effect in effects {
            self.carry_out(token, effect);
        }
    }

    fn carry_out(&mut self, token: Token, effect: Effect) {
        failpoints::pass_any(boundaries::before(&effect));
        match effect {
            Effect::Claim(value) => {
                let keep = self.limits.dedup_window;
                self.ask_store(token, |id| ClaimCommand::Claim { id, value, keep });
            }
            Effect::Replace { expected, value } => {
                let keep = self.limits.dedup_window;
                self.ask_store(token, |id| ClaimCommand::Replace { id, expected, value, keep });
            }
            Effect::Mark(value) => {
                let keep = self.limits.dedup_window;
                self.ask_store(token, |id| ClaimCommand::Mark { id, value, keep });
            }
            Effect::AskAlive(session) => self.ask_alive(token, session),
            Effect::AwaitTwin => self.live(token, Event::NoTwin), // a twin would have kept it from asking
            Effect::Ready => self.ready(token),
            Effect::Send { delivery, attempt, deadline } => self.send(token, delivery, attempt, deadline),
            Effect::LookUp => self.look_up(token),
            Effect::Wake(after) => self.timers.wake(self.now.moment.after(after), token),
            Effect::Accepted => self.accepted(token),
            Effect::Draw => self.parked.draw(),
            Effect::DeadLetter { reason, attempts, in_doubt } => self.dead_letter(token, reason, attempts, in_doubt),
            Effect::Blocked(reason) => self.blocked(token, reason),
            Effect::Restart => self.restart(token),
            Effect::End(end) => self.finish(token, end),
        }
    }

    fn ask_store(&mut self, token: Token, command: impl Fn(crate::domain::claim::IdHash) -> ClaimCommand) {
        let Some(entry) = self.table.get_mut(token) else { return };
        let Some((id, _)) = &entry.id else { return };
        entry.asked = self.now.moment;
        entry.written = self.now.moment;
        let (command, asker) = (command(*id), Asker::Record(token, entry.epoch));
        self.desk.push(asker, command);
    }

    /// Lets records ask for their claims, as many as couriers may soon carry. The ID's owner asks, its twins wait.
    pub(super) fn start_claims(&mut self) {
        if self.leases.live(self.now.moment).is_none() {
            return;
        }
        while self.desk.claims() + self.to_send.len() < self.ahead.bound() {
            let Some(token) = self.to_claim.pop_front() else { return };
            if self.may_claim(token) {
                self.start_claim(token);
            }
        }
    }

    fn start_claim(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else { return };
        if let Some(reason) = entry.unfit {
            self.live(token, Event::Unfit(reason));
            return;
        }
        let Some((id, _)) = &entry.id else { return };
        if self.table.claim_id(*id, token) {
            self.live(token, Event::Start);
        }
    }

    /// Sends what has gathered at the desk; while the store is away, nothing: its history is asked for first.
    pub(super) fn send_batch(&mut self) {
        while self.store_up
            && let Some((place, commands)) = self.desk.next_batch(self.now.moment)
        {
            let (claims, reports) = (Arc::clone(&self.claims), self.reports.0.clone());
            tokio::spawn(async move {
                let outcome = claims.batch(commands).await;
                let _ = reports.send(Report::Batch(place, outcome)); // nobody listens: we are at the end
            });
        }
    }

    pub(super) fn store_answered(&mut self, place: BatchPlace, outcome: Result<ClaimBatch, StoreError>) {
        match outcome {
            Ok(batch) => {
                self.sentinel_seen(batch.sentinel.as_deref());
                for (asker, reply) in self.desk.answered(place, batch.replies) {
                    match asker {
                        Asker::Record(token, epoch) => self.reply(token, epoch, reply),
                        Asker::Keeping(token, epoch) => self.kept(token, epoch, reply),
                        Asker::Nobody => {}
                        Asker::Session(session) => self.session_seen(session, reply == ClaimReply::Alive(true)),
                    }
                }
            }
            Err(error) => {
                self.store_failed(&error);
                self.desk.failed(place, self.now.moment, |asker| self.table.awaits(asker));
            }
        }
    }

    fn reply(&mut self, token: Token, epoch: u32, reply: ClaimReply) {
        let Some(entry) = self.table.get(token).filter(|entry| entry.epoch == epoch) else { return };
        failpoints::pass_any(boundaries::answered(&entry.life.state));
        let took = self.now.moment.since(entry.asked);
        match entry.life.state {
            State::Claiming { .. } | State::TakingOver { .. } => self.metrics.claim_took(took),
            State::Marking { .. } | State::MarkingDead { .. } => self.metrics.mark_took(took),
            _ => {}
        }
        match reply {
            ClaimReply::Was(stored) => self.note_foreign(token, stored, Event::Was(stored)),
            ClaimReply::Replaced => self.live(token, Event::Replaced),
            ClaimReply::NotReplaced(stored) => self.note_foreign(token, stored, Event::NotReplaced(stored)),
            ClaimReply::Alive(_) | ClaimReply::Shortened => {}
        }
    }

    fn note_foreign(&mut self, token: Token, stored: Stored, event: Event) {
        if let (Stored::Foreign, Some(entry)) = (stored, self.table.get_mut(token)) {
            "a value that is not ours stands under its key in redis".clone_into(&mut entry.detail);
        }
        self.live(token, event);
    }

    /// It has its claim. As the head of its lane it may be sent, else it waits to become the head.
    fn ready(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else { return };
        entry.ready = !entry.at_head;
        if entry.at_head {
            self.to_send.push_back(token);
        }
    }

    /// The mark is on its way: the next record of its lane may already claim.
    fn accepted(&mut self, token: Token) {
        let Some(lane) = self.table.get(token).map(|entry| entry.lane) else { return };
        if let Some(next) = self.lanes.accepted(lane, token) {
            self.turn(next, false);
        }
    }

    fn restart(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else { return };
        entry.epoch = entry.epoch.wrapping_add(1);
        entry.ready = false;
        if let Some(courier) = entry.courier.take() {
            self.couriers.cancel(&*self.app, courier, &self.reports.0);
        }
        self.to_restart.push(token);
    }

    fn finish(&mut self, token: Token, end: End) {
        let Some(entry) = self.table.remove(token) else { return };
        self.held.freed(entry.record.held_bytes());
        if let Some(courier) = entry.courier {
            self.couriers.cancel(&*self.app, courier, &self.reports.0);
        }
        self.count_end(&entry, end);
        if let End::DeadLettered(reason) = end {
            self.say_dead(&entry, reason);
        }
        if end != End::Released {
            self.remember_mark(&entry);
        }
        if let Some(home) = entry.home.and_then(|index| self.homes.get_mut(index)) {
            if end == End::Released {
                home.open -= 1;
            } else {
                home.settle(entry.slot);
            }
        }
        if let Some(next) = entry.id.as_ref().and_then(|(id, _)| self.table.leave_id(*id, token)) {
            self.live(next, Event::TwinEnded);
            self.to_claim.push_front(next);
        }
        match self.lanes.leave(entry.lane, token) {
            Some(Turn::Head { ticket, already_claiming }) => self.promote(ticket, already_claiming),
            Some(Turn::Next(ticket)) => self.turn(ticket, false),
            None => {}
        }
    }

    /// Settles a record whose end is decided, although its mark is still on its way.
    pub(super) fn settle_unmarked(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else { return };
        let (Some(end), Some(index), slot) = (entry.life.decided(), entry.home, entry.slot) else { return };
        self.count_end(entry, end);
        if let Some(home) = self.homes.get_mut(index) {
            home.settle(slot);
        }
        if let Some(entry) = self.table.get_mut(token) {
            entry.home = None;
        }
    }

    /// A record has become the head of its lane.
    fn promote(&mut self, token: Token, already_claiming: bool) {
        if !already_claiming {
            return self.turn(token, true);
        }
        let Some(entry) = self.table.get_mut(token) else { return };
        entry.at_head = true;
        if std::mem::take(&mut entry.ready) {
            self.to_send.push_back(token);
        }
    }

    fn count_end(&self, entry: &Entry, end: End) {
        // A record whose partition is not ours any more was counted as released when it went.
        let Some(home) = entry.home.and_then(|index| self.homes.get(index)) else { return };
        let topic = home.topic;
        match end {
            End::Delivered { overlap } => {
                self.metrics.delivered(topic, 1);
                if overlap {
                    self.metrics.overlap(topic);
                }
                if let Ok(produced) = u64::try_from(entry.record.position().timestamp) {
                    self.metrics.end_to_end(Duration::from_millis(self.now.wall.0.saturating_sub(produced)));
                }
            }
            End::Duplicate { cause, reused } => {
                self.metrics.duplicate(topic, cause);
                if reused {
                    self.metrics.id_reuse(topic);
                }
            }
            End::DeadLettered(reason) => {
                self.metrics.dead_lettered(topic, reason);
                match reason {
                    DeadLetterReason::IdReuse => self.metrics.id_reuse(topic),
                    DeadLetterReason::MissingId => self.metrics.missing_id(topic),
                    _ => {}
                }
            }
            End::Released => self.metrics.released(topic, 1),
        }
    }
}
