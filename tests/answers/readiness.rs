//! An app that comes and goes (H20): partitions are paused and never given up, nothing is dead-lettered, and nothing is
//! repeated but what was cut off in its midst.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::scene::{PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{Answer, Ledger, Produced, Sidecar};
use crate::told::{Stage, await_told, await_untold, count, messages, names};

const PARTITIONS: i32 = 3;

/// Requests that were cut off while the app worked on them, by message.
type Cut = Arc<Mutex<BTreeMap<String, usize>>>;

/// Counts a request as cut off unless its work was finished.
struct Work(Option<String>, Cut);

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(id) = self.0.take() {
            *self.1.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += 1;
        }
    }
}

/// An app that takes a moment for each message, and what of its work was cut off.
fn works(scene: &Scene) -> Cut {
    let cut = Cut::default();
    let seen = Arc::clone(&cut);
    scene.ledger.behave(move |request| {
        let mut work = Work(Some(request.id().to_owned()), Arc::clone(&seen));
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await; // the app's work
            work.0.take();
            Answer::status(200)
        }
    });
    cut
}

fn produce(scene: &Scene, each: usize) -> Vec<Produced> {
    let of = |partition| messages(&scene.topic, partition, names(&format!("p{partition}"), each));
    scene.produce(&(0..PARTITIONS).flat_map(of).collect::<Vec<_>>())
}

fn applied(scene: &Scene) -> usize {
    scene.ledger.with(|records| records.effects.len())
}

/// The app listens again. Its port was free for a moment, and another program may just be looking at it.
fn reopen(scene: &Scene) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = scene.ledger.open() {
        assert!(Instant::now() < end, "{error:#}");
        std::thread::sleep(Duration::from_millis(5)); // paces the tries
    }
}

/// The group has never moved: each partition came once and none went.
fn assert_no_rebalance(sidecar: &Sidecar) {
    let lines = sidecar.log().lines();
    let told = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(told("partition assigned"), usize::try_from(PARTITIONS).expect("few"));
    assert_eq!(told("group: Assign"), 1, "one generation");
    for words in ["group: Revoke", "group: Lost", "partition is wanted back", "partition lost", "partition given back"]
    {
        assert_eq!(told(words), 0, "{words}");
    }
}

/// Everything was applied once; each request beyond the first one of a message followed one that was cut off, and said so.
fn assert_repeats_follow_cuts(scene: &Scene, cut: &Cut) {
    let cut = cut.lock().unwrap_or_else(PoisonError::into_inner);
    scene.ledger.with(|records| {
        let mut sent: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
        for request in &records.requests {
            sent.entry(request.id()).or_default().push(request.in_doubt());
        }
        for (id, marked) in sent {
            let cut = cut.get(id).copied().unwrap_or_default();
            assert_eq!(marked.len(), 1 + cut, "{id}: {marked:?}, cut off {cut} times");
            assert!(marked[1..].iter().all(|marked| *marked), "{id}: {marked:?}");
        }
    });
}

#[test]
fn an_app_that_restarts_fifty_times_under_load_costs_no_message_no_rebalance_and_no_repeat_but_of_what_was_cut_off() {
    const RESTARTS: usize = 50;
    const STEP: usize = 30;
    let Some(stage) = Stage::new("restarts", PARTITIONS) else { return };
    let scene = &stage.scene;
    let cut = works(scene);
    let produced = produce(scene, (RESTARTS + 5) * STEP / 3);
    // More than the worst luck of one message: each cut spends a retry.
    let sidecar = stage.sidecar(&[("ONCE_RETRY_ATTEMPTS", "50"), ("ONCE_MAX_IN_FLIGHT", "8")]);
    for restart in 1..=RESTARTS {
        scene.ledger.await_applied(restart * STEP, PATIENCE);
        scene.ledger.close();
        assert!(applied(scene) < produced.len(), "it is closed under load");
        reopen(scene);
    }
    scene.await_applied(produced.len());
    scene.await_committed();
    assert_repeats_follow_cuts(scene, &cut);
    let metrics = sidecar.metrics().expect("a scrape");
    let unknown = count(&metrics, "attempts_total", &[("verdict", "unknown")]);
    let seen: usize = cut.lock().unwrap_or_else(PoisonError::into_inner).values().sum();
    assert!(unknown >= seen as u64, "{seen} requests were cut off, and {unknown} counted");
    assert!(count(&metrics, "possible_repeats_total", &[]) >= unknown);
    assert_eq!(count(&metrics, "dead_letters_total", &[]), 0);
    assert_no_rebalance(&sidecar);
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.dead, audit.repeated_in_doubt.len()), (0, 0), "{audit}");
}

