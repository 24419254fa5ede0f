//! Whether a partition's log is still the one that we read: looks whether a record that we know stands where it stood.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;

use super::config::KafkaConfig;
use super::rebalance::positions;
use crate::domain::past::Landmark;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::Standing;

/// Bound of one answer of the brokers.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two tries while brokers do not answer.
const AGAIN: Duration = Duration::from_millis(500);

type Answer = (TopicPartition, Standing);

/// Looks under way, each on a thread of its own. Bounded by the partitions that are ours.
#[derive(Debug)]
pub(super) struct Looks {
    answers: (Sender<Answer>, Receiver<Answer>),
    /// Dropped with us: then no thread asks again.
    alive: Arc<()>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { answers: channel(), alive: Arc::new(()) }
    }
}

impl Looks {
    /// Looks for a record, again and again until brokers answer.
    pub(super) fn start(
        &self,
        config: &Arc<KafkaConfig>,
        at: TopicPartition,
        landmark: Landmark,
    ) -> std::io::Result<()> {
        let (sender, config, alive) = (self.answers.0.clone(), Arc::clone(config), Arc::downgrade(&self.alive));
        std::thread::Builder::new().name("kafka-look".into()).spawn(move || {
            while alive.strong_count() > 0 {
                match standing(&config, &at, landmark) {
                    Ok(standing) => {
                        let _ = sender.send((at, standing)); // nobody asks any more
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(target: "kafka", %error, %at, "the last settled record cannot be read");
                    }
                }
                std::thread::sleep(AGAIN);
            }
        })?;
        Ok(())
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.1.try_recv().ok()
    }
}

/// Whether the record stands where it stood.
pub(super) fn standing(config: &KafkaConfig, at: &TopicPartition, landmark: Landmark) -> KafkaResult<Standing> {
    let mut reader = config.watermark_reader();
    // The client wants a group's name of everybody who reads; it neither joins nor commits.
    reader.set("group.id", &config.group).set("enable.auto.commit", "false");
    // One small batch is enough.
    reader.set("enable.partition.eof", "true").set("fetch.message.max.bytes", "1024").set("fetch.wait.max.ms", "10");
    let reader: BaseConsumer = reader.create()?;
    let (low, high) = reader.fetch_watermarks(&at.topic, at.partition, ANSWER)?;
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
