//! Brokers that are killed, hand over their leadership or fall silent under load; and a client that is fenced for good.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::checks::assert_commits;
use crate::flow::Flow;
use crate::support::load::works_for;
use crate::support::scene::{PATIENCE, Scene};
use crate::support::{Audit, Kafka, Sidecar, kafka, kafka_possible, redis, topics};
use crate::trial::QUICK;

/// Partitions of a scenario's topic.
const PARTITIONS: usize = 6;

/// A client that gives up on a silent broker after five seconds; otherwise as quick as all.
const IMPATIENT: [(&str, &str); 5] =
    [QUICK[0], QUICK[1], QUICK[2], QUICK[3], ("ONCE_KAFKA_PROPERTY_SOCKET_TIMEOUT_MS", "5000")];

/// The brokers that these scenarios break, one scenario at a time: a lone one or three. Whole again when handed out.
fn brokers(count: usize) -> Option<MutexGuard<'static, Kafka>> {
    static LONE: OnceLock<Mutex<Kafka>> = OnceLock::new();
    static THREE: OnceLock<Mutex<Kafka>> = OnceLock::new();
    if !kafka_possible() {
        return None;
    }
    let cell = if count == 1 { &LONE } else { &THREE };
    let kafka = cell.get_or_init(|| Mutex::new(Kafka::start(count).expect("brokers")));
    let kafka = kafka.lock().unwrap_or_else(PoisonError::into_inner);
    kafka.heal().expect("whole brokers");
    Some(kafka)
}

/// Two sidecars under load while `strike` breaks brokers; then what the auditor found.
///
/// The app answers well all the time, so whatever is forwarded twice must say so.
fn broken(kafka: &Kafka, name: &str, strike: impl FnOnce(&Flow, &[&Sidecar])) -> Option<Audit> {
    let scene = Scene::on(kafka, redis()?, name, i32::try_from(PARTITIONS).expect("partitions"));
    works_for(&scene, 5);
    let sidecars = [scene.sidecar(&IMPATIENT), scene.sidecar(&IMPATIENT)];
    let sidecars = sidecars.each_ref();
    let (trial, ()) = Flow::new(scene, PARTITIONS).during(|flow| {
        flow.recovered_anywhere("start", Instant::now());
        strike(flow, &sidecars);
    });
    let audit = trial.end(&sidecars);
    assert_eq!(audit.first_twice, [], "{audit}");
    kafka.heal().expect("whole brokers"); // who reads all commits needs all of them
    assert_commits(&trial, &HashSet::new());
    Some(audit)
}

#[test]
fn a_broker_killed_and_restarted_under_load_loses_nothing_and_repeats_nothing_unmarked() {
    let Some(kafka) = brokers(1) else { return };
    let audit = broken(&kafka, "broker-killed", |flow, _| {
        kafka.kill(0);
        kafka.restart(0).expect("a broker");
        flow.recovered_anywhere("broker killed and restarted", Instant::now());
    });
    audit.inspect(Audit::assert_promise);
}

#[test]
fn a_broker_silent_on_open_connections_is_given_up_by_timeout_and_nothing_is_lost() {
    let Some(kafka) = brokers(1) else { return };
    let audit = broken(&kafka, "broker-silent", |flow, sidecars| {
        kafka.pause(0);
        for sidecar in sidecars {
            let down = sidecar.await_metrics(PATIENCE, |metrics| metrics.get("kafka_once_broker_up", &[]) == Some(0.0));
            down.expect("a client that has noticed");
        }
        kafka.cont(0);
        flow.recovered_anywhere("broker silent on open connections", Instant::now());
    });
    audit.inspect(Audit::assert_promise);
}

#[test]
fn each_of_three_brokers_goes_down_in_turn_under_load_and_nothing_is_lost() {
    let Some(kafka) = brokers(3) else { return };
    let audit = broken(&kafka, "brokers-in-turn", |flow, _| {
        down(flow, "leaders moved in order", &kafka, 0, Kafka::stop);
        kafka.heal().expect("whole brokers");
        down(flow, "leader killed", &kafka, 1, Kafka::kill);
        kafka.heal().expect("whole brokers");
        down(flow, "leader killed", &kafka, 2, Kafka::kill);
        // It stays down: everything must come to its end with two of three.
    });
    audit.inspect(Audit::assert_promise);
}

#[test]
fn leaders_that_fall_silent_are_left_for_their_successors_and_nothing_is_lost_when_they_are_back() {
    let Some(kafka) = brokers(3) else { return };
    let audit = broken(&kafka, "leaders-silent", |flow, _| {
        for broker in 0..3 {
            down(flow, "leader silent on open connections", &kafka, broker, Kafka::pause);
            kafka.heal().expect("whole brokers");
        }
    });
    audit.inspect(Audit::assert_promise);
}

/// Takes a broker down and waits until a record that its partitions are given from then on is applied.
fn down(flow: &Flow, fault: &str, kafka: &Kafka, broker: usize, take_down: impl FnOnce(&Kafka, usize)) {
    let leaders = topics::leaders(&kafka.bootstrap(), &flow.scene.topic).expect("leaders");
    let node = i32::try_from(broker + 1).expect("a node ID");
    let led: Vec<i32> =
        leaders.iter().filter(|&(_, &leader)| leader == node).map(|(&partition, _)| partition).collect();
    let began = Instant::now();
    take_down(kafka, broker);
    if led.is_empty() {
        flow.recovered_anywhere(fault, began); // it may have coordinated the group
    } else {
        flow.recovered(fault, began, &led);
    }
}

#[test]
fn a_sidecar_fenced_by_another_of_its_instance_id_ends_non_zero_and_says_why_and_nothing_is_lost() {
    let Some(kafka) = kafka() else { return };
    let Some(redis) = redis() else { return };
    let scene = Scene::on(kafka, redis, "fenced", i32::try_from(PARTITIONS).expect("partitions"));
    let mut settings = IMPATIENT.to_vec();
    settings.push(("ONCE_KAFKA_PROPERTY_GROUP_INSTANCE_ID", "the-only-one"));
    works_for(&scene, 5);
    let older = scene.sidecar(&settings);
    let (trial, younger) = Flow::new(scene, PARTITIONS).during(|flow| {
        flow.recovered_anywhere("start", Instant::now());
        let younger = flow.scene.sidecar(&settings);
        assert_eq!(older.wait_exit(PATIENCE), Some(1), "{}", older.tail());
        flow.recovered_anywhere("fenced by another of its instance ID", Instant::now());
        younger
    });
    let last = older.log().lines().pop().unwrap_or_default();
    assert!(last.contains("fenced"), "the last line says why: {last}");
    let audit = trial.end(&[&younger]);
    audit.assert_promise();
    assert_eq!(audit.first_twice, [], "{audit}");
    assert_commits(&trial, &HashSet::new());
}
