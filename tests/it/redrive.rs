//! `kafka-once redrive` on real processes: letters go back, each at most once, whoever dies on the way.

use std::collections::BTreeMap;

use kafka_once::domain::claim::{ClaimValue, SessionId, Spent};
use kafka_once::domain::reasons::DeadLetterReason;
use kafka_once::failpoints::Failpoint;
use serde_json::{Value, json};

use crate::support::ledger::{Ledger, Model, Request};
use crate::support::letters::{Letter, Letters, dead, done, now};
use crate::support::load::stop;
use crate::support::scene::PATIENCE;
use crate::support::topics::{self, Read};
use crate::support::{Answer, Record, Signal};

/// Headers of a record that the app is sent, at most.
const MOST_HEADERS: usize = kafka_once::adapters::app::MAX_RECORD_HEADERS;

/// What a report must count; everything else is 0.
pub(crate) fn assert_counts(report: &Value, expected: &[(&str, u64)]) {
    let all = [
        "sent",
        "sent_before",
        "copies",
        "done_since",
        "in_progress",
        "foreign",
        "value_elsewhere",
        "topic_refuses",
        "not_asked",
        "other_topic",
        "other_namespace",
        "not_ours",
    ];
    let found: BTreeMap<_, _> = all.iter().map(|name| (*name, report[*name].as_u64().expect("a count"))).collect();
    let mut wanted: BTreeMap<_, _> = all.iter().map(|name| (*name, 0)).collect();
    wanted.extend(expected.iter().copied());
    assert_eq!(found, wanted, "{report:#}");
}

fn without_place(read: Read) -> Read {
    Read { offset: 0, ..read }
}

/// The bodies that the app has applied, each with how often.
fn applied(letters: &Letters) -> BTreeMap<String, usize> {
    let mut bodies = BTreeMap::new();
    for request in letters.scene.ledger.records().applied {
        *bodies.entry(String::from_utf8_lossy(&request.body).into_owned()).or_default() += 1;
    }
    bodies
}

/// Waits until everything on the topic is settled, then looks whether each of these was applied once.
pub(crate) fn assert_applied_once(letters: &Letters, bodies: impl Iterator<Item = String>) {
    letters.await_settled();
    assert_eq!(applied(letters), bodies.map(|body| (body, 1)).collect());
}

#[test]
fn letters_go_back_as_they_were_and_are_applied_once_and_a_second_run_sends_nothing() {
    let Some(letters) = Letters::new("redrive") else { return };
    let record = |number: usize| {
        let record = Record::new(&letters.scene.topic, format!("value {number}")).id(format!("id-{number}"));
        let record = record.key(format!("key-{number}")).header("once-at", "mine").header("h", b"\xff".to_vec());
        record.partition(i32::from(number % 2 == 1)).timestamp(i64::try_from(now()).expect("a time") - 1_000)
    };
    let mut records: Vec<Record> = (0..18).map(record).collect();
    records.push(Record::new(&letters.scene.topic, "").id("tombstone").partition(0).tombstone());
    let many = |record: Record, number: usize| record.header(&format!("h{number}"), "x");
    let full = (0..MOST_HEADERS - 1).fold(Record::new(&letters.scene.topic, "").id("empty"), many);
    records.push(full.partition(1));
    let sidecar = letters.give_up(&records);
    let (before, dead_before) = (letters.on_source(), letters.on_topic());

    let (code, page) = letters.run(&["--dry-run"], &[]);
    assert!(code == 0 && page.contains("20 letters would be sent back") && page.contains("dry run"), "{page}");
    assert_counts(&letters.redrive(&["--dry-run"]), &[("sent", 20)]);
    assert_eq!((letters.on_source(), letters.on_topic()), (before.clone(), dead_before), "nothing is changed");
    assert!(matches!(letters.standing("id-1"), Some(ClaimValue::Dead { .. })));

    let report = letters.redrive(&[]);
    assert_counts(&report, &[("sent", 20)]);
    let line = json!([{ "topic": letters.scene.topic, "reason": "refused", "letters": 20 }]);
    assert_eq!(report["sent_by"], line);
    letters.scene.await_applied(20);
    letters.await_settled();
    let records = letters.scene.ledger.records();
    assert_eq!((records.requests.len(), records.applied.len()), (40, 20));
    let again = &records.requests[20..];
    assert!(
        again.iter().all(|request| !request.in_doubt() && request.attempt() == 2),
        "one request was refused before"
    );
    let said = |request: &&std::sync::Arc<Request>| request.header("Kafka-Header-once-source-offset").is_some();
    assert_eq!(again.iter().filter(said).count(), 0, "what we say among ourselves is not the app's");

    // What is on the topic now: the same records twice, in the same partitions; behind the second ones' headers stands
    // which letters they were.
    let (mut first, mut back): (Vec<_>, Vec<_>) =
        letters.on_source().into_iter().partition(|read| before.contains(read));
    let by_id = |read: &Read| read.header("message-id");
    first.sort_by_key(by_id);
    back.sort_by_key(by_id);
    let said = ["once-namespace", "once-source-partition", "once-source-offset", "once-attempts", "once-delivery"];
    for (first, back) in first.iter().zip(&mut back) {
        let block = back.headers.split_off(back.headers.len() - said.len());
        let values = [&letters.scene.group, &first.partition.to_string(), &first.offset.to_string(), "1", "first"];
        let expected =
            said.iter().zip(values).map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())));
        assert_eq!(block, expected.collect::<Vec<_>>());
    }
    let plain = |reads: Vec<Read>| reads.into_iter().map(without_place).collect::<Vec<_>>();
    assert_eq!(plain(first), plain(back));

    assert_counts(&letters.redrive(&[]), &[("sent_before", 20)]);
    let (code, page) = letters.run(&[], &[]);
    assert!(code == 0 && page.contains("20 letters sent back by an earlier run"), "{page}");
    letters.await_settled();
    assert_eq!(letters.scene.ledger.with(|records| records.requests.len()), 40);
    stop(&sidecar);
}

