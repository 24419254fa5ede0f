//! `kafka-once audit` where offsets have holes: transactions, compaction, retention; and where its own bounds are.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use kafka_once::adapters::kafka::{Seen, TopicReader, Wanted, Window};
use serde_json::json;

use crate::audit::{numbered, report, run, send, topic};
use crate::support::scene::PATIENCE;
use crate::support::{self, Producer, Record, topics};

#[path = "../kafka_mock/raw.rs"]
#[allow(dead_code)] // a part of it is enough here
mod raw;

#[test]
fn aborted_transactions_and_markers_are_no_gaps_and_the_audit_ends_behind_them() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "aborted", 1, &[]);
    let producer = Producer::transactional(&kafka.bootstrap(), &topic).expect("a producer");
    let send = |numbers: std::ops::Range<u64>| {
        producer.begin().expect("begun");
        producer.send(numbers.map(|number| numbered(&topic, 0, "p", number))).expect("sent");
    };
    send(0..10);
    producer.commit().expect("committed");
    send(10..20);
    producer.abort().expect("aborted");
    send(10..20); // the same ones again, by their IDs too
    producer.commit().expect("committed");
    send(20..30);
    producer.abort().expect("aborted"); // nothing to read at the end of the log

    let (code, found) = report(kafka, &topic, &[], &[]);
    assert_eq!(code, 0, "{found:#}");
    let (total, partition) = (&found["total"], &found["partitions"][0]);
    assert_eq!((&total["records"], &total["duplicates"], &total["repeated"]), (&json!(20), &json!(0), &json!(0)));
    assert_eq!(partition["end"], json!(44), "40 records and 4 markers: {partition:#}");

    send(20..30); // left open: it is not read, nor waited for
    let (code, found) = report(kafka, &topic, &[], &[]);
    assert_eq!((code, &found["total"]["records"]), (0, &json!(20)), "{found:#}");
    producer.abort().expect("aborted");
}

#[test]
fn what_compaction_has_taken_leaves_holes_in_offsets_and_no_gap() {
    let Some(kafka) = support::kafka() else { return };
    let compacted = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("segment.ms", "100"),
        ("max.compaction.lag.ms", "200"),
    ];
    let topic = topic(kafka, "compacted", 1, &compacted);
    let update = |place: u64| Record::new(&topic, place.to_string()).partition(0).key("same").id(format!("u{place}"));
    let numbered = |number: u64| numbered(&topic, 0, "p", number).key(format!("k{number}"));
    let kept = 20;
    let end = Instant::now() + PATIENCE;
    let mut rounds = 0;
    loop {
        // A segment is closed by the next record only: so there is a next one until compaction has been at work.
        send(kafka, (0..kept).map(update));
        if rounds < kept {
            send(kafka, [numbered(rounds)]);
        }
        rounds += 1;
        let left = topics::read_all(&kafka.bootstrap(), &topic).expect("what is left").len() as u64;
        if rounds >= kept && left < rounds * kept {
            break;
        }
        assert!(Instant::now() < end, "no compaction");
        std::thread::sleep(Duration::from_millis(50)); // paces the questions
    }
    let (code, found) = report(kafka, &topic, &[], &[]);
    assert_eq!((code, &found["compacted"]), (0, &json!(true)), "{found:#}");
    let total = &found["total"];
    assert_eq!((&total["missing"], &total["producers"]), (&json!(0), &json!(1)), "{found:#}");
}

#[test]
fn what_retention_has_deleted_before_the_start_of_the_log_is_no_gap() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "retention", 2, &[]);
    send(kafka, (0..100).map(|number| numbered(&topic, 0, "p", number)));
    send(kafka, (0..10).map(|number| numbered(&topic, 1, "p", number)));
    topics::delete_records_before(&kafka.bootstrap(), &topic, 0, 60).expect("deleted");
    topics::delete_records_before(&kafka.bootstrap(), &topic, 1, 10).expect("deleted"); // all of them
    let (code, found) = report(kafka, &topic, &[], &[]);
    assert_eq!(code, 0, "{found:#}");
    let starts = [0, 1].map(|place| &found["partitions"][place]["log_start"]);
    assert_eq!((starts, &found["total"]["records"]), ([&json!(60), &json!(10)], &json!(40)), "{found:#}");
}