/// Connections are refused again and again while nothing is under way: there is no doubt, and nothing is repeated.
#[test]
fn while_connections_are_refused_nothing_is_in_doubt_nothing_spent_and_nothing_sent_twice() {
    const ROUNDS: usize = 3;
    let Some(stage) = Stage::new("refused", PARTITIONS) else { return };
    let scene = &stage.scene;
    works(scene);
    scene.ledger.close();
    let produced = produce(scene, 300);
    let sidecar = stage.sidecar(&[("ONCE_RETRY_ATTEMPTS", "1"), ("ONCE_MAX_OPEN_RECORDS", "20")]);
    for round in 1..=ROUNDS {
        await_told(&sidecar, "app_unavailable", None);
        reopen(scene);
        scene.ledger.await_applied(round * 100, PATIENCE);
        assert_eq!(sidecar.post("/pause").expect("an answer").status, 200);
        let idle = |metrics: &Metrics| count(metrics, "open_records", &[]) == 0;
        sidecar.await_metrics(PATIENCE, idle).expect("all that was taken in is done");
        assert!(applied(scene) < produced.len(), "under load");
        scene.ledger.close();
        assert_eq!(sidecar.post("/resume").expect("an answer").status, 200);
    }
    await_told(&sidecar, "app_unavailable", None);
    reopen(scene);
    scene.await_applied(produced.len());
    assert_no_rebalance(&sidecar);
    let audit = stage.end(&produced, &[&sidecar]);
    audit.assert_exactly_once();
    assert_eq!((audit.dead, audit.forwarded_twice.len()), (0, 0), "{audit}");
}

#[test]
fn before_the_app_is_ready_and_while_it_is_not_no_request_is_sent() {
    let Some(stage) = Stage::new("ready", PARTITIONS) else { return };
    let scene = &stage.scene;
    works(scene);
    scene.ledger.set_ready(false);
    let produced = produce(scene, 1_000);
    let url = scene.ledger.ready_url();
    let sidecar = stage.sidecar(&[("ONCE_APP_READY_URL", &url), ("ONCE_MAX_IN_FLIGHT", "8")]);
    let detail = await_told(&sidecar, "app_unavailable", None);
    for round in 0..3 {
        let asked = scene.ledger.with(|records| records.asked.len());
        scene.ledger.wait_until(PATIENCE, |records| records.asked.len() > asked + 3).expect("it is asked");
        let idle =
            |metrics: &Metrics| count(metrics, "in_flight_requests", &[]) == 0 && count(metrics, "app_up", &[]) == 0;
        sidecar.await_metrics(PATIENCE, idle).expect("open requests are answered");
        let told = await_told(&sidecar, "app_unavailable", None);
        assert!(round == 0 && detail.contains("not asked") || told.contains("503"), "{told}");
        let (since, sent) = (Instant::now(), scene.ledger.with(|records| records.requests.len()));
        let asked = scene.ledger.with(|records| records.asked.len());
        scene.ledger.wait_until(PATIENCE, |records| records.asked.len() > asked + 3).expect("it is asked on");
        let until = Instant::now();
        scene.ledger.set_ready(true);
        let in_between = scene
            .ledger
            .with(|records| records.requests.iter().filter(|request| request.at > since && request.at < until).count());
        assert_eq!(in_between, 0, "sent while it was not ready");
        scene.ledger.wait_until(PATIENCE, |records| records.requests.len() > sent + 200).expect("it goes on");
        assert!(applied(scene) < produced.len(), "under load");
        if round < 2 {
            scene.ledger.set_ready(false);
        }
    }
    scene.await_applied(produced.len());
    await_untold(&sidecar, "app_unavailable");
    assert_no_rebalance(&sidecar);
    let audit = stage.end(&produced, &[&sidecar]);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, []);
}

