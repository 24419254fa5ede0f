//! Dead letters as they stand on their topic, and what the brokers say about topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_once::adapters::kafka::{DeadLetterConfig, FactsError, KafkaDeadLetters, facts};
use kafka_once::domain::identity::WireId;
use kafka_once::domain::reasons::DeadLetterReason;
use kafka_once::domain::record::{Offset, Position, Record};
use kafka_once::domain::time::UnixMillis;
use kafka_once::ports::{DeadLetter, DeadLetters};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::cluster::Cluster;
use crate::driver::Driver;

const TIMESTAMP: i64 = 1_700_000_000_000;

fn letter(value: Option<&[u8]>) -> DeadLetter {
    let position = Position { partition: 3, offset: Offset(42), timestamp: TIMESTAMP };
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"h", Some(b"1")), (b"h", None), (b"other", Some(b"\xff"))];
    DeadLetter {
        record: Arc::new(Record::new("orders".into(), position, Some(b"key"), value, &headers)),
        reason: DeadLetterReason::Refused,
        detail: "said no".into(),
        status: Some(422),
        attempts: 2,
        in_doubt: false,
        id: Some(WireId("a%20b".into())),
        at: UnixMillis(0),
    }
}

fn letters(cluster: &Cluster) -> KafkaDeadLetters {
    KafkaDeadLetters::new(DeadLetterConfig {
        brokers: cluster.bootstrap.clone(),
        properties: BTreeMap::new(),
        topic: cluster.topic.clone(),
        namespace: "billing".to_owned(),
    })
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn read(cluster: &Cluster, count: usize) -> Vec<Record> {
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(1);
    let records = log.records(count);
    log.leave();
    records
}

fn text(record: &Record) -> Vec<(String, Option<String>)> {
    let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
    record.headers().map(|(name, value)| (lossy(name), value.map(lossy))).collect()
}

#[test]
fn a_letter_keeps_everything_and_says_why_behind_it() {
    let cluster = Cluster::new(1);
    let letters = letters(&cluster);
    wait(letters.send(letter(Some(b"value")))).expect("acknowledged");
    wait(letters.send(letter(None))).expect("acknowledged");
    wait(letters.send(letter(Some(b"")))).expect("acknowledged");
    let records = read(&cluster, 3);
    let values: Vec<_> = records.iter().map(Record::value).collect();
    assert_eq!(values, [Some(&b"value"[..]), None, Some(b"")]);
    assert_eq!((records[0].key(), records[0].position().timestamp), (Some(&b"key"[..]), TIMESTAMP));
    let mut headers = text(&records[0]);
    let own = headers.drain(..3).map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(own, ["h", "h", "other"]);
    let said: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    let expected = [
        ("once-error", "refused"),
        ("once-detail", "said no"),
        ("once-status", "422"),
        ("once-attempts", "2"),
        ("once-delivery", "first"),
        ("once-message-id", "a%20b"),
        ("once-namespace", "billing"),
        ("once-source-topic", "orders"),
        ("once-source-partition", "3"),
        ("once-source-offset", "42"),
        ("once-at", "1970-01-01T00:00:00.000Z"),
    ];
    assert_eq!(said, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_value_too_large_for_the_topic_is_left_out_and_said_so() {
    let cluster = Cluster::mock(1);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.controls().request_errors(RDKafkaApiKey::Produce, &[error]);
    wait(letters(&cluster).send(letter(Some(b"value")))).expect("acknowledged");
    let records = read(&cluster, 1);
    assert_eq!(records[0].value(), Some(&b""[..]));
    let detail = text(&records[0]).into_iter().find(|(name, _)| name == "once-detail").and_then(|(_, value)| value);
    assert!(detail.is_some_and(|detail| detail.starts_with("said no; value too large")));
}

/// Value and timestamp each at most once, in whatever order they are refused; what else is refused is an error.
#[test]
fn what_the_topic_refuses_of_a_letter_is_left_out_and_said_so() {
    const TIME: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
    const SIZE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    let time_left =
        "timestamp 2023-11-14T22:13:20.000Z refused by the dead-letter topic, replaced by that of now".to_owned();
    let value_left = "value too large for the dead-letter topic, left at its source position".to_owned();
    let both = format!("{time_left}; {value_left}");
    for (errors, value, kept, words) in [
        (&[TIME][..], &b"value"[..], false, &time_left),
        (&[SIZE], b"", true, &value_left),
        (&[TIME, SIZE], b"", false, &both),
        (&[SIZE, TIME], b"", false, &both),
    ] {
        let cluster = Cluster::mock(1);
        cluster.controls().request_errors(RDKafkaApiKey::Produce, errors);
        wait(letters(&cluster).send(letter(Some(b"value")))).expect("acknowledged");
        let record = &read(&cluster, 1)[0];
        assert_eq!((record.key(), record.value()), (Some(&b"key"[..]), Some(value)), "{errors:?}");
        let timestamp = record.position().timestamp;
        assert!((timestamp == TIMESTAMP) == kept && timestamp >= TIMESTAMP, "{errors:?}: {timestamp}");
        let detail = text(record).into_iter().find(|(name, _)| name == "once-detail").and_then(|(_, value)| value);
        assert_eq!(detail, Some(format!("said no; {words}")), "{errors:?}");
    }
    for errors in [[TIME; 2], [SIZE; 2]] {
        let cluster = Cluster::mock(1);
        cluster.controls().request_errors(RDKafkaApiKey::Produce, &errors);
        wait(letters(&cluster).send(letter(Some(b"value")))).expect_err("it is refused");
    }
}

#[test]
fn a_topic_that_takes_no_letters_is_an_error_and_may_take_the_next_one() {
    let cluster = Cluster::mock(1);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.controls().request_errors(RDKafkaApiKey::Produce, &[error]);
    let letters = letters(&cluster);
    let refused = wait(letters.send(letter(Some(b"first"))));
    assert!(refused.is_err_and(|why| why.contains(&cluster.topic)));
    wait(letters.send(letter(Some(b"second")))).expect("acknowledged");
    assert_eq!(read(&cluster, 1)[0].value(), Some(&b"second"[..]));
}

#[test]
fn facts_tell_known_topics_from_unknown_ones_and_from_brokers_that_are_away() {
    let cluster = Cluster::new(3);
    let ask = |brokers: &str, topics: &[String]| wait(facts(brokers, &BTreeMap::new(), topics, Duration::from_secs(5)));
    let known = ask(&cluster.bootstrap, std::slice::from_ref(&cluster.topic)).expect("facts");
    assert_eq!((known.brokers, known.topics.len()), (1, 1));
    assert_eq!((known.topics[0].partitions, known.topics[0].replication_factor), (3, 1));
    assert!(matches!(ask("127.0.0.1:1", std::slice::from_ref(&cluster.topic)), Err(FactsError::Away(_))));
}
