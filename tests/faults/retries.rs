//! Messages that the app fails again and again, while their partitions move from sidecar to sidecar: what was spent on
//! them moves with them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::checks::assert_commits;
use crate::ends::QUICK_GROUP;
use crate::flow::Flow;
use crate::support::ledger::{Effect, Records};
use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene, assert_books};
use crate::support::topics::{self, Read};
use crate::support::{Answer, Produced, Record, Request, Sidecar};
use crate::trial::Trial;

const PARTITIONS: usize = 6;

/// Failures in all before a message is given up, and in each of the three phases of the scenario.
const RETRIES: usize = 12;
const PHASES: usize = 3;

/// The app's side: which messages it fails, how often it may by now, and what it has seen.
#[derive(Default)]
struct Failing {
    allowed: AtomicUsize,
    failed: Mutex<HashMap<String, usize>>,
    open: Mutex<HashSet<String>>,
    at_once: AtomicUsize,
}

#[test]
fn a_retrying_record_moves_with_its_attempts_and_retries_and_is_given_up_after_them_in_total() {
    let Some(scene) = Scene::new(Ground::Real, "retrying", 6) else { return };
    let letters = format!("{}-dead", scene.topic);
    topics::create(&scene.bootstrap, &letters, 1, 1, &[]).expect("a dead-letter topic");
    let failing = Arc::new(Failing::default());
    fail(&scene, &failing);
    let (mut trial, (poison, sidecars)) = Flow::new(scene, PARTITIONS).during(|flow| {
        let scene = &flow.scene;
        let poison = scene.produce(&poison(&scene.topic));
        let start = |path: &str| {
            let (url, letters) = (scene.ledger.url(path), letters.as_str());
            scene.sidecar(&[&QUICK_GROUP[..], &settings(&url, letters)[..]].concat())
        };
        failing.allow(1);
        let a = start("/a");
        await_sent(scene, "/a", PARTITIONS);
        failing.allow(2);
        let b = start("/b");
        await_sent(scene, "/b", PARTITIONS / 2);
        let released = a.metrics().expect("a scrape").sum("kafka_once_records_released_total", &[]);
        assert!(released > 2.5, "{released} records were released");
        let c = start("/c");
        await_sent(scene, "/c", PARTITIONS / 3);
        stop(&a);
        failing.allow(PHASES);
        await_letters(scene, &letters, PARTITIONS);
        (poison, [b, c])
    });
    trial.produced.extend(poison);
    assert_given_up_after(&trial.scene, &letters);
    assert_eq!(failing.at_once.load(Ordering::Relaxed), 0, "two requests for one message were open at once");
    end(&trial, &letters, &sidecars);
}

fn settings<'a>(url: &'a str, letters: &'a str) -> [(&'static str, &'a str); 6] {
    [
        ("ONCE_APP_URL", url),
        ("ONCE_DEAD_LETTER_TOPIC", letters),
        ("ONCE_RETRY_ATTEMPTS", "12"),
        ("ONCE_RETRY_BACKOFF", "200ms"),
        ("ONCE_RETRY_BACKOFF_MAX", "200ms"),
        // Low water stands at the failing records; the others go on nevertheless.
        ("ONCE_MAX_OPEN_RECORDS", "100000"),
    ]
}

/// One message for each partition.
fn poison(topic: &str) -> Vec<Record> {
    let record = |partition: usize| {
        let name = format!("poison-{partition}");
        Record::new(topic, "poison")
            .id(name.clone())
            .key(name)
            .partition(i32::try_from(partition).expect("a partition"))
    };
    (0..PARTITIONS).map(record).collect()
}

fn is_poison(id: &str) -> bool {
    id.starts_with("poison-")
}

/// The app fails each poison as often as is allowed by now; beyond, it says that it is overloaded, which spends nothing.
fn fail(scene: &Scene, failing: &Arc<Failing>) {
    let failing = Arc::clone(failing);
    scene.ledger.behave(move |request| {
        let failing = Arc::clone(&failing);
        async move {
            let enters = failing.enters(request.id());
            tokio::time::sleep(Duration::from_millis(20)).await; // the app's work
            if enters {
                lock(&failing.open).remove(request.id());
            }
            Answer::status(if is_poison(request.id()) { failing.judge(request.id()) } else { 200 })
        }
    });
}

