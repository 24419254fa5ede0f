//! What there is to read of a topic: where its partitions begin and end now, and where a time stands in them.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset as Place;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, KafkaResult};

use super::facts::{FactsError, describe, refusal};
use super::lookup::{edges, in_order, list, times};
use super::topic_reader::ReadError;
use crate::domain::record::{NextOffset, Topic, TopicPartition};
use crate::domain::time::UnixMillis;

/// What is wanted of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// These partitions; all when empty.
    pub partitions: Vec<i32>,
    /// From the first record at or after this time.
    pub since: Option<UnixMillis>,
    /// Up to the first record at or after this time, that one excluded.
    pub until: Option<UnixMillis>,
}

/// What is to be read of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// Where its log begins: what stood below is deleted.
    pub log_start: NextOffset,
    /// The first offset to read.
    pub start: NextOffset,
    /// The first offset that is not read any more.
    pub end: NextOffset,
}

impl Span {
    /// How many offsets it has, with a record or not.
    pub fn offsets(&self) -> u64 {
        u64::try_from(self.end.0.saturating_sub(self.start.0)).unwrap_or(0)
    }
}

/// Asks the brokers, waiting at most `timeout` for each answer. The ends are those for a reader of committed records.
pub(super) fn ask(
    asker: &BaseConsumer,
    topic: &Topic,
    window: &Window,
    timeout: Duration,
) -> Result<Vec<Span>, ReadError> {
    let facts = describe(asker, &[topic.to_string()], timeout)?;
    let count = facts.topics.first().map_or(0, |topic| topic.partitions);
    let partitions = chosen(topic, count, &window.partitions)?;
    let away = |error: KafkaError| ReadError::Facts(refusal(asker, &error));
    let ends = edges(asker, &partitions, Place::End, timeout).map_err(away)?;
    let log_starts = edges(asker, &partitions, Place::Beginning, timeout).map_err(away)?;
    let at = |time: Option<UnixMillis>, otherwise: &[NextOffset]| match time {
        None => Ok(otherwise.to_vec()),
        Some(time) => since(asker, &partitions, time, &ends, timeout).map_err(away),
    };
    let (starts, ends) = (at(window.since, &log_starts)?, at(window.until, &ends)?);
    let spans = partitions.iter().zip(log_starts).zip(starts.into_iter().zip(ends));
    Ok(spans
        .map(|((at, log_start), (start, end))| Span { partition: at.partition, log_start, start, end: end.max(start) })
        .collect())
}

fn chosen(topic: &Topic, count: usize, wanted: &[i32]) -> Result<Vec<TopicPartition>, ReadError> {
    let all = 0..i32::try_from(count).unwrap_or(i32::MAX);
    if all.is_empty() {
        return Err(FactsError::Away(format!("topic {topic}: no partitions are known yet")).into());
    }
    let mut wanted = if wanted.is_empty() { all.clone().collect() } else { wanted.to_vec() };
    wanted.sort_unstable();
    wanted.dedup();
    let at = |partition| {
        let known = all.contains(&partition);
        let unknown = ReadError::UnknownPartition { topic: topic.to_string(), partition, partitions: count };
        known.then(|| TopicPartition { topic: Arc::clone(topic), partition }).ok_or(unknown)
    };
    wanted.into_iter().map(at).collect()
}

/// The first record of each partition at or after a time, or the end where there is none.
fn since(
    asker: &BaseConsumer,
    partitions: &[TopicPartition],
    time: UnixMillis,
    ends: &[NextOffset],
    timeout: Duration,
) -> KafkaResult<Vec<NextOffset>> {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let answer = times(asker, list(partitions), Place::Offset(millis), timeout)?;
    let found = in_order(&answer, partitions, |element| match element.offset() {
        Place::Offset(offset) => Ok(Some(NextOffset(offset))),
        _ => Ok(None),
    })?;
    Ok(found.into_iter().zip(ends).map(|(found, end)| found.map_or(*end, |found| found.min(*end))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_once_each_in_their_order_and_unknown_ones_are_refused() {
        let topic: Topic = "t".into();
        let numbers = |wanted: &[i32]| {
            chosen(&topic, 3, wanted).map(|found| found.iter().map(|at| at.partition).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&[]), Ok(vec![0, 1, 2]));
        assert_eq!(numbers(&[2, 0, 2]), Ok(vec![0, 2]));
        for unknown in [3, -1] {
            let said = numbers(&[0, unknown]).map_err(|error| error.to_string());
            assert_eq!(said, Err(format!("topic t has no partition {unknown}, it has 3 (0 to 2)")));
        }
    }
}
