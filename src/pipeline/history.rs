//! The store's memory: what follows when it has forgotten, and what waits then until an operator has looked.

use std::sync::Arc;

use super::leases::Outcome;
use super::table::{Entry, Token};
use super::{Pipeline, Report};
use crate::domain::history::History;
use crate::domain::reasons::{HistoryExtent, PauseReason};
use crate::domain::record::TopicPartition;
use crate::ports::{App, Claims, DeadLetters, Scope};
use crate::telemetry::status::Incident;

/// Lost pasts remembered at most; one that comes up again beyond is counted again.
const PASTS: usize = 16;

/// Records that go no further until an operator has looked. Each open record stands here once at most.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    to_claim: Vec<Token>,
    to_send: Vec<Token>,
    /// The history that an operator has accepted by `POST /resume`: what was forgotten before it needs no second look,
    /// in whichever partition it is found.
    accepted: Option<History>,
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Compares the sentinel that came with a batch: gone or another means that everything was forgotten.
    pub(super) fn sentinel_seen(&mut self, sentinel: Option<&str>) {
        let forgotten = |known: &&History| sentinel != Some(known.sentinel.as_str());
        if let Some(known) = self.leases.history.as_ref().filter(forgotten).cloned() {
            self.doubt_everything(&known, HistoryExtent::All); // before the replies of the same batch are heard
            self.ask_history();
        }
    }

    /// Asks for the whole history, one question at a time.
    pub(super) fn ask_history(&mut self) {
        if std::mem::replace(&mut self.leases.asking_history, true) {
            return;
        }
        let (claims, reports) = (Arc::clone(&self.claims), self.reports.0.clone());
        tokio::spawn(async move {
            let _ = reports.send(Report::Session(Outcome::History(claims.history().await)));
        });
    }

    pub(super) fn history_seen(&mut self, history: &History) {
        let known = self.leases.history.replace(history.clone());
        if let Some(known) = known
            && let Some(extent) = history.forgotten_since(&known)
        {
            tracing::error!(extent = extent.as_str(), "redis has lost memory; what stands in the log now is in doubt");
            self.count_loss(extent, &known);
            self.doubt_everything(&known, extent);
            // When all is lost, so is our session's key, and a heartbeat tells.
            if extent == HistoryExtent::Recent {
                self.end_session();
            }
        }
        self.store_is_up(true, "");
    }

    /// Counts a loss once, whether it was seen as it happened or is told by the commits of many partitions.
    fn count_loss(&mut self, extent: HistoryExtent, before: &History) {
        if self.leases.counted.contains(before) {
            return;
        }
        if self.leases.counted.len() >= PASTS {
            self.leases.counted.pop_front();
        }
        self.leases.counted.push_back(before.clone());
        self.metrics.history_lost(extent);
        let detail = format!("redis has forgotten {}", lost(extent));
        self.incidents.push(Incident { what: "history_lost", topic: None, partition: None, at: self.now.wall, detail });
    }

    fn doubt_everything(&mut self, before: &History, extent: HistoryExtent) {
        for home in self.homes.iter_mut() {
            home.doubt_all(before);
            home.doubt.grow();
        }
        for token in self.table.tokens(|_| true) {
            if let Some(entry) = self.table.get_mut(token) {
                entry.life.doubt();
            }
        }
        if self.waits(extent) && !self.pauses.is_on(PauseReason::HistoryLost) {
            tracing::error!(extent = extent.as_str(), "what is in doubt by the loss waits for POST /resume");
            self.pause_all(PauseReason::HistoryLost, words(extent));
        }
    }

    fn waits(&self, extent: HistoryExtent) -> bool {
        self.limits.on_history_loss.waits(extent, self.rules.in_doubt)
    }

    /// A partition was committed beside another history than the store has now: the store has forgotten since. Whether
    /// an operator must look first is decided before any of its records is taken in.
    pub(super) fn history_differs(&mut self, partition: &TopicPartition, before: &History, extent: HistoryExtent) {
        tracing::error!(
            topic = %partition.topic,
            partition = partition.partition,
            extent = extent.as_str(),
            "redis has lost memory since this partition was committed; what stands in its log now is in doubt"
        );
        self.count_loss(extent, before);
        let Some(home) = self.homes.named(partition) else { return };
        home.doubt_all(before);
        let since = |then: &History| self.leases.history.as_ref().and_then(|now| now.forgotten_since(then));
        let accepted =
            self.held_back.accepted.as_ref().is_some_and(|then| since(then).is_none_or(|lost| !self.waits(lost)));
        if self.waits(extent) && !accepted {
            if let Some(home) = self.homes.named(partition) {
                home.awaits_operator = true;
            }
            self.pause(partition, PauseReason::HistoryLost, words(extent));
        }
    }

    /// Whether a record goes no further until an operator has looked.
    fn awaits_operator(&self, entry: &Entry) -> bool {
        let home = || entry.home.and_then(|index| self.homes.get(index));
        self.pauses.is_on(PauseReason::HistoryLost) || home().is_some_and(|home| home.awaits_operator)
    }

    /// A record that wants to ask for its claim; `false`: it is put aside until an operator has looked.
    pub(super) fn may_claim(&mut self, token: Token) -> bool {
        let held = self.table.get(token).is_some_and(|entry| self.awaits_operator(entry));
        if held {
            self.held_back.to_claim.push(token);
        }
        !held
    }

    /// A claimed record that wants to be sent, looked up or given up as in doubt; `false`: it is put aside.
    pub(super) fn may_send(&mut self, token: Token) -> bool {
        let held = self.table.get(token).is_some_and(|entry| self.awaits_operator(entry));
        if held {
            self.held_back.to_send.push(token);
        }
        !held
    }

    /// Claims that were put aside are made anew under another session.
    pub(super) fn forget_held_claims(&mut self) {
        self.held_back.to_send.clear();
    }

    /// Records have gone with their partition.
    pub(super) fn forget_gone_records(&mut self) {
        let HeldBack { to_claim, to_send, .. } = &mut self.held_back;
        for list in [to_claim, to_send] {
            list.retain(|token| self.table.get(*token).is_some());
        }
    }

    /// An operator has looked at these partitions: what was put aside goes on. What must still wait is put aside again.
    pub(super) fn history_accepted(&mut self, scope: &Scope, partitions: &[TopicPartition]) {
        if *scope == Scope::All {
            self.held_back.accepted.clone_from(&self.leases.history);
        }
        for partition in partitions {
            if let Some(home) = self.homes.named(partition) {
                home.awaits_operator = false;
            }
        }
        self.to_claim.extend(self.held_back.to_claim.drain(..));
        self.to_send.extend(self.held_back.to_send.drain(..));
    }
}

fn words(extent: HistoryExtent) -> String {
    format!("redis has forgotten {}: records that may have been handled wait for POST /resume", lost(extent))
}

fn lost(extent: HistoryExtent) -> &'static str {
    match extent {
        HistoryExtent::All => "everything",
        HistoryExtent::Recent => "perhaps its last moments",
    }
}
