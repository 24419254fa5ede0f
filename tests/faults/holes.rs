//! Holes that other systems have, on real processes: what they lose or repeat, ours does not.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use kafka_once::domain::claim::ClaimValue;

use crate::support::claims::standing;
use crate::support::load::{numbered, stop};
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{self, Answer, Audit, Redis, topics};
use crate::trial::{QUICK, Trial};

const PARTITIONS: usize = 6;

/// A failed request is tried again soon, for ever.
const IMPATIENT: [(&str, &str); 3] =
    [("ONCE_RETRY_ATTEMPTS", "0"), ("ONCE_RETRY_BACKOFF", "10ms"), ("ONCE_RETRY_BACKOFF_MAX", "50ms")];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&QUICK, more].concat()
}

fn count(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    // Counters are whole numbers far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = metrics.sum(name, labels).round() as u64;
    whole
}

fn is_mark(value: &ClaimValue) -> bool {
    matches!(value, ClaimValue::Done { .. } | ClaimValue::Dead { .. })
}

/// H2: every message fails once, half of them are tried again by another process.
#[test]
fn a_failed_delivery_comes_again_and_is_no_duplicate_of_itself() {
    let Some(scene) = Scene::new(Ground::Real, "failed", 6) else { return };
    let trial = Trial::begin(scene, PARTITIONS);
    let fails = |attempt| if attempt == 1 { 500 } else { 200 };
    trial.scene.ledger.behave(move |request| async move { Answer::status(fails(request.attempt())) });
    let first = trial.scene.sidecar(&with(&IMPATIENT));
    trial.await_part(1, 3);
    stop(&first);
    assert!(trial.applied() < trial.distinct, "it was stopped under load");
    let second = trial.scene.sidecar(&with(&IMPATIENT));
    trial.end(&[&second]).assert_exactly_once();
    let records = trial.scene.ledger.records();
    assert!(records.applied.iter().all(|request| request.attempt() > 1), "each one had failed before");
    assert!(records.requests.iter().all(|request| !request.in_doubt()), "a failure is certain");
}

/// H3: another group with the same namespace holds every message and fails; ours waits, until the other one dies.
#[test]
fn an_in_flight_duplicate_waits_while_the_first_one_fails_and_takes_over_when_it_dies() {
    const COUNT: usize = 50;
    let Some(scene) = Scene::new(Ground::Real, "in-flight", 6) else { return };
    scene.ledger.behave(|request| async move { Answer::status(if request.path == "/failing" { 500 } else { 200 }) });
    let records = (0..COUNT).map(|number| numbered(&scene.topic, number, PARTITIONS)).collect::<Vec<_>>();
    let produced = scene.produce(&records);
    let (other, failing, group) = (format!("{}-other", scene.group), scene.ledger.url("/failing"), scene.group.clone());
    let mut settings = with(&IMPATIENT);
    settings.push(("ONCE_DEDUP_NAMESPACE", group.as_str()));
    let ours = settings.clone();
    settings.extend([("ONCE_KAFKA_GROUP", other.as_str()), ("ONCE_APP_URL", failing.as_str())]);
    let first = scene.sidecar(&settings);
    await_attempts(&scene, COUNT, 1);

    let waiting = scene.sidecar(&ours);
    let all_open = |metrics: &Metrics| count(metrics, "kafka_once_open_records", &[]) == COUNT as u64;
    waiting.await_metrics(PATIENCE, all_open).expect("it holds all of them open");
    let more = scene.ledger.with(|records| records.requests.iter().map(|request| request.attempt()).max());
    await_attempts(&scene, COUNT, more.expect("requests") + 3);
    let metrics = waiting.metrics().expect("a scrape");
    assert!(all_open(&metrics), "none is settled while the first one fails: {metrics:?}");
    assert_eq!(scene.ledger.with(|records| records.requests.iter().filter(|one| one.path == "/").count()), 0);

    first.sigkill();
    let died = Instant::now();
    scene.await_applied(COUNT);
    crate::trial::record_recovery("a holder of in-flight duplicates dies", died.elapsed());
    scene.await_committed();
    let told = count(&waiting.metrics().expect("a scrape"), "kafka_once_possible_repeats_total", &[]);
    stop(&waiting);
    assert_eq!(told, COUNT as u64, "a dead session's claims are in doubt");
    scene.audit(&produced).assert_exactly_once();
}

/// Waits until each of `count` messages had a request with this attempt or a higher one.
fn await_attempts(scene: &Scene, count: usize, attempt: u64) {
    let wanted = |records: &support::ledger::Records| {
        let reached = records.requests.iter().filter(|request| request.attempt() >= attempt);
        reached.map(|request| request.id()).collect::<HashSet<_>>().len() >= count
    };
    scene.ledger.wait_until(PATIENCE, wanted).unwrap_or_else(|error| panic!("attempt {attempt}: {error}"));
}

