//! Whether a partition's log is still the one that we read: looks whether a record that we know stands where it stood.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;

use super::config::KafkaConfig;
use super::owned::Register;
use super::rebalance::positions;
use crate::domain::past::Landmark;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::{Assignment, Looked, Standing};

/// Bound of one answer of the brokers.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two rounds while brokers do not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// What is looked for, and for which assignment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The newest assignment that its order knew.
    pub seen: Assignment,
    /// The partition.
    pub at: TopicPartition,
    /// The record.
    pub landmark: Landmark,
}

/// Looks under way, one after another on one thread of their own. Bounded by the partitions that are ours: what is not
/// ours any more is not looked for.
#[derive(Debug)]
pub(super) struct Looks {
    orders: Sender<Look>,
    answers: Receiver<Looked>,
}

impl Looks {
    /// Starts the thread; it ends once this is dropped, after the answer that it waits for.
    pub(super) fn start(config: &Arc<KafkaConfig>, register: Register) -> std::io::Result<Self> {
        let ((orders, asked), (sender, answers)) = (channel(), channel());
        let looker = Looker { config: Arc::clone(config), register, asked, sender };
        std::thread::Builder::new().name("kafka-look".into()).spawn(move || looker.run())?;
        Ok(Self { orders, answers })
    }

    /// Looks for a record, again and again until brokers answer.
    pub(super) fn look(&self, look: Look) {
        let _ = self.orders.send(look); // the thread lives as long as we do
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&self) -> Option<Looked> {
        self.answers.try_recv().ok()
    }
}

struct Looker {
    config: Arc<KafkaConfig>,
    register: Register,
    asked: Receiver<Look>,
    sender: Sender<Looked>,
}

impl Looker {
    fn run(self) {
        while let Ok(first) = self.asked.recv() {
            let mut open = vec![first];
            let mut client = None;
            while !open.is_empty() {
                if !self.hear_more(&mut open, Duration::ZERO) {
                    return;
                }
                open.retain(|look| self.register.holds(&look.at, look.seen) && !self.look(look, &mut client));
                if !open.is_empty() && !self.hear_more(&mut open, AGAIN) {
                    return;
                }
            }
        }
    }

    /// Waits for one more order, and takes all there are; `false`: nobody asks any more.
    fn hear_more(&self, open: &mut Vec<Look>, patience: Duration) -> bool {
        match self.asked.recv_timeout(patience) {
            Ok(look) => open.push(look),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        loop {
            match self.asked.try_recv() {
                Ok(look) => open.push(look),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Looks once; whether there was an answer. The next look goes on with the same client.
    fn look(&self, look: &Look, client: &mut Option<BaseConsumer>) -> bool {
        let mut ask = || {
            let client = match client {
                Some(client) => client,
                None => client.insert(reader(&self.config)?),
            };
            standing_of(client, &look.at, look.landmark)
        };
        match ask() {
            Ok((standing, log)) => {
                let looked = Looked { seen: look.seen, partition: look.at.clone(), standing, log };
                let _ = self.sender.send(looked); // nobody asks any more
                true
            }
            Err(error) => {
                tracing::warn!(target: "kafka", %error, at = %look.at, "the last settled record cannot be read");
                false
            }
        }
    }
}

fn reader(config: &KafkaConfig) -> KafkaResult<BaseConsumer> {
    let mut reader = config.watermark_reader();
    // The client wants a group's name of everybody who reads; it neither joins nor commits.
    reader.set("group.id", &config.group).set("enable.auto.commit", "false");
    // One small batch is enough.
    reader.set("enable.partition.eof", "true").set("fetch.message.max.bytes", "1024").set("fetch.wait.max.ms", "10");
    reader.create()
}

/// Whether the record stands where it stood.
pub(super) fn standing(config: &KafkaConfig, at: &TopicPartition, landmark: Landmark) -> KafkaResult<Standing> {
    standing_of(&reader(config)?, at, landmark).map(|(standing, _)| standing)
}

/// Whether it stands there, and where the log begins and ends.
fn standing_of(
    reader: &BaseConsumer,
    at: &TopicPartition,
    landmark: Landmark,
) -> KafkaResult<(Standing, (NextOffset, NextOffset))> {
    let (low, high) = reader.fetch_watermarks(&at.topic, at.partition, ANSWER)?;
    let standing = standing_between(reader, at, landmark, (low, high))?;
    Ok((standing, (NextOffset(low), NextOffset(high))))
}

fn standing_between(
    reader: &BaseConsumer,
    at: &TopicPartition,
    landmark: Landmark,
    (low, high): (i64, i64),
) -> KafkaResult<Standing> {
    let offset = landmark.offset.0;
    if offset >= high {
        return Ok(Standing::Other);
    }
    if offset < low {
        return Ok(Standing::Unclear);
    }
    reader.assign(&positions(&[(at.clone(), NextOffset(offset))])?)?;
    let end = Instant::now() + ANSWER;
    while let Some(wait) = end.checked_duration_since(Instant::now()) {
        match reader.poll(wait) {
            // Of a partition that was looked at before.
            Some(Ok(message)) if message.topic() != &*at.topic || message.partition() != at.partition => {}
            Some(Ok(message)) if message.offset() != offset => return Ok(Standing::Unclear),
            Some(Ok(message)) => {
                let same = message.timestamp().to_millis().unwrap_or(-1) == landmark.timestamp;
                return Ok(if same { Standing::Same } else { Standing::Other });
            }
            // Only transaction markers stand from there on, or what compaction has left.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Standing::Unclear),
            Some(Err(error)) => tracing::debug!(target: "kafka", %error, "look"),
            None => break,
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}