impl Failing {
    fn allow(&self, phases: usize) {
        self.allowed.store(RETRIES * phases / PHASES, Ordering::Relaxed);
    }

    /// Whether no other request for this message is open.
    fn enters(&self, id: &str) -> bool {
        let alone = lock(&self.open).insert(id.to_owned());
        self.at_once.fetch_add(usize::from(!alone), Ordering::Relaxed);
        alone
    }

    fn judge(&self, id: &str) -> u16 {
        let mut failed = lock(&self.failed);
        let count = failed.entry(id.to_owned()).or_default();
        if *count < self.allowed.load(Ordering::Relaxed) {
            *count += 1;
            500
        } else {
            503
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the sidecar of this path has sent so many of the poisons.
fn await_sent(scene: &Scene, path: &str, count: usize) {
    let wanted = |records: &Records| {
        let sent = records.requests.iter().filter(|request| request.path == path && is_poison(request.id()));
        sent.map(|request| request.id()).collect::<BTreeSet<_>>().len() >= count
    };
    scene.ledger.wait_until(PATIENCE, wanted).expect("they are sent");
}

fn await_letters(scene: &Scene, letters: &str, count: usize) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        // The look itself takes a round trip, which paces this loop.
        let ends = topics::watermarks(&scene.bootstrap, letters).expect("watermarks");
        if ends.values().map(|(_, high)| *high).sum::<i64>() >= i64::try_from(count).expect("a small number") {
            return;
        }
        assert!(std::time::Instant::now() < end, "{ends:?}");
    }
}

/// Each poison failed as often as was allowed in total, whoever had it; its attempts grew with every request; nobody sent
/// it who had given it away.
fn assert_given_up_after(scene: &Scene, letters: &str) {
    let dead = topics::read_all(&scene.bootstrap, letters).expect("the dead letters");
    let mut twice = 0;
    scene.ledger.with(|records| {
        let mut sent: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
        for request in records.requests.iter().filter(|request| is_poison(request.id())) {
            sent.entry(request.id()).or_default().push(request);
        }
        assert_eq!(sent.len(), PARTITIONS);
        for (id, requests) in sent {
            assert!(requests.windows(2).all(|two| two[0].attempt() < two[1].attempt()), "{requests:?}");
            assert!(requests.iter().all(|request| !request.in_doubt()), "{requests:?}");
            let mut senders: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
            senders.dedup();
            assert_eq!(senders.len(), senders.iter().collect::<BTreeSet<_>>().len(), "{id} went back: {senders:?}");
            assert!(senders.len() > 1, "{id} never moved");
            twice += usize::from(senders.len() > 2);
            let letter = dead.iter().find(|letter| letter.header("once-message-id").as_deref() == Some(id));
            let header = |name| letter.and_then(|letter: &Read| letter.header(name));
            assert_eq!(header("once-error").as_deref(), Some("exhausted"), "{id}");
            let last = requests.last().map(|request| request.attempt().to_string());
            assert_eq!(header("once-attempts"), last, "{id}");
        }
    });
    assert!(twice > 0, "none moved twice");
}

fn end(trial: &Trial, letters: &str, sidecars: &[Sidecar]) {
    let scene = &trial.scene;
    scene.await_applied(trial.distinct);
    scene.await_committed();
    for sidecar in sidecars {
        assert_books(&sidecar.metrics().expect("a scrape"));
        stop(sidecar);
    }
    let dead = topics::read_all(&scene.bootstrap, letters).expect("the dead letters");
    assert_eq!(dead.len(), PARTITIONS, "each of them once");
    let audit = trial.audit_with(&dead);
    audit.assert_exactly_once();
    let twice: Vec<&Effect> = audit.forwarded_twice.iter().filter(|(_, id)| !is_poison(id)).collect();
    assert!(twice.is_empty(), "{audit}");
    let poisoned = trial.produced.iter().filter(|one| is_poison(&one.id));
    assert_commits(trial, &poisoned.map(|one: &Produced| (one.topic.clone(), one.id.clone())).collect());
}
