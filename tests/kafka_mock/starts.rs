//! Where partitions start: what was committed, the policy of a new group, what retention has left.

use kafka_once::adapters::kafka::Start;
use kafka_once::domain::history::History;
use kafka_once::domain::past::Landmark;
use kafka_once::domain::reasons::CommitResult;
use kafka_once::domain::record::{NextOffset, Offset};
use kafka_once::ports::{Intake, LogCommand, Standing};

use crate::cluster::Cluster;
use crate::driver::{Driver, offsets};
use crate::raw;

/// More than the 5 MiB that the mock cluster keeps of a partition, in batches it drops one by one.
fn overflow(cluster: &Cluster) {
    for _ in 0..8 {
        cluster.produce(0, 100, 10_000);
    }
}

#[test]
fn a_new_group_starts_where_it_is_told() {
    for (start, at) in [(Start::Earliest, 0), (Start::Latest, 20)] {
        let cluster = Cluster::new(1);
        cluster.produce(0, 20, 100);
        let mut config = cluster.config(&[]);
        config.start = start;
        let mut log = Driver::start(config);
        let assigned = log.begun(1);
        assert_eq!((assigned[0].start, assigned[0].committed.as_ref()), (NextOffset(at), None), "{start:?}");
        assert_eq!((assigned[0].log_start, assigned[0].log_end), (NextOffset(0), NextOffset(20)));
        cluster.produce(0, 1, 100);
        assert_eq!(offsets(&log.records(1), 0)[0], at, "{start:?}");
        log.leave();
    }
}

#[test]
fn a_partition_that_an_old_group_has_never_seen_is_read_from_its_beginning() {
    let cluster = Cluster::new(2);
    cluster.produce(0, 20, 100);
    cluster.produce(1, 20, 100);
    raw::commit(&cluster.bootstrap, &cluster.group, &cluster.topic, 0, 15, b"");
    let mut config = cluster.config(&[]);
    config.start = Start::Latest;
    let mut log = Driver::start(config);
    let starts: Vec<_> = log.begun(2).into_iter().map(|one| one.start).collect();
    assert_eq!(starts, [NextOffset(15), NextOffset(0)]);
    log.leave();
}

#[test]
fn a_commit_and_its_metadata_are_read_back_by_the_next_owner() {
    let cluster = Cluster::new(1);
    cluster.produce(0, 20, 100);
    let mut first = Driver::start(cluster.config(&[]));
    let assigned = first.begun(1);
    assert_eq!(first.commit(&assigned[0].partition, 7, "once1:aa:bb"), CommitResult::Ok);
    first.leave();
    let mut second = Driver::start(cluster.config(&[]));
    let assigned = second.begun(1);
    assert_eq!(assigned[0].committed, Some((NextOffset(7), "once1:aa:bb".to_owned())));
    assert_eq!(offsets(&second.records(13), 0).first(), Some(&7));
    second.leave();
}

#[test]
fn metadata_of_another_tool_that_is_not_utf8_is_no_metadata_of_ours() {
    let cluster = Cluster::new(1);
    cluster.produce(0, 20, 100);
    raw::commit(&cluster.bootstrap, &cluster.group, &cluster.topic, 0, 5, b"\xff\x00\xfe");
    let mut log = Driver::start(cluster.config(&[]));
    let (next, metadata) = log.begun(1).remove(0).committed.expect("an offset");
    assert_eq!(next, NextOffset(5));
    assert_eq!(History::from_metadata(&metadata), None); // Kafka itself replaces such bytes, the mock cluster does not
    log.leave();
}

#[test]
fn an_offset_above_the_end_of_its_log_starts_at_the_beginning_and_says_both() {
    let cluster = Cluster::new(1);
    cluster.produce(0, 20, 100);
    raw::commit(&cluster.bootstrap, &cluster.group, &cluster.topic, 0, 500, b"");
    let mut log = Driver::start(cluster.config(&[]));
    let assigned = log.begun(1).remove(0);
    assert_eq!(assigned.committed, Some((NextOffset(500), String::new())));
    assert_eq!((assigned.start, assigned.log_end), (NextOffset(0), NextOffset(20)));
    log.leave();
}

#[test]
fn records_deleted_before_they_were_read_are_seen_at_assignment() {
    let cluster = Cluster::mock(1);
    overflow(&cluster);
    raw::commit(&cluster.bootstrap, &cluster.group, &cluster.topic, 0, 3, b"");
    let mut log = Driver::start(cluster.config(&[]));
    let assigned = log.begun(1).remove(0);
    assert_eq!(assigned.committed, Some((NextOffset(3), String::new())));
    assert!(assigned.log_start > NextOffset(3), "the mock cluster has dropped something");
    assert_eq!((assigned.start, assigned.log_end), (assigned.log_start, NextOffset(800)));
    assert_eq!(offsets(&log.records(1), 0)[0], assigned.log_start.0);
    log.leave();
}

#[test]
fn records_deleted_while_their_partition_waits_are_seen_and_reading_goes_on_behind_them() {
    for strategy in ["cooperative-sticky", "range"] {
        let cluster = Cluster::mock(1);
        cluster.produce(0, 20, 100);
        let mut config = cluster.config(&[("partition.assignment.strategy", strategy)]);
        config.max_open = 10;
        let mut log = Driver::start(config);
        log.begun(1);
        let open = log.batch();
        assert_eq!(offsets(&open, 0), (0..10).collect::<Vec<_>>(), "at its bound");
        log.until(|said| matches!(said, Intake::Bound(_, true)).then_some(()));
        overflow(&cluster);
        log.settle(&open); // and on with what is not there any more
        let (from, to) = log.until(|said| match said {
            Intake::Jumped { from, to, .. } => Some((from, to)),
            Intake::Lost(partitions) => panic!("{partitions:?} went away, with what is open"),
            _ => None,
        });
        assert!(from == NextOffset(10) && to > from, "{strategy}: {from:?} {to:?}");
        assert_eq!(offsets(&log.records(1), 0)[0], to.0, "{strategy}");
        log.leave();
    }
}

#[test]
fn a_look_says_whether_a_record_stands_where_it_stood_and_where_its_log_begins_and_ends() {
    let cluster = Cluster::mock(1);
    overflow(&cluster);
    let mut log = Driver::start(cluster.config(&[]));
    let assigned = log.begun(1).remove(0);
    let edges = (assigned.log_start, NextOffset(800));
    assert!(edges.0 > NextOffset(0), "the mock cluster has dropped something");
    let known = log.records(1)[0].position();
    let (offset, timestamp) = (known.offset, known.timestamp);
    for (offset, timestamp, standing) in [
        (offset, timestamp, Standing::Same),
        (offset, timestamp + 1, Standing::Other),
        (Offset(800), timestamp, Standing::Other),
        (Offset(0), timestamp, Standing::Unclear),
    ] {
        log.say(LogCommand::Look(assigned.partition.clone(), Landmark { offset, timestamp }));
        let looked = log.until(|said| match said {
            Intake::Looked(looked) => Some(looked),
            _ => None,
        });
        assert_eq!((looked.standing, looked.log), (standing, edges), "{offset:?} {timestamp}");
    }
    log.leave();
}