#[test]
fn a_letter_that_is_refused_again_becomes_another_letter_that_can_go_back_too() {
    let Some(letters) = Letters::new("redrive-again") else { return };
    letters.refuse(true);
    letters.scene.produce(&[Record::new(&letters.scene.topic, "x").id("x")]);
    let sidecar = letters.sidecar(&[]);
    letters.await_letters(1);
    assert_counts(&letters.redrive(&[]), &[("sent", 1)]);
    letters.await_letters(3); // two letters and a marker
    letters.await_settled();
    letters.refuse(false);
    assert_counts(&letters.redrive(&[]), &[("sent", 1), ("sent_before", 1)]);
    letters.scene.await_applied(1);
    assert_applied_once(&letters, std::iter::once("x".to_owned()));
    stop(&sidecar);
}

#[test]
fn what_may_have_had_its_effect_before_it_was_given_up_goes_back_as_a_possible_repeat() {
    let Some(letters) = Letters::new("redrive-doubt") else { return };
    let of = |in_doubt, id, offset| Letter { in_doubt, attempts: 7, ..Letter::new(id, id, offset) };
    let nameless = Letter { id: None, ..of(true, "n", 2) };
    letters.write(&[of(false, "r", 0), of(true, "d", 1), nameless]);
    assert_counts(&letters.redrive(&[]), &[("sent", 3)]);
    let sidecar = letters.sidecar(&[]);
    letters.refuse(false);
    letters.scene.await_applied(3);
    letters.await_settled();
    let expected = [("d", true), ("n", true), ("r", false)].map(|(id, doubt)| (id.to_owned(), doubt, 8));
    assert_eq!(requests(&letters, 0), expected);
    stop(&sidecar);
}

/// The requests behind the first `skipped`: body, whether in doubt, number.
pub(crate) fn requests(letters: &Letters, skipped: usize) -> Vec<(String, bool, u64)> {
    let requests = letters.scene.ledger.records().requests;
    let told = requests[skipped..].iter();
    let mut told: Vec<_> = told
        .map(|request| (String::from_utf8_lossy(&request.body).into_owned(), request.in_doubt(), request.attempt()))
        .collect();
    told.sort();
    told
}

