//! What the scenarios share: a dead-letter topic, quick retries, what the sidecar told, and how much memory it took.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

pub use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene, assert_books, unique};
use crate::support::sidecar::Metrics;
use crate::support::topics::{self, Read};
use crate::support::{Audit, Produced, Record, Sidecar};

/// Most that a sidecar may ever have resident with the default bounds, in KiB: what the specification says.
pub const MOST_RESIDENT: u64 = 256 * 1024;

/// Failed requests are tried again soon, and commits are frequent.
pub const QUICK: [(&str, &str); 3] =
    [("ONCE_RETRY_BACKOFF", "10ms"), ("ONCE_RETRY_BACKOFF_MAX", "200ms"), ("ONCE_COMMIT_INTERVAL", "100ms")];

/// A group whose members hear soon of each other.
pub const QUICK_GROUP: [(&str, &str); 2] =
    [("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "6000"), ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "500")];

/// Settings, the later ones over the earlier ones.
pub fn with<'a>(more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let kept = QUICK.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    kept.chain(more).copied().collect()
}

/// A scene and a dead-letter topic of its own.
pub struct Stage {
    pub scene: Scene,
    pub letters: String,
}

impl Stage {
    /// `None`: Kafka or Redis cannot be had.
    pub fn new(name: &str, partitions: i32) -> Option<Self> {
        Self::with_letters(name, partitions, &[])
    }

    /// The same with settings of the dead-letter topic.
    pub fn with_letters(name: &str, partitions: i32, configs: &[(&str, &str)]) -> Option<Self> {
        let scene = Scene::new(Ground::Real, name, partitions)?;
        let letters = unique(&format!("{name}-letters"));
        topics::create(&scene.bootstrap, &letters, 1, 1, configs).expect("a dead-letter topic");
        Some(Self { scene, letters })
    }

    /// The same with settings of the source topic, too.
    pub fn with_topics(name: &str, source: &[(&str, &str)], letters: &[(&str, &str)]) -> Option<Self> {
        let mut stage = Self::with_letters(name, 1, letters)?;
        stage.scene.topic = unique(&format!("{name}-set"));
        topics::create(&stage.scene.bootstrap, &stage.scene.topic, 1, 1, source).expect("a source topic");
        Some(stage)
    }

    /// A sidecar with quick retries and the dead-letter topic.
    pub fn sidecar(&self, more: &[(&'static str, &str)]) -> Sidecar {
        let letters = [("ONCE_DEAD_LETTER_TOPIC", self.letters.as_str())];
        self.scene.sidecar(&with(&[&letters, more].concat()))
    }

    /// What stands on the dead-letter topic.
    pub fn read(&self) -> Vec<Read> {
        topics::read_all(&self.scene.bootstrap, &self.letters).expect("the dead letters")
    }

    /// The same by message ID.
    pub fn by_id(&self) -> BTreeMap<String, Read> {
        let letters = self.read();
        let count = letters.len();
        let named = |letter: Read| (letter.header("once-message-id").unwrap_or_default(), letter);
        let letters: BTreeMap<_, _> = letters.into_iter().map(named).collect();
        assert_eq!(letters.len(), count, "each letter once");
        letters
    }

    /// How many letters stand there.
    pub fn count(&self) -> usize {
        let ends = topics::watermarks(&self.scene.bootstrap, &self.letters).expect("watermarks");
        usize::try_from(ends.values().map(|(_, end)| *end).sum::<i64>()).expect("a count")
    }

    /// Everything is committed, the books balance, and the sidecar ends well; what the auditor says then.
    pub fn end(&self, produced: &[Produced], sidecars: &[&Sidecar]) -> Audit {
        self.scene.await_committed();
        for sidecar in sidecars {
            assert_books(&sidecar.metrics().expect("a scrape"));
            stop(sidecar);
        }
        let audit = self.scene.audit_with(produced, &self.read());
        audit.assert_promise();
        assert_eq!(audit.behind, [], "{audit}");
        assert_eq!(audit.applied_and_dead, [], "{audit}");
        audit
    }
}

/// Messages of their own keys in one partition.
pub fn messages(topic: &str, partition: i32, names: impl IntoIterator<Item = String>) -> Vec<Record> {
    let record =
        |name: String| Record::new(topic, format!("value of {name}")).partition(partition).key(name.clone()).id(name);
    names.into_iter().map(record).collect()
}

/// `PREFIX-0`, `PREFIX-1`, ...
pub fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}-{number}"))
}

/// A counter or gauge.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts of a test
pub fn count(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    metrics.sum(&format!("kafka_once_{name}"), labels).round() as u64
}

/// Waits until the pause of a partition, or of everything where `partition` is none, stands on `/status` and in the
/// metrics; its detail.
pub fn await_told(sidecar: &Sidecar, reason: &str, partition: Option<i32>) -> String {
    let detail = await_status(sidecar, |page| detail(page, reason, partition));
    let number = partition.map(|partition| partition.to_string());
    let labels = number.iter().map(|number| ("partition", number.as_str())).chain([("reason", reason)]);
    let labels: Vec<_> = labels.collect();
    let paused = |metrics: &Metrics| count(metrics, "partition_paused", &labels) > 0;
    sidecar.await_metrics(PATIENCE, paused).expect("the metric says so");
    detail
}

/// Waits until no pause of this reason is left, neither on `/status` nor in the metrics.
pub fn await_untold(sidecar: &Sidecar, reason: &str) {
    await_status(sidecar, |page| pauses(page).iter().all(|pause| pause["reason"] != reason).then_some(()));
    let labels = [("reason", reason)];
    sidecar.await_metrics(PATIENCE, |metrics| count(metrics, "partition_paused", &labels) == 0).expect("no metric");
}

/// Looks at `/status` until `wanted` finds something.
pub fn await_status<T>(sidecar: &Sidecar, wanted: impl Fn(&Value) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let page = sidecar.get("/status").ok().and_then(|page| serde_json::from_str(&page.body).ok());
        let page: Value = page.unwrap_or_default(); // it may not listen yet
        if let Some(found) = Some(&page).filter(|page| page.is_object()).and_then(&wanted) {
            return found;
        }
        assert!(sidecar.runs(), "the sidecar ended: {}", sidecar.tail());
        assert!(Instant::now() < end, "/status never said so: {page}\n{}", sidecar.tail());
        std::thread::sleep(std::time::Duration::from_millis(20)); // paces the looks
    }
}

