//! Commits: the list that is sent, and what its answer means.

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::domain::reasons::CommitResult;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::Commit;

/// The list for the client. Its offsets are the next ones to read, as Kafka wants them.
pub(super) fn list(commits: &[Commit]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = list.add_partition(&commit.partition.topic, commit.partition.partition);
        element.set_offset(Offset::Offset(commit.next.0))?;
        element.set_metadata(&commit.metadata); // once for each element: a second call would leak
    }
    Ok(list)
}

/// What an answered commit held, with the result of each partition, grouped by result.
pub(super) fn answered(
    result: &KafkaResult<()>,
    list: &TopicPartitionList,
) -> Vec<(Vec<(TopicPartition, NextOffset)>, CommitResult)> {
    let whole = result.as_ref().err().and_then(KafkaError::rdkafka_error_code);
    let mut groups: Vec<(Vec<_>, CommitResult)> = Vec::new();
    for element in list.elements() {
        let Offset::Offset(next) = element.offset() else { continue };
        let own = element.error().err().and_then(|error| error.rdkafka_error_code());
        let result = classify(own.or(whole));
        let at = TopicPartition { topic: element.topic().into(), partition: element.partition() };
        match groups.iter_mut().find(|(_, known)| *known == result) {
            Some((offsets, _)) => offsets.push((at, NextOffset(next))),
            None => groups.push((vec![(at, NextOffset(next))], result)),
        }
    }
    groups
}

/// What an error says about the assignment. Coordinator errors are retried by the client before we see them.
pub(super) fn classify(code: Option<RDKafkaErrorCode>) -> CommitResult {
    use RDKafkaErrorCode as Code;
    match code {
        // Nothing to commit is nothing wrong.
        None | Some(Code::NoError | Code::NoOffset) => CommitResult::Ok,
        Some(Code::RebalanceInProgress) => CommitResult::Rebalancing,
        Some(
            Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::AssignmentLost
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::StaleMemberEpoch
            | Code::State,
        ) => CommitResult::NotOwner,
        Some(_) => CommitResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_error_says_whether_the_assignment_stays() {
        let table = [
            (None, CommitResult::Ok),
            (Some(RDKafkaErrorCode::NoOffset), CommitResult::Ok),
            (Some(RDKafkaErrorCode::RebalanceInProgress), CommitResult::Rebalancing),
            (Some(RDKafkaErrorCode::IllegalGeneration), CommitResult::NotOwner),
            (Some(RDKafkaErrorCode::UnknownMemberId), CommitResult::NotOwner),
            (Some(RDKafkaErrorCode::FencedInstanceId), CommitResult::NotOwner),
            (Some(RDKafkaErrorCode::CoordinatorNotAvailable), CommitResult::Failed),
            (Some(RDKafkaErrorCode::OffsetMetadataTooLarge), CommitResult::Failed),
        ];
        for (code, result) in table {
            assert_eq!(classify(code), result, "{code:?}");
        }
    }

    #[test]
    fn an_error_of_the_whole_request_is_every_partitions() {
        let at = |partition| TopicPartition { topic: "t".into(), partition };
        let commit =
            |partition, next| Commit { partition: at(partition), next: NextOffset(next), metadata: "m".into() };
        let list = list(&[commit(0, 3), commit(1, 5)]).expect("valid offsets");
        let both = vec![(at(0), NextOffset(3)), (at(1), NextOffset(5))];
        assert_eq!(answered(&Ok(()), &list), [(both.clone(), CommitResult::Ok)]);
        let refused = Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId));
        assert_eq!(answered(&refused, &list), [(both, CommitResult::NotOwner)]);
    }
}
