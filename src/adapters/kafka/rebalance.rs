//! Answering the group, in order and outside of its callback: assign once starts are known, unassign once released.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::Polling;
use super::context::{Change, ChangeKind};
use super::lookup::{self, Answer, Found, Lookup};
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::{Assigned, Intake, Window};

/// How often partitions that no broker knew are asked for again.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(5);

/// The changes of the assignment, and where we are with them.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Bounded: the client hands out one change at a time, and waits for its answer.
    changes: VecDeque<Change>,
    answering: Answering,
    /// Ours by the group's word, but no broker knows them: asked for again from time to time.
    unknown: BTreeSet<TopicPartition>,
    /// The client has stopped a partition whose next offset is out of range, without saying which.
    out_of_range: bool,
    /// A topic of ours was not known for a moment: under its name there may be another one now.
    another: bool,
    /// Whether we have ever been given a partition: our settings have been right at least once.
    pub(super) was_assigned: bool,
    repair: Option<Lookup>,
    /// What the question under way was asked for.
    asked: Asked,
    repair_again: Option<Instant>,
}

/// Why partitions were looked after, and where we stood then: they are read on while the answer is on its way.
#[derive(Debug, Default)]
struct Asked {
    out_of_range: bool,
    another: bool,
    positions: HashMap<TopicPartition, NextOffset>,
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

    /// A partition's next offset is out of range.
    pub(super) fn suspect(&mut self) {
        self.out_of_range = true;
    }

    /// A topic of ours may have been deleted, and made anew.
    pub(super) fn suspect_another(&mut self) {
        self.another = true;
    }

    /// The pipeline let go of partitions.
    pub(super) fn released(&mut self, partitions: &[TopicPartition]) {
        if let Answering::Draining(draining) = &mut self.answering {
            draining.open.retain(|at| !partitions.contains(at));
        }
    }

