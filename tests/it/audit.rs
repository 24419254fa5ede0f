//! `kafka-once audit` on a real broker: what is planted is named, exactly, and nothing else is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::process::Start;
use crate::support::scene::PATIENCE;
use crate::support::{self, Kafka, Producer, Record};

/// Runs `kafka-once audit --topic TOPIC` on that Kafka; its exit code and what it said.
pub fn run(kafka: &Kafka, topic: &str, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    start(&kafka.bootstrap(), &[&["--topic", topic], arguments].concat(), settings)
}

/// Runs `kafka-once audit`; its exit code and what it said.
pub fn start(brokers: &str, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let start = Start::new(env!("CARGO_BIN_EXE_kafka-once")).arg("audit").args(arguments).clear_env();
    let start =
        settings.iter().fold(start.env("ONCE_KAFKA_BROKERS", brokers), |start, (name, value)| start.env(name, value));
    let audit = start.spawn().expect("the audit starts");
    let code = audit.wait_exit(PATIENCE).expect("it ends");
    (code, audit.log().all())
}

/// Runs it with `--json`; nothing but the report is said.
pub fn report(kafka: &Kafka, topic: &str, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, Value) {
    let (code, said) = run(kafka, topic, &[&["--json"], arguments].concat(), settings);
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// A topic of its own.
pub fn topic(kafka: &Kafka, name: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
    let name = format!("audit-{name}-{}", std::process::id());
    kafka.create_topic(&name, partitions, configs).expect("a topic");
    name
}

/// A record of a producer, with an ID that nobody else has.
pub fn numbered(topic: &str, partition: i32, producer: &str, number: u64) -> Record {
    let id = format!("{producer}-{partition}-{number}");
    Record::new(topic, "{}")
        .partition(partition)
        .id(id)
        .header("producer-id", producer)
        .header("sequence", number.to_string())
}

pub fn send(kafka: &Kafka, records: impl IntoIterator<Item = Record>) {
    Producer::new(&kafka.bootstrap()).expect("a producer").send(records).expect("sent");
}

/// What is missing: partition, producer, first, last, and the neighbours' offsets.
type Gap<'a> = (i64, &'a str, u64, u64, i64, i64);

fn gaps(report: &Value) -> Vec<Gap<'_>> {
    let gaps = report["gaps"].as_array().expect("gaps").iter();
    let (offset, number) =
        (|value: &Value| value.as_i64().expect("an offset"), |value: &Value| value.as_u64().expect("a number"));
    gaps.map(|gap| {
        let (first, last) = (number(&gap["first"]), number(&gap["last"]));
        assert_eq!(number(&gap["missing"]), last - first + 1, "{gap}");
        let producer = gap["producer"].as_str().expect("a producer");
        (offset(&gap["partition"]), producer, first, last, offset(&gap["before_offset"]), offset(&gap["after_offset"]))
    })
    .collect()
}

fn assert_numbers(numbers: &Value, expected: &[(&str, u64)]) {
    for (name, number) in expected {
        assert_eq!(numbers[name], json!(number), "{name}: {numbers:#}");
    }
}

#[test]
fn everything_that_was_planted_is_named_exactly_and_nothing_else_is() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "planted", 4, &[]);
    let at = |partition: i32, producer: &'static str, numbers: &[u64]| {
        let numbers: Vec<Record> =
            numbers.iter().map(|number| numbered(&topic, partition, producer, *number)).collect();
        numbers
    };
    let bare = || Record::new(&topic, "{}").partition(2);
    let lacking = vec![
        bare(),                                                                                    // neither ID nor number
        bare().id("x").header("producer-id", "c").header("sequence", "one"),                       // no number
        bare().id("y").header("sequence", "1"),                                                    // nobody's
        bare().id("z").header("producer-id", "c").header("sequence", "1").header("sequence", "2"), // two
        bare().id("v").id("w").header("producer-id", "c").header("sequence", "0"),                 // ambiguous ID
    ];
    let records = [
        at(0, "a", &[0, 1, 3, 4]),        // one is missing
        at(0, "b", &[1, 1_002, 1_003]),   // a thousand
        at(1, "a", &[0, 2, 1, 3]),        // late: nothing is missing
        at(1, "mid-life", &[70, 71, 73]), // one, and none before 70
        at(1, "restarted", &[1, 2, 3]),
        at(1, "restarted", &[1, 2, 3])
            .into_iter()
            .map(|mut record| {
                record.headers[0].1 = None; // other messages than before
                record
            })
            .collect(),
        lacking,
        at(2, "a", &[0, 1]),
        at(2, "a", &[1]), // sent twice
    ];
    send(kafka, records.into_iter().flatten());

    let (code, report) = report(kafka, &topic, &[], &[]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(gaps(&report), [(0, "a", 2, 2, 1, 2), (0, "b", 2, 1_001, 4, 5), (1, "mid-life", 72, 72, 5, 6)]);
    let total = [
        ("records", 28),
        ("missing", 1_002),
        ("gaps", 3),
        ("duplicates", 1),
        ("without_id", 4),
        ("unusable_id", 1),
        ("without_sequence", 1),
        ("unreadable_sequence", 3),
        ("out_of_order", 1),
        ("repeated", 1),
        ("restarts", 1),
        ("producers", 7),
        ("producers_forgotten", 0),
        ("gaps_given_up", 0),
        ("ids_not_remembered", 0),
        ("deleted_while_reading", 0),
    ];
    assert_numbers(&report["total"], &total);
    assert_numbers(&report["partitions"][1], &[("records", 13), ("missing", 1), ("out_of_order", 1), ("restarts", 1)]);
    assert_numbers(&report["partitions"][3], &[("records", 0), ("start", 0), ("end", 0)]);
    assert_eq!(report["duplicates"], json!([{ "partition": 2, "offset": 7, "id": "a-2-1" }]));
    let producers: Vec<_> =
        report["producers"].as_array().expect("producers").iter().map(|one| &one["producer"]).collect();
    assert_eq!(producers, ["b", "a", "mid-life", "a", "a", "restarted"]);
    for exact in ["sequences_exact", "duplicates_exact"] {
        assert_eq!(report[exact], json!(true), "{exact}");
    }
}

