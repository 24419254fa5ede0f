//! Where partitions start: committed offsets and ends of logs, asked on a helper thread while the loop goes on polling.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::config::{KafkaConfig, Start};
use super::context::Context;
use super::landmarks::standing;
use super::quiet::quietly;
use super::starts::{Group, start};
use crate::domain::group_start::GroupStart;
use crate::domain::past::Landmark;
use crate::domain::record::{NextOffset, Topic, TopicPartition};
use crate::ports::Standing;

/// Bound of one answer of the brokers.
const ANSWER: Duration = Duration::from_secs(5);
/// Bound of each further answer, where one partition's leader was silent and the others are not kept waiting for it.
const SHORT_ANSWER: Duration = Duration::from_millis(500);
/// Waits between tries: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// For so long a partition that no broker knows may still be on its way, and a silent leader may be followed by another; then the others are not kept waiting for it.
pub(super) const UNKNOWN_PATIENCE: Duration = Duration::from_secs(15);

/// What was found out about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The partition.
    pub partition: TopicPartition,
    /// What the group had committed, with the metadata (empty when it is not UTF-8: not ours).
    pub committed: Option<(NextOffset, String)>,
    /// How many partitions the topic had when the group started to read it, if that is known and matters.
    pub group_start: Option<GroupStart>,
    /// Where the log begins.
    pub log_start: NextOffset,
    /// Where the log ends for a reader of committed records.
    pub log_end: NextOffset,
    /// Where to start.
    pub start: NextOffset,
    /// It is known to be another log than the one that was read.
    pub another: bool,
}

/// The answer for a set of partitions.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Those that exist.
    pub found: Vec<Found>,
    /// Those that no broker knows, or whose leader is silent.
    pub unknown: Vec<TopicPartition>,
}

/// A question under way. Dropping it ends its thread after the answer it waits for.
#[derive(Debug)]
pub(super) struct Lookup {
    answer: Receiver<Answer>,
    cancelled: Arc<AtomicBool>,
}

impl Lookup {
    /// Asks for `partitions`, again and again until there is an answer; after `patience` one without those that no
    /// broker knows will do. Of those with a landmark it looks whether their log is still the same.
    pub(super) fn start(
        consumer: &Arc<BaseConsumer<Context>>,
        config: &Arc<KafkaConfig>,
        partitions: Vec<TopicPartition>,
        landmarks: HashMap<TopicPartition, Landmark>,
        patience: Duration,
    ) -> std::io::Result<Self> {
        let (sender, answer) = sync_channel(1);
        let cancelled = Arc::new(AtomicBool::new(false));
        let asker = Asker {
            consumer: Arc::clone(consumer),
            config: Arc::clone(config),
            cancelled: Arc::clone(&cancelled),
            landmarks,
            patience_ends: Instant::now() + patience,
        };
        std::thread::Builder::new().name("kafka-lookup".into()).spawn(move || {
            if let Some(answer) = asker.ask_until_answered(&partitions) {
                // A dropped receiver: nobody asks any more.
                let _ = sender.send(answer);
            }
        })?;
        Ok(Self { answer, cancelled })
    }

    /// The answer, once it is there.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer.try_recv().ok()
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Release);
    }
}

struct Asker {
    consumer: Arc<BaseConsumer<Context>>,
    config: Arc<KafkaConfig>,
    cancelled: Arc<AtomicBool>,
    landmarks: HashMap<TopicPartition, Landmark>,
    patience_ends: Instant,
}