/// The sidecar dies before the offset of what it has given up is committed: the record is read again where it stood, and
/// once more where it was sent to. The app may have applied it long ago.
#[test]
fn read_again_at_its_source_what_was_sent_back_goes_to_the_app_once_and_in_doubt() {
    let Some(letters) = Letters::new("redrive-source") else { return };
    let record = |id: &str| Record::new(&letters.scene.topic, id).id(id).key(id).partition(0);
    letters.scene.ledger.behave(|request| {
        let answer = match (request.id(), request.attempt()) {
            ("first", _) => Answer::status(429), // so nothing is committed
            (_, 1) => Answer::reset(),
            _ => Answer::status(400),
        };
        async move { answer }
    });
    letters.scene.produce(&[record("first"), record("given-up")]);
    let sidecar = letters.sidecar(&[]);
    let end = std::time::Instant::now() + PATIENCE;
    // Redis' answers pace this loop.
    while !matches!(letters.standing("given-up"), Some(ClaimValue::Dead { .. })) {
        assert!(std::time::Instant::now() < end, "{:?}", letters.standing("given-up"));
    }
    sidecar.sigkill();
    assert_counts(&letters.redrive(&[]), &[("sent", 1)]);

    letters.refuse(false);
    let before = letters.scene.ledger.with(|records| records.requests.len());
    let sidecar = letters.sidecar(&[]);
    letters.scene.await_applied(2);
    letters.await_settled();
    let again: Vec<_> = requests(&letters, before).into_iter().filter(|(body, ..)| body == "given-up").collect();
    assert_eq!(again, [("given-up".to_owned(), true, 3)]);
    stop(&sidecar);
}

/// An app that takes `Once-Attempt` for a fencing token has seen the numbers of the letter.
#[test]
fn an_app_that_fences_takes_what_is_sent_back() {
    let Some(mut letters) = Letters::new("redrive-fence") else { return };
    letters.scene.ledger = Ledger::start_as(Model::Fencing).expect("an app");
    letters.scene.ledger.behave(|_| async { Answer::status(500) });
    letters.scene.produce(&[Record::new(&letters.scene.topic, "x").id("x")]);
    let more = [("ONCE_RETRY_ATTEMPTS", "3"), ("ONCE_RETRY_BACKOFF", "1ms")];
    let sidecar = letters.sidecar(&more);
    letters.await_letters(1);
    letters.await_settled();
    letters.refuse(false);
    let before = letters.scene.ledger.with(|records| records.requests.len());
    assert_counts(&letters.redrive(&["--reason", "exhausted"]), &[("sent", 1)]);
    letters.scene.await_applied(1);
    assert_eq!(requests(&letters, before), [("x".to_owned(), false, before as u64 + 1)]);
    stop(&sidecar);
}

#[test]
fn each_filter_sends_exactly_what_is_asked_for() {
    let Some(letters) = Letters::new("redrive-filters") else { return };
    let other = format!("{}-other", letters.scene.topic);
    topics::create(&letters.scene.bootstrap, &other, 1, 1, &[]).expect("a topic");
    let exhausted = Letter { reason: DeadLetterReason::Exhausted, ..Letter::new("e", "e", 1) };
    let nameless = Letter { reason: DeadLetterReason::MissingId, id: None, ..Letter::new("", "m", 2) };
    let old = Letter { at: 951_782_400_000, ..Letter::new("o%20o", "o", 3) };
    letters.write(&[Letter::new("r", "r", 0), exhausted, nameless, old]);
    letters.write_as(&other, &letters.scene.group, &[Letter::new("x", "x", 0)]);
    letters.write_as(&letters.scene.topic, "somebody-else", &[Letter::new("y", "y", 9)]);
    let fixed = [("other_topic", 1), ("other_namespace", 1)];
    let dry = |arguments: &[&str], sent: u64| {
        let report = letters.redrive(&[&["--dry-run"], arguments].concat());
        let left = 4 - sent;
        assert_counts(&report, &[&fixed[..], &[("sent", sent), ("not_asked", left)]].concat());
    };
    dry(&[], 4);
    dry(&["--reason", "exhausted"], 1);
    dry(&["--reason", "exhausted", "--reason", "missing_id"], 2);
    dry(&["--id", "o%20o"], 1);
    dry(&["--id", "o%20o", "--id", "r", "--id", "nobody"], 2);
    dry(&["--since", "2000-02-29T00:00:00.001Z"], 3);
    dry(&["--since", "2000-02-29T00:00:00Z"], 4);
    dry(&["--since", "1h", "--reason", "refused"], 1);

    let sent = |arguments: &[&str], expected: &[(&str, u64)]| assert_counts(&letters.redrive(arguments), expected);
    let values = || letters.on_source().iter().map(|read| read.value.clone().expect("a value")).collect::<Vec<_>>();
    sent(&["--reason", "exhausted"], &[&fixed[..], &[("sent", 1), ("not_asked", 3)]].concat());
    assert_eq!(values(), [b"e".to_vec()]);
    sent(&["--id", "o%20o"], &[&fixed[..], &[("sent", 1), ("not_asked", 3)]].concat());
    let report = letters.redrive(&["--max", "1"]);
    assert_eq!((&report["sent"], values().len()), (&json!(1), 3), "{report:#}");
    sent(&["--topic", &other], &[("sent", 1), ("other_topic", 4), ("other_namespace", 1)]);
    assert_eq!(topics::read_all(&letters.scene.bootstrap, &other).expect("records").len(), 1);
    sent(&[], &[&fixed[..], &[("sent", 1), ("sent_before", 3)]].concat());
    let mut all = values();
    all.sort();
    assert_eq!(all, ["e", "m", "o", "r"].map(|value| value.as_bytes().to_vec()));
}