/// H23: a minute without an app, under a backlog.
#[test]
fn an_outage_of_a_minute_under_a_backlog_costs_no_letter_and_afterwards_everything_is_applied() {
    const OUTAGE: Duration = Duration::from_secs(60);
    let Some(stage) = Stage::new("outage", PARTITIONS) else { return };
    let scene = &stage.scene;
    let cut = works(scene);
    let mut produced = produce(scene, 1_000);
    let sidecar = stage.sidecar(&[("ONCE_RETRY_ATTEMPTS", "2"), ("ONCE_DEAD_LETTER_BUDGET", "1")]);
    scene.await_applied(300);
    scene.ledger.close();
    await_told(&sidecar, "app_unavailable", None);
    let begun = Instant::now();
    produced.extend(scene.produce(&messages(&scene.topic, 0, names("meanwhile", 500))));
    std::thread::sleep(OUTAGE.saturating_sub(begun.elapsed())); // the outage itself
    assert!(applied(scene) < produced.len(), "a backlog waits");
    await_told(&sidecar, "app_unavailable", None);
    assert_eq!(stage.count(), 0);
    reopen(scene);
    scene.await_applied(produced.len());
    await_untold(&sidecar, "app_unavailable");
    assert_repeats_follow_cuts(scene, &cut);
    assert_no_rebalance(&sidecar);
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.dead, audit.repeated_in_doubt.len()), (0, 0), "{audit}");
}

/// Readiness is asked on another port than the one that refuses.
#[test]
fn an_app_that_says_it_is_ready_and_refuses_connections_is_told_in_few_lines() {
    const ROUNDS: u64 = 8;
    let Some(stage) = Stage::new("says-yes", PARTITIONS) else { return };
    let scene = &stage.scene;
    let elsewhere = Ledger::start().expect("somebody who says yes");
    scene.ledger.close();
    let produced = produce(scene, 10);
    let (begun, url) = (Instant::now(), elsewhere.ready_url());
    let sidecar = stage.sidecar(&[("ONCE_APP_READY_URL", &url), ("ONCE_MAX_IN_FLIGHT", "1")]);
    let refused = |metrics: &Metrics| count(metrics, "attempts_total", &[("verdict", "unavailable")]) >= ROUNDS;
    sidecar.await_metrics(PATIENCE, refused).expect("it is tried again and again");
    let lines = sidecar.log().lines();
    let most = 1 + begun.elapsed().as_secs() / 10;
    for words in ["app is ready", "app is unavailable; intake pauses"] {
        let told = lines.iter().filter(|line| line.contains(words)).count() as u64;
        assert!((1..=most).contains(&told), "{words}: {told} lines of {ROUNDS}, {most} at most");
    }
    reopen(scene);
    scene.await_applied(produced.len());
    await_untold(&sidecar, "app_unavailable");
    let last = |line: &str| line.contains("app is ready") && !line.contains("\"unsaid\":0");
    sidecar.log().wait_for(PATIENCE, last).expect("what was left out is told in the end");
    let audit = stage.end(&produced, &[&sidecar]);
    audit.assert_exactly_once();
    assert_eq!((audit.dead, audit.forwarded_twice.len()), (0, 0), "{audit}");
}