#[test]
fn a_topic_with_duplicates_disorder_and_restarts_and_nothing_missing_ends_with_0_and_no_group_is_left() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "clean", 2, &[]);
    let numbers = [0, 2, 1, 3, 3, 0];
    send(kafka, numbers.map(|number| numbered(&topic, 0, "p", number)));
    let (code, said) = run(kafka, &topic, &[], &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Nothing is missing.") && said.contains("6 records"), "{said}");
    assert!(said.contains("p-0-3") && !said.contains('\u{1b}'), "{said}");
    let (code, report) = report(kafka, &topic, &[], &[]);
    assert_eq!(code, 0, "{report:#}");
    // The first message again is a duplicate by its ID, and so no restart.
    assert_numbers(&report["total"], &[("duplicates", 2), ("out_of_order", 1), ("repeated", 2), ("restarts", 0)]);

    let consumer = support::topics::consumer(&kafka.bootstrap(), "unused").expect("a consumer");
    let groups = rdkafka::consumer::Consumer::fetch_group_list(&consumer, None, PATIENCE).expect("groups");
    let names: Vec<_> = groups.groups().iter().map(rdkafka::groups::GroupInfo::name).collect();
    assert!(names.iter().all(|name| !name.contains("audit")), "{names:?}");
}

#[test]
fn an_empty_topic_ends_with_0() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "empty", 3, &[]);
    let (code, report) = report(kafka, &topic, &[], &[]);
    assert_eq!((code, &report["total"]["records"]), (0, &json!(0)), "{report:#}");
}

