//! Which record holds a partition back, and why: told where the partition is at its bound, or where it is given up and
//! there is no dead-letter topic.

use std::collections::BTreeMap;

use super::Pipeline;
use super::letters::{given_up, no_topic};
use super::table::{Entry, Token};
use crate::domain::life::{State, Wait};
use crate::domain::reasons::PauseReason;
use crate::domain::record::Offset;
use crate::ports::{App, Claims, DeadLetters};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Says of each partition at its bound which record holds low water, where it is not just that it has not had its
    /// turn. Called at every tick.
    pub(super) fn tell_holding(&mut self) {
        let first = self.first_open();
        for index in self.homes.indices() {
            match first.get(&index).and_then(|(_, token)| self.why_it_holds(*token)) {
                Some(words) => self.pause_home(Some(index), PauseReason::RetryBlocked, words),
                None => self.unpause_home(Some(index), PauseReason::RetryBlocked),
            }
        }
    }

    /// The first open record of each partition at its bound. One walk for all of them.
    fn first_open(&self) -> BTreeMap<u32, (Offset, Token)> {
        if self.homes.iter().any(|home| home.bound) {
            self.first_of(|index, _| self.homes.get(index).is_some_and(|home| home.bound))
        } else {
            BTreeMap::new()
        }
    }

    /// The first one of each partition among the open records for which `wanted` holds.
    fn first_of(&self, wanted: impl Fn(u32, &Entry) -> bool) -> BTreeMap<u32, (Offset, Token)> {
        let mut first = BTreeMap::new();
        for token in self.table.tokens(|entry| entry.home.is_some_and(|index| wanted(index, entry))) {
            let Some(entry) = self.table.get(token) else { continue };
            let Some(index) = entry.home else { continue };
            let this = (entry.record.position().offset, token);
            let least = first.entry(index).or_insert(this);
            *least = this.min(*least);
        }
        first
    }

    /// A request that is open for too long explains nothing: the watchdog looks for that.
    fn why_it_holds(&self, token: Token) -> Option<String> {
        let entry = self.table.get(token).filter(|entry| !self.is_overdue(entry))?;
        if self.table.behind_twins().any(|behind| behind == token) {
            let offset = entry.record.position().offset.0;
            return Some(format!("offset {offset} waits for another record with its message id, which is open here"));
        }
        words(entry, entry.life.waits_for(self.rules.in_doubt)?)
    }

    /// Says of each partition which of its records must be dead-lettered and cannot be, as long as there is one: it may
    /// have been tried again meanwhile, and settled. Called at every tick.
    pub(super) fn tell_blocked(&mut self) {
        if !self.pauses.has(PauseReason::DeadLetterTopicUnset) {
            return;
        }
        let first = self.first_of(|_, entry| matches!(entry.life.state, State::Blocked { .. }));
        for index in self.homes.indices() {
            match first.get(&index).and_then(|(_, token)| self.table.get(*token)).and_then(unset) {
                Some(words) => self.pause_home(Some(index), PauseReason::DeadLetterTopicUnset, words),
                None => self.unpause_home(Some(index), PauseReason::DeadLetterTopicUnset),
            }
        }
    }
}

/// What a partition is told to have that has a record given up and no dead-letter topic.
fn unset(entry: &Entry) -> Option<String> {
    match entry.life.state {
        State::Blocked { reason, .. } => Some(no_topic(&given_up(entry, reason), reason)),
        _ => None,
    }
}

/// What a record waits for, in words.
fn words(entry: &Entry, wait: Wait) -> Option<String> {
    let (offset, heard) = (entry.record.position().offset.0, &entry.detail);
    let heard = if heard.is_empty() { String::new() } else { format!(": {heard}") };
    match wait {
        Wait::Retry(times) => Some(format!("offset {offset} has failed {times} times and is tried again{heard}")),
        // It was put off before it was ours: that is over.
        Wait::PutOff(_) if heard.is_empty() => None,
        Wait::PutOff(times) => {
            Some(format!("offset {offset} was put off {times} times, which spends no retry, and is tried again{heard}"))
        }
        Wait::Lookup => Some(format!(
            "offset {offset} is in doubt and waits until its lookup says whether the app has applied it{heard}"
        )),
        Wait::Session => Some(format!(
            "offset {offset} waits for another session, which lives and holds the claim of its message id; asked again"
        )),
        Wait::GivenUp(reason) => Some(format!(
            "{}: it is given up ({reason}) and cannot go to a dead-letter topic now",
            given_up(entry, reason)
        )),
    }
}
