//! The main job on real Kafka and Redis: every ID applied once, in order, committed, and the books balance.

use std::time::Duration;

use crate::scene::{PATIENCE, Scene, assert_books};
use crate::support::Record;

#[test]
fn every_message_is_applied_once_and_committed() {
    let Some(scene) = Scene::new("smoke", 2) else { return };
    let records = (0..200).map(|number| {
        Record::new(&scene.topic, format!("value {number}")).id(format!("id-{number}")).partition(number % 2)
    });
    let produced = scene.produce(records.collect());
    let sidecar = scene.sidecar(&[]);
    scene.await_applied(200);
    scene.await_committed();
    assert_books(&sidecar.metrics().expect("a scrape"));
    sidecar.sigterm();
    assert_eq!(sidecar.wait_exit(Duration::from_secs(30)), Some(0), "{}", sidecar.tail());
    scene.audit(&produced).assert_exactly_once();
    let _ = PATIENCE;
}
