//! Commits: sent in order, beside the polling, and what their answers mean.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::context::Context;
use crate::domain::reasons::CommitResult;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::Commit;

/// The list for the client. Its offsets are the next ones to read, as Kafka wants them.
fn list(commits: &[Commit]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = list.add_partition(&commit.partition.topic, commit.partition.partition);
        element.set_offset(Offset::Offset(commit.next.0))?;
        element.set_metadata(&commit.metadata); // once for each element: a second call would leak
    }
    Ok(list)
}

/// Sends commits one after another and waits for each answer, on a thread of its own.
///
/// An asynchronous commit of rust-rdkafka 0.39 has no answer: it passes no reply queue and sets no callback of the
/// configuration (`rd_kafka_commit` in `rdkafka_offset.c`), so `commit_callback` only ever hears of automatic commits.
/// A synchronous one waits on a queue of its own. While the polling goes on beside it, it ends; on the polling thread
/// itself it may block for as long as a rebalance lasts.
#[derive(Debug)]
pub(super) struct Committer {
    requests: Sender<Vec<Commit>>,
    answers: Receiver<Answered>,
    open: usize,
}

/// A commit that has ended.
#[derive(Debug)]
pub(super) struct Answered {
    /// What it held.
    pub offsets: Vec<(TopicPartition, NextOffset)>,
    /// How it ended. The client tells an error only when every partition was refused; one that was refused alone is
    /// committed again when its low water moves.
    pub result: CommitResult,
}

impl Committer {
    /// Starts the thread; it ends after the commit under way once this is dropped.
    pub(super) fn start(consumer: Arc<BaseConsumer<Context>>) -> std::io::Result<Self> {
        let (requests, orders) = channel::<Vec<Commit>>();
        let (answer, answers) = channel();
        std::thread::Builder::new().name("kafka-commit".into()).spawn(move || {
            for commits in orders {
                if answer.send(commit(&consumer, commits)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { requests, answers, open: 0 })
    }

    /// Sends a commit behind those under way. Never blocks; the pipeline bounds how many there are.
    pub(super) fn send(&mut self, commits: Vec<Commit>) {
        if self.requests.send(commits).is_ok() {
            self.open += 1;
        }
    }

    /// The next answer that is there.
    pub(super) fn answered(&mut self) -> Option<Answered> {
        let answered = self.answers.try_recv().ok()?;
        self.open -= 1;
        Some(answered)
    }

    /// Commits without an answer.
    pub(super) fn open(&self) -> usize {
        self.open
    }
}

fn commit(consumer: &BaseConsumer<Context>, commits: Vec<Commit>) -> Answered {
    let done = list(&commits).and_then(|list| consumer.commit(&list, CommitMode::Sync));
    let result = match &done {
        Ok(()) => CommitResult::Ok,
        Err(error) => classify(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
    };
    match (&done, result) {
        (Err(error), CommitResult::Failed) => tracing::warn!(target: "kafka", %error, "commit failed"),
        (Err(error), _) => tracing::debug!(target: "kafka", %error, %result, "commit"),
        (Ok(()), _) => {}
    }
    let offsets = commits.into_iter().map(|commit| (commit.partition, commit.next)).collect();
    Answered { offsets, result }
}

/// What an error says about the assignment. Coordinator errors are retried by the client before we see them.
fn classify(code: RDKafkaErrorCode) -> CommitResult {
    use RDKafkaErrorCode as Code;
    match code {
        // Nothing to commit is nothing wrong.
        Code::NoError | Code::NoOffset => CommitResult::Ok,
        Code::RebalanceInProgress => CommitResult::Rebalancing,
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::AssignmentLost
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::State => CommitResult::NotOwner,
        _ => CommitResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_error_says_whether_the_assignment_stays() {
        let table = [
            (RDKafkaErrorCode::NoOffset, CommitResult::Ok),
            (RDKafkaErrorCode::RebalanceInProgress, CommitResult::Rebalancing),
            (RDKafkaErrorCode::IllegalGeneration, CommitResult::NotOwner),
            (RDKafkaErrorCode::UnknownMemberId, CommitResult::NotOwner),
            (RDKafkaErrorCode::FencedInstanceId, CommitResult::NotOwner),
            (RDKafkaErrorCode::CoordinatorNotAvailable, CommitResult::Failed),
            (RDKafkaErrorCode::OffsetMetadataTooLarge, CommitResult::Failed),
        ];
        for (code, result) in table {
            assert_eq!(classify(code), result, "{code:?}");
        }
    }
}
