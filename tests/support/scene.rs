//! What every scenario needs: a topic of its own, an app that keeps a ledger, sidecars between them, an auditor.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::sidecar::Metrics;
use super::topics::Read;
use super::{Audit, Kafka, Ledger, Produced, Producer, Record, Redis, Sidecar, topics};

/// Bound of every wait in these tests: far above what any of them takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Which Kafka a scenario runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Apache Kafka.
    Real,
    /// librdkafka's mock cluster, in this process.
    Mock,
}

/// Runs scenarios, functions of a [`Ground`], on real Kafka and on the mock cluster.
#[macro_export]
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod on_kafka {
            $(#[test] fn $scenario() { super::$scenario($crate::support::scene::Ground::Real); })+
        }
        mod on_mock_cluster {
            $(#[test] fn $scenario() { super::$scenario($crate::support::scene::Ground::Mock); })+
        }
    };
}

/// One topic, one group, one app.
pub struct Scene {
    pub bootstrap: String,
    /// `ONCE_REDIS_URL`.
    pub redis_url: String,
    pub topic: String,
    pub group: String,
    pub ledger: Ledger,
    looks_up: AtomicBool,
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Scene {
    /// `None`: Kafka or Redis cannot be had, and the skip is on record.
    pub fn new(ground: Ground, name: &str, partitions: i32) -> Option<Self> {
        let redis = super::redis()?;
        if ground == Ground::Real {
            return Some(Self::on(super::kafka()?, redis, name, partitions));
        }
        let topic = unique(name);
        let mock = MockCluster::new(1).expect("a mock cluster");
        mock.create_topic(&topic, partitions, 1).expect("a topic");
        let scene = Self::of(mock.bootstrap_servers(), redis.url(), topic);
        Some(Self { _mock: Some(mock), ..scene })
    }

    /// A scene on brokers and a server of the test's own.
    pub fn on(kafka: &Kafka, redis: &Redis, name: &str, partitions: i32) -> Self {
        let topic = unique(name);
        kafka.create_topic(&topic, partitions, &[]).expect("a topic");
        Self::of(kafka.bootstrap(), redis.url(), topic)
    }

    fn of(bootstrap: String, redis_url: String, topic: String) -> Self {
        let ledger = Ledger::start().expect("an app");
        let looks_up = AtomicBool::default();
        Self { bootstrap, redis_url, group: format!("{topic}-group"), topic, ledger, looks_up, _mock: None }
    }

    /// The settings that every sidecar of this scene has.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ONCE_KAFKA_BROKERS", self.bootstrap.clone()),
            ("ONCE_KAFKA_TOPICS", self.topic.clone()),
            ("ONCE_KAFKA_GROUP", self.group.clone()),
            ("ONCE_REDIS_URL", self.redis_url.clone()),
            ("ONCE_APP_URL", self.ledger.url("/")),
        ]
    }

    /// A sidecar with the scene's settings, overruled by `more`.
    pub fn sidecar(&self, more: &[(&'static str, &str)]) -> Sidecar {
        let mut settings = self.settings();
        for (name, value) in more {
            settings.retain(|(known, _)| known != name);
            settings.push((name, (*value).to_owned()));
            self.looks_up.fetch_or((*name, *value) == ("ONCE_IN_DOUBT", "lookup"), Ordering::Relaxed);
        }
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Sidecar::start(&settings).expect("a sidecar")
    }

    /// Whether any sidecar of this scene was told to resolve doubt by asking the app.
    pub fn looks_up(&self) -> bool {
        self.looks_up.load(Ordering::Relaxed)
    }

    /// Produces records, and tells what was produced.
    pub fn produce(&self, records: &[Record]) -> Vec<Produced> {
        let producer = Producer::new(&self.bootstrap).expect("a producer");
        let positions = producer.send(records.to_vec()).expect("records are produced");
        Produced::all(records, &positions)
    }

    /// Produces records to another topic.
    pub fn produce_to(&self, topic: &str, records: Vec<Record>) {
        let records = records.into_iter().map(|record| Record { topic: topic.to_owned(), ..record });
        Producer::new(&self.bootstrap).expect("a producer").send(records).expect("records are produced");
    }

    /// Waits until the app has applied so many effects.
    pub fn await_applied(&self, effects: usize) {
        self.ledger.await_applied(effects, PATIENCE);
    }

    /// Waits until every partition is committed to its end.
    pub fn await_committed(&self) {
        let ends = topics::watermarks(&self.bootstrap, &self.topic).expect("watermarks");
        self.await_commits(|partition| ends[&partition].1);
    }

    /// Waits until every partition is committed to this next offset.
    pub fn await_commits(&self, wanted: impl Fn(i32) -> i64) {
        let end = std::time::Instant::now() + PATIENCE;
        let partitions = topics::partitions(&self.bootstrap, &self.topic).expect("partitions");
        loop {
            // The broker's answer paces this loop.
            let committed = topics::committed(&self.bootstrap, &self.group, &self.topic).expect("commits");
            let there = |partition| committed.get(partition).is_some_and(|found| found.next == wanted(*partition));
            if partitions.iter().all(there) {
                return;
            }
            assert!(std::time::Instant::now() < end, "committed {committed:?}");
        }
    }

    /// Compares what was produced with what the app did and what the group committed.
    pub fn audit(&self, produced: &[Produced]) -> Audit {
        self.audit_with(produced, &[])
    }

    /// The same where some may have been dead-lettered.
    pub fn audit_with(&self, produced: &[Produced], dead_letters: &[Read]) -> Audit {
        let records = self.ledger.records();
        let audit = Audit::new(produced, &records, dead_letters);
        audit.with_commits(&self.bootstrap, &self.group, produced).expect("an audit")
    }
}

/// A name that no other test has.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Asserts that everything adds up in one scrape.
pub fn assert_books(metrics: &Metrics) {
    let received = metrics.sum("kafka_once_records_received_total", &[]);
    let settled = metrics.sum("kafka_once_records_settled_total", &[]);
    let released = metrics.sum("kafka_once_records_released_total", &[]);
    let open = metrics.sum("kafka_once_open_records", &[]);
    assert!(
        (received - settled - released - open).abs() < 0.5 && open >= 0.0,
        "received {received}, settled {settled}, released {released}, open {open}"
    );
}
