//! Work that outlives what it was begun under: a revoked partition, a lease.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::checks::assert_forwarded_once;
use crate::ends::{QUICK_GROUP, await_owned};
use crate::flow::Flow;
use crate::support::ledger::Records;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{Answer, Record};
use crate::trial::{QUICK, Trial};

/// Partitions, and messages that the app works on for as long as a test wants, one in each.
const SLOW: usize = 6;

/// A drain gives up a few seconds before a request does: in between, a request outlives its partition.
const PATIENT: [(&str, &str); 5] =
    [("ONCE_APP_TIMEOUT", "16s"), ("ONCE_DRAIN_TIMEOUT", "16s"), ("ONCE_LEASE", "17s"), QUICK_GROUP[0], QUICK_GROUP[1]];

#[test]
fn a_late_answer_after_a_revoke_is_a_mark_and_the_new_owner_repeats_nothing() {
    let Some(scene) = Scene::new(Ground::Real, "late", 6) else { return };
    let (let_go, held) = watch::channel(false);
    scene.ledger.behave(move |request| {
        let mut held = held.clone();
        async move {
            if request.id().starts_with("slow-") {
                let _ = held.wait_for(|go| *go).await; // the test's end lets go as well
            }
            Answer::status(200)
        }
    });
    let (mut trial, (slow, sidecars)) = Flow::new(scene, SLOW).during(|flow| {
        let scene = &flow.scene;
        let slow = scene.produce(&slow(&scene.topic));
        let owner = scene.sidecar(&PATIENT);
        let sent = |records: &Records| records.requests.iter().filter(|request| is_slow(request.id())).count() == SLOW;
        scene.ledger.wait_until(PATIENCE, sent).expect("they are sent");
        let heir = scene.sidecar(&PATIENT);
        // The drain's deadline has passed, and the partitions are the heir's although their requests are open.
        await_owned(&[&owner, &heir], SLOW);
        let waits = |metrics: &Metrics| metrics.sum("kafka_once_open_records", &[]) > 2.5;
        heir.await_metrics(PATIENCE, waits).expect("the heir waits for the outcome");
        let_go.send(true).expect("the app");
        (slow, [owner, heir])
    });
    trial.distinct += slow.len();
    trial.produced.extend(slow);
    let redelivered = |metrics: &Metrics| metrics.sum("kafka_once_duplicates_total", &[("cause", "redelivery")]) > 2.5;
    sidecars[1].await_metrics(PATIENCE, redelivered).expect("the heir finds marks");
    assert_forwarded_once(&trial, &sidecars.each_ref());
}

fn slow(topic: &str) -> Vec<Record> {
    let record = |partition: usize| {
        let name = format!("slow-{partition}");
        Record::new(topic, "slow").id(name.clone()).key(name).partition(i32::try_from(partition).expect("a partition"))
    };
    (0..SLOW).map(record).collect()
}

fn is_slow(id: &str) -> bool {
    id.starts_with("slow-")
}

#[test]
fn a_message_at_work_for_several_leases_stays_with_its_live_sidecar() {
    const LEASES: Duration = Duration::from_secs(3 * 3);
    let Some(scene) = Scene::new(Ground::Real, "leases", 2) else { return };
    let begun: Arc<OnceLock<Instant>> = Arc::default();
    scene.ledger.behave(move |_| {
        let begun = *begun.get_or_init(Instant::now);
        async move { Answer::status(if begun.elapsed() < LEASES { 500 } else { 200 }) }
    });
    let retries = [("ONCE_RETRY_ATTEMPTS", "0"), ("ONCE_RETRY_BACKOFF_MAX", "200ms")];
    let start = |path: &str| {
        let url = scene.ledger.url(path);
        scene.sidecar(&[&QUICK[..], &retries, &[("ONCE_APP_URL", url.as_str())]].concat())
    };
    let sidecars = [start("/a"), start("/b")];
    await_owned(&sidecars.each_ref(), 2);
    let both = [0, 1].map(|partition| Record::new(&scene.topic, "one").id("one").partition(partition));
    let produced = scene.produce(&both);
    let trial = Trial { scene, produced, distinct: 1 };
    let audit = trial.end(&sidecars.each_ref());
    audit.assert_exactly_once();
    trial.scene.ledger.with(|records| {
        let sender = &records.requests[0].path;
        assert!(records.requests.len() > 10, "{} requests in several leases", records.requests.len());
        for two in records.requests.windows(2) {
            assert!(two[1].path == *sender && two[0].attempt() < two[1].attempt(), "{two:?}");
            assert!(!two[1].in_doubt(), "its sidecar has lived all along: {two:?}");
        }
    });
}
