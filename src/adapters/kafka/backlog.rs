//! How old the records are that a group has not read yet, for `check` and the start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset as Place;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::config::{client, ungrouped};
use super::facts::{FactsError, refusal};
use super::lookup::{in_order, list, times};
use crate::domain::record::TopicPartition;
use crate::domain::time::UnixMillis;

/// What a group has not read of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The topic.
    pub topic: String,
    /// Offsets between what is committed and the first record of `since` or later, of all its partitions.
    pub older: u64,
}

/// Asks for the unread records of a group that are older than `since`, by topic with its number of partitions; topics
/// without any are left out. Waits at most `timeout` for each of two answers for a topic.
///
/// # Errors
/// See [`FactsError`].
pub async fn backlog(
    brokers: &str,
    properties: &BTreeMap<String, String>,
    group: &str,
    topics: Vec<(String, usize)>,
    since: UnixMillis,
    timeout: Duration,
) -> Result<Vec<Backlog>, FactsError> {
    let mut config = client(brokers, &ungrouped(properties), &[]);
    config.set("group.id", group).set("enable.auto.commit", "false");
    let asker: BaseConsumer = config.create().map_err(|error| FactsError::Refused(error.to_string()))?;
    let ask = move || {
        let mut found = Vec::new();
        for (topic, partitions) in topics {
            let older = older(&asker, &topic, partitions, since, timeout).map_err(|error| refusal(&asker, &error))?;
            if older > 0 {
                found.push(Backlog { topic, older });
            }
        }
        Ok(found)
    };
    tokio::task::spawn_blocking(ask).await.map_err(|error| FactsError::Away(error.to_string()))?
}

fn older(
    asker: &BaseConsumer,
    topic: &str,
    partitions: usize,
    since: UnixMillis,
    timeout: Duration,
) -> KafkaResult<u64> {
    let topic: Arc<str> = topic.into();
    let all = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
    let all: Vec<_> = all.map(|partition| TopicPartition { topic: Arc::clone(&topic), partition }).collect();
    let offset = |place| match place {
        Place::Offset(offset) => Some(offset),
        _ => None,
    };
    let committed = asker.committed_offsets(list(&all), timeout)?;
    let committed = in_order(&committed, &all, |element| Ok(offset(element.offset())))?;
    let millis = i64::try_from(since.0).unwrap_or(i64::MAX);
    let young = times(asker, list(&all), Place::Offset(millis), timeout)?;
    let young = in_order(&young, &all, |element| Ok(offset(element.offset())))?;
    let ends = times(asker, list(&all), Place::End, timeout)?;
    let ends = in_order(&ends, &all, |element| Ok(offset(element.offset())))?;
    let behind = committed.into_iter().zip(young.into_iter().zip(ends)).filter_map(|(committed, (young, end))| {
        // No record is that young: all that is unread is older.
        u64::try_from(young.or(end)?.saturating_sub(committed?)).ok()
    });
    Ok(behind.sum())
}
