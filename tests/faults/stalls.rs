//! A sidecar is stopped for longer than its lease and its session in the group, and comes back when its messages are
//! another one's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::checks::assert_repeats_marked;
use crate::flow::Flow;
use crate::support::ledger::Records;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{Answer, Audit, Ledger, Model, Sidecar};
use crate::trial::{QUICK, Trial, messages};

/// Time enough for the app to hold requests until the sidecar that sent them is stopped.
const SETTINGS: [(&str, &str); 4] = [("ONCE_LEASE", "6s"), ("ONCE_APP_TIMEOUT", "5s"), QUICK[2], QUICK[3]];

/// Messages whose first attempt the app is still at work on when the second one comes.
const SLOW: usize = 20;

#[test]
fn a_stalled_sidecars_stale_attempts_are_refused_by_an_app_that_fences_and_do_no_harm() {
    let Some((trial, audit)) = stall("stall-fence", Model::Fencing) else { return };
    audit.assert_promise();
    trial.scene.ledger.with(|records| {
        assert!(records.refused.len() >= SLOW, "{} refused", records.refused.len());
        for stale in &records.refused {
            let newer = |request: &Arc<_>| is_newer(request, stale);
            assert!(records.applied.iter().any(newer), "{stale:?} was refused, and nothing came after it");
        }
    });
}

#[test]
fn an_app_that_stores_topic_and_id_in_its_transaction_sees_no_repeat_of_a_stalled_sidecar() {
    let Some((trial, audit)) = stall("stall-store", Model::Transactional) else { return };
    assert_eq!(audit.applied_twice, []);
    let repeats = trial.scene.ledger.with(|records| records.repeats.len());
    assert!(repeats >= SLOW, "it was asked to repeat {repeats}");
}

fn is_newer(request: &crate::support::Request, stale: &crate::support::Request) -> bool {
    request.effect() == stale.effect() && request.attempt() > stale.attempt()
}

/// Stops a sidecar under load, while the app works on some of its requests; another one takes over and repeats them; the
/// app goes on with the first ones; then the stopped one goes on too, finds out, and takes part again.
fn stall(name: &str, model: Model) -> Option<(Trial, Audit)> {
    let mut scene = Scene::new(Ground::Real, name, 6)?;
    scene.ledger = Ledger::start_as(model).expect("an app");
    let (let_go, held) = watch::channel(false);
    let first = messages() / 3;
    let slow: Arc<HashSet<String>> = Arc::new((first..first + SLOW).map(|number| format!("id-{number}")).collect());
    hold_first_attempts(&scene, Arc::clone(&slow), held);
    let (trial, sidecars) = Flow::new(scene, 6).during(|flow| {
        let scene = &flow.scene;
        let stalled = scene.sidecar(&SETTINGS);
        await_requests(scene, |records| attempts(records, &slow, |attempt| attempt == 1) == SLOW);
        stalled.sigstop();
        let stopped = Instant::now();
        let heir = scene.sidecar(&SETTINGS);
        flow.recovered_anywhere("a sidecar stopped (its group session: 6 s)", stopped);
        await_requests(scene, |records| slow.iter().all(|id| is_applied(records, &scene.topic, id)));
        let_go.send(true).expect("the app");
        await_requests(scene, |records| records.refused.len() + stale_repeats(records, &slow) >= SLOW);
        stalled.sigcont();
        await_comeback(&stalled);
        [stalled, heir]
    });
    let sidecars: Vec<&Sidecar> = sidecars.iter().collect();
    let audit = assert_repeats_marked(&trial, &sidecars);
    Some((trial, audit))
}

/// The app does not finish the first attempt of the slow messages before it is let go.
fn hold_first_attempts(scene: &Scene, slow: Arc<HashSet<String>>, held: watch::Receiver<bool>) {
    scene.ledger.behave(move |request| {
        let (slow, mut held) = (Arc::clone(&slow), held.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await; // the app's work
            if request.attempt() == 1 && slow.contains(request.id()) {
                let _ = held.wait_for(|go| *go).await; // the test's end lets go as well
            }
            Answer::status(200)
        }
    });
}

fn await_requests(scene: &Scene, wanted: impl FnMut(&Records) -> bool) {
    scene.ledger.wait_until(PATIENCE, wanted).expect("requests");
}

/// How many requests for the slow messages came with such a number.
fn attempts(records: &Records, slow: &HashSet<String>, wanted: impl Fn(u64) -> bool) -> usize {
    records.requests.iter().filter(|request| slow.contains(request.id()) && wanted(request.attempt())).count()
}

fn is_applied(records: &Records, topic: &str, id: &str) -> bool {
    records.effects.contains_key(&(topic.to_owned(), id.to_owned()))
}

/// First attempts that came to the app's own records after a later one.
fn stale_repeats(records: &Records, slow: &HashSet<String>) -> usize {
    records.repeats.iter().filter(|request| slow.contains(request.id()) && request.attempt() == 1).count()
}

/// Waits until it has found out that its session is over, has a new one, and settles records again.
fn await_comeback(stalled: &Sidecar) {
    let settled = |metrics: &Metrics| metrics.sum("kafka_once_records_settled_total", &[]);
    let new_session = |metrics: &Metrics| metrics.sum("kafka_once_sessions_started_total", &[]) > 1.5;
    let before = settled(&stalled.await_metrics(PATIENCE, new_session).expect("a new session"));
    stalled.await_metrics(PATIENCE, |metrics| settled(metrics) > before + 100.0).expect("it takes part again");
}
