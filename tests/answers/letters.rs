//! The contract of dead letters: what stands there, byte for byte, and what becomes of a message in doubt.

use std::time::{Duration, SystemTime};

use datetime::OffsetDateTime;
use datetime::format_description::well_known::Rfc3339;

use crate::support::topics::Read;
use crate::support::{Answer, Record};
use crate::told::{Stage, count, messages, names};

/// What is said about a letter, in this order, behind its own headers.
const SAID: [&str; 11] = [
    "once-error",
    "once-detail",
    "once-status",
    "once-attempts",
    "once-delivery",
    "once-message-id",
    "once-namespace",
    "once-source-topic",
    "once-source-partition",
    "once-source-offset",
    "once-at",
];

/// Records that have everything that a record can have.
fn all_kinds(topic: &str) -> Vec<Record> {
    let record = || Record::new(topic, "value").partition(0);
    let header = |record: Record, name: &str, value: Option<&[u8]>| {
        let mut record = record;
        record.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        record
    };
    let everything: Vec<u8> = (0..=255).collect();
    let mut records = vec![
        record(),
        record().key("key"),
        record().key(""),
        record().key(everything.clone()),
        Record { value: Some(Vec::new()), ..record() },
        Record { value: Some(everything.clone()), ..record() },
        record().key("gone").tombstone(),
        Record { value: Some(vec![b'v'; 900_000]), ..record() },
        record().timestamp(1),
        record().timestamp(951_782_400_123),
        record().timestamp(32_503_680_000_000),
        header(header(header(record(), "twice", Some(b"1")), "other", Some(b"2")), "twice", Some(b"1")),
        header(header(record(), "null", None), "empty", Some(b"")),
        header(record(), "bytes", Some(&everything)),
        header(record(), "", Some(b"a name without letters")),
        header(record(), "umlaut ä\r\nX: y", Some("ö\r\n".as_bytes())),
        header(header(record(), "once-error", Some(b"refused")), "once-source-offset", Some(b"7")),
        header(header(record(), "Content-Type", Some(b"text/plain")), "traceparent", Some(b"00-1-2-3")),
        header(header(record(), "ce_source", Some(b"/s")), "ce_id", Some(b"1")),
    ];
    for (number, record) in records.iter_mut().enumerate() {
        record.headers.insert(0, ("message-id".to_owned(), Some(format!("kind {number}").into_bytes())));
    }
    records
}

#[test]
fn a_dead_letter_is_its_record_byte_for_byte_and_what_is_said_about_it() {
    let (any_time, kept) = (("message.timestamp.after.max.ms", "9223372036854775807"), ("retention.ms", "-1"));
    let letters = [any_time, kept, ("max.message.bytes", "2000000")];
    let Some(stage) = Stage::with_topics("letter", &[any_time, kept], &letters) else { return };
    let scene = &stage.scene;
    scene.ledger.behave(|request| async move { Answer::status(if request.attempt() == 1 { 500 } else { 422 }) });
    let records = all_kinds(&scene.topic);
    let begun = SystemTime::now();
    let positions = scene.produce(&records).into_iter().map(|one| one.position).collect::<Vec<_>>();
    let sidecar = stage.sidecar(&[]);
    scene.await_committed();
    let letters = stage.read();
    assert_eq!(letters.len(), records.len());
    for (number, record) in records.iter().enumerate() {
        let id = format!("kind%20{number}");
        let letter =
            letters.iter().find(|letter| said(letter, "once-message-id") == id).unwrap_or_else(|| panic!("{id}"));
        assert_eq!((&letter.key, &letter.value), (&record.key, &record.value), "{id}");
        if record.timestamp.is_some() {
            assert_eq!(letter.timestamp, record.timestamp, "{id}");
        }
        let (own, about) = letter.headers.split_at(record.headers.len());
        assert_eq!(own, record.headers, "{id}");
        assert_eq!(about.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), SAID, "{id}");
        let (partition, offset) = positions[number];
        let expected = [
            ("once-error", "refused".to_owned()),
            ("once-detail", "the app answered 422".to_owned()),
            ("once-status", "422".to_owned()),
            ("once-attempts", "2".to_owned()),
            ("once-delivery", "first".to_owned()),
            ("once-namespace", scene.group.clone()),
            ("once-source-topic", scene.topic.clone()),
            ("once-source-partition", partition.to_string()),
            ("once-source-offset", offset.to_string()),
        ];
        for (name, value) in expected {
            assert_eq!(said(letter, name), value, "{id}: {name}");
        }
        let at = said(letter, "once-at");
        let time: SystemTime = OffsetDateTime::parse(&at, &Rfc3339).expect("a time of RFC 3339").into();
        assert!(time + Duration::from_millis(1) >= begun && time <= SystemTime::now(), "{at}");
    }
    stage.end(&[], &[&sidecar]);
}

