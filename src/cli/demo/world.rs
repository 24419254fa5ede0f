//! Where the demo plays: a mock cluster and a store in this process, or a Kafka and a Redis that are given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::signal::unix::{SignalKind, signal};

use super::app::App;
use super::child::{Child, ChildLog};
use super::crew::Member;
use super::planting::PARTITIONS;
use super::topic::DemoTopic;
use crate::adapters::claims::memory::Memory;
use crate::settings::{Settings, Store};
use crate::sidecar::{self, Failure, Sidecar};

/// One for all runs: message IDs are scoped by topic too, and what a run leaves in Redis is one small key; its marks
/// expire soon.
const NAMESPACE: &str = "kafka-once-demo";

/// The rest of what each sidecar is told. Short times: the demo waits for a lease to end, and for the group to notice.
const SETTINGS: [(&str, &str); 8] = [
    ("ONCE_APP_TIMEOUT", "2s"),
    ("ONCE_LEASE", "3s"),
    ("ONCE_DEDUP_WINDOW", "10m"),
    ("ONCE_DRAIN_TIMEOUT", "10s"),
    ("ONCE_GAP_GRACE", "2s"),
    ("ONCE_ADMIN_ADDR", "127.0.0.1:0"),
    ("ONCE_DEDUP_NAMESPACE", NAMESPACE),
    ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "1000"),
];

/// How long a member of the group may be silent. Brokers allow no less than 6 s by default; the mock cluster does, and
/// takes this long, less a second, for each change of a group.
const SESSION_TIMEOUT: &str = "ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS";

/// A world with its topic made. Dropping it deletes what it made.
pub(super) struct World {
    pub topic: DemoTopic,
    place: Place,
    /// Whether there is something to delete.
    made: bool,
}

enum Place {
    Embedded { _cluster: MockCluster<'static, DefaultProducerContext>, memory: Memory },
    Given { redis: String, log: ChildLog, interrupted: Arc<AtomicBool> },
}

impl World {
    /// librdkafka's mock cluster and a store in this process' memory.
    pub(super) fn embedded() -> anyhow::Result<Self> {
        let cluster = MockCluster::new(3)?;
        let topic = DemoTopic::new(cluster.bootstrap_servers());
        cluster.create_topic(&topic.name, PARTITIONS, 3)?;
        Ok(Self { topic, place: Place::Embedded { _cluster: cluster, memory: sidecar::memory() }, made: false })
    }

    /// A Kafka and a Redis that run already.
    pub(super) fn given(kafka: &str, redis: &str, log: ChildLog) -> anyhow::Result<Self> {
        let topic = DemoTopic::new(kafka.to_owned());
        let place = Place::Given { redis: redis.to_owned(), log, interrupted: interrupts()? };
        let mut world = Self { topic, place, made: false };
        let settings = world.settings("http://127.0.0.1:1/")?; // before anything is made
        if matches!(settings.redis.reach.store, Store::Memory) {
            return Err(Failure::Refused("--redis memory: cannot be shared by processes".to_owned()).into());
        }
        world.topic.create().with_context(|| format!("kafka at {kafka}"))?;
        world.made = true;
        Ok(world)
    }

    /// What the report calls it.
    pub(super) fn description(&self) -> &'static str {
        match self.place {
            Place::Embedded { .. } => "mock cluster, store in memory, sidecars in this process",
            Place::Given { .. } => "real Kafka and Redis, sidecars as processes of their own",
        }
    }

    /// How a sidecar is aborted here.
    pub(super) fn way_to_abort(&self) -> &'static str {
        match self.place {
            Place::Embedded { .. } => "aborted",
            Place::Given { .. } => "SIGKILL",
        }
    }

    /// Starts a sidecar before the app.
    pub(super) fn sidecar(&self, name: &'static str, app: &App) -> anyhow::Result<Member> {
        let url = app.url(name);
        match &self.place {
            Place::Embedded { memory, .. } => {
                let started = Sidecar::start(&self.settings(&url)?, Some(memory.clone()))?;
                Ok(Member::inside(name, started))
            }
            Place::Given { log, .. } => Ok(Member::child(name, Child::start(&self.pairs(&url), log)?)),
        }
    }

    fn settings(&self, app_url: &str) -> Result<Settings, Failure> {
        Settings::from_pairs(&self.pairs(app_url)).map_err(|problems| Failure::Refused(problems.to_string()))
    }

    fn pairs<'a>(&'a self, app_url: &'a str) -> Vec<(&'a str, &'a str)> {
        let (redis, session_timeout) = match &self.place {
            Place::Embedded { .. } => ("memory:", "3000"),
            Place::Given { redis, .. } => (redis.as_str(), "6000"),
        };
        let mut pairs = vec![
            ("ONCE_KAFKA_BROKERS", self.topic.brokers.as_str()),
            ("ONCE_KAFKA_TOPICS", &self.topic.name),
            ("ONCE_KAFKA_GROUP", &self.topic.group),
            ("ONCE_REDIS_URL", redis),
            ("ONCE_APP_URL", app_url),
            (SESSION_TIMEOUT, session_timeout),
        ];
        pairs.extend(SETTINGS);
        pairs
    }

    /// Whether somebody wants the demo to end. In the embedded world a signal ends the process at once.
    pub(super) fn is_interrupted(&self) -> bool {
        match &self.place {
            Place::Embedded { .. } => false,
            Place::Given { interrupted, .. } => interrupted.load(Ordering::Relaxed),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.made
            && let Err(error) = self.topic.delete()
        {
            eprintln!("kafka-once: topic and group {} could not be deleted: {error:#}", self.topic.name);
        }
    }
}

/// Told of SIGINT and SIGTERM, so that children are ended and the topic is deleted before we go.
fn interrupts() -> std::io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let hear = move || {
        runtime.block_on(async move {
            let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
                return;
            };
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            told.store(true, Ordering::Relaxed);
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(hear)?;
    Ok(interrupted)
}
