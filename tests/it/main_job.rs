//! The main job: every ID applied once, in the order of its key, committed to the end, and the books balance throughout.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::load::{stop, with_duplicates};
use crate::support::scene::{Ground, Scene, assert_books};
use crate::support::{Record, Sidecar};

crate::on_both!(
    every_message_is_applied_once_and_committed,
    a_hundred_thousand_messages_with_duplicates_over_two_sidecars_are_applied_once_in_order
);

fn every_message_is_applied_once_and_committed(ground: Ground) {
    let Some(scene) = Scene::new(ground, "once", 2) else { return };
    let records = (0..200)
        .map(|number| Record::new(&scene.topic, format!("{number}")).id(format!("id-{number}")).partition(number % 2));
    let produced = scene.produce(&records.collect::<Vec<_>>());
    let sidecar = scene.sidecar(&[]);
    scene.await_applied(200);
    scene.await_committed();
    stop(&sidecar);
    scene.audit(&produced).assert_exactly_once();
}

fn a_hundred_thousand_messages_with_duplicates_over_two_sidecars_are_applied_once_in_order(ground: Ground) {
    const DISTINCT: usize = 90_000;
    let Some(scene) = Scene::new(ground, "many", 8) else { return };
    let records = with_duplicates(&scene.topic, DISTINCT, 8);
    assert_eq!(records.len(), 100_000);
    let produced = scene.produce(&records);
    let sidecars = [scene.sidecar(&[]), scene.sidecar(&[])];
    let done = AtomicBool::new(false);
    let scrapes = std::thread::scope(|scope| {
        let scraping = scope.spawn(|| scrape_until(&sidecars, &done));
        scene.await_applied(DISTINCT);
        scene.await_committed();
        done.store(true, Ordering::Relaxed);
        scraping.join().expect("every scrape balances")
    });
    assert!(scrapes > 20, "only {scrapes} scrapes while the load ran");
    let sum = |name: &str, labels: &[(&str, &str)]| -> f64 {
        sidecars.iter().map(|sidecar| sidecar.metrics().expect("a scrape").sum(name, labels)).sum()
    };
    let settled = |outcome| sum("kafka_once_records_settled_total", &[("outcome", outcome)]);
    assert!((settled("delivered") - 90_000.0).abs() < 0.5, "{} delivered", settled("delivered"));
    assert!(settled("duplicate") > 9_999.0, "{} duplicates", settled("duplicate"));
    sidecars.iter().for_each(stop);
    let audit = scene.audit(&produced);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, [], "a duplicate was forwarded");
    assert_eq!(audit.disorder, [], "order within a key");
}

fn scrape_until(sidecars: &[Sidecar], done: &AtomicBool) -> usize {
    let mut scrapes = 0;
    while !done.load(Ordering::Relaxed) {
        for metrics in sidecars.iter().filter_map(|sidecar| sidecar.metrics().ok()) {
            assert_books(&metrics);
            scrapes += 1;
        }
    }
    scrapes
}
