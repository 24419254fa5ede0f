//! Records: all of them, in order, within the bounds, whatever they hold.

use kafka_once::domain::record::{Record, TopicPartition};
use kafka_once::ports::{Intake, LogCommand};

use crate::cluster::Cluster;
use crate::driver::{Driver, offsets, records};
use crate::raw;

fn range(count: usize) -> Vec<i64> {
    (0..i64::try_from(count).expect("a small count")).collect()
}

#[test]
fn every_record_comes_once_and_in_the_order_of_its_partition() {
    let cluster = Cluster::new(4);
    for partition in 0..4 {
        cluster.produce(partition, 700, 100);
    }
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(4);
    let records = log.records(4 * 700);
    for partition in 0..4 {
        assert_eq!(offsets(&records, partition), range(700), "partition {partition}");
    }
    assert_eq!(log.held.sum(), 0);
    log.leave();
}

#[test]
fn a_partition_never_holds_more_open_records_than_its_bound() {
    let cluster = Cluster::new(1);
    cluster.produce(0, 300, 100);
    let mut config = cluster.config(&[]);
    config.max_open = 10;
    let mut log = Driver::start(config);
    log.begun(1);
    let (mut all, mut waiting, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
    while all.len() < 300 {
        match log.next() {
            Intake::Records(taken) => {
                let records = records(taken);
                assert!(log.windows.values().all(|window| window.size() <= 10));
                all.extend(records.clone());
                waiting.extend(records);
            }
            Intake::Bound(_, bound) => {
                bounds.push(bound);
                if bound {
                    log.settle(&std::mem::take(&mut waiting)); // only now: else it may never be reached
                }
            }
            _ => {}
        }
    }
    assert_eq!(offsets(&all, 0), range(300));
    assert_eq!(bounds.first(), Some(&true), "the bound is told");
    assert!(bounds.windows(2).all(|pair| pair[0] != pair[1]), "and each change of it once");
    log.leave();
}

#[test]
fn bytes_held_exceed_their_bound_by_one_record_at_most() {
    let cluster = Cluster::new(2);
    cluster.produce(0, 100, 1_000);
    cluster.produce(1, 100, 1_000);
    let mut config = cluster.config(&[]);
    config.max_held = 10_000;
    let mut log = Driver::start(config);
    log.begun(2);
    let mut all: Vec<Record> = Vec::new();
    let mut waiting: Vec<Record> = Vec::new();
    while all.len() < 200 {
        match log.next() {
            Intake::Records(taken) => {
                let records = records(taken);
                assert!(log.held.sum() < 10_000 + records[0].held_bytes(), "{}", log.held.sum());
                all.extend(records.clone());
                waiting.extend(records);
            }
            Intake::Bound(partitions, true) => {
                assert_eq!(partitions.len(), 2, "the bound is for all");
                log.settle(&std::mem::take(&mut waiting));
            }
            _ => {}
        }
        if all.len() > 190 {
            log.settle(&std::mem::take(&mut waiting)); // the rest does not reach the bound
        }
    }
    assert_eq!((offsets(&all, 0), offsets(&all, 1)), (range(100), range(100)));
    log.leave();
}

#[test]
fn a_paused_partition_goes_on_where_it_was() {
    let cluster = Cluster::new(2);
    cluster.produce(0, 50, 100);
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(2);
    let mut of_first = log.records(50);
    let first = TopicPartition { topic: cluster.topic.as_str().into(), partition: 0 };
    log.say(LogCommand::Pause(vec![first.clone()]));
    log.turns(2);
    cluster.produce(0, 50, 100);
    cluster.produce(1, 50, 100);
    let of_second = log.records(50);
    assert_eq!(offsets(&of_second, 1), range(50), "only the other one's");
    log.say(LogCommand::Resume(vec![first]));
    of_first.extend(log.records(50));
    assert_eq!(offsets(&of_first, 0), range(100));
    log.leave();
}

#[test]
fn a_pipeline_that_takes_nothing_stops_the_reading_but_not_the_polling() {
    let cluster = Cluster::new(2);
    cluster.produce(0, 2_000, 100);
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(2);
    log.turns(60); // the channel is full by then, and the loop goes on turning
    cluster.produce(1, 2_000, 100);
    log.turns(20);
    let open: u64 = log.windows.values().map(|window| window.size()).sum();
    assert!(open <= 4 * 64, "taken in without room for it: {open}");
    let records = log.records(4_000);
    assert_eq!((offsets(&records, 0), offsets(&records, 1)), (range(2_000), range(2_000)));
    log.leave();
}

#[test]
fn a_record_whose_header_name_is_not_utf8_comes_marked_with_what_can_be_read() {
    let cluster = Cluster::new(1);
    raw::produce(&cluster.bootstrap, &cluster.topic, 0, b"bad", &[(b"a", b"1"), (b"\xff\xfe", b"2"), (b"c", b"3")]);
    raw::produce(&cluster.bootstrap, &cluster.topic, 0, b"good", &[(b"a", b"1"), (b"a", b"")]);
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(1);
    let records = log.records(2);
    let seen: Vec<_> = records
        .iter()
        .map(|record| (record.value(), record.unreadable().is_some(), record.headers().collect::<Vec<_>>()))
        .collect();
    let header = |name, value| -> (&[u8], Option<&[u8]>) { (name, Some(value)) };
    let bad = vec![header(b"a", b"1"), header(b"c", b"3")];
    let good = vec![header(b"a", b"1"), header(b"a", b"")];
    assert_eq!(seen, [(Some(&b"bad"[..]), true, bad), (Some(&b"good"[..]), false, good)]);
    log.leave();
}

#[test]
fn ends_of_logs_and_the_brokers_being_there_are_told() {
    let cluster = Cluster::new(1);
    cluster.produce(0, 30, 100);
    let mut log = Driver::start(cluster.config(&[("statistics.interval.ms", "200")]));
    let (mut brokers_up, mut end) = (None, None);
    while brokers_up.is_none() || end != Some(30) {
        match log.next() {
            Intake::BrokerUp(up) => brokers_up = Some(up),
            Intake::Assigned(assigned) => {
                log.say(LogCommand::Begin(vec![(assigned[0].partition.clone(), assigned[0].start)]));
            }
            Intake::Ends(ends) => end = Some(ends[0].end.0),
            _ => {}
        }
    }
    assert_eq!(brokers_up, Some(true));
    log.leave();
}
