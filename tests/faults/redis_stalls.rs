//! Redis stalls, goes silent on open connections, or loses its replies: nothing is forwarded without a claim, and our own
//! claims stay ours.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::store::{LONG_LEASE, PARTITIONS, STEADY, assert_silence, assert_waited_out, end, scene, with};
use crate::support::load::numbered;
use crate::support::monitor::key_of;
use crate::support::scene::{PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{Answer, Monitor, Proxy, Redis};
use crate::trial::Trial;

#[test]
fn a_redis_that_stalls_for_a_tenth_of_a_second_is_waited_for_and_nothing_is_forwarded_without_a_claim() {
    stalls("stall-short", Duration::from_millis(100));
}

#[test]
fn a_redis_that_stalls_for_a_second_is_waited_for_and_nothing_is_forwarded_without_a_claim() {
    stalls("stall-long", Duration::from_secs(1));
}

fn stalls(name: &str, how_long: Duration) {
    let Some((redis, scene)) = scene(name) else { return };
    let monitor = Monitor::start(&redis).expect("a monitor");
    let trial = Trial::begin(scene, PARTITIONS);
    let sidecar = trial.scene.sidecar(&LONG_LEASE);
    trial.await_part(1, 4);
    redis.pause();
    std::thread::sleep(how_long); // the fault itself
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it was stopped under load");
    redis.cont();
    trial.recovered(&format!("redis stopped for {} s", how_long.as_secs_f64()), back, applied);
    assert_waited_out(&trial, &sidecar);
    let audit = end(&trial, &[&sidecar]);
    assert_eq!(audit.forwarded_twice, []);
    assert_claimed(&trial.scene, &claims(&trial.scene, &monitor, &redis));
}

/// What Redis is told while it stands still, it carries out when it goes on, and nobody hears the answer.
#[test]
fn a_claim_whose_reply_was_lost_because_redis_stood_still_is_recognised_as_our_own() {
    const BATCH: usize = 60;
    let Some((redis, scene)) = scene("stall-claims") else { return };
    let monitor = Monitor::start(&redis).expect("a monitor");
    let record = |number| numbered(&scene.topic, number, PARTITIONS);
    // No heartbeat is due: what finds that Redis is away is a claim.
    let sidecar = scene.sidecar(&with(&LONG_LEASE, &[("ONCE_LEASE", "300s")]));
    let mut produced = scene.produce(&(0..BATCH).map(record).collect::<Vec<_>>());
    scene.await_applied(BATCH);
    scene.await_committed();
    redis.pause();
    produced.extend(scene.produce(&(BATCH..2 * BATCH).map(record).collect::<Vec<_>>()));
    let unanswered = |metrics: &Metrics| {
        metrics.sum("kafka_once_store_up", &[]) < 0.5 && metrics.sum("kafka_once_open_records", &[]) > 0.5
    };
    sidecar.await_metrics(PATIENCE, unanswered).expect("claims without an answer");
    assert_eq!(scene.ledger.with(|records| records.requests.len()), BATCH, "nothing is forwarded without a claim");
    let back = Instant::now();
    redis.cont();
    let trial = Trial { scene, produced, distinct: 2 * BATCH };
    trial.recovered("redis stopped, with claims on their way", back, BATCH);
    assert_waited_out(&trial, &sidecar);
    let audit = end(&trial, &[&sidecar]);
    assert_eq!(audit.forwarded_twice, []);
    assert!(trial.scene.ledger.with(|records| records.requests.iter().all(|request| !request.in_doubt())));
    let twice = monitor.claims(&redis).expect("what was asked").values().filter(|asked| **asked > 1).count();
    assert!(twice > 0, "no claim was asked for again");
}

#[test]
fn a_redis_that_stalls_past_the_lease_ends_the_session_and_what_was_open_is_cancelled_and_comes_again_marked() {
    let Some((redis, scene)) = scene("stall-past-lease") else { return };
    let monitor = Monitor::start(&redis).expect("a monitor");
    let trial = Trial::begin(scene, PARTITIONS);
    // From some moment on the app applies, and says so only much later: longer than the session lives.
    let (slow, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_slow, holds) = (Arc::clone(&slow), Arc::clone(&held));
    trial.scene.ledger.behave(move |_| {
        let (slow, held) = (Arc::clone(&is_slow), Arc::clone(&holds));
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await; // the app's work
            if !slow.load(Ordering::SeqCst) {
                return Answer::status(200);
            }
            held.fetch_add(1, Ordering::SeqCst);
            Answer::status(200).held(std::future::pending())
        }
    });
    // A request may last almost as long as the lease, so that none times out before the session ends.
    let sidecar = trial.scene.sidecar(&with(&STEADY, &[("ONCE_LEASE", "6s"), ("ONCE_APP_TIMEOUT", "5900ms")]));
    trial.await_part(1, 4);
    slow.store(true, Ordering::SeqCst);
    let open = trial.scene.ledger.wait_until(PATIENCE, |_| held.load(Ordering::SeqCst) >= 4);
    open.expect("requests are open");
    redis.pause();
    let fenced = |line: &str| line.contains("lease could not be renewed in time; open requests are cancelled");
    sidecar.log().wait_for(PATIENCE, fenced).expect("a fence");
    let idle = |metrics: &Metrics| metrics.sum("kafka_once_in_flight_requests", &[]) < 0.5;
    let metrics = sidecar.await_metrics(PATIENCE, idle).expect("open requests are cancelled");
    assert!(
        metrics.sum("kafka_once_attempts_total", &[("verdict", "unknown")]) < 0.5,
        "none timed out: {metrics:?}\n{}",
        sidecar.tail()
    );
    let silent = Instant::now();
    std::thread::sleep(longer_stop()); // the fault itself
    let (applied, back) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it was stopped under load");
    slow.store(false, Ordering::SeqCst);
    redis.cont();
    trial.recovered("redis stopped past the lease", back, applied);
    assert_silence(&trial, silent, back);
    let sessions = sidecar.metrics().expect("a scrape").sum("kafka_once_sessions_started_total", &[]);
    assert!(sessions > 1.5, "a new session was begun");
    let audit = end(&trial, &[&sidecar]);
    assert!(audit.repeated_in_doubt.len() >= 4, "what was open came again, and said so: {audit}");
    assert_claimed(&trial.scene, &claims(&trial.scene, &monitor, &redis));
}

