//! Redis loses its memory, or its last moments, alone or together with the sidecar: it is seen and counted, nothing is
//! lost, and whatever repeats says that it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::store::{
    PARTITIONS, STEADY, assert_loss_counted, assert_silence, await_store_pause, end, scene, trial, trial_of, with,
};
use crate::support::load::stop;
use crate::support::redis::Data;
use crate::support::scene::PATIENCE;
use crate::support::sidecar::Metrics;
use crate::support::{Answer, Redis, Sidecar, topics};
use crate::trial::Trial;

#[test]
fn a_redis_that_comes_back_empty_is_noticed_and_every_repeat_is_marked() {
    comes_back_empty("empty", 1);
}

#[test]
fn a_redis_that_comes_back_empty_is_noticed_by_each_of_two_sidecars_and_every_repeat_is_marked() {
    comes_back_empty("empty-for-two", 2);
}

fn comes_back_empty(name: &str, sidecars: usize) {
    let Some((redis, trial, sidecars)) = trial_of(name, sidecars) else { return };
    let sidecars: Vec<&Sidecar> = sidecars.iter().collect();
    trial.await_part(1, 4);
    redis.kill();
    let (details, paused) = await_store_pause(&sidecars);
    assert!(details.iter().all(|detail| detail.contains(&redis.address())), "{details:?}");
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it was killed under load");
    redis.restart(Data::Empty).expect("a restart");
    trial.recovered("redis restarted empty", back, applied);
    assert_silence(&trial, paused, back);
    assert_loss_counted(&sidecars, "all");
    let audit = end(&trial, &sidecars);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}

#[test]
fn a_sidecar_and_its_redis_that_die_together_hide_no_repeat() {
    let Some((redis, trial)) = trial("both-die") else { return };
    let victim = trial.scene.sidecar(&STEADY);
    trial.await_part(1, 4);
    let heir = both_die(&redis, &victim, &trial, &STEADY);
    assert_loss_counted(&[&heir], "all");
    let audit = end(&trial, &[&heir]);
    assert_ne!(audit.repeated_in_doubt, [], "what was not committed came again, and said so");
}

/// Kills Redis and a sidecar under load, and starts both again: the first with nothing, the second as another one.
fn both_die(redis: &Redis, victim: &Sidecar, trial: &Trial, settings: &[(&'static str, &str)]) -> Sidecar {
    redis.kill();
    victim.sigkill();
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "they were killed under load");
    redis.restart(Data::Empty).expect("a restart");
    let heir = trial.scene.sidecar(settings);
    trial.recovered("redis and sidecar killed together", back, applied);
    heir
}

#[test]
fn a_sidecar_that_outlives_another_one_and_their_redis_marks_what_it_inherits() {
    let Some((redis, trial, sidecars)) = trial_of("one-and-redis-die", 2) else { return };
    trial.await_part(1, 4);
    redis.kill();
    sidecars[0].sigkill();
    await_store_pause(&[&sidecars[1]]);
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "they were killed under load");
    redis.restart(Data::Empty).expect("a restart");
    trial.recovered("redis and one of two sidecars killed", back, applied);
    let audit = end(&trial, &[&sidecars[1]]);
    assert_ne!(audit.repeated_in_doubt, [], "what was not committed came again, and said so");
}

#[test]
fn a_loss_that_was_noticed_is_still_known_after_a_crash_before_low_water_has_passed_it() {
    let Some((redis, scene)) = scene("noticed-then-crash") else { return };
    let trial = Trial::begin(scene, PARTITIONS);
    // The first record of each partition is not taken for now, and one that stands a little later neither.
    let (first, later) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (first_opens, later_opens) = (Arc::clone(&first), Arc::clone(&later));
    trial.scene.ledger.behave(move |request| {
        let number: usize = request.id().trim_start_matches("id-").parse().unwrap_or(usize::MAX);
        let closed = |from: usize, open: &AtomicBool| {
            (from..from + PARTITIONS).contains(&number) && !open.load(Ordering::SeqCst)
        };
        let status = if closed(0, &first) || closed(20 * PARTITIONS, &later) { 503 } else { 200 };
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await; // the app's work
            Answer::status(status)
        }
    });
    let victim = trial.scene.sidecar(&STEADY);
    trial.scene.await_applied(trial.distinct.min(1_000));
    let before = committed(&trial);
    assert!(before.len() == PARTITIONS && before.values().all(|commit| commit.next == 0), "{before:?}");
    assert_eq!(redis.cli(&["FLUSHALL"]).expect("an answer"), "OK");
    assert_loss_counted(&[&victim], "all");
    first_opens.store(true, Ordering::SeqCst);
    let after = await_commits(&trial, |next| next > 0);
    for (partition, commit) in after {
        assert_eq!(commit.metadata, before[&partition].metadata, "the past that still matters stands beside it");
    }
    victim.sigkill();
    later_opens.store(true, Ordering::SeqCst);
    let heir = trial.scene.sidecar(&STEADY);
    assert_loss_counted(&[&heir], "all");
    let audit = end(&trial, &[&heir]);
    assert_ne!(audit.repeated_in_doubt, [], "what was done before the loss came again, and said so");
}

#[test]
fn a_new_group_that_dies_with_its_redis_after_its_first_records_hides_no_repeat() {
    let Some((redis, trial)) = trial("new-group") else { return };
    let victim = trial.scene.sidecar(&with(&STEADY, &[("ONCE_COMMIT_INTERVAL", "60s")]));
    trial.scene.await_applied(100);
    let heir = both_die(&redis, &victim, &trial, &STEADY);
    assert_loss_counted(&[&heir], "all");
    let audit = end(&trial, &[&heir]);
    assert_ne!(audit.repeated_in_doubt, [], "the first records came again, and said so");
}

