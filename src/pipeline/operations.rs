//! What operators ask: pause, resume, drain.

use super::Pipeline;
use crate::domain::life::{Event, State};
use crate::domain::reasons::PauseReason;
use crate::domain::record::TopicPartition;
use crate::ports::{App, Claims, DeadLetters, NotAssigned, Operation, Scope};

/// The pauses that wait for an operator; `POST /resume` ends them.
const FOR_OPERATORS: [PauseReason; 5] = [
    PauseReason::Operator,
    PauseReason::HistoryLost,
    PauseReason::Loss,
    PauseReason::DeadLetterTopicUnset,
    PauseReason::DeadLetterBudget,
];

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Does what is asked; whoever asked hears of it when `/status` and the log's thread know it too.
    pub(super) fn operate(&mut self, operation: Operation) {
        let (outcome, reply) = match operation {
            Operation::Pause { scope, reply } => (self.pause_scope(&scope), reply),
            Operation::Resume { scope, reply } => (self.resume_scope(&scope), reply),
            Operation::Drain { reply } => return self.drain_for(reply),
        };
        self.tell_pauses();
        self.publish();
        let _ = reply.send(outcome); // who asked may have gone
    }

    fn pause_scope(&mut self, scope: &Scope) -> Result<(), NotAssigned> {
        let words = "an operator asked for it";
        if *scope == Scope::All {
            tracing::info!("paused by an operator");
            self.pause_all(PauseReason::Operator, words.to_owned());
            return Ok(());
        }
        for partition in self.partitions_in(scope)? {
            tracing::info!(topic = %partition.topic, partition = partition.partition, "paused by an operator");
            self.pause(&partition, PauseReason::Operator, words.to_owned());
        }
        Ok(())
    }

    fn resume_scope(&mut self, scope: &Scope) -> Result<(), NotAssigned> {
        tracing::info!("resumed by an operator");
        let partitions = self.partitions_in(scope)?;
        for reason in FOR_OPERATORS {
            if *scope == Scope::All {
                self.unpause_all(reason);
            }
            for partition in &partitions {
                self.unpause(partition, reason);
            }
        }
        self.history_accepted(scope, &partitions);
        self.loss_accepted(&partitions);
        self.budget_restored();
        let homes: Vec<u32> = partitions.iter().filter_map(|partition| self.homes.index(partition)).collect();
        let blocked = self.table.tokens(|entry| {
            matches!(entry.life.state, State::Blocked { .. }) && entry.home.is_some_and(|home| homes.contains(&home))
        });
        let again = if self.letters.is_some() { Event::Probe } else { Event::Unblock };
        for token in blocked {
            self.live(token, again);
        }
        Ok(())
    }

    fn partitions_in(&self, scope: &Scope) -> Result<Vec<TopicPartition>, NotAssigned> {
        let inside = |partition: &TopicPartition| match scope {
            Scope::All => true,
            Scope::Topic(topic) => partition.topic == *topic,
            Scope::Partition(one) => partition == one,
        };
        let found: Vec<TopicPartition> = self.homes.iter().map(|home| home.partition.clone()).filter(inside).collect();
        if found.is_empty() && *scope != Scope::All { Err(NotAssigned) } else { Ok(found) }
    }
}