/// How much longer Redis stays stopped once the session is over: `REDIS_STOP` in seconds, else no longer.
fn longer_stop() -> Duration {
    let seconds = std::env::var("REDIS_STOP").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

#[test]
fn a_black_holed_connection_to_redis_is_left_for_a_fresh_one_and_nothing_repeats() {
    let Some((redis, mut scene)) = scene("black-hole") else { return };
    let proxy = Proxy::before(redis.port());
    scene.redis_url = format!("redis://127.0.0.1:{}", proxy.port());
    let trial = Trial::begin(scene, PARTITIONS);
    let sidecar = trial.scene.sidecar(&LONG_LEASE);
    trial.await_part(1, 4);
    let (lines, connections) = (sidecar.log().len(), proxy.connections());
    proxy.swallow();
    let (applied, swallowed) = (trial.applied(), Instant::now());
    assert!(applied < trial.distinct, "it was swallowed under load");
    for said in ["redis connection given up", "redis connected"] {
        sidecar.log().wait_from(lines, PATIENCE, |line| line.contains(said)).expect("a fresh connection");
    }
    trial.recovered("redis connection black-holed", swallowed, applied);
    assert!(proxy.connections() > connections, "over the old connection nothing comes");
    assert_waited_out(&trial, &sidecar);
    let audit = end(&trial, &[&sidecar]);
    assert_eq!(audit.forwarded_twice, []);
}

#[test]
fn lost_replies_of_redis_make_no_message_of_ours_a_duplicate_and_none_is_forwarded_twice() {
    let Some((redis, mut scene)) = scene("lost-replies") else { return };
    let monitor = Monitor::start(&redis).expect("a monitor");
    let proxy = Proxy::before(redis.port());
    scene.redis_url = format!("redis://127.0.0.1:{}", proxy.port());
    let trial = Trial::begin(scene, PARTITIONS);
    let sidecar = trial.scene.sidecar(&LONG_LEASE);
    trial.await_part(1, 10);
    proxy.lose_replies(0x1057, 12);
    trial.await_part(9, 10);
    proxy.heal();
    let (lost, applied) = (proxy.lost(), trial.applied());
    assert!(lost >= 5, "only {lost} replies were lost");
    trial.recovered("replies of redis lost", Instant::now(), applied.min(trial.distinct - 1));
    assert_waited_out(&trial, &sidecar);
    let audit = end(&trial, &[&sidecar]);
    assert_eq!(audit.forwarded_twice, []);
    assert_claimed(&trial.scene, &claims(&trial.scene, &monitor, &redis));
}

/// When each key of a claim was written for the first time. A claim comes first, so this is when it was won.
fn claims(scene: &Scene, monitor: &Monitor, redis: &Redis) -> HashMap<String, SystemTime> {
    let written = monitor.first_writes(redis).expect("what was written");
    assert!(!written.is_empty(), "{} has heard nothing", scene.redis_url);
    written
}

/// Asserts that Redis had carried out a claim of each message before any request for it arrived at the app.
fn assert_claimed(scene: &Scene, claims: &HashMap<String, SystemTime>) {
    let requests = scene.ledger.with(|records| records.requests.clone());
    let unclaimed = requests.iter().filter(|request| {
        let claim = claims.get(&key_of(&scene.group, request.topic(), request.id()));
        claim.is_none_or(|claimed| *claimed > request.wall)
    });
    let unclaimed: Vec<String> = unclaimed.map(|request| request.id().to_owned()).collect();
    assert_eq!(unclaimed, Vec::<String>::new(), "forwarded without a claim");
}
