//! Brokers that refuse, and brokers that go away.

use kafka_once::ports::Intake;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::cluster::Cluster;
use crate::driver::{Driver, offsets};

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

/// The client remembers for minutes that a partition had no leader.
#[test]
fn a_partition_without_leader_keeps_the_others_waiting_for_a_while_only_and_is_begun_once_it_has_one() {
    let cluster = Cluster::mock(1);
    let other = format!("{}-other", cluster.topic);
    cluster.create(&other, 1);
    cluster.produce(0, 10, 100);
    cluster.controls().partition_leader(&cluster.topic, 0, None).expect("no leader");
    let mut config = cluster.config(&[]);
    config.topics.push(other.clone());
    let mut log = Driver::start(config);
    assert_eq!(&*log.begun(1)[0].partition.topic, other, "the one that has a leader");
    cluster.controls().partition_leader(&cluster.topic, 0, Some(1)).expect("a leader");
    let late = log.begun(1);
    assert_eq!((&*late[0].partition.topic, late[0].log_end.0), (cluster.topic.as_str(), 10));
    assert_eq!(log.records(10).len(), 10);
    log.leave();
}

#[test]
fn a_pipeline_that_is_gone_ends_the_thread() {
    let cluster = Cluster::new(1);
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(1);
    log.abandon();
}
