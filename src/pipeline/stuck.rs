//! Names the record that holds a partition at its bound by failing again and again.

use std::collections::BTreeMap;

use super::Pipeline;
use super::table::Entry;
use crate::domain::life::State;
use crate::domain::reasons::PauseReason;
use crate::domain::record::Offset;
use crate::ports::{App, Claims, DeadLetters};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Called at every tick: beside the bound of a partition, the record behind which all others wait is told, where it
    /// is one that the app fails.
    pub(super) fn name_stuck(&mut self) {
        let first = if self.homes.iter().any(|home| home.bound) { self.first_open() } else { BTreeMap::new() };
        for index in self.homes.indices() {
            let Some(home) = self.homes.get(index) else { continue };
            let partition = home.partition.clone();
            match first.get(&index).filter(|_| home.bound) {
                Some((offset, Some(words))) => {
                    let detail =
                        format!("offset {} is tried again and again, and all behind it wait: {words}", offset.0);
                    self.pause(&partition, PauseReason::RetryBlocked, detail);
                }
                _ => self.unpause(&partition, PauseReason::RetryBlocked),
            }
        }
    }

    /// The lowest open record of each partition that is at its bound; with the app's last words when it did not accept
    /// it.
    fn first_open(&self) -> BTreeMap<u32, (Offset, Option<String>)> {
        let mut first = BTreeMap::new();
        let at_bound =
            |entry: &Entry| entry.home.and_then(|index| self.homes.get(index)).is_some_and(|home| home.bound);
        for token in self.table.tokens(at_bound) {
            let Some(entry) = self.table.get(token) else { continue };
            let Some(index) = entry.home else { continue };
            let offset = entry.record.position().offset;
            let tried = !matches!(entry.life.state, State::Marking { .. });
            let words = (tried && !entry.detail.is_empty()).then(|| entry.detail.clone());
            let place = first.entry(index).or_insert_with(|| (offset, words.clone()));
            if offset < place.0 {
                *place = (offset, words);
            }
        }
        first
    }
}
