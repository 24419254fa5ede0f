//! When the app gives up more records than its budget allows: they block their lanes, intake pauses, and one record at a
//! time is tried until the app accepts one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Pipeline;
use super::table::Token;
use crate::domain::budget::Budget;
use crate::domain::life::{Event, State};
use crate::domain::reasons::{DeadLetterReason, PauseReason};
use crate::domain::record::Offset;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Moment;
use crate::ports::{App, Claims, DeadLetters};

/// The budget, and the records that it had no room for. Bounded by the open records.
#[derive(Debug)]
pub(super) struct Parked {
    budget: Budget,
    tokens: VecDeque<Token>,
    /// Intake is paused, and records are tried one at a time.
    closed: bool,
    /// The one that was last tried out of turn.
    probe: Option<Token>,
    probe_at: Moment,
    probe_wait: Duration,
}

impl Parked {
    pub(super) fn new(size: Option<u32>, now: Moment) -> Self {
        let (tokens, budget) = (VecDeque::new(), Budget::new(size));
        Self { budget, tokens, closed: false, probe: None, probe_at: now, probe_wait: Duration::ZERO }
    }

    /// Whether one more dead letter of an answer is within the budget.
    pub(super) fn affords(&self) -> bool {
        !self.budget.is_spent()
    }

    pub(super) fn draw(&mut self) {
        self.budget.draw();
    }

    /// Whether one more request may be sent beside so many open ones.
    pub(super) fn lets(&self, open: usize, now: Moment) -> bool {
        !self.closed || open == 0 && now >= self.probe_at
    }

    /// A request was sent. While the budget is spent, the next one waits, longer each time.
    pub(super) fn sent(&mut self, policy: &RetryPolicy, now: Moment) {
        if self.closed {
            self.probe_wait = (self.probe_wait * 2).clamp(policy.backoff, policy.backoff_max.max(policy.backoff));
            self.probe_at = now.after(self.probe_wait);
        }
    }

    /// When the next record may be tried.
    pub(super) fn wakes_at(&self, now: Moment) -> Option<Moment> {
        (self.closed && self.probe_at > now).then_some(self.probe_at)
    }
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// A record must be dead-lettered and the budget is spent.
    pub(super) fn park(&mut self, token: Token, reason: DeadLetterReason, words: &str) {
        self.parked.tokens.push_back(token);
        tracing::debug!(reason = reason.as_str(), words, "record waits: the budget of dead letters is spent");
        if std::mem::replace(&mut self.parked.closed, true) {
            return;
        }
        tracing::error!(
            reason = reason.as_str(),
            last = words,
            "the app gives up more records than ONCE_DEAD_LETTER_BUDGET allows; intake pauses and one record at a time is tried"
        );
        (self.parked.probe, self.parked.probe_wait, self.parked.probe_at) = (None, Duration::ZERO, self.now.moment);
        let detail = format!(
            "the app gave up more records than the budget allows, the last one at {words}; one record at a time is tried, \
             the first one accepted ends this, and so does POST /resume"
        );
        self.pause_all(PauseReason::DeadLetterBudget, detail);
    }

    /// The app has accepted a record: one more dead letter is affordable.
    pub(super) fn app_accepted(&mut self) {
        self.parked.budget.earn();
        if self.parked.closed {
            tracing::info!("the app has accepted a record; intake goes on");
            self.reopen();
        }
        if !self.parked.tokens.is_empty() {
            self.unpark();
        }
    }

    /// An operator has looked: the budget is as full as at first. What blocks in the partitions that were meant is tried
    /// again by whoever calls this; the rest waits for its turn.
    pub(super) fn budget_restored(&mut self) {
        self.parked.budget.restore();
        self.reopen();
    }

    fn reopen(&mut self) {
        self.parked.closed = false;
        self.unpause_all(PauseReason::DeadLetterBudget);
    }

    /// Tries one record that was given up before once more, if the budget allows for its being given up again. Called at
    /// every tick, and with every success.
    pub(super) fn unpark(&mut self) {
        if self.parked.closed {
            if self.table.is_empty() {
                self.reopen(); // nothing is left to try: the next one is taken in for that
            }
        } else if self.parked.affords()
            && let Some(token) = self.next_parked()
        {
            self.live(token, Event::Probe);
        }
    }

    /// Says of each partition which of its records wait for the budget although intake goes on. Called at every tick.
    pub(super) fn tell_parked(&mut self) {
        let mut waiting: BTreeMap<u32, (u64, Offset)> = BTreeMap::new();
        let table = &self.table;
        self.parked.tokens.retain(|token| table.get(*token).is_some_and(|entry| is_blocked(&entry.life.state)));
        for entry in self.parked.tokens.iter().filter_map(|token| table.get(*token)).filter(|_| !self.parked.closed) {
            let (Some(home), offset) = (entry.home, entry.record.position().offset) else { continue };
            let (count, first) = waiting.entry(home).or_insert((0, offset));
            (*count, *first) = (*count + 1, offset.min(*first));
        }
        for index in self.homes.indices() {
            match waiting.get(&index) {
                Some((count, first)) => {
                    let words = format!(
                        "{count} given up by the app, the first one at offset {}, hold their lanes until the budget allows \
                         for them: each success earns one, and POST /resume restores it",
                        first.0
                    );
                    self.pause_home(Some(index), PauseReason::DeadLetterBudget, words);
                }
                None => self.unpause_home(Some(index), PauseReason::DeadLetterBudget),
            }
        }
    }

    /// While the budget is spent and nothing else is to be sent, tries one of those that were given up.
    pub(super) fn probe_parked(&mut self) {
        let turn = self.to_send.is_empty() && self.app_up && self.store_up;
        if !self.parked.closed || !turn || !self.parked.lets(self.open_requests(), self.now.moment) {
            return;
        }
        let on_its_way = |token| self.table.get(token).is_some_and(|entry| is_on_its_way(&entry.life.state));
        if self.parked.probe.is_some_and(on_its_way) || self.leases.live(self.now.moment).is_none() {
            return;
        }
        if let Some(token) = self.next_parked() {
            self.parked.probe = Some(token);
            self.live(token, Event::Probe);
        }
    }

    fn next_parked(&mut self) -> Option<Token> {
        while let Some(token) = self.parked.tokens.pop_front() {
            if self.table.get(token).is_some_and(|entry| is_blocked(&entry.life.state)) {
                return Some(token);
            }
        }
        None
    }
}

fn is_blocked(state: &State) -> bool {
    matches!(state, State::Blocked { .. })
}

/// Whether a record will be sent, or is, without anybody else's doing.
fn is_on_its_way(state: &State) -> bool {
    matches!(state, State::Renewing { .. } | State::Claimed { .. } | State::Sending { .. } | State::LookingUp { .. })
}
