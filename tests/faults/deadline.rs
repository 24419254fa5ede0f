//! SIGTERM with an app that never answers: the process ends at its deadline and gives back what it holds.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use kafka_once::domain::claim::ClaimValue;

use crate::support::Answer;
use crate::support::claims::standing;
use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::trial::{Trial, assert_lookups_wait};

/// `ONCE_MAX_IN_FLIGHT` of these tests.
const IN_FLIGHT: usize = 32;

/// `ONCE_DRAIN_TIMEOUT` of these tests, and `ONCE_APP_TIMEOUT`: no request ends by itself before the deadline of a drain.
const DRAIN: Duration = Duration::from_secs(16);

/// A lease that nobody waits for.
const SETTINGS: [(&str, &str); 6] = [
    ("ONCE_LEASE", "1h"),
    ("ONCE_APP_TIMEOUT", "16s"),
    ("ONCE_DRAIN_TIMEOUT", "16s"),
    ("ONCE_MAX_IN_FLIGHT", "32"),
    ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "6000"),
    ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "500"),
];

#[test]
fn sigterm_with_an_app_that_never_answers_ends_at_the_deadline_and_the_next_one_need_not_wait_for_a_lease() {
    given_back("silent-repeat", &[], IN_FLIGHT);
}

#[test]
fn sigterm_with_an_app_that_never_answers_leaves_doubt_that_a_lookup_resolves() {
    given_back("silent-lookup", &[("ONCE_IN_DOUBT", "lookup")], 0);
}

/// `told`: how many messages the next one forwards as `possible-repeat`.
fn given_back(name: &str, mode: &[(&'static str, &str)], told: usize) {
    let Some(scene) = Scene::new(Ground::Real, name, 6) else { return };
    let trial = Trial::begin(scene, 6);
    let (scene, lookup) = (&trial.scene, trial.scene.ledger.lookup_url());
    let mut settings = SETTINGS.to_vec();
    settings.extend(mode);
    settings.push(("ONCE_APP_LOOKUP_URL", &lookup));

    scene.ledger.behave(|_| async { Answer::never() });
    let silent = scene.sidecar(&settings);
    scene.ledger.wait_until(PATIENCE, |records| records.requests.len() == IN_FLIGHT).expect("all requests are open");
    silent.sigterm();
    let asked = Instant::now();
    // A promise of the specification, with four seconds to spare: what is open is cut off a quarter before.
    assert_eq!(silent.wait_exit(DRAIN), Some(0), "{}", silent.tail());
    silent.log().wait_for(PATIENCE, |line| line.contains("drain deadline passed")).expect("it was the deadline");

    let ids: HashSet<&str> = trial.produced.iter().map(|one| one.id.as_str()).collect();
    let held = standing(&scene.redis_url, &scene.group, &scene.topic, ids).expect("what Redis holds");
    let doubtful = |value: &ClaimValue| matches!(value, ClaimValue::Released { in_doubt: true, .. });
    assert!(held.values().all(|value| matches!(value, ClaimValue::Released { .. })), "every claim is given back");
    let in_doubt: HashSet<&str> = held.iter().filter(|(_, value)| doubtful(value)).map(|(id, _)| id.as_str()).collect();
    let sent = scene.ledger.records();
    assert_eq!(in_doubt, sent.requests.iter().map(|request| request.id()).collect(), "in doubt is what was sent");

    scene.ledger.behave(|_| async { Answer::status(200) });
    let next = scene.sidecar(&settings);
    trial.recovered_when("SIGTERM under a silent app", asked, |records| !records.effects.is_empty());
    scene.await_applied(trial.distinct); // an hour's lease would keep it waiting for longer than it may take
    scene.await_committed();
    let repeats = next.metrics().expect("a scrape").sum("kafka_once_possible_repeats_total", &[]);
    stop(&next);
    let audit = trial.audit();
    audit.assert_exactly_once();
    assert_eq!(audit.effects, trial.distinct);
    assert_lookups_wait(&scene.ledger.records());
    let marked = scene.ledger.with(|records| records.requests.iter().filter(|request| request.in_doubt()).count());
    assert_eq!((marked, (repeats - f64::from(u32::try_from(told).expect("few"))).abs() < 0.5), (told, true));
}
