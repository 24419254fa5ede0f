//! Records that a broker deletes before they were read: counted exactly, and followed by what the settings say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::scene::{Ground, PATIENCE, Scene, assert_books};
use crate::support::sidecar::Metrics;
use crate::support::{Answer, Record, Sidecar, topics};
use crate::told::{QUICK, await_all, incidents, lost, stop, whole, with};

fn messages(topic: &str, numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|number| Record::new(topic, format!("{number}")).partition(0).id(format!("id-{number}"))).collect()
}

fn applied(scene: &Scene) -> BTreeSet<String> {
    scene.ledger.with(|records| records.effects.keys().map(|(_, id)| id.clone()).collect())
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(|number| format!("id-{number}")).collect()
}

fn next_committed(scene: &Scene) -> i64 {
    topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits")[&0].next
}

/// A group that has read 50 messages and then nothing, while 70 of 100 more were deleted.
fn deleted_while_stopped(name: &str) -> Option<Scene> {
    let scene = Scene::new(Ground::Real, name, 1)?;
    let sidecar = scene.sidecar(&QUICK);
    scene.produce(&messages(&scene.topic, 0..50));
    await_all(&scene, 50);
    stop(&sidecar);
    scene.produce(&messages(&scene.topic, 50..150));
    topics::delete_records_before(&scene.bootstrap, &scene.topic, 0, 120).expect("deleted");
    Some(scene)
}

fn await_counted(sidecar: &Sidecar, cause: &str, count: u64) -> Metrics {
    sidecar.await_metrics(PATIENCE, |metrics| lost(metrics, cause) == count).expect("counted")
}

#[test]
fn records_deleted_while_nothing_ran_are_counted_exactly_and_the_rest_is_delivered() {
    let Some(scene) = deleted_while_stopped("deleted") else { return };
    let sidecar = scene.sidecar(&QUICK);
    await_counted(&sidecar, "retention", 70);
    await_all(&scene, 80);
    assert_eq!(applied(&scene), ids((0..50).chain(120..150)));
    let told = incidents(&sidecar);
    assert!(matches!(&told[..], [(cause, words)] if cause == "retention" && words.contains("70 lost")), "{told:?}");
    let metrics = sidecar.metrics().expect("a scrape");
    assert_eq!((lost(&metrics, "retention"), lost(&metrics, "truncation"), lost(&metrics, "sequence")), (70, 0, 0));
    stop(&sidecar);
    let next = scene.sidecar(&QUICK);
    scene.produce(&messages(&scene.topic, 150..151));
    await_all(&scene, 81);
    assert_eq!(lost(&next.metrics().expect("a scrape"), "retention"), 0, "it is told once");
    stop(&next);
}

#[test]
fn with_stop_nothing_is_read_or_committed_after_a_loss_before_an_operator_has_looked() {
    let Some(scene) = deleted_while_stopped("deleted-stop") else { return };
    let stops = with(&[("ONCE_ON_LOSS", "stop")]);
    let first = scene.sidecar(&stops);
    await_counted(&first, "retention", 70);
    let paused = |metrics: &Metrics| whole(metrics.sum("kafka_once_partition_paused", &[("reason", "loss")])) == 1;
    first.await_metrics(PATIENCE, paused).expect("paused for it");
    stop(&first);
    assert_eq!((next_committed(&scene), applied(&scene).len()), (50, 50), "nothing was passed over");
    let second = scene.sidecar(&stops);
    second.await_metrics(PATIENCE, paused).expect("it waits still");
    assert_eq!(second.post("/resume").expect("an answer").status, 200);
    await_all(&scene, 80);
    assert_eq!(applied(&scene), ids((0..50).chain(120..150)));
    assert!(!paused(&second.metrics().expect("a scrape")));
    stop(&second);
}

/// A sidecar whose app hangs holds as many records as it may, and what stands behind them is deleted.
fn deleted_while_running(name: &str, on_loss: &'static str) -> Option<(Scene, Sidecar, usize)> {
    let scene = Scene::new(Ground::Real, name, 1)?;
    let hangs = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&hangs);
    scene.ledger.behave(move |_| {
        let still = Arc::clone(&still);
        async move {
            while still.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await; // the app's work
            }
            Answer::status(200)
        }
    });
    let bounds = [("ONCE_ON_LOSS", on_loss), ("ONCE_MAX_OPEN_RECORDS", "10"), ("ONCE_APP_TIMEOUT", "30s")];
    let mut settings = with(&bounds);
    settings.retain(|(name, value)| *name != "ONCE_APP_TIMEOUT" || *value == "30s");
    settings.retain(|(name, _)| *name != "ONCE_LEASE");
    settings.extend([("ONCE_LEASE", "60s"), ("ONCE_DRAIN_TIMEOUT", "30s")]);
    let sidecar = scene.sidecar(&settings);
    scene.produce(&messages(&scene.topic, 0..100));
    let full = |metrics: &Metrics| whole(metrics.sum("kafka_once_partition_paused", &[("reason", "bound")])) == 1;
    let metrics = sidecar.await_metrics(PATIENCE, full).expect("a full partition");
    let taken = usize::try_from(whole(metrics.sum("kafka_once_records_received_total", &[]))).expect("few");
    assert!(taken < 60, "{taken} taken in");
    topics::delete_records_before(&scene.bootstrap, &scene.topic, 0, 60).expect("deleted");
    hangs.store(false, Ordering::SeqCst);
    Some((scene, sidecar, taken))
}

#[test]
fn records_deleted_under_a_running_sidecar_are_counted_exactly_and_what_it_holds_is_delivered() {
    let Some((scene, sidecar, taken)) = deleted_while_running("deleted-running", "continue") else { return };
    await_all(&scene, taken + 40);
    assert_eq!(applied(&scene), ids((0..taken).chain(60..100)));
    let metrics = await_counted(&sidecar, "retention", 60 - taken as u64);
    assert_books(&metrics);
    assert_eq!(scene.ledger.with(|records| records.requests.len()), taken + 40, "none was forwarded twice");
    stop(&sidecar);
}

#[test]
fn with_stop_a_running_sidecar_finishes_what_it_holds_and_waits() {
    let Some((scene, sidecar, taken)) = deleted_while_running("deleted-running-stop", "stop") else { return };
    await_counted(&sidecar, "retention", 60 - taken as u64);
    scene.await_applied(taken);
    assert!(next_committed(&scene) <= i64::try_from(taken).expect("few"), "nothing is committed behind the loss");
    assert_eq!(sidecar.post(&format!("/resume?topic={}&partition=0", scene.topic)).expect("an answer").status, 200);
    await_all(&scene, taken + 40);
    assert_eq!(applied(&scene), ids((0..taken).chain(60..100)));
    stop(&sidecar);
}