/// H4: one record in the middle of each partition never succeeds; all behind it do, and then the process is killed.
#[test]
fn a_commit_never_passes_a_record_that_is_open_also_over_a_kill() {
    let Some(scene) = Scene::new(Ground::Real, "passed", 6) else { return };
    let trial = Trial::begin(scene, PARTITIONS);
    let scene = &trial.scene;
    let middle = trial.distinct / 2 / PARTITIONS * PARTITIONS;
    let stuck: HashSet<String> = (middle..middle + PARTITIONS).map(|number| format!("id-{number}")).collect();
    let failing = stuck.clone();
    scene.ledger.behave(move |request| {
        let fails = failing.contains(request.id());
        async move { Answer::status(if fails { 500 } else { 200 }) }
    });
    let mut held_at: BTreeMap<i32, i64> = BTreeMap::new();
    for one in trial.produced.iter().filter(|one| stuck.contains(&one.id)) {
        let (partition, offset) = one.position;
        let lowest = held_at.entry(partition).or_insert(offset);
        *lowest = offset.min(*lowest);
    }
    let window = (trial.produced.len() + 1).to_string();
    let mut settings = with(&IMPATIENT);
    settings.extend([("ONCE_ORDERING", "none"), ("ONCE_COMMIT_INTERVAL", "100ms")]);
    settings.push(("ONCE_MAX_OPEN_RECORDS", window.as_str()));
    let first = scene.sidecar(&settings);
    scene.await_applied(trial.distinct - PARTITIONS);
    scene.await_commits(|partition| held_at[&partition]);
    first.sigkill();
    let died = Instant::now();
    let committed = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits");
    assert!(committed.iter().all(|(partition, committed)| committed.next == held_at[partition]), "{committed:?}");
    assert_eq!(scene.audit(&trial.produced).passed_open, []);

    scene.ledger.behave(|_| async { Answer::status(200) });
    let heir = scene.sidecar(&settings);
    trial.recovered("a kill with records open in the middle", died, trial.distinct - PARTITIONS);
    let audit = trial.end(&[&heir]);
    audit.assert_exactly_once();
    let again: HashSet<String> = audit.forwarded_twice.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(again, stuck, "what was settled behind them is not forwarded again");
}

/// H5: Redis stands still for longer than a command may take, again and again: commands are carried out unheard.
#[test]
fn a_claim_whose_reply_was_lost_is_our_own_and_says_first() {
    let Some((trial, redis)) = on_a_redis_of_its_own("lost-reply") else { return };
    let sidecar = trial.scene.sidecar(&[]);
    let up = |metrics: &Metrics| count(metrics, "kafka_once_store_up", &[]) == 1;
    for part in 1..=4 {
        trial.await_part(part, 6);
        redis.pause();
        sidecar.await_metrics(PATIENCE, |metrics| !up(metrics)).expect("it sees that Redis is away");
        redis.cont();
        sidecar.await_metrics(PATIENCE, up).expect("and that it is back");
        assert!(trial.applied() < trial.distinct, "it stood still under load");
    }
    trial.scene.await_applied(trial.distinct);
    trial.scene.await_committed();
    let metrics = sidecar.metrics().expect("a scrape");
    for series in ["possible_repeats_total", "overlaps_total", "dedup_history_lost_total"] {
        assert_eq!(count(&metrics, &format!("kafka_once_{series}"), &[]), 0, "{series}");
    }
    let delivered = count(&metrics, "kafka_once_records_settled_total", &[("outcome", "delivered")]);
    let audit = trial.end(&[&sidecar]);
    assert_eq!(delivered, trial.distinct as u64, "none was taken for a duplicate of itself");
    assert_forwarded_once(&audit);
}

/// H8: Redis refuses every write; what is under way waits, nothing is dropped and nothing acknowledged.
#[test]
fn an_error_of_the_store_pauses_and_neither_drops_nor_acknowledges_a_message() {
    let Some((trial, redis)) = on_a_redis_of_its_own("store-error") else { return };
    let scene = &trial.scene;
    let sidecar = scene.sidecar(&[("ONCE_COMMIT_INTERVAL", "100ms")]);
    trial.await_part(1, 3);
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).expect("no memory left");
    let paused = |metrics: &Metrics| {
        let paused = count(metrics, "kafka_once_partition_paused", &[("reason", "store_unavailable")]);
        paused == PARTITIONS as u64 && count(metrics, "kafka_once_store_up", &[]) == 0
    };
    sidecar.await_metrics(PATIENCE, paused).expect("it pauses and says why");
    // What was sent is answered, and its mark cannot be stored: nothing moves any more.
    let idle = |metrics: &Metrics| count(metrics, "kafka_once_in_flight_requests", &[]) == 0;
    sidecar.await_metrics(PATIENCE, idle).expect("the app has answered all");

    let records = scene.ledger.records();
    let ids: HashSet<&str> = trial.produced.iter().map(|one| one.id.as_str()).collect();
    assert!(records.effects.len() < ids.len(), "it happened under load");
    let held = standing(&scene.redis_url, &scene.group, &scene.topic, ids).expect("what Redis holds");
    for request in &records.requests {
        assert!(held.contains_key(request.id()), "{} was forwarded without a claim", request.id());
    }
    let committed = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits");
    for one in &trial.produced {
        let (partition, offset) = one.position;
        let below = committed.get(&partition).is_some_and(|committed| offset < committed.next);
        assert!(!below || held.get(&one.id).is_some_and(is_mark), "{one:?} is committed and not marked");
    }

    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).expect("memory again");
    trial.recovered("errors of the store", Instant::now(), records.effects.len());
    assert_forwarded_once(&trial.end(&[&sidecar]));
}

/// A load on a Redis that the test may break; `None`: Kafka or Redis cannot be had.
fn on_a_redis_of_its_own(name: &str) -> Option<(Trial, Redis)> {
    let kafka = support::kafka()?;
    let redis = support::redis_possible().then(|| Redis::start(&[]).expect("a redis"))?;
    let scene = Scene::on(kafka, &redis, name, 6);
    Some((Trial::begin(scene, PARTITIONS), redis))
}

fn assert_forwarded_once(audit: &Audit) {
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, []);
}
