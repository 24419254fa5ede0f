//! Whatever a producer sends has an end: applied, or dead-lettered with its reason; and what stands behind it goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::raw;
use crate::support::ledger::Records;
use crate::support::topics::Read;
use crate::support::{Producer, Record, Request, Sidecar};
use crate::told::{Stage, assert_small, count, messages, names, stop};

pub const MIB: usize = 1024 * 1024;

/// How a record must end: the beginning of the ID with which it is applied, or the reason of its letter.
#[derive(Clone, Debug)]
enum End {
    Applied(String),
    Dead(&'static str),
}

fn applied(id: &str) -> End {
    End::Applied(id.to_owned())
}

type Case = (Record, End);

/// Sources and dead letters that take whatever time and size a record has.
pub const ANY: [(&str, &str); 3] = [
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("max.message.bytes", "30000000"),
    ("retention.ms", "-1"),
];

fn bytes(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

/// Message IDs, by the default sources.
fn ids(topic: &str) -> Vec<Case> {
    let record = || Record::new(topic, "value").partition(0);
    let null = |name: &str| Record { headers: vec![(name.to_owned(), None)], ..record() };
    let position = || applied(&format!("position:{topic}/0/"));
    vec![
        (record(), position()),
        (record().key("key"), position()),
        (record().id(""), position()),
        (null("message-id"), position()),
        (record().id(bytes(MIB)), End::Dead("unreadable")),
        (record().id(b"nul\0".to_vec()), applied("nul%00")),
        (record().id("line\nbreak\r\nX: y"), applied("line%0Abreak%0D%0AX:%20y")),
        (record().id("{braces}"), applied("{braces}")),
        (record().id(vec![0xff, 0xfe]), applied("%FF%FE")),
        (record().id("100%"), applied("100%25")),
        (record().id("ce:forged#1"), applied("ce%3Aforged#1")),
        (record().id("position:forged/0/0/0"), applied("position%3Aforged/0/0/0")),
        (record().id("same").id("same"), applied("same")),
        (record().id("one").id("two"), End::Dead("ambiguous_id")),
        (record().id("one").id(""), End::Dead("ambiguous_id")),
        (record().header("ce_source", "/shop").header("ce_id", "7"), applied("ce:/shop#7")),
        (record().header("ce_source", "a#b").header("ce_id", vec![0xff]), applied("ce:a%23b#%FF")),
        (record().header("ce_id", "without source"), position()),
        (record().header("ce_source", "").header("ce_id", "7"), position()),
        (record().header("ce_source", "without id"), position()),
        (record().header("ce_source", "s").header("ce_id", "1").header("ce_id", "2"), End::Dead("ambiguous_id")),
        (record().header("ce_source", "s").header("ce_id", bytes(MIB)), End::Dead("unreadable")),
    ]
}

/// Everything else that a record can have too much of.
fn shapes(topic: &str) -> Vec<Case> {
    let named = |name: &str| Record::new(topic, "value").partition(0).id(name);
    let many = |name: &str, count: usize| (1..count).fold(named(name), |record, _| record.header("h", "v"));
    let mut odd = named("odd-headers");
    for name in
        ["Host", "Transfer-Encoding", "Idempotency-Key", "Content-Length", "Connection", "Once-Delivery", "Expect"]
    {
        odd = odd.header(name, "evil");
    }
    vec![
        (odd, applied("odd-headers")),
        (named("crlf").header("name\r\nInjected: yes", "a\r\nInjected: yes").header("", "v"), applied("crlf")),
        (named("latin").header("n", vec![0xe4, 0xff]), applied("latin")),
        (many("headers-64", 64), applied("headers-64")),
        (many("headers-65", 65), End::Dead("unreadable")),
        (many("headers-40000", 40_000), End::Dead("unreadable")),
        (named("long-header").header("h", bytes(20_000)), End::Dead("unreadable")),
        (named("long-key").key(bytes(20_000)), End::Dead("unreadable")),
        (named("tombstone").tombstone(), applied("tombstone")),
        (Record { value: Some(Vec::new()), ..named("empty") }, applied("empty")),
        (Record { value: Some(bytes(9 * MIB)), ..named("large") }, applied("large")),
        (Record { value: Some(bytes(11 * MIB)), ..named("too-large") }, End::Dead("too_large")),
        (named("first-ms").timestamp(1), applied("first-ms")),
        (named("year-3000").timestamp(32_503_680_000_000), applied("year-3000")),
        (Record::new(topic, "v").partition(0).timestamp(32_503_680_000_001), applied(&format!("position:{topic}/0/"))),
    ]
}

/// Records without an ID where `position` is no source.
fn without_position(topic: &str) -> Vec<Case> {
    let record = |value: &str| Record::new(topic, value).partition(0);
    let deep = "[".repeat(200_000);
    let missing = [
        record("no json"),
        record("{\"id\":1.5}"),
        record("{\"id\":null}"),
        record("{\"id\":\"\"}"),
        record("{\"id\":[7]}"),
        record(&deep),
        record("").tombstone(),
        record("{\"id\":\"x\"").header("message-id", ""),
    ];
    let mut cases: Vec<Case> = missing.into_iter().map(|record| (record, End::Dead("missing_id"))).collect();
    cases.push((record("{\"id\":\"by value\"}"), applied("by%20value")));
    cases.push((record("{\"id\":18446744073709551615}"), applied("18446744073709551615")));
    cases.push((record("{\"id\":\"other\"}").id("by header"), applied("by%20header")));
    cases
}

/// Sends each record with a good one behind it, and compares their ends with what the specification says.
fn run(name: &str, cases: fn(&str) -> Vec<Case>, settings: &[(&'static str, &str)]) {
    let Some(stage) = Stage::with_topics(name, &ANY, &ANY) else { return };
    let scene = &stage.scene;
    let cases = cases(&scene.topic);
    let good = |number| messages(&scene.topic, 0, [format!("good-{number}")]).remove(0);
    let records = cases.iter().zip(0..).flat_map(|((record, _), number)| [record.clone(), good(number)]);
    let positions = Producer::new(&scene.bootstrap).expect("a producer").send(records).expect("they are produced");
    let sidecar = stage.sidecar(settings);
    scene.await_committed();
    let letters: BTreeMap<i64, Read> = stage.read().into_iter().map(|letter| (source(&letter), letter)).collect();
    scene.ledger.with(|records| {
        for ((record, end), (_, offset)) in cases.iter().zip(positions.iter().step_by(2)) {
            assert_end(record, end, &sent(records, *offset), letters.get(offset));
        }
        for number in 0..cases.len() {
            assert!(records.effects.contains_key(&(scene.topic.clone(), format!("good-{number}"))), "behind {number}");
        }
    });
    let dead = cases.iter().filter(|(_, end)| matches!(end, End::Dead(_))).count();
    assert_eq!(letters.len(), dead);
    end(&sidecar, 2 * cases.len() as u64);
}

fn end(sidecar: &Sidecar, received: u64) {
    let metrics = sidecar.metrics().expect("a scrape");
    crate::support::scene::assert_books(&metrics);
    assert_eq!(count(&metrics, "records_received_total", &[]), received);
    assert_eq!(count(&metrics, "open_records", &[]), 0);
    assert_small(sidecar);
    stop(sidecar);
}

fn source(letter: &Read) -> i64 {
    letter
        .headers
        .iter()
        .rev()
        .find(|(name, _)| name == "once-source-offset")
        .and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()?.parse().ok())
        .expect("an offset")
}

fn sent(records: &Records, offset: i64) -> Vec<Arc<Request>> {
    let of = |request: &&Arc<Request>| request.position().is_some_and(|(_, at)| at == offset);
    records.requests.iter().filter(of).cloned().collect()
}

fn assert_end(record: &Record, end: &End, sent: &[Arc<Request>], letter: Option<&Read>) {
    let about = format!(
        "{end:?}: {}",
        String::from_utf8_lossy(record.value.as_deref().unwrap_or_default().get(..20).unwrap_or_default())
    );
    match (end, sent, letter) {
        (End::Applied(id), [request], None) => {
            assert!(request.id().starts_with(id), "{about}: {}", request.id());
            assert_eq!(request.body, record.value.clone().unwrap_or_default(), "{about}");
            assert_eq!(request.header("Kafka-Tombstone"), record.value.is_none().then_some("true"), "{about}");
            if let Some(timestamp) = record.timestamp {
                assert_eq!(request.header("Kafka-Timestamp"), Some(timestamp.to_string().as_str()), "{about}");
            }
            for name in ["Host", "Idempotency-Key", "Content-Length", "Once-Delivery"] {
                let lines = request.headers.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name.as_bytes()));
                let values: Vec<_> = lines.map(|(_, value)| value.as_slice()).collect();
                assert!(values.len() == 1 && values[0] != b"evil", "{about}: {name}: {values:?}");
            }
            for name in ["Transfer-Encoding", "Connection", "Expect", "Injected"] {
                assert_eq!(request.header(name), None, "{about}");
            }
        }
        (End::Dead(reason), [], Some(letter)) => {
            let said = |name: &str| {
                let value =
                    letter.headers.iter().rev().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
                value.map(|value| String::from_utf8(value).expect("text"))
            };
            assert_eq!(said("once-error").as_deref(), Some(*reason), "{about}");
            assert_eq!((said("once-attempts").as_deref(), said("once-status")), (Some("0"), None), "{about}");
            assert!(said("once-detail").is_some_and(|detail| !detail.is_empty()), "{about}");
            assert_eq!((&letter.key, &letter.value), (&record.key, &record.value), "{about}");
            assert!(letter.headers.starts_with(&record.headers), "{about}");
        }
        _ => panic!("{about}: {} requests, letter {:?}", sent.len(), letter.map(|letter| &letter.headers)),
    }
}

#[test]
fn each_kind_of_message_id_has_its_end_and_what_stands_behind_it_goes_on() {
    run("ids", ids, &[]);
}

#[test]
fn each_shape_of_a_record_has_its_end_and_what_stands_behind_it_goes_on() {
    run("shapes", shapes, &[]);
}

#[test]
fn without_position_as_a_source_a_record_without_an_id_is_dead_lettered() {
    run("no-position", without_position, &[("ONCE_MESSAGE_ID", "header:message-id,json:/id")]);
}

/// What no client library writes: a header name that is not UTF-8, a record without a time.
#[test]
fn a_record_that_only_a_raw_request_can_write_has_its_end() {
    let Some(stage) = Stage::with_topics("raw", &ANY, &ANY) else { return };
    let scene = &stage.scene;
    let send = |timestamp, headers: &[(&[u8], &[u8])]| {
        raw::produce_at(&scene.bootstrap, &scene.topic, 0, timestamp, b"value", headers);
    };
    send(-1, &[]);
    send(-1, &[(b"message-id", b"timeless")]);
    send(1_000, &[(b"message-id", b"named"), (b"\xff\xfe", b"v")]);
    send(1_000, &[(b"message-id", b"good")]);
    let sidecar = stage.sidecar(&[]);
    scene.await_committed();
    let position = format!("position:{}/0/0/-1", scene.topic);
    scene.ledger.with(|records| {
        let ids: std::collections::BTreeSet<_> = records.requests.iter().map(|request| request.id()).collect();
        assert_eq!(ids, [position.as_str(), "timeless", "good"].into_iter().collect());
    });
    let letters = stage.read();
    assert_eq!(
        letters.iter().map(|letter| letter.header("once-error")).collect::<Vec<_>>(),
        [Some("unreadable".to_owned())]
    );
    assert_eq!(source(&letters[0]), 2);
    end(&sidecar, 4);
}

/// The same ID with another payload, in one batch and long after: another message, or the same one built anew.
#[test]
fn the_same_id_with_another_payload_is_dead_lettered_or_a_duplicate_as_the_settings_say() {
    for (name, mode, dead) in [("reuse-letter", "dead-letter", 2), ("reuse-duplicate", "duplicate", 0)] {
        let Some(stage) = Stage::new(name, 2) else { return };
        let scene = &stage.scene;
        let record = |value: &str, partition| Record::new(&scene.topic, value).partition(partition).id("one");
        let mut produced = scene.produce(&[record("first", 0), record("other", 0), record("first", 0)]);
        let sidecar = stage.sidecar(&[("ONCE_ID_REUSE", mode)]);
        scene.await_committed();
        produced.extend(scene.produce(&[record("other", 1), record("first", 1)]));
        scene.await_committed();
        let metrics = sidecar.metrics().expect("a scrape");
        assert_eq!(count(&metrics, "id_reuse_total", &[]), 2, "{mode}");
        assert_eq!(count(&metrics, "records_settled_total", &[("outcome", "duplicate")]), 4 - dead, "{mode}");
        assert_eq!(stage.count() as u64, dead);
        assert!(stage.read().iter().all(|letter| letter.value.as_deref() == Some(b"other")), "{mode}");
        scene
            .ledger
            .with(|records| assert_eq!((records.requests.len(), &records.requests[0].body[..]), (1, &b"first"[..])));
        crate::support::scene::assert_books(&metrics);
        stop(&sidecar);
    }
}

/// One sidecar has both partitions: the twins of a batch wait for the first one, and none is settled before it.
#[test]
fn the_same_id_twice_in_one_batch_and_on_two_partitions_at_once_is_applied_once() {
    const IDS: usize = 100;
    let Some(stage) = Stage::new("twins", 2) else { return };
    let scene = &stage.scene;
    scene
        .ledger
        .behave(|request| async move { crate::support::Answer::status(if request.attempt() < 3 { 500 } else { 200 }) });
    let one = |partition| messages(&scene.topic, partition, names("id", IDS));
    let produced = scene.produce(&[one(0), one(0), one(1), one(1)].concat());
    let sidecar = stage.sidecar(&[]);
    scene.await_committed();
    let metrics = sidecar.metrics().expect("a scrape");
    assert_eq!(count(&metrics, "records_settled_total", &[("outcome", "delivered")]), IDS as u64);
    assert_eq!(count(&metrics, "duplicates_total", &[]), 3 * IDS as u64);
    let audit = stage.end(&produced, &[&sidecar]);
    audit.assert_exactly_once();
    assert_eq!(scene.ledger.with(|records| records.requests.len()), 3 * IDS);
}