impl Asker {
    fn ask_until_answered(&self, partitions: &[TopicPartition]) -> Option<Answer> {
        let mut wait = BACKOFF.0;
        while !self.cancelled.load(Ordering::Acquire) {
            match self.ask(partitions) {
                Ok(answer) if answer.unknown.is_empty() || Instant::now() >= self.patience_ends => {
                    return Some(answer);
                }
                Ok(answer) => tracing::debug!(target: "kafka", unknown = answer.unknown.len(), "partitions unknown"),
                Err(error) => tracing::warn!(target: "kafka", %error, "start positions not known yet"),
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(BACKOFF.1);
        }
        None
    }

    fn ask(&self, partitions: &[TopicPartition]) -> KafkaResult<Answer> {
        let mut answer = Answer::default();
        let (known, unknown) = self.watermarks(partitions)?;
        self.ask_anew(&unknown)?;
        answer.unknown = unknown;
        if known.is_empty() {
            return Ok(answer);
        }
        let names: Vec<_> = known.iter().map(|(at, _)| at.clone()).collect();
        let committed = self.committed(&names)?;
        let groups = self.groups(&names, &committed)?;
        for ((partition, (log_start, log_end)), committed) in known.into_iter().zip(committed) {
            let next = committed.as_ref().map(|(next, _)| *next);
            let group = groups.get(&partition.topic).copied().unwrap_or(Group::Irrelevant);
            let policy = group.policy(partition.partition, self.config.start);
            let group_start = match &committed {
                Some((_, metadata)) => GroupStart::from_metadata(metadata),
                None => group.start(),
            };
            let end = match next {
                Some(next) if next > log_end => self.true_end(&partition)?,
                _ => log_end,
            };
            let another = match self.is_another(&partition) {
                Ok(another) => another,
                Err(error) => {
                    tracing::warn!(target: "kafka", %error, %partition, "the last record read cannot be read again");
                    answer.unknown.push(partition);
                    continue;
                }
            };
            let start = if another { log_start } else { start(next, log_start, end, policy) };
            answer.found.push(Found { partition, committed, group_start, log_start, log_end: end, start, another });
        }
        Ok(answer)
    }

    /// Where logs begin and end: one request for each leader, or one for each partition when some are unknown.
    #[allow(clippy::type_complexity)] // said once, used once
    fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> KafkaResult<(Vec<(TopicPartition, (NextOffset, NextOffset))>, Vec<TopicPartition>)> {
        let at_once = edges(&self.consumer, partitions, Offset::End, ANSWER).and_then(|ends| {
            let starts = edges(&self.consumer, partitions, Offset::Beginning, ANSWER)?;
            Ok(starts.into_iter().zip(ends).collect::<Vec<_>>())
        });
        if let Ok(edges) = at_once {
            return Ok((partitions.iter().cloned().zip(edges).collect(), Vec::new()));
        }
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        let (mut silent, mut wait) = (None, ANSWER);
        for at in partitions {
            match self.consumer.fetch_watermarks(&at.topic, at.partition, wait) {
                Ok((low, high)) => known.push((at.clone(), (NextOffset(low), NextOffset(high)))),
                Err(error) if is_unknown(&error) => unknown.push(at.clone()),
                Err(error) => {
                    // Its leader may have moved, and a question that was not answered does not make the client look.
                    let _ = self.ask_anew(std::slice::from_ref(at));
                    if Instant::now() < self.patience_ends {
                        return Err(error);
                    }
                    tracing::warn!(target: "kafka", %error, %at, "a partition's log cannot be asked");
                    unknown.push(at.clone());
                    (silent, wait) = (Some(error), SHORT_ANSWER);
                }
            }
        }
        match silent {
            Some(error) if known.is_empty() => Err(error), // it is not about one of them
            _ => Ok((known, unknown)),
        }
    }

    /// The client calls a partition unknown that had no leader when it last asked, and does not ask again by itself for
    /// minutes (`rd_kafka_topic_partition_list_get_leaders` in `rdkafka_partition.c`). Asking for its topic brings the
    /// client's memory up to date, for the next try.
    fn ask_anew(&self, unknown: &[TopicPartition]) -> KafkaResult<()> {
        let topics: HashSet<&Topic> = unknown.iter().map(|at| &at.topic).collect();
        topics.into_iter().try_for_each(|topic| self.partitions_of(topic).map(|_| ()))
    }

    fn committed(&self, partitions: &[TopicPartition]) -> KafkaResult<Vec<Option<(NextOffset, String)>>> {
        let answer = self.consumer.committed_offsets(list(partitions), ANSWER)?;
        in_order(&answer, partitions, |element| match element.offset() {
            Offset::Offset(next) => Ok(Some((NextOffset(next), metadata(element)))),
            _ => Ok(None),
        })
    }

    /// How far the group is with each topic that holds a partition without an offset, when that matters.
    fn groups(
        &self,
        partitions: &[TopicPartition],
        committed: &[Option<(NextOffset, String)>],
    ) -> KafkaResult<HashMap<Topic, Group>> {
        let mut groups = HashMap::new();
        if self.config.start == Start::Earliest {
            return Ok(groups);
        }
        let without = partitions.iter().zip(committed).filter(|(_, committed)| committed.is_none());
        let topics: HashSet<&Topic> = without.map(|(at, _)| &at.topic).collect();
        for topic in topics {
            let all = self.partitions_of(topic)?;
            if !all.is_empty() {
                groups.insert(Arc::clone(topic), Group::of(&self.committed(&all)?));
            }
        }
        Ok(groups)
    }

    fn partitions_of(&self, topic: &Topic) -> KafkaResult<Vec<TopicPartition>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        Ok(partitions.map(|found| TopicPartition { topic: Arc::clone(topic), partition: found.id() }).collect())
    }

    fn is_another(&self, at: &TopicPartition) -> KafkaResult<bool> {
        let Some(landmark) = self.landmarks.get(at) else { return Ok(false) };
        Ok(standing(&self.config, at, *landmark)? == Standing::Other)
    }

