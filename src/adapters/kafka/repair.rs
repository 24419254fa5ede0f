//! Partitions that stand still although they are ours, or that start elsewhere than the client was told.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;

use super::consumer::Polling;
use super::lookup::{self, Answer, Found, Lookup};
use super::owned::Move;
use super::rebalance::positions;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::Intake;

/// How often partitions that stand still are asked for.
const REPAIR_AGAIN: Duration = Duration::from_secs(5);

/// What stands still, and where we are with it.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Ours by the group's word, but no broker knows them: asked for again from time to time.
    pub(super) unknown: BTreeSet<TopicPartition>,
    /// The client has stopped a partition whose next offset is out of range, without saying which.
    out_of_range: bool,
    /// A topic of ours was not known for a moment: under its name there may be another one now.
    another: bool,
    question: Option<Lookup>,
    /// What the question under way was asked for.
    asked: Asked,
    /// When the next question may be asked.
    again: Option<Instant>,
    /// Partitions that start elsewhere than the client was told. Bounded by those that are ours.
    moves: Vec<Move>,
}

/// Why partitions were looked after, and where we stood then: they are read on while the answer is on its way.
#[derive(Debug, Default)]
struct Asked {
    out_of_range: bool,
    another: bool,
    positions: HashMap<TopicPartition, NextOffset>,
}

impl Repairs {
    /// A partition's next offset is out of range.
    pub(super) fn suspect(&mut self) {
        self.out_of_range = true;
    }

    /// A topic of ours may have been deleted, and made anew.
    pub(super) fn suspect_another(&mut self) {
        self.another = true;
    }

    /// Partitions start elsewhere than the client was told.
    pub(super) fn moves(&mut self, moves: Vec<Move>) {
        self.moves.extend(moves);
    }

    /// Whether a question is open.
    pub(super) fn is_busy(&self) -> bool {
        self.question.is_some()
    }

    /// A question is not waited for any more; why it was asked is remembered.
    pub(super) fn forget_question(&mut self) {
        self.question = None;
        let asked = std::mem::take(&mut self.asked);
        self.out_of_range |= asked.out_of_range;
        self.another |= asked.another;
    }

    fn is_due(&self) -> bool {
        let due = self.again.is_none_or(|again| Instant::now() >= again);
        due && (self.out_of_range || self.another || !self.unknown.is_empty())
    }
}

impl<P: Fn() + Send> Polling<P> {
    /// Looks after partitions that stand still although they are ours: out of range, or unknown when they were assigned.
    /// Only while the client waits for nothing, so that what we change is never taken for an answer.
    pub(super) fn repair(&mut self) {
        if self.group.is_owed() {
            return;
        }
        self.move_starts();
        if let Some(lookup) = &self.repairs.question {
            if let Some(answer) = lookup.answer() {
                self.repairs.question = None;
                self.repaired(answer);
            }
            return;
        }
        if self.repairs.is_due() {
            self.repairs.again = Some(Instant::now() + REPAIR_AGAIN);
            self.repairs.asked = Asked {
                out_of_range: std::mem::take(&mut self.repairs.out_of_range),
                another: std::mem::take(&mut self.repairs.another),
                positions: self.partitions.positions().into_iter().collect(),
            };
            let mut wanted = self.repairs.unknown.clone();
            if self.repairs.asked.out_of_range || self.repairs.asked.another {
                wanted.extend(self.partitions.all());
            }
            let wanted = wanted.into_iter().collect();
            let landmarks = if self.repairs.asked.another { self.partitions.landmarks() } else { HashMap::new() };
            match Lookup::start(&self.consumer, &self.config, wanted, landmarks, Duration::ZERO) {
                Ok(lookup) => self.repairs.question = Some(lookup),
                Err(_) => self.repairs.forget_question(),
            }
        }
    }

    /// A seek would be simpler, but fails unnoticed where the client has not begun to fetch what it was just given.
    fn move_starts(&mut self) {
        let mut moves = std::mem::take(&mut self.repairs.moves);
        moves.retain(|moved| self.partitions.holds(&moved.at, moved.seen));
        if moves.is_empty() {
            return;
        }
        let moves: Vec<_> = moves.into_iter().map(|moved| (moved.at, moved.to)).collect();
        if let Err(error) = self.reassign(&[], &[], &moves, false) {
            return self.fatal(&format!("start elsewhere refused: {error}"));
        }
        for (at, to) in &moves {
            self.partitions.jump(at, *to);
            self.pause(std::slice::from_ref(at));
        }
    }

    fn repaired(&mut self, answer: Answer) {
        let asked = std::mem::take(&mut self.repairs.asked);
        self.repairs.another |= asked.another && answer.unknown.iter().any(|at| self.partitions.contains(at));
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
            None => self.repairs.unknown.contains(&found.partition),
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
