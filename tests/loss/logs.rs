//! Logs that are other ones than before, or only look so: topics made anew, offsets that expired, holes in offsets.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{self, Record, topics};
use crate::told::{QUICK, await_all, gaps, incidents, lost, said, stop, whole, with};

/// Records without an ID: theirs is made from where they stand.
fn plain(topic: &str, name: &str, count: usize) -> Vec<Record> {
    (0..count).map(|number| Record::new(topic, format!("{name} {number}")).partition(0)).collect()
}

fn remake(scene: &Scene) {
    topics::delete(&scene.bootstrap, &scene.topic).expect("deleted");
    topics::await_gone(&scene.bootstrap, &scene.topic, PATIENCE).expect("gone");
    topics::create(&scene.bootstrap, &scene.topic, 1, 1, &[]).expect("made anew");
}

fn nothing_lost(metrics: &Metrics) -> bool {
    ["sequence", "retention", "truncation"].iter().all(|cause| lost(metrics, cause) == 0)
}

/// A topic that is made anew while nothing runs, with so many records in it.
fn made_anew(name: &str, records: usize, counted: u64) {
    let Some(scene) = Scene::new(Ground::Real, name, 1) else { return };
    let first = scene.sidecar(&QUICK);
    scene.produce(&plain(&scene.topic, "old", 50));
    await_all(&scene, 50);
    stop(&first);
    remake(&scene);
    scene.produce(&plain(&scene.topic, "new", records));
    let second = scene.sidecar(&QUICK);
    await_all(&scene, 50 + records);
    let metrics = second.metrics().expect("a scrape");
    assert_eq!((lost(&metrics, "truncation"), lost(&metrics, "retention")), (counted, 0));
    let told = incidents(&second);
    assert!(matches!(&told[..], [(cause, _)] if cause == "truncation"), "{told:?}");
    let doubt = whole(metrics.sum("kafka_once_possible_repeats_total", &[]));
    assert_eq!(doubt, 0, "its records are new ones, and that is known");
    stop(&second);
}

#[test]
fn a_topic_made_anew_with_fewer_records_is_read_from_its_beginning_and_told() {
    made_anew("anew-fewer", 20, 30);
}

#[test]
fn a_topic_made_anew_with_more_records_is_read_from_its_beginning_and_told() {
    made_anew("anew-more", 80, 0);
}

#[test]
fn a_committed_offset_does_not_hide_that_the_log_is_another_one() {
    let Some(scene) = Scene::new(Ground::Real, "anew-committed", 1) else { return };
    let first = scene.sidecar(&QUICK);
    scene.produce(&plain(&scene.topic, "old", 50));
    await_all(&scene, 50);
    stop(&first);
    let committed = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits")[&0].clone();
    remake(&scene);
    scene.produce(&plain(&scene.topic, "new", 80));
    // As if it had landed just after the topic was made anew.
    topics::commit(&scene.bootstrap, &scene.group, &scene.topic, 0, &committed).expect("committed");
    let second = scene.sidecar(&QUICK);
    await_all(&scene, 130);
    let metrics = second.metrics().expect("a scrape");
    let told = incidents(&second);
    assert!(matches!(&told[..], [(cause, _)] if cause == "truncation"), "{told:?}");
    let doubt = whole(metrics.sum("kafka_once_possible_repeats_total", &[]));
    assert_eq!(doubt, 80, "with the offset there, who knows what was handled");
    stop(&second);
}

#[test]
fn a_topic_made_anew_under_a_running_sidecar_is_read_from_its_beginning_and_told() {
    let Some(scene) = Scene::new(Ground::Real, "anew-running", 1) else { return };
    let sidecar = scene.sidecar(&with(&[("ONCE_KAFKA_PROPERTY_TOPIC_METADATA_REFRESH_INTERVAL_MS", "1000")]));
    scene.produce(&plain(&scene.topic, "old", 50));
    await_all(&scene, 50);
    remake(&scene);
    scene.produce(&plain(&scene.topic, "new", 20));
    scene.await_applied(70);
    sidecar.await_metrics(PATIENCE, |_| !incidents(&sidecar).is_empty()).expect("it is told");
    let told = incidents(&sidecar);
    assert!(told.iter().all(|(cause, _)| cause == "truncation"), "{told:?}");
    scene.await_committed();
    stop(&sidecar);
}

