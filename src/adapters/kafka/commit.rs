//! Commits: sent in order, beside the polling, and what their answers mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::context::Context;
use super::owned::Register;
use crate::domain::reasons::CommitResult;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::{Assignment, Commit};

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
    requests: Sender<(Assignment, Vec<Commit>)>,
    answers: Receiver<Answered>,
    open: usize,
}

/// Offsets, by how their commit ended.
type Ended = BTreeMap<CommitResult, Vec<(TopicPartition, NextOffset)>>;

/// A commit that has ended.
#[derive(Debug)]
pub(super) struct Answered {
    /// The newest assignment that its order knew.
    pub seen: Assignment,
    /// What it held, by how that ended.
    pub ended: Ended,
}

impl Committer {
    /// Starts the thread; it ends after the commit under way once this is dropped. `ours`: what may be committed.
    pub(super) fn start(consumer: Arc<BaseConsumer<Context>>, ours: Register) -> std::io::Result<Self> {
        let (requests, orders) = channel::<(Assignment, Vec<Commit>)>();
        let (answer, answers) = channel();
        std::thread::Builder::new().name("kafka-commit".into()).spawn(move || {
            for (seen, commits) in orders {
                // Those before it may have taken long: what went away meanwhile is somebody else's to commit.
                let (commits, gone): (Vec<_>, _) =
                    commits.into_iter().partition(|commit| ours.holds(&commit.partition, seen));
                let ended = ended(&commits, gone, |commits| send(&consumer, commits));
                if answer.send(Answered { seen, ended }).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { requests, answers, open: 0 })
    }

    /// Sends a commit behind those under way. Never blocks; the pipeline bounds how many there are.
    pub(super) fn send(&mut self, seen: Assignment, commits: Vec<Commit>) {
        if self.requests.send((seen, commits)).is_ok() {
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

/// Commits what is ours, and says how it ended for each partition.
///
/// A broker may refuse one partition and store the others. The client's answer is then the error of one of them
/// (`rd_kafka_handle_OffsetCommit` in `rdkafka_request.c`), and which offsets were stored it does not tell. So each is
/// committed again, alone: the same offset twice is the same commit.
fn ended(commits: &[Commit], gone: Vec<Commit>, send: impl Fn(&[Commit]) -> Result<(), RDKafkaErrorCode>) -> Ended {
    let mut ended = Ended::new();
    let mut note = |result, commit: Commit| ended.entry(result).or_default().push((commit.partition, commit.next));
    for commit in gone {
        note(CommitResult::NotOwner, commit);
    }
    let whole = if commits.is_empty() { Ok(()) } else { send(commits) };
    for commit in commits.iter().cloned() {
        let done = match whole {
            Err(code) if commits.len() > 1 && is_of_one_partition(code) => send(std::slice::from_ref(&commit)),
            whole => whole,
        };
        note(done.map_or_else(classify, |()| CommitResult::Ok), commit);
    }
    ended
}

fn send(consumer: &BaseConsumer<Context>, commits: &[Commit]) -> Result<(), RDKafkaErrorCode> {
    let done = list(commits).and_then(|list| consumer.commit(&list, CommitMode::Sync));
    done.map_err(|error| {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        match classify(code) {
            CommitResult::Failed => {
                tracing::warn!(target: "kafka", %error, partitions = commits.len(), "commit failed");
            }
            result => tracing::debug!(target: "kafka", %error, %result, "commit"),
        }
        code
    })
}

/// Whether a broker gives this error for single partitions, and not for the group or the request as a whole.
fn is_of_one_partition(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed
            | Code::OffsetMetadataTooLarge
            | Code::InvalidCommitOffsetSize
    )
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

    fn commits(partitions: &[i32]) -> Vec<Commit> {
        let at = |partition| TopicPartition { topic: "t".into(), partition };
        partitions
            .iter()
            .map(|partition| Commit { partition: at(*partition), next: NextOffset(7), metadata: String::new() })
            .collect()
    }

    fn numbers(ended: &Ended) -> Vec<(CommitResult, Vec<i32>)> {
        ended.iter().map(|(result, offsets)| (*result, offsets.iter().map(|(at, _)| at.partition).collect())).collect()
    }

    /// A broker that refuses partition 1 with `code`; of several, the client tells the last error.
    fn refuses_one(code: RDKafkaErrorCode) -> impl Fn(&[Commit]) -> Result<(), RDKafkaErrorCode> {
        move |commits| if commits.iter().any(|one| one.partition.partition == 1) { Err(code) } else { Ok(()) }
    }

    #[test]
    fn one_refused_partition_is_told_from_those_that_were_stored_with_it() {
        let (ok, failed) = (CommitResult::Ok, CommitResult::Failed);
        let unknown = refuses_one(RDKafkaErrorCode::UnknownTopicOrPartition);
        assert_eq!(numbers(&ended(&commits(&[0, 1, 2]), vec![], &unknown)), [(ok, vec![0, 2]), (failed, vec![1])]);
        assert_eq!(numbers(&ended(&commits(&[0, 2]), vec![], &unknown)), [(ok, vec![0, 2])]);
        assert_eq!(numbers(&ended(&commits(&[1]), vec![], &unknown)), [(failed, vec![1])]);
    }

    #[test]
    fn what_a_group_refuses_is_refused_for_all_and_not_asked_again() {
        let asked = std::cell::Cell::new(0);
        let refuse = |_: &[Commit]| {
            asked.set(asked.get() + 1);
            Err(RDKafkaErrorCode::IllegalGeneration)
        };
        assert_eq!(numbers(&ended(&commits(&[0, 1]), vec![], refuse)), [(CommitResult::NotOwner, vec![0, 1])]);
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn what_went_away_before_its_turn_is_not_sent() {
        let only_two = |commits: &[Commit]| {
            assert_eq!(commits.len(), 1);
            Ok(())
        };
        let expected = [(CommitResult::Ok, vec![2]), (CommitResult::NotOwner, vec![0])];
        assert_eq!(numbers(&ended(&commits(&[2]), commits(&[0]), only_two)), expected);
        assert_eq!(numbers(&ended(&[], commits(&[0]), |_| panic!("sent"))), [(CommitResult::NotOwner, vec![0])]);
    }
}
