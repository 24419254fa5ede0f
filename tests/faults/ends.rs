//! Sidecars are asked to end under load, again and again: each ends with 0, and nothing is ever forwarded twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::checks::{applied, assert_forwarded_once};
use crate::dice::Dice;
use crate::flow::Flow;
use crate::support::Sidecar;
use crate::support::load::{stop, works_for};
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::trial::{number, record_recovery};

/// A group whose members hear soon of each other.
pub const QUICK_GROUP: [(&str, &str); 3] = [
    ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "6000"),
    ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "300"),
    ("ONCE_MAX_IN_FLIGHT", "32"),
];

const PARTITIONS: usize = 6;

/// Ends of each of the four kinds below: `FAULT_ROUNDS` in all, else 100.
fn rounds() -> usize {
    number("FAULT_ROUNDS", 100).div_ceil(4)
}

fn under_load(name: &str) -> Option<(Flow, Dice)> {
    let scene = Scene::new(Ground::Real, name, 6)?;
    works_for(&scene, 20);
    Some((Flow::new(scene, PARTITIONS), Dice::new(number("FAULT_SEED", 1) as u64, name)))
}

#[test]
fn sigterm_of_the_only_sidecar_again_and_again_forwards_nothing_twice() {
    let Some((flow, dice)) = under_load("end-alone") else { return };
    let (trial, last) = flow.during(|flow| {
        let scene = &flow.scene;
        for _ in 0..rounds() {
            let sidecar = scene.sidecar(&QUICK_GROUP);
            await_effects(scene, 1 + dice.below(150));
            stop(&sidecar);
        }
        let (asked, before) = (Instant::now(), applied(scene));
        let last = scene.sidecar(&QUICK_GROUP);
        scene.await_applied(before + 1);
        record_recovery("SIGTERM of the only sidecar", asked.elapsed());
        last
    });
    assert_forwarded_once(&trial, &[&last]);
}

#[test]
fn sigterm_beside_a_sidecar_that_stays_forwards_nothing_twice() {
    let Some((flow, dice)) = under_load("end-beside") else { return };
    let (trial, stays) = flow.during(|flow| {
        let scene = &flow.scene;
        let stays = scene.sidecar(&QUICK_GROUP);
        for _ in 0..rounds() {
            let guest = scene.sidecar(&QUICK_GROUP);
            await_settled(&guest, 1 + dice.below(100));
            stop(&guest);
        }
        stays
    });
    assert_forwarded_once(&trial, &[&stays]);
}

#[test]
fn sigterm_while_another_sidecar_takes_over_forwards_nothing_twice() {
    let Some((flow, dice)) = under_load("end-over") else { return };
    let (trial, last) = flow.during(|flow| {
        let scene = &flow.scene;
        let mut current = scene.sidecar(&QUICK_GROUP);
        for _ in 0..rounds() {
            await_effects(scene, 1 + dice.below(150));
            let next = scene.sidecar(&QUICK_GROUP);
            if dice.percent(50) {
                await_settled(&next, 1 + dice.below(30));
            }
            stop(&current);
            current = next;
        }
        current
    });
    assert_forwarded_once(&trial, &[&last]);
}

#[test]
fn sigterm_at_any_moment_since_the_start_forwards_nothing_twice() {
    let Some((flow, dice)) = under_load("end-any") else { return };
    let (trial, stays) = flow.during(|flow| {
        let scene = &flow.scene;
        let stays = scene.sidecar(&QUICK_GROUP);
        let mut leaving = VecDeque::new();
        for _ in 0..rounds() {
            let guest = scene.sidecar(&QUICK_GROUP);
            guest.log().wait_for(PATIENCE, |line| line.contains("starting")).expect("a first line");
            // The moment is the fault: while it joins, waits for its partitions, starts to read them, or is at work.
            std::thread::sleep(dice.millis(0, 1500));
            guest.sigterm();
            leaving.push_back(guest);
            if leaving.len() > 2 {
                assert_ended(leaving.pop_front());
            }
        }
        leaving.drain(..).for_each(|guest| assert_ended(Some(guest)));
        stays
    });
    assert_forwarded_once(&trial, &[&stays]);
}

#[test]
fn a_rolling_restart_of_three_sidecars_again_and_again_forwards_nothing_twice() {
    const ROUNDS: usize = 5;
    let Some((flow, _)) = under_load("rolling") else { return };
    let (trial, sidecars) = flow.during(|flow| {
        let scene = &flow.scene;
        let start = || scene.sidecar(&QUICK_GROUP);
        let mut sidecars = VecDeque::from([start(), start(), start()]);
        for sidecar in &sidecars {
            await_settled(sidecar, 1);
        }
        for round in 0..number("FAULT_ROUNDS", 100).div_ceil(100) * ROUNDS {
            for _ in 0..sidecars.len() {
                let old = sidecars.pop_front().expect("three of them");
                // A new one first, as a deployment with a surge does, or the old one first, as a stateful set does.
                if round % 2 == 0 {
                    sidecars.push_back(start());
                    await_ready(sidecars.back().expect("the new one"));
                    stop(&old);
                } else {
                    stop(&old);
                    sidecars.push_back(start());
                    await_ready(sidecars.back().expect("the new one"));
                }
                await_effects(scene, 20);
            }
        }
        sidecars
    });
    let sidecars: Vec<&Sidecar> = sidecars.iter().collect();
    assert_forwarded_once(&trial, &sidecars);
}

/// Waits for so many more effects.
fn await_effects(scene: &Scene, more: u64) {
    scene.await_applied(applied(scene) + usize::try_from(more).expect("a small number"));
}

/// Waits until it has settled so many records.
#[allow(clippy::cast_precision_loss)] // a small number
pub fn await_settled(sidecar: &Sidecar, records: u64) {
    let settled = |metrics: &Metrics| metrics.sum("kafka_once_records_settled_total", &[]) >= records as f64;
    sidecar.await_metrics(PATIENCE, settled).expect("it takes part");
}

/// Waits until these sidecars have so many partitions in all, each its share.
pub fn await_owned(sidecars: &[&Sidecar], partitions: usize) {
    let share = partitions / sidecars.len();
    let end = Instant::now() + PATIENCE;
    loop {
        let owned: Vec<usize> =
            sidecars.iter().map(|sidecar| sidecar.metrics().map_or(0, |metrics| owned(&metrics))).collect();
        if owned.iter().sum::<usize>() == partitions && owned.iter().all(|owned| *owned >= share) {
            return;
        }
        assert!(Instant::now() < end, "{owned:?} of {partitions}; {}", sidecars[0].tail());
        std::thread::sleep(Duration::from_millis(20)); // paces the scrapes
    }
}

/// How many partitions a sidecar has.
fn owned(metrics: &Metrics) -> usize {
    metrics.all().keys().filter(|(name, _)| name == "kafka_once_partition_lag").count()
}

fn await_ready(sidecar: &Sidecar) {
    let end = Instant::now() + PATIENCE;
    while !sidecar.get("/ready").is_ok_and(|reply| reply.status == 200) {
        assert!(sidecar.runs() && Instant::now() < end, "{}", sidecar.tail());
        std::thread::sleep(Duration::from_millis(10)); // paces the questions
    }
}

fn assert_ended(sidecar: Option<Sidecar>) {
    let sidecar = sidecar.expect("one that leaves");
    assert_eq!(sidecar.wait_exit(PATIENCE), Some(0), "{}", sidecar.tail());
}