#[test]
fn a_group_whose_offsets_are_gone_goes_on_behind_its_last_settled_record() {
    let Some(scene) = Scene::new(Ground::Real, "offsets-gone", 1) else { return };
    // Even where new groups start at the end: this one is none.
    let latest = with(&[("ONCE_START", "latest")]);
    let first = scene.sidecar(&QUICK);
    scene.produce(&plain(&scene.topic, "early", 50));
    await_all(&scene, 50);
    stop(&first);
    topics::delete_group(&scene.bootstrap, &scene.group).expect("deleted");
    scene.produce(&plain(&scene.topic, "late", 10));
    let second = scene.sidecar(&latest);
    await_all(&scene, 60);
    let metrics = second.metrics().expect("a scrape");
    assert_eq!(whole(metrics.sum("kafka_once_records_received_total", &[])), 10, "what was settled is not read again");
    assert!(nothing_lost(&metrics), "{metrics:?}");
    assert_eq!(said(&[&second], "the group's offset is gone").len(), 1);
    stop(&second);
}

#[test]
fn a_log_that_ends_below_the_committed_offset_is_told_and_read_from_its_beginning() {
    let Some(scene) = Scene::new(Ground::Real, "truncated", 1) else { return };
    let first = scene.sidecar(&QUICK);
    scene.produce(&plain(&scene.topic, "early", 50));
    await_all(&scene, 50);
    stop(&first);
    let mut committed = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits")[&0].clone();
    committed.next = 1_000;
    topics::commit(&scene.bootstrap, &scene.group, &scene.topic, 0, &committed).expect("committed");
    let second = scene.sidecar(&QUICK);
    scene.produce(&plain(&scene.topic, "late", 5));
    await_all(&scene, 55);
    let metrics = second.metrics().expect("a scrape");
    assert!((945..=950).contains(&lost(&metrics, "truncation")), "above the end as it was then: {metrics:?}");
    let sent = scene.ledger.with(|records| records.requests.len());
    assert_eq!(sent, 55, "what was handled before is read again, and not forwarded");
    stop(&second);
}

#[test]
fn holes_in_offsets_by_aborted_transactions_and_markers_are_no_loss() {
    let Some(scene) = Scene::new(Ground::Real, "aborted", 1) else { return };
    let sidecar = scene.sidecar(&QUICK);
    let mut config = topics::client(&scene.bootstrap);
    let producer: BaseProducer = config.set("transactional.id", &scene.topic).create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("transactions");
    let mut number = 0;
    for commits in [true, false, true, false, true] {
        producer.begin_transaction().expect("begun");
        for _ in 0..10 {
            let value = format!("{number} {commits}");
            let record: BaseRecord<'_, (), str> = BaseRecord::to(&scene.topic).partition(0).payload(&value);
            let headers = rdkafka::message::OwnedHeaders::new();
            let sequence = number.to_string();
            let header = |key, value| rdkafka::message::Header { key, value: Some(value) };
            let headers = headers.insert(header("producer-id", "a")).insert(header("sequence", sequence.as_str()));
            producer.send(record.headers(headers)).map_err(|(error, _)| error).expect("sent");
            number += usize::from(commits);
        }
        producer.flush(PATIENCE).expect("the broker has them");
        let ended = if commits { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
        ended.expect("ended");
    }
    scene.await_applied(30);
    let settled = |metrics: &Metrics| whole(metrics.sum("kafka_once_records_settled_total", &[])) == 30;
    let metrics = sidecar.await_metrics(PATIENCE, settled).expect("all are settled");
    assert!(nothing_lost(&metrics), "{metrics:?}");
    assert_eq!(gaps(&sidecar), []);
    stop(&sidecar);
}

/// A topic that is compacted soon and often, with this kind of timestamps.
fn compacted(scene: &Scene, timestamps: &str) -> String {
    let topic = format!("{}-compacted", scene.topic);
    let compaction = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "50"),
        ("max.compaction.lag.ms", "100"),
        ("message.timestamp.type", timestamps),
    ];
    topics::create(&scene.bootstrap, &topic, 1, 1, &compaction).expect("a topic");
    topic
}

fn keyed(topic: &str, key: &str, value: &str) -> Record {
    Record::new(topic, value).partition(0).key(key)
}

