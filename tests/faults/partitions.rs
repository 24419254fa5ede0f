//! Partitions are added to a topic under load: whatever stands in them is read from their beginning.

use std::time::Instant;

use crate::checks::assert_forwarded_once;
use crate::ends::{QUICK_GROUP, await_owned};
use crate::flow::Flow;
use crate::support::ledger::Records;
use crate::support::load::{numbered, works_for};
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{Record, Sidecar, topics};
use crate::trial::{Trial, messages, record_recovery};

/// Partitions before and after.
const FEW: usize = 3;
const MANY: usize = 6;

/// Records that stand in the added partitions before any sidecar knows of them, and as many later.
const UNSEEN: usize = 300;

#[test]
fn added_partitions_are_read_from_their_beginning() {
    grow("grow-earliest", "earliest");
}

#[test]
fn added_partitions_are_read_from_their_beginning_even_where_a_new_group_starts_at_the_latest() {
    grow("grow-latest", "latest");
}

fn grow(name: &str, start: &str) {
    let Some(scene) = Scene::new(Ground::Real, name, 3) else { return };
    works_for(&scene, 5);
    let settings = [
        ("ONCE_START", start),
        // Five minutes by default: for so long nobody knows of an added partition.
        ("ONCE_KAFKA_PROPERTY_TOPIC_METADATA_REFRESH_INTERVAL_MS", "1000"),
        // Whoever stands still for a moment stays in the group.
        ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "45000"),
        QUICK_GROUP[1],
    ];
    let sidecars = [scene.sidecar(&settings), scene.sidecar(&settings)];
    await_owned(&sidecars.each_ref(), FEW);
    await_starts(&scene, FEW);
    let (mut trial, more) = Flow::new(scene, FEW).during(|flow| {
        let scene = &flow.scene;
        scene.await_applied(messages() / 4);
        sidecars.iter().for_each(Sidecar::sigstop); // none of them knows before there are records
        topics::grow(&scene.bootstrap, &scene.topic, MANY).expect("more partitions");
        let mut more = scene.produce(&added(&scene.topic, 0));
        sidecars.iter().for_each(Sidecar::sigcont);
        let grown = Instant::now();
        let read = |records: &Records| (FEW..MANY).all(|partition| is_read(records, partition));
        scene.ledger.wait_until(PATIENCE, read).expect("the added partitions are read");
        record_recovery("partitions added (looked for every 1 s)", grown.elapsed());
        more.extend(scene.produce(&added(&scene.topic, UNSEEN)));
        more
    });
    trial.distinct += more.len();
    trial.produced.extend(more);
    assert_forwarded_once(&trial, &sidecars.each_ref());
}

/// Distinct messages in the added partitions, numbered from `first` on.
fn added(topic: &str, first: usize) -> Vec<Record> {
    let record = |number: usize| {
        let partition = i32::try_from(FEW + number % (MANY - FEW)).expect("a partition");
        Record::new(topic, "added").id(format!("added-{number}")).partition(partition)
    };
    (first..first + UNSEEN).map(record).collect()
}

fn is_read(records: &Records, partition: usize) -> bool {
    let here = |(at, _)| usize::try_from(at).is_ok_and(|at| at == partition);
    records.requests.iter().any(|request| request.position().is_some_and(here))
}

/// Waits until the group has committed where it starts.
fn await_starts(scene: &Scene, partitions: usize) {
    let end = Instant::now() + PATIENCE;
    loop {
        // The look itself takes a round trip, which paces this loop.
        let committed = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits");
        if committed.len() >= partitions {
            return;
        }
        assert!(Instant::now() < end, "{committed:?}");
    }
}

#[test]
fn a_group_that_starts_at_the_latest_reads_nothing_old_however_late_one_of_its_sidecars_looks() {
    let Some(scene) = Scene::new(Ground::Real, "latest", 6) else { return };
    let records = |numbers: std::ops::Range<usize>| -> Vec<Record> {
        numbers.map(|number| numbered(&scene.topic, number, MANY)).collect()
    };
    scene.produce(&records(0..600));
    let settings = [("ONCE_START", "latest"), QUICK_GROUP[0], QUICK_GROUP[1]];
    let sidecars = [scene.sidecar(&settings), scene.sidecar(&settings)];
    // One of them asks where to start only when the other one has begun.
    let asks = |line: &str| line.contains("group: Assign");
    sidecars[1].log().wait_for(PATIENCE, asks).expect("an assignment");
    sidecars[1].sigstop();
    await_starts(&scene, 1);
    sidecars[1].sigcont();
    await_owned(&sidecars.each_ref(), MANY);
    await_starts(&scene, MANY);
    let new = records(600..1200);
    let trial = Trial { produced: scene.produce(&new), scene, distinct: new.len() };
    assert_forwarded_once(&trial, &sidecars.each_ref());
}
