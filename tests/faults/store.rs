//! What the faults of Redis have in common: a Redis of the scenario's own under a load, and what the sidecars counted.

use std::collections::HashSet;
use std::time::Instant;

use crate::checks::assert_commits;
use crate::support::scene::{PATIENCE, Scene};
use crate::support::{self, Audit, Redis, Sidecar};
use crate::trial::{QUICK, Trial};

/// Partitions of each topic.
pub const PARTITIONS: usize = 6;

/// Few requests at a time: the load lasts long enough for a fault to strike in its midst, on a busy machine too.
const FEW: (&str, &str) = ("ONCE_MAX_IN_FLIGHT", "8");

/// As quick as [`QUICK`], with few requests at a time.
pub const STEADY: [(&str, &str); 5] = [QUICK[0], QUICK[1], QUICK[2], QUICK[3], FEW];

/// The same with a lease that outlives the short faults: what must not end in a fence.
pub const LONG_LEASE: [(&str, &str); 5] = [("ONCE_LEASE", "30s"), QUICK[1], QUICK[2], QUICK[3], FEW];

/// These settings, and some that overrule them.
pub fn with<'a>(
    settings: &[(&'static str, &'a str)],
    more: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    let kept = settings.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    kept.chain(more).copied().collect()
}

/// A scene with a Redis of its own, or `None` where Kafka or Redis cannot be had.
pub fn scene(name: &str) -> Option<(Redis, Scene)> {
    let kafka = support::kafka()?;
    let redis = support::redis_possible().then(|| Redis::start(&[]).expect("a redis-server"))?;
    let scene = Scene::on(kafka, &redis, name, partitions());
    Some((redis, scene))
}

/// A trial with a Redis of its own, or `None` where Kafka or Redis cannot be had.
pub fn trial(name: &str) -> Option<(Redis, Trial)> {
    let (redis, scene) = scene(name)?;
    Some((redis, Trial::begin(scene, PARTITIONS)))
}

/// The same, with as many sidecars that have their partitions before the load begins.
pub fn trial_of(name: &str, sidecars: usize) -> Option<(Redis, Trial, Vec<Sidecar>)> {
    let (redis, scene) = scene(name)?;
    let sidecars: Vec<Sidecar> = (0..sidecars).map(|_| scene.sidecar(&STEADY)).collect();
    for sidecar in &sidecars {
        let assigned = sidecar.log().wait_for(PATIENCE, |line| line.contains("partition assigned"));
        assigned.expect("each sidecar has partitions");
    }
    Some((redis, Trial::begin(scene, PARTITIONS), sidecars))
}

/// As the broker counts them.
pub fn partitions() -> i32 {
    i32::try_from(PARTITIONS).expect("few")
}

/// What is common to the ends of all trials: everything is applied and committed, and only doubt repeats.
pub fn end(trial: &Trial, sidecars: &[&Sidecar]) -> Audit {
    let audit = trial.end(sidecars);
    audit.assert_promise();
    assert_eq!(audit.behind, [], "{audit}");
    assert_commits(trial, &HashSet::new());
    audit
}

/// Waits until each sidecar has counted one loss of memory of this extent, and none of the other.
pub fn assert_loss_counted(sidecars: &[&Sidecar], extent: &str) {
    const LOST: &str = "kafka_once_dedup_history_lost_total";
    let other = if extent == "all" { "recent" } else { "all" };
    for sidecar in sidecars {
        let counted = sidecar.await_metrics(PATIENCE, |metrics| metrics.sum(LOST, &[("extent", extent)]) > 0.5);
        let counted = counted.expect("the loss is counted");
        assert!((counted.sum(LOST, &[("extent", extent)]) - 1.0).abs() < 0.5, "counted once: {counted:?}");
        assert!(counted.sum(LOST, &[("extent", other)]) < 0.5, "and only as {extent}: {counted:?}");
    }
}

/// Asserts that no message was taken for another one's duplicate, none was forwarded twice, and nothing was in doubt:
/// the fault was waited out. To be asked before the trial's end.
pub fn assert_waited_out(trial: &Trial, sidecar: &Sidecar) {
    trial.scene.await_applied(trial.distinct);
    trial.scene.await_committed();
    let metrics = sidecar.metrics().expect("a scrape");
    let counted = [
        ("kafka_once_records_settled_total", Some(("outcome", "delivered")), trial.distinct),
        ("kafka_once_duplicates_total", None, trial.produced.len() - trial.distinct),
        ("kafka_once_possible_repeats_total", None, 0),
        ("kafka_once_dedup_history_lost_total", None, 0),
        ("kafka_once_overlaps_total", None, 0),
        ("kafka_once_sessions_started_total", None, 1),
    ];
    for (name, label, expected) in counted {
        let found = metrics.sum(name, label.as_slice());
        let expected = u32::try_from(expected).expect("a small number");
        assert!((found - f64::from(expected)).abs() < 0.5, "{name} {label:?}: {found}, not {expected}: {metrics:?}");
    }
}

/// Waits until every sidecar has paused because of Redis and no request is open, and gives back the pauses' details
/// with the moment from which nothing may be forwarded.
pub fn await_store_pause(sidecars: &[&Sidecar]) -> (Vec<String>, Instant) {
    let paused = |sidecar: &&Sidecar| {
        let detail = sidecar.await_pause(PATIENCE, "store_unavailable").expect("a pause");
        let idle = |metrics: &support::sidecar::Metrics| {
            metrics.sum("kafka_once_store_up", &[]) < 0.5 && metrics.sum("kafka_once_in_flight_requests", &[]) < 0.5
        };
        sidecar.await_metrics(PATIENCE, idle).expect("open requests are answered");
        detail
    };
    let details = sidecars.iter().map(paused).collect();
    (details, Instant::now())
}

/// Asserts that nothing was forwarded between two moments.
pub fn assert_silence(trial: &Trial, from: Instant, to: Instant) {
    let sent = trial
        .scene
        .ledger
        .with(|records| records.requests.iter().filter(|request| request.at > from && request.at < to).count());
    assert_eq!(sent, 0, "forwarded while redis was away");
}