/// Produces such records until compaction has come so far; the offsets that are left.
fn await_compaction(scene: &Scene, topic: &str, record: &Record, far: impl Fn(&[i64]) -> bool) -> Vec<i64> {
    // A segment is closed by the next record after its time; the cleaner comes by itself.
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        scene.produce_to(topic, vec![record.clone()]);
        let left = topics::read_all(&scene.bootstrap, topic).expect("records");
        let offsets: Vec<i64> = left.iter().map(|record| record.offset).collect();
        if far(&offsets) {
            return offsets;
        }
        assert!(std::time::Instant::now() < end, "never compacted");
        std::thread::sleep(Duration::from_millis(200)); // paces the looks
    }
}

fn caught_up(metrics: &Metrics) -> bool {
    metrics.sum("kafka_once_records_received_total", &[]) > 0.5
        && metrics.sum("kafka_once_open_records", &[]) < 0.5
        && metrics.sum("kafka_once_partition_lag", &[]) < 0.5
}

#[test]
fn holes_in_offsets_by_compaction_are_no_loss() {
    let Some(scene) = Scene::new(Ground::Real, "unused", 1) else { return };
    let topic = compacted(&scene, "CreateTime");
    let record = |number: usize| keyed(&topic, &format!("key {}", number % 5), &format!("{number}"));
    scene.produce_to(&topic, (0..200).map(record).collect());
    let holes = |offsets: &[i64]| offsets.windows(2).any(|pair| pair[1] - pair[0] > 10);
    let left = await_compaction(&scene, &topic, &record(200), holes);
    let sidecar = scene.sidecar(&with(&[("ONCE_KAFKA_TOPICS", topic.clone().leak())]));
    scene.ledger.await_applied(left.len().min(5), PATIENCE);
    let metrics = sidecar.await_metrics(PATIENCE, caught_up).expect("read to its end");
    assert!(nothing_lost(&metrics), "{metrics:?}");
    assert_eq!(incidents(&sidecar), []);
    stop(&sidecar);
}

/// A group whose offsets are gone, and whose last settled record was compacted away; what its next sidecar made of it.
fn settled_and_compacted_away(name: &str, timestamps: &str, judge: impl Fn(&support::Sidecar, &Metrics)) {
    let Some(scene) = Scene::new(Ground::Real, name, 1) else { return };
    let topic = compacted(&scene, timestamps);
    let settings = with(&[("ONCE_KAFKA_TOPICS", topic.clone().leak())]);
    let first = scene.sidecar(&settings);
    // One that stays, and others that will go: the last one of the last segment never does.
    scene.produce_to(&topic, vec![keyed(&topic, "stays", "early"), keyed(&topic, "goes", "early")]);
    scene.ledger.await_applied(2, PATIENCE);
    first.await_metrics(PATIENCE, caught_up).expect("read to its end");
    stop(&first);
    topics::delete_group(&scene.bootstrap, &scene.group).expect("deleted");
    let gone = |offsets: &[i64]| offsets.contains(&0) && !offsets.contains(&1);
    await_compaction(&scene, &topic, &keyed(&topic, "goes", "late"), gone);
    let second = scene.sidecar(&settings);
    let metrics = second.await_metrics(PATIENCE, caught_up).expect("read to its end");
    judge(&second, &metrics);
    stop(&second);
}

#[test]
fn a_settled_record_that_compaction_took_does_not_make_its_log_another_one_where_the_brokers_clock_tells() {
    settled_and_compacted_away("compacted-append", "LogAppendTime", |sidecar, metrics| {
        assert_eq!(said(&[sidecar], "the group's offset is gone").len(), 1);
        assert!(nothing_lost(metrics), "{metrics:?}");
        assert_eq!(incidents(sidecar), []);
        let again = whole(metrics.sum("kafka_once_duplicates_total", &[]));
        assert_eq!(again, 0, "what was settled is not read again");
    });
}

#[test]
fn where_only_producers_say_the_time_a_settled_record_that_is_gone_is_told_and_nothing_is_passed_over() {
    settled_and_compacted_away("compacted-create", "CreateTime", |sidecar, metrics| {
        assert_eq!(said(&[sidecar], "the last settled record is gone").len(), 1);
        let told = incidents(sidecar);
        assert!(matches!(&told[..], [(cause, _)] if cause == "truncation"), "{told:?}");
        let again = whole(metrics.sum("kafka_once_duplicates_total", &[]));
        assert_eq!(again, 1, "the one that stays is read again, and known");
    });
}
