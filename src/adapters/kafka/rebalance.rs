//! Answering the group, in order and outside of its callback: assign once starts are known, unassign once released.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::Polling;
use super::context::{Change, ChangeKind};
use super::lookup::{self, Answer, Found, Lookup};
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::{Assigned, Intake, Window};

/// The changes of the assignment, and where we are with them.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Bounded: the client hands out one change at a time, and waits for its answer.
    changes: VecDeque<Change>,
    answering: Answering,
    /// Whether we have ever been given a partition: our settings have been right at least once.
    pub(super) was_assigned: bool,
}

#[derive(Debug, Default)]
enum Answering {
    /// The client waits for nothing.
    #[default]
    Nothing,
    /// Partitions were given; where they start is being asked for.
    Looking { lookup: Lookup, eager: bool },
    /// Partitions are wanted back; the pipeline finishes what is open.
    Draining(Draining),
}

#[derive(Debug)]
struct Draining {
    open: BTreeSet<TopicPartition>,
    change: Change,
    deadline: Instant,
}

impl Group {
    /// A change that the client waits for.
    pub(super) fn changed(&mut self, change: Change) {
        self.changes.push_back(change);
    }

    /// The pipeline let go of partitions.
    pub(super) fn released(&mut self, partitions: &[TopicPartition]) {
        if let Answering::Draining(draining) = &mut self.answering {
            draining.open.retain(|at| !partitions.contains(at));
        }
    }

    /// Whether the client waits for an answer.
    pub(super) fn is_owed(&self) -> bool {
        !self.changes.is_empty() || !matches!(self.answering, Answering::Nothing)
    }
}

impl<P: Fn() + Send> Polling<P> {
    /// One step of answering the group; never blocks.
    pub(super) fn answer_group(&mut self) {
        let before = std::mem::take(&mut self.group.answering);
        let was_owed = !matches!(before, Answering::Nothing);
        self.group.answering = match before {
            Answering::Looking { lookup, eager } => match lookup.answer() {
                Some(answer) => self.assign(answer, eager),
                None => Answering::Looking { lookup, eager },
            },
            Answering::Draining(draining) if draining.open.is_empty() => self.unassign(&draining.change),
            Answering::Draining(draining) if Instant::now() >= draining.deadline => {
                tracing::warn!(target: "kafka", partitions = draining.open.len(), "revoked without a release in time");
                self.handover.push(Intake::Lost(draining.open.into_iter().collect()));
                self.unassign(&draining.change)
            }
            other => other,
        };
        let mut began = false;
        if matches!(self.group.answering, Answering::Nothing)
            && let Some(change) = self.group.changes.pop_front()
        {
            began = true;
            self.repairs.forget_question();
            self.group.answering = self.begin_answer(change);
        }
        if (was_owed || began) && matches!(self.group.answering, Answering::Nothing) {
            self.wake(&self.partitions.reading()); // the client has kept still what we keep
        }
    }

    /// Gives the answer that is owed, whichever, and forgets the rest: the client is about to be closed. It calls back
    /// for changes it has not delivered yet, but not for the one it has.
    pub(super) fn answer_at_once(&mut self) {
        let group = std::mem::take(&mut self.group);
        let delivered = match group.answering {
            Answering::Looking { eager, .. } => Some((ChangeKind::Assign, eager)),
            Answering::Draining(draining) => Some((ChangeKind::Revoke, draining.change.eager)),
            Answering::Nothing => None,
        };
        let queued = group.changes.iter().map(|change| (change.kind, change.eager));
        for (kind, eager) in delivered.into_iter().chain(queued) {
            let none = TopicPartitionList::new();
            let answered = match (kind, eager) {
                (ChangeKind::Assign, true) => self.consumer.assign(&none),
                (ChangeKind::Assign, false) => self.consumer.incremental_assign(&none),
                (_, true) => self.consumer.unassign(),
                (_, false) => self.consumer.incremental_unassign(&none),
            };
            if let Err(error) = answered {
                tracing::debug!(target: "kafka", %error, "answer while leaving");
            }
        }
    }