/// Half of the records have an ID of their own, half are named by their position: the marker alone protects those.
fn killed_at(point: Failpoint, name: &str) {
    const LETTERS: usize = 330; // four transactions: of each point some letters are left for the last run
    let Some(letters) = Letters::new(name) else { return };
    let record = |number: usize| {
        let record = Record::new(&letters.scene.topic, format!("value {number}")).key(format!("key {number}"));
        let record = record.partition(i32::from(number % 4 > 1));
        if number.is_multiple_of(2) { record.id(format!("id-{number}")) } else { record }
    };
    let sidecar = letters.give_up(&(0..LETTERS).map(record).collect::<Vec<_>>());
    for passing in [1, 2] {
        let armed = format!("{}=kill@{passing}", point.as_str());
        let (code, said) = letters.run(&[], &[("FAILPOINTS", &armed)]);
        assert_eq!(code, 137, "{said}");
    }
    let report = letters.redrive(&[]);
    let number = |name: &str| report[name].as_u64().expect("a count");
    assert_eq!(number("sent") + number("sent_before"), LETTERS as u64, "{report:#}");
    assert!(number("sent") > 0 && number("sent_before") >= 100, "{report:#}");
    letters.scene.await_applied(LETTERS);
    assert_applied_once(&letters, (0..LETTERS).map(|number| format!("value {number}")));
    assert_counts(&letters.redrive(&[]), &[("sent_before", LETTERS as u64)]);
    stop(&sidecar);
}

#[test]
fn killed_before_the_commit_the_next_run_sends_what_was_not_committed() {
    killed_at(Failpoint::RedriveProduced, "redrive-produced");
}

#[test]
fn killed_after_the_commit_the_next_run_sends_nothing_of_it_again() {
    killed_at(Failpoint::RedriveCommitted, "redrive-committed");
}

#[test]
fn of_two_at_once_the_older_one_is_fenced_and_nothing_is_sent_twice() {
    const LETTERS: usize = 120;
    let Some(letters) = Letters::new("redrive-two") else { return };
    let record = |number: usize| {
        let record = Record::new(&letters.scene.topic, format!("value {number}")).partition(0);
        if number.is_multiple_of(2) { record.id(format!("id-{number}")) } else { record }
    };
    let sidecar = letters.give_up(&(0..LETTERS).map(record).collect::<Vec<_>>());
    let older = letters.start(&[], &[("FAILPOINTS", "redrive_produced=freeze@1")]);
    older.log().wait_for(PATIENCE, |line| line.contains("strikes")).expect("it is frozen");
    letters.redrive(&["--max", "30"]);
    older.signal(Signal::CONT);
    assert_eq!(older.wait_exit(PATIENCE), Some(1), "{}", older.log().all());
    let said = older.log().all();
    assert!(said.contains("another kafka-once redrive of this namespace has begun"), "{said}");
    letters.redrive(&[]);
    letters.scene.await_applied(LETTERS);
    assert_applied_once(&letters, (0..LETTERS).map(|number| format!("value {number}")));
    stop(&sidecar);
}

