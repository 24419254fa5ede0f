//! What the client is told: our few settings, the operator's properties, and those the promise rests on.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// Where a new group starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is left.
    #[default]
    Earliest,
    /// Behind the last record there was when the partition was assigned.
    Latest,
}

/// What [`KafkaLog`](super::KafkaLog) needs to know.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Names of topics, or one regular expression that begins with `^`.
    pub topics: Vec<String>,
    /// `group.id`.
    pub group: String,
    /// librdkafka properties of the operator; those the promise rests on are already refused.
    pub properties: BTreeMap<String, String>,
    /// Where a new group starts.
    pub start: Start,
    /// At most so many records of a partition between its low water and the last one taken in; at least 1.
    pub max_open: u64,
    /// At most so many bytes held for all partitions; reached by at most one record, at least 1.
    pub max_held: u64,
    /// A revoke that the pipeline has not released after this long is released without it (drain timeout and some).
    pub revoke_deadline: Duration,
}

/// Also the most that a batch may inflate to by zstd: above 100 MB, unless set, the client would ask for it for ever.
const LARGEST_ANSWER: (&str, &str) = ("receive.message.max.bytes", "1000000000");

/// Used unless the operator says otherwise.
const CONSUMER_DEFAULTS: [(&str, &str); 6] = [
    ("statistics.interval.ms", "1000"),
    // 64 MiB by default, outside of our own bound on held bytes.
    ("queued.max.messages.kbytes", "16384"),
    LARGEST_ANSWER,
    // A full queue otherwise stops fetching for a whole second: at full speed it is empty after a fifth of one.
    ("fetch.queue.backoff.ms", "10"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// How long a rebalance waits for a member, unless a drain may take longer.
const REBALANCE: Duration = Duration::from_secs(60);

/// Never the operator's to change.
const CONSUMER_FIXED: [(&str, &str); 5] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "false"),
    ("isolation.level", "read_committed"),
];

impl KafkaConfig {
    /// The consumer that joins the group.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = client(&self.brokers, &self.properties, &CONSUMER_DEFAULTS);
        // The broker's own protocol (KIP-848) refuses a client-side assignor.
        let broker_assigns = self.properties.get("group.protocol").is_some_and(|protocol| protocol == "consumer");
        if !broker_assigns && !self.properties.contains_key("partition.assignment.strategy") {
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        if !self.properties.contains_key("max.poll.interval.ms") {
            config.set("max.poll.interval.ms", self.rebalance_timeout().as_millis().to_string());
        }
        config.set("group.id", &self.group);
        for (name, value) in CONSUMER_FIXED {
            config.set(name, value);
        }
        config
    }

    /// How long a rebalance waits for a member: enough for a drain. It is also how long the client waits for a coordinator
    /// that falls silent in the middle of a join (`rd_kafka_JoinGroupRequest`), and its own five minutes are for
    /// applications that work between two polls; we never do.
    fn rebalance_timeout(&self) -> Duration {
        let session = self.properties.get("session.timeout.ms").and_then(|text| text.parse().ok());
        REBALANCE.max(self.revoke_deadline * 2).max(Duration::from_millis(session.unwrap_or(0)))
    }

    /// A consumer without group that sees records of open transactions too: for the true end of a log.
    pub(super) fn watermark_reader(&self) -> ClientConfig {
        let mut config = client(&self.brokers, &ungrouped(&self.properties), &[LARGEST_ANSWER]);
        config.set("isolation.level", "read_uncommitted");
        config
    }
}

/// The operator's properties without those that only a member of a group may have.
pub(super) fn ungrouped(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut properties = properties.clone();
    for grouped in ["group.instance.id", "group.protocol", "partition.assignment.strategy"] {
        properties.remove(grouped);
    }
    properties
}

/// Of every producer, unless the operator says otherwise.
const PRODUCER_DEFAULTS: [(&str, &str); 3] = [
    // As Java clients do it, so that a key's letters stand where its records would.
    ("partitioner", "murmur2_random"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Of every producer, never the operator's to change.
const PRODUCER_FIXED: [(&str, &str); 4] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // The topic decides what is too large, not the client.
    ("message.max.bytes", "1000000000"),
    // A batch is refused as a whole: one record each, so that no small one is refused for its neighbour's size.
    ("batch.num.messages", "1"),
];

/// A producer to `brokers`, with `defaults` of its own.
pub(super) fn producer(
    brokers: &str,
    properties: &BTreeMap<String, String>,
    defaults: &[(&str, &str)],
) -> ClientConfig {
    let mut config = client(brokers, properties, &[&PRODUCER_DEFAULTS, defaults].concat());
    for (name, value) in PRODUCER_FIXED {
        config.set(name, value);
    }
    config
}

/// A client of `brokers`: `defaults`, overruled by `properties`.
pub(super) fn client(brokers: &str, properties: &BTreeMap<String, String>, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    let verbose = properties.contains_key("debug");
    config.set_log_level(if verbose { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    config.set("client.id", "kafka-once");
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    for (name, value) in properties {
        config.set(name, value);
    }
    config.set("bootstrap.servers", brokers);
    config
}

#[cfg(test)]
mod tests {
    use super::{KafkaConfig, Start};
    use std::time::Duration;

    fn config(properties: &[(&str, &str)]) -> KafkaConfig {
        KafkaConfig {
            brokers: "b:9092".into(),
            topics: vec!["t".into()],
            group: "g".into(),
            properties: properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            start: Start::Earliest,
            max_open: 1,
            max_held: 1,
            revoke_deadline: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_operator_overrules_defaults_but_never_what_the_promise_rests_on() {
        let table = [
            ("statistics.interval.ms", "5000", "5000"),
            ("client.id", "mine", "mine"),
            ("partition.assignment.strategy", "range", "range"),
            ("enable.auto.commit", "true", "false"),
            ("auto.offset.reset", "latest", "error"),
            ("isolation.level", "read_uncommitted", "read_committed"),
            ("group.id", "other", "g"),
            ("bootstrap.servers", "other", "b:9092"),
        ];
        for (name, asked, got) in table {
            assert_eq!(config(&[(name, asked)]).consumer().get(name), Some(got), "{name}");
        }
    }

    #[test]
    fn a_rebalance_waits_for_a_drain_and_not_for_minutes() {
        let interval = |properties: &[(&str, &str)], drain: u64| {
            let config = KafkaConfig { revoke_deadline: Duration::from_secs(drain), ..config(properties) };
            config.consumer().get("max.poll.interval.ms").map(str::to_owned)
        };
        assert_eq!(interval(&[], 30).as_deref(), Some("60000"));
        assert_eq!(interval(&[], 100).as_deref(), Some("200000"));
        assert_eq!(interval(&[("session.timeout.ms", "90000")], 30).as_deref(), Some("90000"));
        assert_eq!(interval(&[("max.poll.interval.ms", "300000")], 30).as_deref(), Some("300000"));
    }

    #[test]
    fn partitions_move_cooperatively_unless_the_broker_assigns() {
        let strategy =
            |properties| config(properties).consumer().get("partition.assignment.strategy").map(str::to_owned);
        assert_eq!(strategy(&[]).as_deref(), Some("cooperative-sticky"));
        assert_eq!(strategy(&[("group.protocol", "consumer")]), None);
    }
}