/// Waits until a sidecar has so many partitions.
pub fn await_owned(sidecar: &Sidecar, partitions: usize) {
    await_status(sidecar, |page| (page["partitions"].as_array()?.len() == partitions).then_some(()));
}

pub fn status(sidecar: &Sidecar) -> Value {
    serde_json::from_str(&sidecar.get("/status").expect("a page").body).expect("JSON")
}

pub fn pauses(page: &Value) -> &[Value] {
    page["pauses"].as_array().expect("a list")
}

fn detail(page: &Value, reason: &str, partition: Option<i32>) -> Option<String> {
    let of = |pause: &&Value| pause["reason"] == reason && pause["partition"].as_i64() == partition.map(i64::from);
    let pause = pauses(page).iter().find(of)?;
    Some(pause["detail"].as_str().unwrap_or_default().to_owned())
}

/// Fails the test if a sidecar has ever had more resident than the specification says.
pub fn assert_small(sidecar: &Sidecar) {
    let peak = peak(sidecar);
    assert!(peak < MOST_RESIDENT, "{peak} KiB were resident");
}

/// The most that a sidecar has ever had resident, in KiB.
pub fn peak(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

/// The next offset that the group has committed; 0 without one.
pub fn committed(scene: &Scene, partition: i32) -> i64 {
    let all = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits");
    all.get(&partition).map_or(0, |committed| committed.next)
}