#[test]
fn what_redis_holds_decides_and_what_was_done_since_is_never_sent_even_when_redis_has_forgotten() {
    let Some(letters) = Letters::new("redrive-marks") else { return };
    let spent = Spent::default();
    let (session, in_doubt) = (SessionId([1; 16]), false);
    let named = ["dead", "done", "claimed", "released", "nothing", "other", "foreign"];
    let all: Vec<Letter<'_>> = (0..).zip(named).map(|(offset, name)| Letter::new(name, name, offset)).collect();
    letters.write(&all);
    letters.mark(&all[0], dead);
    letters.mark(&all[1], done);
    letters.live(session);
    letters.mark(&all[2], |position, digest| ClaimValue::Claimed { session, spent, in_doubt, position, digest });
    letters.mark(&all[3], |position, digest| ClaimValue::Released { spent, in_doubt, position, digest });
    letters.mark(&Letter::new("other", "another payload", 5), done);
    letters.put("foreign", b"not ours");
    let report = letters.redrive(&[]);
    assert_counts(&report, &[("sent", 3), ("done_since", 1), ("in_progress", 2), ("foreign", 1)]);
    let values = || letters.on_source().iter().map(|read| read.value.clone().expect("a value")).collect::<Vec<_>>();
    assert_eq!(values(), ["dead", "nothing", "other"].map(|value| value.as_bytes().to_vec()));
    assert!(matches!(letters.standing("dead"), Some(ClaimValue::Dead { .. })), "until it is taken over");
    assert!(matches!(letters.standing("done"), Some(ClaimValue::Done { .. })));
    assert!(matches!(letters.standing("claimed"), Some(ClaimValue::Claimed { .. })));
    assert!(matches!(letters.standing("released"), Some(ClaimValue::Released { .. })));
    assert!(matches!(letters.standing("other"), Some(ClaimValue::Done { .. })));

    for name in named {
        letters.forget(name);
    }
    assert_counts(&letters.redrive(&[]), &[("sent", 3), ("sent_before", 4)]);
    assert_eq!(values().len(), 6, "those that were in progress, and the one whose key was somebody else's");
}

#[test]
fn a_position_made_mark_stays_so_that_its_own_record_is_not_forwarded_again() {
    let Some(letters) = Letters::new("redrive-position") else { return };
    let stood = (0, 5, 7_000);
    let id = format!("position:{}/0/5/7000", letters.scene.topic);
    let letter = || Letter { stood, ..Letter::new(&id, "x", 5) };
    letters.write(&[letter(), letter()]); // a lost acknowledgement left two
    letters.mark(&letter(), dead);
    assert_counts(&letters.redrive(&[]), &[("sent", 1), ("copies", 1)]);
    assert!(matches!(letters.standing(&id), Some(ClaimValue::Dead { .. })));
    letters.write(&[letter()]);
    assert_counts(&letters.redrive(&[]), &[("sent_before", 2), ("copies", 1)]);
    assert_counts(&letters.redrive(&[]), &[("sent_before", 3)]);
    assert_eq!(letters.on_source().len(), 1);
}

#[test]
fn what_cannot_go_back_stays_and_is_named() {
    let Some(letters) = Letters::new("redrive-odd") else { return };
    let left = "no; value too large for the dead-letter topic, left at its source position";
    let large = Letter { detail: left, value: Some(""), stood: (1, 42, 0), ..Letter::new("large", "", 0) };
    letters.write(&[large, Letter::new("fine", "fine", 1)]);
    letters.scene.produce_to(&letters.topic, vec![Record::new("", "somebody else's").header("once-at", "x")]);
    let report = letters.redrive(&[]);
    assert_counts(&report, &[("sent", 1), ("value_elsewhere", 1), ("not_ours", 1)]);
    let place = json!([{ "topic": letters.scene.topic, "partition": 1, "offset": 42 }]);
    assert_eq!(report["value_elsewhere_at"], place);
    let (_, page) = letters.run(&[], &[]);
    let named = format!("topic {}, partition 1, offset 42", letters.scene.topic);
    assert!(page.contains(&named) && page.contains("1 record is on the topic no letter of ours"), "{page}");
}

#[test]
fn a_record_too_old_for_its_topics_retention_goes_back_as_of_now_and_one_of_a_gone_partition_by_its_key() {
    let Some(letters) = Letters::new("redrive-old") else { return };
    let recent = i64::try_from(now()).expect("a time") - 60_000;
    let old = Letter { stood: (1, 0, 951_782_400_000), ..Letter::new("old", "old", 0) };
    letters.write(&[old, Letter { stood: (7, 1, recent), ..Letter::new("gone", "gone", 0) }]);
    let before = i64::try_from(now()).expect("a time");
    assert_counts(&letters.redrive(&[]), &[("sent", 2)]);
    let back = letters.on_source();
    let of =
        |value: &str| back.iter().find(|read| read.value.as_deref() == Some(value.as_bytes())).expect("it is back");
    assert!(of("old").partition == 1 && of("old").timestamp.is_some_and(|at| at >= before), "{back:?}");
    assert_eq!(of("gone").timestamp, Some(recent));
}
