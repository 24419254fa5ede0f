//! Where letters go back to: which topics are there, with how many partitions, and for how long they keep a record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::trouble::Trouble;
use crate::adapters::kafka::{FactsError, TopicFacts, facts};
use crate::domain::time::UnixMillis;

/// How long each answer of the brokers is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kafka's own, where a topic's retention may not be read: 7 days.
const RETENTION: i64 = 7 * 86_400_000;

/// How far ahead of the broker's clock a timestamp may be by default (Kafka 4: `message.timestamp.after.max.ms`).
const MOST_AHEAD: i64 = 3_600_000;

/// The topics that letters go back to.
pub(super) struct Targets(BTreeMap<String, TopicFacts>);

/// The dead-letter topic must be there, and must not be compacted: a letter could vanish behind a later one of its key.
pub(super) async fn letters(brokers: &str, properties: &BTreeMap<String, String>, topic: &str) -> Result<(), Trouble> {
    let found = ask(brokers, properties, vec![topic.to_owned()], "ONCE_DEAD_LETTER_TOPIC").await?;
    if found.iter().any(|topic| topic.compacted == Some(true)) {
        let what = format!("the dead-letter topic {topic} is compacted (cleanup.policy), so letters vanish from it");
        return Err(Trouble::before(format!("{what}; set cleanup.policy=delete")));
    }
    Ok(())
}

impl Targets {
    /// Asks about the topics that letters come from.
    pub(super) async fn ask(
        brokers: &str,
        properties: &BTreeMap<String, String>,
        topics: BTreeSet<String>,
        dead_letters: &str,
    ) -> Result<Self, Trouble> {
        if topics.contains(dead_letters) {
            return Err(Trouble::before(format!(
                "{dead_letters} is the dead-letter topic itself; name a source topic"
            )));
        }
        if topics.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let found = ask(brokers, properties, topics.into_iter().collect(), "ONCE_KAFKA_TOPICS or --topic").await?;
        Ok(Self(found.into_iter().map(|facts| (facts.name.clone(), facts)).collect()))
    }

    /// Whether a letter of that topic can go back.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    /// The partition that it came from, if it is still there; else its key decides.
    pub(super) fn partition(&self, topic: &str, partition: i32) -> Option<i32> {
        let partitions = self.0.get(topic)?.partitions;
        usize::try_from(partition).is_ok_and(|own| own < partitions).then_some(partition)
    }

    /// The record's own timestamp, unless the topic's retention might take the record before anybody reads it: it goes
    /// by timestamps, and a record is safe for half of what is left at least. One of the future the topic might refuse.
    pub(super) fn timestamp(&self, topic: &str, own: i64, now: UnixMillis) -> Option<i64> {
        let retention = self.0.get(topic).and_then(|facts| facts.retention_ms).unwrap_or(RETENTION);
        let age = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub(own);
        (own >= 0 && age >= -MOST_AHEAD && (retention < 0 || age < retention / 2)).then_some(own)
    }
}

async fn ask(
    brokers: &str,
    properties: &BTreeMap<String, String>,
    topics: Vec<String>,
    named_by: &str,
) -> Result<Vec<TopicFacts>, Trouble> {
    let words = |error: &FactsError| match error {
        FactsError::Away(_) => format!("check ONCE_KAFKA_BROKERS ({brokers}), and whether these brokers run"),
        FactsError::Refused(_) => {
            "check ONCE_KAFKA_PROPERTY_* (security, password) and the right to read it".to_owned()
        }
        FactsError::UnknownTopics(_) => format!("check {named_by}, and ONCE_KAFKA_BROKERS ({brokers})"),
    };
    let found = facts(brokers, properties, &topics, PATIENCE).await;
    found.map(|facts| facts.topics).map_err(|error| Trouble::before(format!("{error}; {}", words(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(retention_ms: Option<i64>) -> Targets {
        let facts = TopicFacts {
            name: "orders".to_owned(),
            partitions: 3,
            replication_factor: 1,
            min_insync_replicas: None,
            unclean_leader_election: None,
            retention_ms,
            compacted: None,
        };
        Targets(BTreeMap::from([("orders".to_owned(), facts)]))
    }

    #[test]
    fn a_partition_that_is_gone_leaves_it_to_the_key() {
        let targets = targets(None);
        let partitions = [0, 2, 3, -1].map(|partition| targets.partition("orders", partition));
        assert_eq!(partitions, [Some(0), Some(2), None, None]);
    }

    #[test]
    fn a_timestamp_too_old_for_the_retention_or_of_the_future_becomes_that_of_now() {
        let now = UnixMillis(1_000_000_000_000);
        for (retention, age, kept) in [
            (Some(1_000), 499, true),
            (Some(1_000), 500, false),
            (Some(-1), i64::from(i32::MAX), true),
            (None, RETENTION / 2 - 1, true),
            (None, RETENTION / 2, false),
            (None, -MOST_AHEAD, true),
            (None, -MOST_AHEAD - 1, false),
            (Some(-1), -MOST_AHEAD - 1, false),
        ] {
            let own = 1_000_000_000_000 - age;
            assert_eq!(targets(retention).timestamp("orders", own, now), kept.then_some(own), "{retention:?} {age}");
        }
        assert_eq!(targets(Some(-1)).timestamp("orders", -1, now), None);
    }
}