/// The last one of a name: what is said stands behind the record's own headers.
fn said(letter: &Read, name: &str) -> String {
    let (_, value) = letter.headers.iter().rev().find(|(header, _)| header == name).expect("a header");
    String::from_utf8(value.clone().expect("a value")).expect("text")
}

#[test]
fn a_value_too_large_for_the_dead_letter_topic_is_left_at_its_source_and_the_letter_says_so() {
    const LIMIT: usize = 10_000;
    let Some(stage) = Stage::with_letters("large-letter", 1, &[("max.message.bytes", "10000")]) else { return };
    let scene = &stage.scene;
    scene.ledger.behave(|_| async { Answer::status(400) });
    let sizes = [("small", 100), ("fits", LIMIT / 2), ("above", LIMIT + 1), ("far-above", 900_000)];
    let record = |(name, size): (&str, usize)| {
        Record { value: Some(vec![b'v'; size]), ..Record::new(&scene.topic, "") }.partition(0).key(name).id(name)
    };
    let produced = scene.produce(&sizes.map(record));
    let sidecar = stage.sidecar(&[]);
    scene.await_committed();
    let letters = stage.by_id();
    for (name, size) in sizes {
        let (letter, fits) = (&letters[name], size < LIMIT);
        let left = if fits { size } else { 0 };
        assert_eq!(letter.value.as_ref().map(Vec::len), Some(left), "{name}: an empty value, and no tombstone");
        assert_eq!(letter.key.as_deref(), Some(name.as_bytes()));
        let detail = said(letter, "once-detail");
        assert_eq!(detail.contains("value too large for the dead-letter topic"), !fits, "{name}: {detail}");
        assert!(detail.starts_with("the app answered 400"), "{detail}");
    }
    let left = crate::support::topics::read_all(&scene.bootstrap, &scene.topic).expect("the source");
    assert_eq!(left.iter().map(|record| record.value.as_ref().map_or(0, Vec::len)).max(), Some(900_000));
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, sizes.len());
}