#[test]
fn what_retention_deletes_after_the_start_is_told_apart_and_reading_goes_on_behind_it() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "overtaken", 3, &[]);
    for partition in 0..3 {
        send(kafka, (0..100).map(|number| numbered(&topic, partition, "p", number)));
    }
    let reader = TopicReader::new(&kafka.bootstrap(), &std::collections::BTreeMap::new(), &topic);
    let spans = reader.spans(&Window::default()).expect("spans");
    topics::delete_records_before(&kafka.bootstrap(), &topic, 0, 30).expect("deleted");
    topics::delete_records_before(&kafka.bootstrap(), &topic, 2, 100).expect("deleted");
    let (mut records, mut deleted, mut ended) = ([0, 0, 0], [0, 0, 0], 0);
    let see = &mut |seen: Seen| match seen {
        Seen::Record { place, .. } => records[place] += 1,
        Seen::Deleted { place, offsets } => deleted[place] += offsets,
        Seen::End { .. } => ended += 1,
    };
    reader.read(&spans, &Wanted::default(), &AtomicBool::new(false), see).expect("read");
    assert_eq!((records, deleted, ended), ([70, 100, 0], [30, 0, 100], 3));
}

#[test]
fn records_that_come_while_it_reads_are_not_waited_for() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "growing", 1, &[]);
    send(kafka, (0..10).map(|number| numbered(&topic, 0, "p", number)));
    let reader = TopicReader::new(&kafka.bootstrap(), &std::collections::BTreeMap::new(), &topic);
    let spans = reader.spans(&Window::default()).expect("spans");
    send(kafka, (20..30).map(|number| numbered(&topic, 0, "p", number)));
    let mut offsets = Vec::new();
    let see = &mut |seen: Seen| {
        if let Seen::Record { record, .. } = seen {
            assert_eq!((record.key(), record.value(), record.headers().len()), (None, None, 1));
            offsets.push(record.position().offset.0);
        }
    };
    let wanted = Wanted { headers: vec!["sequence".to_owned()], ..Wanted::default() };
    reader.read(&spans, &wanted, &AtomicBool::new(false), see).expect("read");
    assert_eq!(offsets, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_header_name_that_is_not_utf_8_stops_nothing_and_says_nothing() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "header", 1, &[]);
    send(kafka, [numbered(&topic, 0, "p", 0)]);
    let headers: [(&[u8], &[u8]); 4] =
        [(b"\xff\xfe", b"x"), (b"message-id", b"p-0-1"), (b"producer-id", b"p"), (b"sequence", b"2")];
    raw::produce(&kafka.bootstrap(), &topic, 0, b"{}", &headers);
    let (code, found) = report(kafka, &topic, &[], &[]);
    assert_eq!(
        (code, &found["total"]["missing"], &found["total"]["without_id"]),
        (1, &json!(1), &json!(0)),
        "{found:#}"
    );
}

#[test]
fn beyond_the_ids_that_are_remembered_the_answer_says_that_it_is_not_exact() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "bound", 1, &[]);
    let records: Vec<Record> = (0..20).map(|number| numbered(&topic, 0, "p", number)).collect();
    send(kafka, records.iter().chain(&records).cloned());
    let (code, found) = report(kafka, &topic, &["--remember", "20"], &[]);
    assert_eq!((code, &found["duplicates_exact"], &found["total"]["duplicates"]), (0, &json!(true), &json!(20)));
    let (code, found) = report(kafka, &topic, &["--remember", "5"], &[]);
    assert_eq!((code, &found["duplicates_exact"], &found["total"]["duplicates"]), (0, &json!(false), &json!(5)));
    assert_eq!((&found["ids_remembered"], &found["total"]["ids_not_remembered"]), (&json!(5), &json!(30)));
    let (_, said) = run(kafka, &topic, &["--remember", "5"], &[]);
    assert!(said.contains("not exact: 5 message IDs were remembered"), "{said}");
}

#[test]
fn a_broker_that_dies_ends_the_audit_with_2() {
    if !support::kafka_possible() {
        return;
    }
    let kafka = support::Kafka::start(1).expect("a broker of its own");
    let topic = topic(&kafka, "dies", 1, &[]);
    send(&kafka, [numbered(&topic, 0, "p", 0)]);
    let reader = TopicReader::new(&kafka.bootstrap(), &std::collections::BTreeMap::new(), &topic);
    let spans = reader.spans(&Window::default()).expect("spans");
    kafka.kill(0);
    let stop = Arc::new(AtomicBool::new(false));
    let error = reader.read(&spans, &Wanted::default(), &stop, &mut |_| ()).expect_err("nobody to read from");
    assert!(error.to_string().contains("does not answer"), "{error}");
}
