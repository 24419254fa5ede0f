//! Brokers that refuse, and brokers that go away.

use kafka_once::domain::reasons::CommitResult;
use kafka_once::domain::record::NextOffset;
use kafka_once::ports::{Commit, Intake, LogCommand};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::cluster::Cluster;
use crate::driver::{Driver, offsets};

#[test]
fn a_commit_refused_for_its_generation_loses_the_assignment_and_joins_again() {
    use RDKafkaRespErr as Error;
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

#[test]
fn a_commit_refused_for_a_rebalance_keeps_the_assignment() {
    let cluster = Cluster::mock(1);
    let mut log = Driver::start(cluster.config(&[]));
    let assigned = log.begun(1);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    cluster.controls().request_errors(RDKafkaApiKey::OffsetCommit, &[error]);
    assert_eq!(log.commit(&assigned[0].partition, 0, ""), CommitResult::Rebalancing);
    assert_eq!(log.commit(&assigned[0].partition, 0, ""), CommitResult::Ok);
    log.leave();
}

#[test]
fn brokers_that_go_away_are_told_and_reading_goes_on_when_they_are_back() {
    let cluster = Cluster::mock(1);
    cluster.produce(0, 10, 100);
    let mut log = Driver::start(cluster.config(&[("statistics.interval.ms", "200")]));
    log.begun(1);
    log.records(10);
    let up = |said| match said {
        Intake::BrokerUp(up) => Some(up),
        _ => None,
    };
    cluster.controls().broker_down(-1).expect("a broker down");
    assert!(!log.until(up));
    cluster.controls().broker_up(-1).expect("a broker up");
    assert!(log.until(up));
    cluster.produce(0, 10, 100);
    assert_eq!(offsets(&log.records(10), 0), (10..20).collect::<Vec<_>>());
    log.leave();
}

#[test]
fn a_group_that_we_may_not_join_refuses_us() {
    let cluster = Cluster::mock(1);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 50];
    cluster.controls().request_errors(RDKafkaApiKey::JoinGroup, &refused);
    let mut log = Driver::start(cluster.config(&[]));
    let reason = log.until(|said| match said {
        Intake::Refused(reason) => Some(reason),
        _ => None,
    });
    assert!(reason.to_lowercase().contains("authorization"), "{reason}");
    log.leave();
}

#[test]
fn start_positions_are_asked_for_until_there_is_an_answer() {
    let cluster = Cluster::mock(2);
    cluster.produce(0, 10, 100);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE;
    cluster.controls().request_errors(RDKafkaApiKey::ListOffsets, &[error; 3]);
    let mut log = Driver::start(cluster.config(&[]));
    assert_eq!(log.begun(2)[0].log_end.0, 10);
    log.leave();
}

#[test]
fn a_pipeline_that_is_gone_ends_the_thread() {
    let cluster = Cluster::new(1);
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(1);
    log.abandon();
}