    /// Whether an answer is owed or a question is open.
    pub(super) fn is_busy(&self) -> bool {
        self.repair.is_some() || !self.changes.is_empty() || !matches!(self.answering, Answering::Nothing)
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
            self.forget_repair();
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
            self.group.unknown.extend(answer.unknown);
        }
        let added: Vec<_> = answer.found.iter().map(|found| (found.partition.clone(), found.start)).collect();
        let assigned = positions(&added)
            .and_then(|list| if eager { self.consumer.assign(&list) } else { self.consumer.incremental_assign(&list) });
        self.took_over(assigned, answer.found);
        Answering::Nothing
    }

    /// Pauses what the client has just begun to fetch, before the next poll, and tells the pipeline.
    fn took_over(&mut self, assigned: KafkaResult<()>, found: Vec<Found>) {
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
        self.group.unknown.remove(&partition);
        let assignment = self.partitions.insert(&partition, start, Arc::clone(&window));
        Assigned { partition, assignment, start, committed, group_start, log_start, log_end, another, window }
    }

    fn unassign(&mut self, change: &Change) -> Answering {
        let gone = self.partitions.remove(&change.partitions);
        self.unassign_from_client(change, &gone)
    }

    /// One answer for the whole change: the client rejoins after the first, and the group gives all of them away.
    fn unassign_from_client(&mut self, change: &Change, gone: &[TopicPartition]) -> Answering {
        self.group.unknown.retain(|at| !change.partitions.contains(at));
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

    /// Looks after partitions that stand still although they are ours: out of range, or unknown when they were assigned.
    /// Only while the client waits for nothing, so that what we change is never taken for an answer.
    pub(super) fn repair(&mut self) {
        if !matches!(self.group.answering, Answering::Nothing) || !self.group.changes.is_empty() {
            return;
        }
        if let Some(lookup) = &self.group.repair {
            if let Some(answer) = lookup.answer() {
                self.group.repair = None;
                self.repaired(answer);
            }
            return;
        }
        let unknown_due =
            !self.group.unknown.is_empty() && self.group.repair_again.is_none_or(|again| Instant::now() >= again);
        let another_due = self.group.another && self.group.repair_again.is_none_or(|again| Instant::now() >= again);
        if self.group.out_of_range || unknown_due || another_due {
            self.group.repair_again = Some(Instant::now() + UNKNOWN_AGAIN);
            self.group.asked = Asked {
                out_of_range: std::mem::take(&mut self.group.out_of_range),
                another: std::mem::take(&mut self.group.another),
                positions: self.partitions.positions().into_iter().collect(),
            };
            let mut wanted = self.group.unknown.clone();
            if self.group.asked.out_of_range || self.group.asked.another {
                wanted.extend(self.partitions.all());
            }
            let wanted = wanted.into_iter().collect();
            let landmarks = if self.group.asked.another { self.partitions.landmarks() } else { HashMap::new() };
            match Lookup::start(&self.consumer, &self.config, wanted, landmarks, Duration::ZERO) {
                Ok(lookup) => self.group.repair = Some(lookup),
                Err(_) => self.forget_repair(),
            }
        }
    }

    /// A question is not waited for any more; why it was asked is remembered.
    fn forget_repair(&mut self) {
        self.group.repair = None;
        let asked = std::mem::take(&mut self.group.asked);
        self.group.out_of_range |= asked.out_of_range;
        self.group.another |= asked.another;
    }

    fn repaired(&mut self, answer: Answer) {
        let asked = std::mem::take(&mut self.group.asked);
        self.group.another |= asked.another && answer.unknown.iter().any(|at| self.partitions.contains(at));
        let (gone, found): (Vec<_>, Vec<_>) = answer
            .found
            .into_iter()
            .filter(|found| self.needs_start(found, &asked))
            .partition(|found| self.jumps(found));
        let names: Vec<_> = found.iter().map(|found| found.partition.clone()).collect();
        let lost = self.partitions.remove(&names);
        if found.is_empty() && gone.is_empty() && !asked.out_of_range {
            return;
        }
        if !lost.is_empty() {
            self.handover.push(Intake::Lost(lost.clone()));
        }
        // One that is in range again, because its log has grown, stands still until it is told to go on where it was; so
        // does one that has come out of range since the question, and then says so again.
        let restart = asked.out_of_range;
        let jumps: Vec<_> = gone.iter().map(|found| (found.partition.clone(), found.log_start)).collect();
        let assigned = self.reassign(&lost, &found, &jumps, restart);
        if assigned.is_ok() {
            self.jumped(&jumps);
        }
        self.took_over(assigned, found);
    }

    /// One that has not begun comes out of range by itself once it has. The end was asked for: one that was read on since
    /// then stands above it.
    fn needs_start(&self, found: &Found, asked: &Asked) -> bool {
        let at = &found.partition;
        match self.partitions.next(at) {
            Some(_) if !self.partitions.has_begun(at) => false,
            Some(next) => {
                let stood_still = asked.positions.get(at) == Some(&next);
                found.another || next < found.log_start || (next > found.log_end && stood_still)
            }
            None => self.group.unknown.contains(&found.partition),
        }
    }

    /// Records of ours were deleted before they were read, in the same log: what was read before goes on as it is.
    fn jumps(&self, found: &Found) -> bool {
        !found.another && self.partitions.next(&found.partition).is_some_and(|next| next < found.log_start)
    }

    fn jumped(&mut self, jumps: &[(TopicPartition, NextOffset)]) {
        for (partition, to) in jumps {
            let Some(from) = self.partitions.next(partition) else { continue };
            self.partitions.jump(partition, *to);
            self.pause(std::slice::from_ref(partition));
            self.handover.push(Intake::Jumped { partition: partition.clone(), from, to: *to });
        }
    }

    fn reassign(
        &mut self,
        lost: &[TopicPartition],
        found: &[Found],
        jumps: &[(TopicPartition, NextOffset)],
        restart: bool,
    ) -> KafkaResult<()> {
        let eager = !matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let jumping = |at: &TopicPartition| jumps.iter().any(|(jumping, _)| jumping == at);
        let mut kept = self.partitions.positions();
        kept.retain(|(at, _)| !jumping(at));
        let mut added: Vec<_> = found.iter().map(|found| (found.partition.clone(), found.start)).collect();
        added.extend_from_slice(jumps);
        let mut removed = lost.to_vec();
        removed.extend(jumps.iter().map(|(at, _)| at.clone()));
        if eager || restart {
            removed.extend(kept.iter().map(|(at, _)| at.clone()));
            added.extend(kept.iter().cloned());
        }
        let added = positions(&added)?;
        if eager {
            self.consumer.assign(&added)?;
        } else {
            self.consumer.incremental_unassign(&lookup::list(&removed))?;
            self.consumer.incremental_assign(&added)?;
        }
        if eager || restart {
            let names: Vec<_> = kept.into_iter().map(|(at, _)| at).collect();
            self.pause(&names);
            self.partitions.assume_paused();
        }
        Ok(())
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
