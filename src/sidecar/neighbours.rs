//! Settings in, adapters' own configurations out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::inspection::Inspecting;
use crate::adapters::admin::Inspect;
use crate::adapters::app::{AppConfig, AppTarget, HttpApp, Transport as AppTransport, fits};
use crate::adapters::claims::Store;
use crate::adapters::claims::memory::Memory;
use crate::adapters::claims::redis::{Address, RedisClaims, RedisConfig, TlsConfig, Topology};
use crate::adapters::collector::Collector;
use crate::adapters::kafka::{DeadLetterConfig, KafkaConfig, KafkaDeadLetters, Start};
use crate::domain::life::Rules;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Moment;
use crate::pipeline::{Identifier, Limits};
use crate::ports::{Naming, Spans, StoreError};
use crate::settings::{self, Access, AppUrl, Node, Reach, SecretString, Settings, Topics, Transport};
use crate::telemetry::Metrics;
use crate::telemetry::inspection::InspectError;

/// An app that closes idle connections after 5 s (Node's default) must never be written to while it closes.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// How long one connection to the app may take to open; the attempt's own timeout bounds it too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer the log waits for a drained partition than the drain itself may take.
const REVOKE_SLACK: Duration = Duration::from_secs(5);

/// Between two looks at another session's claim, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long the mark of a position-made ID lives once its offset is committed: with the time that passes until the store
/// is told, less than 10 minutes.
const SAFE_MARK_LIFE: Duration = Duration::from_secs(8 * 60);

/// What the Kafka consumer is told.
pub fn kafka_config(settings: &Settings) -> KafkaConfig {
    let topics = match &settings.kafka.topics {
        Topics::List(names) => names.clone(),
        Topics::Pattern(pattern) => vec![pattern.clone()],
    };
    KafkaConfig {
        brokers: settings.kafka.connection.brokers.clone(),
        topics,
        group: settings.kafka.group.clone(),
        properties: owned(settings.kafka.consumer_properties()),
        start: match settings.kafka.start {
            settings::Start::Earliest => Start::Earliest,
            settings::Start::Latest => Start::Latest,
        },
        max_open: u64::from(settings.delivery.max_open_records),
        max_held: settings.delivery.max_held_bytes,
        revoke_deadline: settings.operating.drain_timeout + REVOKE_SLACK,
    }
}

/// The dead-letter topic, if one is set.
pub(super) fn letters(settings: &Settings) -> Option<KafkaDeadLetters> {
    let topic = settings.delivery.dead_letter_topic.clone()?;
    let brokers = settings.kafka.connection.brokers.clone();
    let properties = owned(settings.kafka.producer_properties());
    let namespace = settings.redis.namespace.clone();
    Some(KafkaDeadLetters::new(DeadLetterConfig { brokers, properties, topic, namespace }))
}

fn owned<'a>(properties: impl Iterator<Item = (&'static str, &'a str)>) -> BTreeMap<String, String> {
    properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The store: that memory, or the Redis that the settings name. It connects in the background: being away is no error.
pub(super) fn store(settings: &Settings, memory: Option<Memory>) -> Result<Store, StoreError> {
    let reach = &settings.redis.reach;
    match (memory, redis_config(reach, &settings.redis.namespace)) {
        (None, Some(config)) => Ok(Store::redis(RedisClaims::start(&config)?, reach.allow_eviction)),
        (memory, _) => Ok(Store::memory(memory.unwrap_or_else(self::memory))),
    }
}

/// A store in this process' memory, if the settings want one.
pub(super) fn own_memory(settings: &Settings) -> Option<Memory> {
    if settings.redis.reach.store != settings::Store::Memory {
        return None;
    }
    tracing::warn!("the store is this process' memory: everything it knows is forgotten at exit");
    Some(memory())
}

/// What `GET /inspect` asks: the store, over a connection of its own, so that it waits for nobody.
pub(super) fn inspect(settings: &Settings, memory: Option<Memory>) -> Inspect {
    let (redis, topics) = (&settings.redis, Some(settings.kafka.topics.clone()));
    let asking = match memory {
        Some(memory) => Some(Inspecting::memory(memory, &redis.namespace, topics)),
        None => Inspecting::redis(&redis.reach, &redis.namespace, topics),
    };
    let asking = asking.map(Arc::new);
    Arc::new(move |id, topic| {
        let asking = asking.clone();
        Box::pin(async move {
            let asking = asking.ok_or_else(|| InspectError::Store("there is no store".to_owned()))?;
            asking.ask(&id, topic.as_deref()).await
        })
    })
}

