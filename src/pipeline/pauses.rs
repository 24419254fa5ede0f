//! Why intake is paused: of everything, or of one partition. The log is told only what changes.

use std::collections::BTreeMap;

use super::Pipeline;
use crate::domain::reasons::PauseReason;
use crate::domain::record::TopicPartition;
use crate::domain::time::UnixMillis;
use crate::ports::{App, Claims, DeadLetters, LogCommand, LogOrder};

/// Reasons for which nothing is taken in, each with its partition (`None`: all of them), since when, and words.
/// Bounded by reasons times partitions.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    reasons: BTreeMap<(PauseReason, Option<TopicPartition>), (UnixMillis, String)>,
    changed: bool,
}

impl Pauses {
    pub(super) fn is_on(&self, reason: PauseReason) -> bool {
        self.reasons.contains_key(&(reason, None))
    }

    /// The words of a reason that holds everything; none while it does not.
    pub(super) fn detail(&self, reason: PauseReason) -> &str {
        self.reasons.get(&(reason, None)).map_or("", |(_, detail)| detail)
    }

    /// Whether a partition has this reason of its own.
    pub(super) fn has(&self, reason: PauseReason) -> bool {
        self.reasons.keys().any(|(other, of)| *other == reason && of.is_some())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PauseReason, Option<&TopicPartition>, UnixMillis, &str)> {
        self.reasons
            .iter()
            .map(|((reason, partition), (since, detail))| (*reason, partition.as_ref(), *since, detail.as_str()))
    }

    fn set(
        &mut self,
        reason: PauseReason,
        partition: Option<TopicPartition>,
        since: UnixMillis,
        detail: String,
    ) -> bool {
        let mut new = false;
        let place = self.reasons.entry((reason, partition)).or_insert_with(|| {
            new = true;
            (since, String::new())
        });
        place.1 = detail;
        self.changed |= new;
        new
    }

    fn clear(&mut self, reason: PauseReason, partition: Option<&TopicPartition>) -> bool {
        let was = self.reasons.remove(&(reason, partition.cloned())).is_some();
        self.changed |= was;
        was
    }

    /// Whether a partition takes nothing, other than by its own bound, which the log keeps itself.
    pub(super) fn holds(&self, partition: &TopicPartition) -> bool {
        self.of(partition).any(|(reason, whole)| match reason {
            PauseReason::Bound | PauseReason::RetryBlocked => false,
            // Of one partition: lanes of it.
            PauseReason::DeadLetterBudget | PauseReason::DeadLetterTopicUnset => whole,
            _ => true,
        })
    }

    /// Whether there is a reason why a partition stands still, other than that it has too much to do.
    pub(super) fn explains(&self, partition: &TopicPartition) -> bool {
        self.of(partition).any(|(reason, _)| reason != PauseReason::Bound)
    }

    /// The reasons that a partition has, and whether each is everybody's.
    fn of(&self, partition: &TopicPartition) -> impl Iterator<Item = (PauseReason, bool)> {
        self.reasons
            .keys()
            .filter(move |(_, of)| of.as_ref().is_none_or(|of| of == partition))
            .map(|(reason, of)| (*reason, of.is_none()))
    }
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    pub(super) fn pause_all(&mut self, reason: PauseReason, detail: String) {
        if self.pauses.set(reason, None, self.now.wall, detail) {
            self.homes.iter().for_each(|home| self.metrics.paused(&home.partition, reason, true));
        }
    }

    pub(super) fn unpause_all(&mut self, reason: PauseReason) {
        if self.pauses.clear(reason, None) {
            self.homes.iter().for_each(|home| {
                self.metrics.paused(&home.partition, reason, false);
            });
        }
    }

    pub(super) fn pause(&mut self, partition: &TopicPartition, reason: PauseReason, detail: String) {
        if self.pauses.set(reason, Some(partition.clone()), self.now.wall, detail) {
            self.metrics.paused(partition, reason, true);
        }
    }

    pub(super) fn unpause(&mut self, partition: &TopicPartition, reason: PauseReason) {
        if self.pauses.clear(reason, Some(partition)) && !self.pauses.is_on(reason) {
            self.metrics.paused(partition, reason, false);
        }
    }

    pub(super) fn pause_home(&mut self, home: Option<u32>, reason: PauseReason, detail: String) {
        if let Some(partition) = self.partition_of(home) {
            self.pause(&partition, reason, detail);
        }
    }

    pub(super) fn unpause_home(&mut self, home: Option<u32>, reason: PauseReason) {
        if let Some(partition) = self.partition_of(home) {
            self.unpause(&partition, reason);
        }
    }

    fn partition_of(&self, home: Option<u32>) -> Option<TopicPartition> {
        home.and_then(|index| self.homes.get(index)).map(|home| home.partition.clone())
    }

    /// The log says that a partition's bound, or that of all bytes held, keeps it back (or no longer does).
    pub(super) fn bound(&mut self, partition: &TopicPartition, bound: bool) {
        let Some(home) = self.homes.named(partition) else { return };
        home.bound = bound;
        home.horizon.stop();
        if bound {
            let detail = format!("{} records between low water and the last one taken in", home.window.size());
            self.pause(partition, PauseReason::Bound, detail);
        } else {
            self.unpause(partition, PauseReason::Bound);
        }
    }

    /// Forgets the pauses of a partition that is not ours any more.
    pub(super) fn forget_pauses(&mut self, partition: &TopicPartition) {
        self.pauses.reasons.retain(|(_, of), _| of.as_ref() != Some(partition));
    }

    /// A partition that has just come: shows the reasons that hold everything.
    pub(super) fn show_pauses(&self, partition: &TopicPartition) {
        for (reason, of, _, _) in self.pauses.iter() {
            if of.is_none() {
                self.metrics.paused(partition, reason, true);
            }
        }
    }

    /// Tells the log which partitions to pause and which to resume, where that has changed.
    pub(super) fn tell_pauses(&mut self) {
        if !std::mem::take(&mut self.pauses.changed) {
            return;
        }
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for home in self.homes.iter_mut() {
            let hold = self.pauses.holds(&home.partition);
            if hold != home.paused {
                home.paused = hold;
                home.horizon.stop();
                let list = if hold { &mut pause } else { &mut resume };
                list.push(home.partition.clone());
            }
        }
        if !pause.is_empty() {
            self.tell_log(LogCommand::Pause(pause));
        }
        if !resume.is_empty() {
            self.tell_log(LogCommand::Resume(resume));
        }
    }

    /// Partitions came or went: what holds them is to be compared again.
    pub(super) fn pauses_changed(&mut self) {
        self.pauses.changed = true;
    }

    pub(super) fn tell_log(&self, command: LogCommand) {
        if self.log.send(LogOrder { seen: self.assignment_seen, command }).is_err() {
            tracing::debug!("kafka thread has ended");
        }
    }
}
