//! Two groups that share one deduplication namespace race for the same IDs.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{Answer, Record};

crate::on_both!(the_loser_of_a_race_waits_and_then_settles_as_duplicate);

fn the_loser_of_a_race_waits_and_then_settles_as_duplicate(ground: Ground) {
    let Some(scene) = Scene::new(ground, "race", 1) else { return };
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    scene.ledger.behave(move |_| {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            Answer::status(200)
        }
    });
    let produced = scene.produce(&[Record::new(&scene.topic, "raced for").id("one")]);
    let namespace = ("ONCE_DEDUP_NAMESPACE", scene.topic.as_str());
    let other_group = format!("{}-other", scene.group);
    let racers = [scene.sidecar(&[namespace]), scene.sidecar(&[namespace, ("ONCE_KAFKA_GROUP", &other_group)])];
    let open = |metrics: &crate::support::sidecar::Metrics| metrics.sum("kafka_once_open_records", &[]) > 0.5;
    for racer in &racers {
        racer.await_metrics(PATIENCE, open).expect("both hold the record open");
    }
    scene.ledger.wait_until(PATIENCE, |records| records.requests.len() == 1).expect("one of them forwards it");
    let waiting = racers.iter().map(|racer| racer.metrics().expect("a scrape"));
    let settled: f64 = waiting.map(|metrics| metrics.sum("kafka_once_records_settled_total", &[])).sum();
    assert!(settled < 0.5, "the other one waits for the outcome");
    release.notify_one();
    let duplicates = |metrics: &crate::support::sidecar::Metrics| {
        metrics.sum("kafka_once_duplicates_total", &[("cause", "redelivery")])
            + metrics.sum("kafka_once_duplicates_total", &[("cause", "in_flight")])
    };
    let settled =
        |metrics: &crate::support::sidecar::Metrics| metrics.sum("kafka_once_records_settled_total", &[]) > 0.5;
    let counts: Vec<f64> =
        racers.iter().map(|racer| duplicates(&racer.await_metrics(PATIENCE, settled).expect("both settle"))).collect();
    assert!((counts.iter().sum::<f64>() - 1.0).abs() < 0.5, "one delivered, one duplicate: {counts:?}");
    racers.iter().for_each(stop);
    assert_eq!(scene.ledger.with(|records| records.requests.len()), 1, "one request in all");
    drop(produced);
}
