//! What the brokers say about our topics, for `check` and for the start: do they exist, how durable are they.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::config::{client, ungrouped};

/// What the brokers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Brokers in the cluster.
    pub brokers: usize,
    /// The topics asked for, in that order.
    pub topics: Vec<TopicFacts>,
}

/// What the brokers say about one topic. Settings are `None` where they may not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: usize,
    /// Replicas of the partition that has fewest.
    pub replication_factor: usize,
    /// `min.insync.replicas`.
    pub min_insync_replicas: Option<u32>,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: Option<bool>,
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: Option<i64>,
    /// Whether `cleanup.policy` says `compact`: older records of a key go.
    pub compacted: Option<bool>,
}

/// Why there are no facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// No broker answers in time: it may be back later.
    #[error("kafka does not answer: {0}")]
    Away(String),
    /// The brokers, or the client, refuse us until somebody changes settings.
    #[error("kafka refuses us: {0}")]
    Refused(String),
    /// These topics do not exist.
    #[error("unknown topics: {}", .0.join(", "))]
    UnknownTopics(Vec<String>),
}

/// Asks the brokers about `topics` (names; a `^regex` is left out). Never creates one. Waits at most `timeout` for each
/// of two answers.
///
/// # Errors
/// See [`FactsError`]; settings that may not be read are no error.
pub async fn facts(
    brokers: &str,
    properties: &BTreeMap<String, String>,
    topics: &[String],
    timeout: Duration,
) -> Result<Facts, FactsError> {
    let config = client(brokers, &ungrouped(properties), &[]);
    let names: Vec<String> = topics.iter().filter(|name| !name.starts_with('^')).cloned().collect();
    let asker: BaseConsumer = config.create().map_err(|error| FactsError::Refused(error.to_string()))?;
    let described = names.clone();
    let answer = tokio::task::spawn_blocking(move || describe(&asker, &described, timeout));
    let mut facts = answer.await.map_err(|error| FactsError::Away(error.to_string()))??;
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|error| FactsError::Refused(error.to_string()))?;
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(timeout));
    match admin.describe_configs(&resources, &options).await {
        Ok(answers) => {
            for (topic, resource) in facts.topics.iter_mut().zip(&answers) {
                if let Ok(resource) = resource {
                    topic.read(resource);
                }
            }
        }
        Err(error) => tracing::warn!(target: "kafka", %error, "topic settings cannot be read"),
    }
    Ok(facts)
}

/// Existence and replicas. A consumer asks: a producer's question could create the topic.
pub(super) fn describe(asker: &BaseConsumer, names: &[String], timeout: Duration) -> Result<Facts, FactsError> {
    let mut facts = Facts { brokers: 0, topics: Vec::with_capacity(names.len()) };
    let mut unknown = Vec::new();
    if names.is_empty() {
        facts.brokers = asker.fetch_metadata(None, timeout).map_err(|error| refusal(asker, &error))?.brokers().len();
    }
    for name in names {
        let metadata = asker.fetch_metadata(Some(name), timeout).map_err(|error| refusal(asker, &error))?;
        facts.brokers = metadata.brokers().len();
        let Some(topic) = metadata.topics().first() else { continue };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => facts.topics.push(TopicFacts::from_metadata(name, topic)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => unknown.push(name.clone()),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(FactsError::Refused(format!("topic {name}: not authorized")));
            }
            Some(code) => return Err(FactsError::Away(format!("topic {name}: {code}"))),
        }
    }
    if unknown.is_empty() { Ok(facts) } else { Err(FactsError::UnknownTopics(unknown)) }
}

/// A refused password is reported to whoever polls; the question itself only runs out of time.
pub(super) fn refusal(asker: &BaseConsumer, error: &KafkaError) -> FactsError {
    use RDKafkaErrorCode as Code;
    let refused = |code| matches!(code, Some(Code::Authentication | Code::SaslAuthenticationFailed));
    for _ in 0..16 {
        match asker.poll(Duration::from_millis(10)) {
            Some(Err(reported)) if refused(reported.rdkafka_error_code()) => {
                return FactsError::Refused(reported.to_string());
            }
            Some(_) => {}
            None => break,
        }
    }
    if refused(error.rdkafka_error_code()) {
        return FactsError::Refused(error.to_string());
    }
    FactsError::Away(error.to_string())
}

impl TopicFacts {
    fn from_metadata(name: &str, topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions();
        Self {
            name: name.to_owned(),
            partitions: partitions.len(),
            replication_factor: partitions.iter().map(|found| found.replicas().len()).min().unwrap_or(0),
            min_insync_replicas: None,
            unclean_leader_election: None,
            retention_ms: None,
            compacted: None,
        }
    }

    fn read(&mut self, resource: &ConfigResource) {
        let value = |name| resource.get(name).and_then(|entry| entry.value.as_deref());
        self.min_insync_replicas = value("min.insync.replicas").and_then(|text| text.parse().ok());
        self.unclean_leader_election = value("unclean.leader.election.enable").and_then(|text| text.parse().ok());
        self.retention_ms = value("retention.ms").and_then(|text| text.parse().ok());
        self.compacted = value("cleanup.policy").map(|text| text.contains("compact"));
    }
}