    fn begin_answer(&mut self, change: Change) -> Answering {
        tracing::info!(
            target: "kafka", partitions = change.partitions.len(), eager = change.eager, "group: {:?}", change.kind,
        );
        match change.kind {
            ChangeKind::Assign => self.look(change),
            ChangeKind::Lost => {
                let lost = self.partitions.remove(&change.partitions);
                self.handover.push(Intake::Lost(lost.clone()));
                self.unassign_from_client(&change, &lost)
            }
            ChangeKind::Revoke => {
                let mut owned = change.partitions.clone();
                owned.retain(|at| self.partitions.contains(at));
                if owned.is_empty() {
                    return self.unassign(&change);
                }
                self.handover.push(Intake::Revoking(owned.clone()));
                let deadline = Instant::now() + self.config.revoke_deadline;
                Answering::Draining(Draining { open: owned.into_iter().collect(), change, deadline })
            }
        }
    }

    fn look(&mut self, change: Change) -> Answering {
        if change.partitions.is_empty() {
            return self.assign(Answer::default(), change.eager);
        }
        match Lookup::start(&self.consumer, &self.config, change.partitions, HashMap::new(), lookup::UNKNOWN_PATIENCE) {
            Ok(lookup) => Answering::Looking { lookup, eager: change.eager },
            Err(error) => {
                self.fatal(&format!("no thread to ask for start positions: {error}"));
                Answering::Nothing
            }
        }
    }

    fn assign(&mut self, answer: Answer, eager: bool) -> Answering {
        if !answer.unknown.is_empty() {
            tracing::warn!(target: "kafka", partitions = answer.unknown.len(), "assigned partitions that no broker knows");
            self.repairs.unknown.extend(answer.unknown);
        }
        let added: Vec<_> = answer.found.iter().map(|found| (found.partition.clone(), found.start)).collect();
        let assigned = positions(&added)
            .and_then(|list| if eager { self.consumer.assign(&list) } else { self.consumer.incremental_assign(&list) });
        self.took_over(assigned, answer.found);
        Answering::Nothing
    }

    /// Pauses what the client has just begun to fetch, before the next poll, and tells the pipeline.
    pub(super) fn took_over(&mut self, assigned: KafkaResult<()>, found: Vec<Found>) {
        if let Err(error) = assigned {
            // The client and we no longer agree on what is ours: only a new process is sure to.
            return self.fatal(&format!("assignment refused: {error}"));
        }
        let names: Vec<_> = found.iter().map(|found| found.partition.clone()).collect();
        self.pause(&names);
        let news: Vec<_> = found.into_iter().map(|found| self.assigned(found)).collect();
        if !news.is_empty() {
            self.group.was_assigned = true;
            self.handover.push(Intake::Assigned(news));
        }
    }

    fn assigned(&mut self, found: Found) -> Assigned {
        let Found { partition, committed, log_start, log_end, start, group_start, another } = found;
        let window = Arc::new(Window::default());
        self.repairs.unknown.remove(&partition);
        let assignment = self.partitions.insert(&partition, start, Arc::clone(&window));
        Assigned { partition, assignment, start, committed, group_start, log_start, log_end, another, window }
    }

    fn unassign(&mut self, change: &Change) -> Answering {
        let gone = self.partitions.remove(&change.partitions);
        self.unassign_from_client(change, &gone)
    }

    /// One answer for the whole change: the client rejoins after the first, and the group gives all of them away.
    fn unassign_from_client(&mut self, change: &Change, gone: &[TopicPartition]) -> Answering {
        self.repairs.unknown.retain(|at| !change.partitions.contains(at));
        // What no broker knew was never assigned, and must not stand in the answer.
        let done = if change.eager {
            self.consumer.unassign()
        } else {
            self.consumer.incremental_unassign(&lookup::list(gone))
        };
        if let Err(error) = done {
            self.fatal(&format!("unassignment refused: {error}"));
        }
        Answering::Nothing
    }
}

/// A list of partitions with explicit offsets.
pub(super) fn positions(partitions: &[(TopicPartition, NextOffset)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (at, next) in partitions {
        list.add_partition(&at.topic, at.partition).set_offset(Offset::Offset(next.0))?;
    }
    Ok(list)
}
