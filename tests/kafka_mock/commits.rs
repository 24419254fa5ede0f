//! Commits that are refused, and commits that are not answered: what they mean, and that the polling goes on.

use std::time::Duration;

use kafka_once::domain::reasons::CommitResult;
use kafka_once::domain::record::NextOffset;
use kafka_once::ports::{Assigned, Commit, Intake, LogCommand};
use rdkafka::mocking::MockCoordinator;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Error};

use crate::cluster::Cluster;
use crate::driver::{Driver, offsets};

#[test]
fn a_commit_refused_for_its_generation_loses_the_assignment_and_joins_again() {
    for error in [Error::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, Error::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION] {
        let cluster = Cluster::mock(1);
        cluster.produce(0, 20, 100);
        let mut log = Driver::start(cluster.config(&[]));
        let assigned = log.begun(1);
        log.records(20);
        cluster.controls().request_errors(RDKafkaApiKey::OffsetCommit, &[error]);
        let at = assigned[0].partition.clone();
        let commit = Commit { partition: at.clone(), next: NextOffset(20), metadata: String::new() };
        log.say(LogCommand::Commit(vec![commit]));
        let (mut refused, mut lost) = (None, None); // either may come first
        while refused.is_none() || lost.is_none() {
            match log.next() {
                Intake::Committed { result, .. } => refused = Some(result),
                Intake::Lost(partitions) => lost = Some(partitions),
                _ => {}
            }
        }
        assert_eq!((refused, lost), (Some(CommitResult::NotOwner), Some(vec![at])), "{error:?}");
        let again = log.begun(1);
        assert_eq!((again[0].committed.as_ref(), again[0].start.0), (None, 0), "{error:?}");
        assert_eq!(offsets(&log.records(20), 0).first(), Some(&0), "{error:?}");
        log.leave();
    }
}

/// More than the client tries a commit by itself.
const ALWAYS: usize = 20;

#[test]
fn a_commit_refused_for_any_other_reason_keeps_the_assignment_and_the_next_one_is_taken() {
    use CommitResult::{Failed, Ok, Rebalancing};
    let cluster = Cluster::mock(1);
    let mut log = Driver::start(cluster.config(&[]));
    let assigned = log.begun(1);
    let table = [
        (Error::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 1, Rebalancing),
        // These are the client's own to try again; when that does not help, we hear of it.
        (Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 1, Ok),
        (Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, ALWAYS, Failed),
        (Error::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, 1, Ok),
        (Error::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, ALWAYS, Failed),
        (Error::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 1, Ok),
        (Error::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, ALWAYS, Failed),
        (Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, 1, Ok),
        (Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, ALWAYS, Failed),
        (Error::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ALWAYS, Failed),
        (Error::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1, Failed),
        (Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, Failed),
        (Error::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID, 1, Failed),
        (Error::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, 1, Failed),
        (Error::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE, 1, Failed),
        (Error::RD_KAFKA_RESP_ERR_UNKNOWN, 1, Failed),
    ];
    let mut next = 0;
    for (error, times, expected) in table {
        cluster.controls().request_errors(RDKafkaApiKey::OffsetCommit, &vec![error; times]);
        assert_eq!(kept(&cluster, &mut log, &assigned[0], next), expected, "{error:?}, {times} times");
        cluster.controls().clear_request_errors(RDKafkaApiKey::OffsetCommit);
        assert_eq!(log.commit(&assigned[0].partition, next, ""), Ok, "after {error:?}");
        next += 5;
    }
    log.leave();
}

/// Commits `next`, and reads five more records, the next ones; what the commit came to.
fn kept(cluster: &Cluster, log: &mut Driver, assigned: &Assigned, next: i64) -> CommitResult {
    let at = assigned.partition.clone();
    log.say(LogCommand::Commit(vec![Commit { partition: at, next: NextOffset(next), metadata: String::new() }]));
    cluster.produce(0, 5, 100);
    let (mut answer, mut read) = (None, Vec::new());
    while answer.is_none() || read.len() < 5 {
        match log.next() {
            Intake::Committed { result, .. } => answer = Some(result),
            Intake::Records(taken) => {
                let records = crate::driver::records(taken);
                log.settle(&records);
                read.extend(offsets(&records, 0));
            }
            Intake::Lost(partitions) | Intake::Revoking(partitions) => panic!("{partitions:?} went away"),
            Intake::Fatal(reason) | Intake::Refused(reason) => panic!("the end: {reason}"),
            _ => {}
        }
    }
    assert_eq!(read, (next..next + 5).collect::<Vec<_>>(), "reading went on where it was");
    answer.expect("an answer")
}

#[test]
fn a_commit_refused_because_we_are_fenced_is_fatal_and_says_so() {
    let cluster = Cluster::mock(1);
    let mut log = Driver::start(cluster.config(&[("group.instance.id", "one")]));
    let assigned = log.begun(1);
    cluster.controls().request_errors(RDKafkaApiKey::OffsetCommit, &[Error::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID]);
    let at = assigned[0].partition.clone();
    log.say(LogCommand::Commit(vec![Commit { partition: at, next: NextOffset(0), metadata: String::new() }]));
    let (mut answer, mut fatal) = (None, None); // either may come first
    while answer.is_none() || fatal.is_none() {
        match log.next() {
            Intake::Committed { result, .. } => answer = Some(result),
            Intake::Fatal(reason) => fatal = Some(reason),
            _ => {}
        }
    }
    assert_eq!(answer, Some(CommitResult::NotOwner));
    let reason = fatal.unwrap_or_default();
    assert!(reason.contains("fenced"), "{reason}");
    log.leave();
}

#[test]
fn a_commit_without_an_answer_stops_neither_the_polling_nor_the_reading_nor_the_end() {
    let cluster = Cluster::mock_of(2, 1);
    let controls = cluster.controls();
    controls.partition_leader(&cluster.topic, 0, Some(1)).expect("a leader");
    controls.coordinator(MockCoordinator::Group(cluster.group.clone()), 2).expect("a coordinator");
    let mut log = Driver::start(cluster.config(&[("session.timeout.ms", "60000")]));
    let assigned = log.begun(1);
    controls.broker_round_trip_time(2, Duration::from_secs(30)).expect("a slow coordinator");
    let at = assigned[0].partition.clone();
    log.say(LogCommand::Commit(vec![Commit { partition: at, next: NextOffset(0), metadata: String::new() }]));
    log.turns(200);
    cluster.produce(0, 20, 100);
    let mut read = Vec::new();
    while read.len() < 20 {
        match log.next() {
            Intake::Records(taken) => read.extend(crate::driver::records(taken)),
            Intake::Committed { result, .. } => panic!("{result:?}, though the coordinator does not answer"),
            _ => {}
        }
    }
    log.turns(200);
    log.leave(); // bounded, though the coordinator still does not answer
}