/// Kafka 4 takes nothing from more than an hour ahead, unless a topic says otherwise. A partition must not wait for that.
#[test]
fn a_timestamp_that_the_dead_letter_topic_refuses_becomes_that_of_now_and_the_letter_says_so() {
    const FUTURE: i64 = 32_503_680_000_000;
    let source = [("message.timestamp.after.max.ms", "9223372036854775807"), ("retention.ms", "-1")];
    let Some(stage) = Stage::with_topics("future-letter", &source, &[("max.message.bytes", "10000")]) else { return };
    let scene = &stage.scene;
    scene.ledger.behave(|_| async { Answer::status(400) });
    let begun = millis(SystemTime::now());
    let kinds = [("plain", None, 10), ("future", Some(FUTURE), 10), ("future-and-large", Some(FUTURE), 20_000)];
    let record = |(name, timestamp, size): (&str, Option<i64>, usize)| {
        let value = Some(vec![b'v'; size]);
        Record { timestamp, value, ..Record::new(&scene.topic, "") }.partition(0).key(name).id(name)
    };
    let produced = scene.produce(&kinds.map(record));
    let sidecar = stage.sidecar(&[]);
    scene.await_committed();
    let letters = stage.by_id();
    for (name, timestamp, size) in kinds {
        let letter = &letters[name];
        assert_eq!(letter.value.as_ref().map(Vec::len), Some(if size < 10_000 { size } else { 0 }), "{name}");
        assert!(letter.timestamp.is_some_and(|at| at >= begun && at < FUTURE), "{name}: {:?}", letter.timestamp);
        let detail = said(letter, "once-detail");
        let words = "timestamp 3000-01-01T00:00:00.000Z refused by the dead-letter topic";
        assert_eq!(detail.contains(words), timestamp.is_some(), "{name}: {detail}");
        assert_eq!(detail.ends_with("left at its source position"), size > 10_000, "{name}: {detail}");
        assert!(detail.starts_with("the app answered 400"), "{detail}");
    }
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, kinds.len());
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("a time")
}

/// `ONCE_IN_DOUBT=dead-letter`: a person decides about each message whose request had no answer; nothing repeats.
#[test]
fn in_doubt_and_given_to_a_person_a_message_has_one_request_and_one_letter() {
    const LOST: usize = 20;
    let Some(stage) = Stage::new("doubtful", 1) else { return };
    let scene = &stage.scene;
    scene.ledger.behave(|request| async move {
        let number = request.id().rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        match (request.id().split('-').next(), number % 4) {
            (Some("good"), _) => Answer::status(200),
            (_, 0) => Answer::never(),
            (_, 1) => Answer::never().applied(true),
            (_, 2) => Answer::reset().applied(true),
            _ => Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        }
    });
    let all = names("lost", LOST).chain(names("good", LOST));
    let produced = scene.produce(&messages(&scene.topic, 0, all));
    let settings = [("ONCE_IN_DOUBT", "dead-letter"), ("ONCE_APP_TIMEOUT", "1s"), ("ONCE_DEAD_LETTER_BUDGET", "1")];
    let sidecar = stage.sidecar(&settings);
    scene.await_committed();
    let letters = stage.by_id();
    let lost: Vec<String> = names("lost", LOST).collect();
    assert_eq!(letters.keys().cloned().collect::<std::collections::BTreeSet<_>>(), lost.iter().cloned().collect());
    for (id, letter) in &letters {
        let said = ["once-error", "once-status", "once-attempts"].map(|name| letter.header(name));
        assert_eq!(said, [Some("in_doubt".to_owned()), None, Some("1".to_owned())], "{id}");
        let sent = scene.ledger.with(|records| records.requests.iter().filter(|one| one.id() == id).count());
        assert_eq!(sent, 1, "{id}");
    }
    let metrics = sidecar.metrics().expect("a scrape");
    assert_eq!(count(&metrics, "dead_letters_total", &[("reason", "in_doubt")]), LOST as u64);
    assert_eq!(count(&metrics, "possible_repeats_total", &[]), 0);
    assert_eq!(count(&metrics, "partition_paused", &[("reason", "dead_letter_budget")]), 0, "no answer, no budget");
    scene.await_committed();
    stop_well(&stage, &produced, &sidecar);
}

/// What was lost may have been applied; it is on the dead-letter topic all the same.
fn stop_well(stage: &Stage, produced: &[crate::support::Produced], sidecar: &crate::support::Sidecar) {
    crate::support::scene::assert_books(&sidecar.metrics().expect("a scrape"));
    crate::told::stop(sidecar);
    let audit = stage.scene.audit_with(produced, &stage.read());
    audit.assert_promise();
    assert_eq!((audit.behind.len(), audit.forwarded_twice.len()), (0, 0), "{audit}");
}