    /// The end of a log with open transactions: a group taken over from a reader of uncommitted records may have
    /// committed above the end that we see, and that is no truncation.
    fn true_end(&self, at: &TopicPartition) -> KafkaResult<NextOffset> {
        let reader: BaseConsumer = self.config.watermark_reader().create()?;
        let (_, high) = reader.fetch_watermarks(&at.topic, at.partition, ANSWER)?;
        Ok(NextOffset(high))
    }
}

/// Offset metadata may be another tool's; what is not UTF-8 panics inside of the client library.
fn metadata(element: &TopicPartitionListElem<'_>) -> String {
    quietly(|| element.metadata().to_owned()).unwrap_or_default()
}

fn is_unknown(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
    )
}

/// A list of partitions, without offsets.
pub(super) fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for at in partitions {
        list.add_partition(&at.topic, at.partition);
    }
    list
}

/// Where the logs stand at an edge, or at a time in Unix milliseconds: one request for each leader. librdkafka sends the
/// logical offsets of the edges as they are (`rd_kafka_offsets_for_times`).
pub(super) fn times<C: ConsumerContext>(
    asker: &BaseConsumer<C>,
    mut list: TopicPartitionList,
    place: Offset,
    timeout: Duration,
) -> KafkaResult<TopicPartitionList> {
    list.set_all_offsets(place)?;
    asker.offsets_for_times(list, timeout)
}

/// One edge of each log.
pub(super) fn edges<C: ConsumerContext>(
    asker: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    edge: Offset,
    timeout: Duration,
) -> KafkaResult<Vec<NextOffset>> {
    let answer = times(asker, list(partitions), edge, timeout)?;
    in_order(&answer, partitions, |element| match element.offset() {
        Offset::Offset(offset) => Ok(NextOffset(offset)),
        _ => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset)),
    })
}

/// Reads an answer in the order of the question; an error of any partition is an error of all.
pub(super) fn in_order<T>(
    answer: &TopicPartitionList,
    asked: &[TopicPartition],
    read: impl Fn(&TopicPartitionListElem<'_>) -> KafkaResult<T>,
) -> KafkaResult<Vec<T>> {
    let one = |at: &TopicPartition| {
        let absent = KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition);
        let element = answer.find_partition(&at.topic, at.partition).ok_or(absent)?;
        element.error()?;
        read(&element)
    };
    asked.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::config::FromClientConfigAndContext;
    use rdkafka::mocking::MockCluster;

    use super::*;

    fn asker(brokers: String) -> Asker {
        let config = KafkaConfig {
            brokers,
            topics: vec!["t".to_owned()],
            group: "g".to_owned(),
            properties: BTreeMap::new(),
            start: Start::Earliest,
            max_open: 1,
            max_held: 1,
            revoke_deadline: ANSWER,
        };
        let (alive, _gone) = std::sync::mpsc::channel();
        let consumer = BaseConsumer::from_config_and_context(&config.consumer(), Context::new(alive));
        Asker {
            consumer: Arc::new(consumer.expect("a client")),
            config: Arc::new(config),
            cancelled: Arc::default(),
            landmarks: HashMap::new(),
            patience_ends: Instant::now() + UNKNOWN_PATIENCE * 100,
        }
    }

    /// The client does not ask by itself who leads before a minute of silence.
    #[test]
    fn a_log_that_was_asked_of_a_silent_leader_is_asked_of_its_new_one() {
        let cluster = MockCluster::new(2).expect("a mock cluster");
        let asker = asker(cluster.bootstrap_servers());
        let at = |topic: &str| [TopicPartition { topic: topic.into(), partition: 0 }];
        let (moves, stays) = (at("moves"), at("stays"));
        for (at, leader) in [(&moves, 1), (&stays, 2)] {
            cluster.create_topic(&at[0].topic, 1, 1).expect("a topic");
            cluster.partition_leader(&at[0].topic, 0, Some(leader)).expect("a leader");
            asker.watermarks(at).expect("an answer: it knows who leads");
        }
        cluster.broker_round_trip_time(1, Duration::from_secs(3_600)).expect("a silent broker");
        cluster.broker_round_trip_time(2, Duration::from_millis(50)).expect("a pace");
        cluster.partition_leader(&moves[0].topic, 0, Some(2)).expect("another leader");
        std::thread::scope(|scope| {
            // As heartbeats of the group do: the client asks the broker that it has used last who leads.
            let uses =
                scope.spawn(|| while !asker.cancelled.load(Ordering::Acquire) && asker.watermarks(&stays).is_ok() {});
            let (first, second) = (asker.watermarks(&moves), asker.watermarks(&moves));
            asker.cancelled.store(true, Ordering::Release);
            uses.join().expect("no panic");
            assert!(first.is_err(), "the old one was asked");
            let found = second.expect("the new one answers");
            assert_eq!(found, (vec![(moves[0].clone(), (NextOffset(0), NextOffset(0)))], Vec::new()));
        });
    }
}