#[test]
fn with_sequences_off_duplicates_are_found_and_ids_stand_where_the_settings_say() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "off", 2, &[]);
    let record = |partition, body: &str| Record::new(&topic, body).partition(partition).key("k");
    send(
        kafka,
        [record(0, r#"{"id":7,"n":1}"#), record(1, r#"{"id":7,"n":2}"#), record(0, r#"{"n":4}"#), record(0, "no json")],
    );

    let off = [("ONCE_SEQUENCE", "off"), ("ONCE_MESSAGE_ID", "json:/id")];
    let (code, found) = report(kafka, &topic, &[], &off);
    assert_eq!((code, &found["sequences"]), (0, &json!(false)), "{found:#}");
    assert_numbers(&found["total"], &[("duplicates", 1), ("without_id", 2), ("producers", 0), ("missing", 0)]);
    let (_, page) = run(kafka, &topic, &[], &off);
    assert!(page.contains("ONCE_SEQUENCE=off"), "{page}");

    let json = [("ONCE_SEQUENCE", "json:/id|/n"), ("ONCE_MESSAGE_ID", "key")];
    let (code, found) = report(kafka, &topic, &[], &json);
    assert_eq!(code, 0, "{found:#}");
    let expected = [("duplicates", 3), ("producers", 2), ("unreadable_sequence", 1), ("without_sequence", 1)];
    assert_numbers(&found["total"], &expected);
}

#[test]
fn since_until_and_partition_cut_out_what_is_read() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "window", 2, &[]);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_millis()).expect("fits");
    let hours = |hours: i64| now - hours * 3_600_000;
    let record = |partition, number, hours_ago| numbered(&topic, partition, "p", number).timestamp(hours(hours_ago));
    // A gap in each third of partition 0; partition 1 has one more, long ago.
    let first = [(0, 9), (2, 8), (3, 6), (5, 5), (6, 3), (8, 2)].map(|(number, hours)| record(0, number, hours));
    send(kafka, first.into_iter().chain([(0, 9), (3, 8)].map(|(number, hours)| record(1, number, hours))));

    let time = |hours_ago| {
        kafka_once::telemetry::rfc3339(kafka_once::domain::time::UnixMillis(hours(hours_ago).cast_unsigned()))
    };
    let (at_6, at_3) = (time(6), time(3));
    let table: [(&[&str], &[Gap<'_>]); 7] = [
        (&[], &[(0, "p", 1, 1, 0, 1), (0, "p", 4, 4, 2, 3), (0, "p", 7, 7, 4, 5), (1, "p", 1, 2, 0, 1)]),
        (&["--partition", "1"], &[(1, "p", 1, 2, 0, 1)]),
        (&["--partition", "1", "--partition", "0", "--since", "4h"], &[(0, "p", 7, 7, 4, 5)]),
        (&["--since", "7h"], &[(0, "p", 4, 4, 2, 3), (0, "p", 7, 7, 4, 5)]),
        (&["--until", "7h"], &[(0, "p", 1, 1, 0, 1), (1, "p", 1, 2, 0, 1)]),
        (&["--since", &at_6, "--until", &at_3], &[(0, "p", 4, 4, 2, 3)]),
        (&["--since", "1h"], &[]),
    ];
    for (arguments, expected) in table {
        let (code, report) = report(kafka, &topic, arguments, &[]);
        assert_eq!(gaps(&report), expected, "{arguments:?}");
        assert_eq!(code, i32::from(!expected.is_empty()), "{arguments:?}");
    }
    let (_, report) = report(kafka, &topic, &["--since", &at_6, "--until", &at_3, "--partition", "0"], &[]);
    assert_eq!((&report["since"], &report["until"]), (&json!(at_6), &json!(at_3)));
    assert_numbers(&report["partitions"][0], &[("log_start", 0), ("start", 2), ("end", 4), ("records", 2)]);
}

#[test]
fn what_cannot_be_read_ends_with_2_and_one_line_that_says_what_where_and_what_to_do() {
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "known", 2, &[]);
    let brokers = kafka.bootstrap();
    let nowhere = format!("127.0.0.1:{}", support::ports::free());
    let named = |rest: &[&'static str]| [&["--topic", topic.as_str()], rest].concat();
    let table: [(&str, Vec<&str>, &[&str]); 5] = [
        (&brokers, vec!["--topic", "audit-misspelt"], &["audit-misspelt", &brokers, "--topic"]),
        (&nowhere, named(&[]), &[&nowhere, "ONCE_KAFKA_BROKERS"]),
        (&brokers, named(&["--partition", "2"]), &["partition 2", "0 to 1", "--partition"]),
        (&brokers, named(&["--since", "1h", "--until", "2h"]), &["--since", "--until"]),
        (&brokers, named(&["--since", "1h", "--until", "1h"]), &["--since", "--until"]),
    ];
    for (brokers, arguments, words) in table {
        let (code, said) = start(brokers, &arguments, &[]);
        assert_eq!((code, said.lines().count()), (2, 1), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    }
    let usage: [(&[&str], &str); 5] = [
        (&[], "--topic"),
        (&["--topic", ""], "empty"),
        (&["--topic", "a b"], "topic names"),
        (&["--topic", "t", "--since", "yesterday"], "--since"),
        (&["--topic", "t", "--partition", "-1"], "-1"),
    ];
    for (arguments, word) in usage {
        let (code, said) = start(&brokers, arguments, &[]);
        assert!(code == 2 && said.contains(word), "{arguments:?}: {said}");
    }
    let (code, said) = start(&brokers, &["--topic", "t"], &[("ONCE_SEQUENCE", "header:one")]);
    assert!(code == 2 && said.contains("ONCE_SEQUENCE"), "{said}");
}

#[test]
fn of_200_000_records_exactly_the_200_planted_gaps_are_named() {
    const RECORDS: u64 = 100_000; // of each producer
    let Some(kafka) = support::kafka() else { return };
    let topic = topic(kafka, "many", 2, &[]);
    // Of each producer 100 are missing, each one somewhere else.
    let planted = |producer: u64, number: u64| number % 1_000 == 10 * producer + 7;
    let number = |producer: u64| (0..RECORDS).filter(move |number| !planted(producer, *number));
    let record = |(place, number): (u64, u64)| {
        let (partition, producer) = ([0, 1][usize::from(place == 1)], ["x", "y"][usize::from(place == 1)]);
        numbered(&topic, partition, producer, number)
    };
    send(kafka, number(0).zip(number(1)).flat_map(|(one, other)| [(0, one), (1, other)]).map(record));

    let (code, report) = report(kafka, &topic, &[], &[]);
    assert_eq!(code, 1);
    let named: Vec<_> =
        gaps(&report).into_iter().map(|(at, producer, first, last, ..)| (at, producer, first, last)).collect();
    let missing = |producer: u64| (0..RECORDS).filter(move |number| planted(producer, *number));
    let expected =
        missing(0).map(|number| (0, "x", number, number)).chain(missing(1).map(|number| (1, "y", number, number)));
    assert_eq!(named, expected.collect::<Vec<_>>());
    assert_numbers(
        &report["total"],
        &[("records", 2 * RECORDS - 200), ("missing", 200), ("gaps", 200), ("duplicates", 0)],
    );
    assert_eq!((&report["gaps_more"], &report["sequences_exact"]), (&json!(0), &json!(true)));
    let seconds = Duration::from_secs_f64(report["seconds"].as_f64().expect("seconds"));
    assert!(!seconds.is_zero() && report["records_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
}