#[test]
fn a_flush_while_nothing_runs_is_noticed_at_the_next_start() {
    let Some((redis, trial)) = trial("flush-at-rest") else { return };
    let first = trial.scene.sidecar(&STEADY);
    trial.await_part(1, 4);
    stop(&first);
    let applied = trial.applied();
    assert!(applied < trial.distinct, "it was stopped under load");
    assert_eq!(redis.cli(&["FLUSHALL"]).expect("an answer"), "OK");
    let second = trial.scene.sidecar(&STEADY);
    trial.recovered("redis flushed while nothing runs", Instant::now(), applied);
    assert_loss_counted(&[&second], "all");
    let audit = end(&trial, &[&second]);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}

#[test]
fn a_redis_that_comes_back_from_an_old_snapshot_may_have_forgotten_its_last_moments_and_that_is_noticed() {
    let Some((redis, trial)) = trial("old-snapshot") else { return };
    let sidecar = trial.scene.sidecar(&STEADY);
    trial.await_part(1, 10);
    redis.save().expect("a snapshot");
    trial.await_part(1, 3);
    redis.kill();
    let (_, paused) = await_store_pause(&[&sidecar]);
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it was killed under load");
    redis.restart(Data::Kept).expect("a restart");
    trial.recovered("redis restarted from an old snapshot", back, applied);
    assert_silence(&trial, paused, back);
    assert_loss_counted(&[&sidecar], "recent");
    let audit = end(&trial, &[&sidecar]);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}

#[test]
fn with_lookup_no_effect_is_repeated_when_redis_comes_back_empty_and_when_a_sidecar_dies_with_it() {
    let Some((redis, trial)) = trial("empty-lookup") else { return };
    let url = trial.scene.ledger.lookup_url();
    // A record in doubt is asked about only when a whole timeout has passed.
    let asking = [("ONCE_APP_TIMEOUT", "500ms"), ("ONCE_IN_DOUBT", "lookup"), ("ONCE_APP_LOOKUP_URL", url.as_str())];
    let settings = with(&STEADY, &asking);
    let victim = trial.scene.sidecar(&settings);
    trial.await_part(1, 4);
    redis.kill();
    await_store_pause(&[&victim]);
    let (applied, back) = (trial.applied(), Instant::now());
    redis.restart(Data::Empty).expect("a restart");
    trial.recovered("redis restarted empty, with lookup", back, applied);
    assert_loss_counted(&[&victim], "all");
    trial.await_part(1, 2);
    let heir = both_die(&redis, &victim, &trial, &settings);
    assert_loss_counted(&[&heir], "all");
    let audit = end(&trial, &[&heir]);
    assert_eq!((audit.repeated_in_doubt, audit.applied_twice), (vec![], vec![]), "the app was asked first");
    let asked = trial.scene.ledger.with(|records| records.asked.iter().filter(|get| get.path.contains("id-")).count());
    assert!(asked > 0, "nothing was in doubt");
}

#[test]
fn with_pause_nothing_goes_on_after_a_flush_until_an_operator_has_looked_not_even_over_a_kill() {
    let Some((redis, trial)) = trial("flush-pause") else { return };
    let settings = with(&STEADY, &[("ONCE_ON_HISTORY_LOSS", "pause")]);
    let victim = trial.scene.sidecar(&settings);
    trial.await_part(1, 4);
    assert_eq!(redis.cli(&["FLUSHALL"]).expect("an answer"), "OK");
    let why = victim.await_pause(PATIENCE, "history_lost").expect("a pause");
    assert!(why.contains("everything") && why.contains("POST /resume"), "{why}");
    let idle = |metrics: &Metrics| metrics.sum("kafka_once_in_flight_requests", &[]) < 0.5;
    victim.await_metrics(PATIENCE, idle).expect("open requests are answered");
    let (applied, paused) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it was flushed under load");
    victim.sigkill();
    let heir = trial.scene.sidecar(&settings);
    let waits = |metrics: &Metrics| metrics.sum("kafka_once_partition_paused", &[("reason", "history_lost")]) > 5.5;
    heir.await_metrics(PATIENCE, waits).expect("each partition waits");
    assert_loss_counted(&[&heir], "all");
    let resumed = Instant::now();
    assert_eq!(heir.post("/resume").expect("an answer").status, 200);
    assert_silence(&trial, paused, resumed);
    trial.recovered("redis flushed, resumed by an operator", resumed, applied);
    let audit = end(&trial, &[&heir]);
    assert_ne!(audit.repeated_in_doubt, [], "duplicates of what was forgotten came again, and said so");
}

fn committed(trial: &Trial) -> std::collections::BTreeMap<i32, topics::Committed> {
    topics::committed(&trial.scene.bootstrap, &trial.scene.group, &trial.scene.topic).expect("commits")
}

/// Asks the broker until every partition's commit is as `wanted`; each answer paces the next question.
fn await_commits(trial: &Trial, wanted: impl Fn(i64) -> bool) -> std::collections::BTreeMap<i32, topics::Committed> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = committed(trial);
        if found.len() == PARTITIONS && found.values().all(|commit| wanted(commit.next)) {
            return found;
        }
        assert!(Instant::now() < end, "{found:?}");
    }
}