/// A store in this process' memory, by this host's clock.
pub fn memory() -> Memory {
    let started = tokio::time::Instant::now();
    let now = move || Moment(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    Memory::new(Arc::new(now), rand::random())
}

/// How to reach Redis; `None`: the store is this process' memory.
pub fn redis_config(reach: &Reach, namespace: &str) -> Option<RedisConfig> {
    let address = |node: &Node| Address { host: node.host.clone(), port: node.port };
    let addresses = |nodes: &[Node]| nodes.iter().map(address).collect();
    let (topology, db, access) = match &reach.store {
        settings::Store::Memory => return None,
        settings::Store::Single { node, db, access } => (Topology::Single(address(node)), *db, access),
        settings::Store::Sentinel { sentinels, master, db, access } => {
            (Topology::Sentinel { nodes: addresses(sentinels), master: master.clone() }, *db, access)
        }
        settings::Store::Cluster { nodes, access } => (Topology::Cluster { nodes: addresses(nodes) }, 0, access),
    };
    Some(RedisConfig {
        topology,
        tls: tls(reach, access),
        user: access.username.as_ref().map(plain),
        password: access.password.as_ref().map(plain),
        db: i64::from(db),
        timeout: reach.timeout,
        namespace: namespace.to_owned(),
    })
}

fn tls(reach: &Reach, access: &Access) -> Option<TlsConfig> {
    let bytes = |secret: &SecretString| secret.expose().as_bytes().to_vec();
    access.tls.then(|| TlsConfig {
        ca: reach.ca.as_ref().map(bytes),
        cert: reach.identity.as_ref().map(|identity| bytes(&identity.cert)),
        key: reach.identity.as_ref().map(|identity| bytes(&identity.key)),
    })
}

fn plain(secret: &SecretString) -> String {
    secret.expose().clone()
}

/// The app, over HTTP.
pub fn app(settings: &Settings) -> anyhow::Result<HttpApp> {
    watched_app(settings, None)
}

/// The same, with somebody who watches its requests.
pub(super) fn watched_app(settings: &Settings, spans: Option<Arc<dyn Spans>>) -> anyhow::Result<HttpApp> {
    let app = &settings.app;
    let config = AppConfig {
        url: target(&app.url),
        lookup: app.lookup_url.as_ref().map(target),
        ready: app.ready_url.as_ref().map(target),
        ca: app.ca.as_ref().map(|ca| ca.expose().as_bytes().to_vec()),
        connect_timeout: CONNECT_TIMEOUT,
        timeout: app.timeout,
        idle_limit: IDLE_LIMIT,
        clock: SystemTime::now,
    };
    HttpApp::watched(&config, spans)
}

/// The collector of spans, if one is set.
pub(super) fn collector(settings: &Settings, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Arc<Collector>>> {
    let start = |collector| Collector::start(collector, &settings.kafka.group, Arc::clone(metrics)).map(Arc::new);
    settings.collector.as_ref().map(start).transpose()
}

fn target(url: &AppUrl) -> AppTarget {
    let transport = match &url.transport {
        Transport::Tcp { host, port, tls } => AppTransport::Tcp { host: host.clone(), port: *port, tls: *tls },
        Transport::Unix { path } => AppTransport::Unix { path: path.clone() },
    };
    AppTarget { transport, path: url.path_template.clone() }
}

/// What is the same for every record.
pub(super) fn rules(settings: &Settings) -> Rules {
    let delivery = &settings.delivery;
    Rules {
        app_timeout: settings.app.timeout,
        retry: RetryPolicy {
            attempts: delivery.retry_attempts,
            backoff: delivery.retry_backoff,
            backoff_max: delivery.retry_backoff_max,
        },
        in_doubt: delivery.in_doubt,
        id_reuse: delivery.id_reuse,
        dead_letters: delivery.dead_letter_topic.is_some(),
        longest_wait: LONGEST_WAIT,
    }
}

/// How records are named.
pub(super) fn naming(settings: &Settings) -> Naming {
    let identifier = Identifier {
        sources: settings.delivery.message_id.clone(),
        sequences: settings.delivery.sequence.clone(),
        namespace: settings.redis.namespace.clone(),
        max_message_bytes: settings.delivery.max_message_bytes,
        fits,
    };
    Box::new(move |record| identifier.name(record))
}

/// How much of everything.
pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        ordering: settings.delivery.ordering,
        max_in_flight: settings.delivery.max_in_flight as usize,
        dead_letter_budget: settings.delivery.dead_letter_budget,
        dedup_window: settings.redis.dedup_window,
        safe_mark_life: SAFE_MARK_LIFE,
        lease: settings.redis.lease,
        on_history_loss: settings.redis.on_history_loss,
        gap_grace: settings.delivery.gap_grace,
        on_loss: settings.kafka.on_loss,
        commit_interval: settings.operating.commit_interval,
        drain_timeout: settings.operating.drain_timeout,
    }
}
