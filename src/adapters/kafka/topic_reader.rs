//! Reads a topic from where to where it is told, without joining a group, committing nothing: what `audit` does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset as Place, TopicPartitionList};

use super::config::{client, ungrouped};
use super::errors::{Fate, fate};
use super::facts::FactsError;
use super::record::{Wanted, to_record_of};
use super::spans::{self, Span, Window};
use crate::domain::record::{NextOffset, Record, Topic};

/// How long one poll waits: also how soon a reader hears that the others have stopped.
const POLL: Duration = Duration::from_millis(100);
/// With no record for so long after a sign that brokers are away, the reading breaks off.
const OUTAGE: Duration = Duration::from_secs(30);
/// With no record for so long, sign or not, it breaks off.
const SILENCE: Duration = Duration::from_secs(300);
/// Bound of one answer of the brokers.
const ANSWER: Duration = Duration::from_secs(10);

/// Used unless the operator says otherwise. Large fetches and a deep queue: nobody waits for single records here.
const DEFAULTS: [(&str, &str); 6] = [
    ("fetch.message.max.bytes", "4194304"),
    ("queued.max.messages.kbytes", "32768"),
    ("queued.min.messages", "1000000"), // only the bytes bound the queue
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.wait.max.ms", "100"), // an end is only told when a fetch there comes back empty
    ("reconnect.backoff.max.ms", "2000"),
];

/// Never the operator's to change. The client wants the name of a group to be assigned anything; it is never joined.
const FIXED: [(&str, &str); 6] = [
    ("group.id", "kafka-once-audit"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
];

/// Why a topic was not read, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What the brokers say about the topic.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The topic has no such partition.
    #[error("topic {topic} has no partition {partition}, it has {partitions} (0 to {})", partitions - 1)]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// How many it has, at least 1.
        partitions: usize,
    },
    /// Nothing comes any more.
    #[error("reading broke off: {0}")]
    BrokenOff(String),
}

/// What the reading comes upon. `place` is that of the partition's span in the list that is read.
pub enum Seen {
    /// A record, with what was wanted of it.
    Record {
        /// Whose.
        place: usize,
        /// The record, without what nobody wanted.
        record: Record,
        /// Its key and value, in bytes, wanted or not.
        bytes: u64,
        /// Offsets passed since what was seen before of this partition.
        passed: u64,
    },
    /// Retention has deleted so many offsets that were still to be read.
    Deleted {
        /// Whose.
        place: usize,
        /// Offsets, with a record or not.
        offsets: u64,
    },
    /// The end of a span is reached.
    End {
        /// Whose.
        place: usize,
        /// Offsets passed since what was seen before of this partition.
        passed: u64,
    },
}

/// A topic, to be read as it is.
pub struct TopicReader {
    topic: Topic,
    config: ClientConfig,
}

impl TopicReader {
    /// A reader of `topic`; `properties` are the operator's.
    pub fn new(brokers: &str, properties: &BTreeMap<String, String>, topic: &str) -> Self {
        let mut config = client(brokers, &ungrouped(properties), &DEFAULTS);
        for (name, value) in FIXED {
            config.set(name, value);
        }
        Self { topic: topic.into(), config }
    }

    /// What there is to read in that window, as of now. Asks the brokers, within seconds.
    ///
    /// # Errors
    /// No answer, no such topic or partition, or a refusal.
    pub fn spans(&self, window: &Window) -> Result<Vec<Span>, ReadError> {
        spans::ask(&self.consumer()?, &self.topic, window, ANSWER)
    }

    /// Partitions of whose log the end is hidden from a reader of committed records: somebody's transaction is open
    /// there. Asks the brokers, within seconds.
    ///
    /// # Errors
    /// No answer, no such topic, or a refusal.
    pub fn hidden_ends(&self) -> Result<Vec<i32>, ReadError> {
        let mut config = self.config.clone();
        config.set("isolation.level", "read_uncommitted");
        let uncommitted: BaseConsumer = config.create().map_err(|error| FactsError::Refused(error.to_string()))?;
        let true_ends = spans::ask(&uncommitted, &self.topic, &Window::default(), ANSWER)?;
        // Asked for afterwards: what has come meanwhile hides nothing.
        let ends = self.spans(&Window::default())?;
        let hidden = true_ends.iter().zip(&ends).filter(|(all, seen)| seen.end < all.end);
        Ok(hidden.map(|(all, _)| all.partition).collect())
    }

    /// Reads the spans, each to its end, and says on `see` what it comes upon, in the order of offsets within a
    /// partition. Ends early, without an error, once `stop` is set.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(
        &self,
        spans: &[Span],
        wanted: &Wanted,
        stop: &AtomicBool,
        see: &mut dyn FnMut(Seen),
    ) -> Result<(), ReadError> {
        let consumer = self.consumer()?;
        let mut reading = Reading::new(Arc::clone(&self.topic), spans);
        reading.skip_empty(see);
        reading.assign(&consumer).map_err(|error| broken(&error))?;
        let mut silent = Silent::new();
        while !reading.open.is_empty() && !stop.load(Ordering::Relaxed) {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    silent.end();
                    if reading.take(&message, wanted, see) {
                        reading.pause(&consumer, message.partition()).map_err(|error| broken(&error))?;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    silent.end();
                    reading.end(partition, see);
                }
                Some(Err(error)) => {
                    if silent.heed(&error)? {
                        reading.catch_up(&consumer, see)?;
                    }
                }
                None => silent.endure()?,
            }
        }
        Ok(())
    }

    fn consumer(&self) -> Result<BaseConsumer, ReadError> {
        self.config.create().map_err(|error| FactsError::Refused(error.to_string()).into())
    }
}

fn broken(error: &KafkaError) -> ReadError {
    ReadError::BrokenOff(error.to_string())
}

/// How far each span is read.
struct Reading {
    topic: Topic,
    spans: Vec<Span>,
    /// The next offset of each.
    next: Vec<NextOffset>,
    /// The partitions that are not at their ends, with their places.
    open: BTreeMap<i32, usize>,
}

impl Reading {
    fn new(topic: Topic, spans: &[Span]) -> Self {
        let next = spans.iter().map(|span| span.start).collect();
        let open = spans.iter().enumerate().map(|(place, span)| (span.partition, place)).collect();
        Self { topic, spans: spans.to_vec(), next, open }
    }

    fn skip_empty(&mut self, see: &mut dyn FnMut(Seen)) {
        let empty: Vec<i32> =
            self.spans.iter().filter(|span| span.start >= span.end).map(|span| span.partition).collect();
        for partition in empty {
            self.end(partition, see);
        }
    }

    /// (Re)places what is open where its reading stands.
    fn assign(&self, consumer: &BaseConsumer) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(self.open.len());
        for (partition, place) in &self.open {
            list.add_partition_offset(&self.topic, *partition, Place::Offset(self.next[*place].0))?;
        }
        consumer.assign(&list)
    }

    /// Takes a message in; whether its partition is at its end, and more may come of it.
    fn take(&mut self, message: &BorrowedMessage<'_>, wanted: &Wanted, see: &mut dyn FnMut(Seen)) -> bool {
        let partition = message.partition();
        let Some(&place) = self.open.get(&partition) else { return false };
        let (record, bytes) = (to_record_of(Arc::clone(&self.topic), message, wanted), size(message));
        let offset = record.position().offset;
        if self.next[place].is_above(offset) {
            return false; // handed out before it was placed anew
        }
        let end = self.spans[place].end;
        if end.is_above(offset) {
            let passed = self.pass(place, offset.next());
            see(Seen::Record { place, record, bytes, passed });
        }
        let ended = end <= offset.next();
        if ended {
            self.end(partition, see);
        }
        ended
    }

    /// A partition has nothing more of what we came for.
    fn end(&mut self, partition: i32, see: &mut dyn FnMut(Seen)) {
        if let Some(place) = self.open.remove(&partition) {
            let passed = self.pass(place, self.spans[place].end);
            see(Seen::End { place, passed });
        }
    }

    /// Fetches no more of a partition that is at its end, for the sake of the others.
    fn pause(&self, consumer: &BaseConsumer, partition: i32) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, partition);
        consumer.pause(&list)
    }

    fn pass(&mut self, place: usize, to: NextOffset) -> u64 {
        let from = std::mem::replace(&mut self.next[place], to);
        u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
    }

    /// Somewhere the next offset is not in its log any more: looks where, and goes on behind what is gone.
    fn catch_up(&mut self, consumer: &BaseConsumer, see: &mut dyn FnMut(Seen)) -> Result<(), ReadError> {
        for (partition, place) in self.open.clone() {
            let (low, high) =
                consumer.fetch_watermarks(&self.topic, partition, ANSWER).map_err(|error| broken(&error))?;
            let (end, low) = (self.spans[place].end, NextOffset(low));
            if self.next[place] > NextOffset(high) {
                let what = format!("partition {partition} ends at {high} now: it was truncated, or is another topic's");
                return Err(ReadError::BrokenOff(what));
            }
            if low > self.next[place] {
                let offsets = self.pass(place, low.min(end));
                see(Seen::Deleted { place, offsets });
            }
            if low >= end {
                self.end(partition, see);
            }
        }
        self.assign(consumer).map_err(|error| broken(&error))
    }
}

fn size(message: &BorrowedMessage<'_>) -> u64 {
    (message.key_len() + message.payload_len()) as u64
}

/// For how long nothing has come, and why.
struct Silent {
    since: Option<Instant>,
    outage: Option<String>,
}

impl Silent {
    fn new() -> Self {
        Self { since: None, outage: None }
    }

    fn end(&mut self) {
        (self.since, self.outage) = (None, None);
    }

    /// An error of the client; whether it says that an offset is not in its log.
    fn heed(&mut self, error: &KafkaError) -> Result<bool, ReadError> {
        use RDKafkaErrorCode as Code;
        let Some(code) = error.rdkafka_error_code() else { return Err(broken(error)) };
        match code {
            // We join no group: whether we may is of no interest.
            Code::GroupAuthorizationFailed => return Ok(false),
            Code::UnknownPartition => return Err(broken(error)),
            _ => {}
        }
        match fate(code, true) {
            Fate::Refused => return Err(FactsError::Refused(error.to_string()).into()),
            Fate::Fatal | Fate::UnknownTopic => return Err(broken(error)),
            Fate::OutOfRange => return Ok(true),
            Fate::AllBrokersDown | Fate::Note => self.outage = Some(error.to_string()),
            Fate::Warn => tracing::warn!(target: "kafka", %error, "reading"),
        }
        self.endure()?;
        Ok(false)
    }

    /// Nothing has come.
    fn endure(&mut self) -> Result<(), ReadError> {
        let silent = self.since.get_or_insert_with(Instant::now).elapsed();
        match &self.outage {
            Some(outage) if silent > OUTAGE => Err(FactsError::Away(outage.clone()).into()),
            None if silent > SILENCE => {
                Err(ReadError::BrokenOff(format!("nothing has come for {} s", SILENCE.as_secs())))
            }
            _ => Ok(()),
        }
    }
}
