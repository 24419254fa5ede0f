//! Producing test records quickly, in the order given, with everything a record can carry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::topics;

/// Bound of one step of a transaction.
const TRANSACTION: Duration = Duration::from_secs(60);

/// A record to be produced.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Where to.
    pub topic: String,
    /// Partition; by key (or at random without one) when `None`.
    pub partition: Option<i32>,
    /// Unix milliseconds; now when `None`.
    pub timestamp: Option<i64>,
    /// Key, `None` for null.
    pub key: Option<Vec<u8>>,
    /// Value, `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order; a name is UTF-8 as the client cannot write another one; `None` is a null value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// A record without key and headers.
    pub fn new(topic: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.to_owned(), value: Some(value.into()), ..Self::default() }
    }

    /// Sets the key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Adds the header `message-id`.
    pub fn id(self, id: impl Into<Vec<u8>>) -> Self {
        self.header("message-id", id)
    }

    /// Sets the partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp in Unix milliseconds.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }

    /// Makes the value null.
    pub fn tombstone(mut self) -> Self {
        self.value = None;
        self
    }
}

/// Where a record ended up: partition and offset.
pub type Position = (i32, i64);

/// An idempotent producer.
pub struct Producer {
    client: BaseProducer<Deliveries>,
}

/// Collects what the broker said of each record, by the number it was sent under.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Vec<Outcome>>>);

/// `None` until the broker has answered.
type Outcome = Option<Result<Position, KafkaError>>;

impl Deliveries {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.lock()[*number] = Some(outcome);
    }
}

impl Producer {
    /// A producer for these brokers.
    pub fn new(bootstrap: &str) -> anyhow::Result<Self> {
        Self::with(bootstrap, &[])
    }

    /// A producer with more client properties, e.g. `compression.type`.
    pub fn with(bootstrap: &str, properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut config = topics::client(bootstrap);
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "200000")
            .set("message.max.bytes", "20000000");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        Ok(Self { client: config.create_with_context(Deliveries::default())? })
    }

    /// A producer whose records stand in transactions; this one's name is `id`.
    pub fn transactional(bootstrap: &str, id: &str) -> anyhow::Result<Self> {
        let producer = Self::with(bootstrap, &[("transactional.id", id)])?;
        producer.client.init_transactions(TRANSACTION)?;
        Ok(producer)
    }

    /// Begins a transaction.
    pub fn begin(&self) -> anyhow::Result<()> {
        Ok(self.client.begin_transaction()?)
    }

    /// Makes the transaction's records count.
    pub fn commit(&self) -> anyhow::Result<()> {
        Ok(self.client.commit_transaction(TRANSACTION)?)
    }

    /// Makes the transaction's records void.
    pub fn abort(&self) -> anyhow::Result<()> {
        Ok(self.client.abort_transaction(TRANSACTION)?)
    }

    /// Sends the records in order and waits until the broker has all of them; the answer is their positions, in that order.
    pub fn send(&self, records: impl IntoIterator<Item = Record>) -> anyhow::Result<Vec<Position>> {
        self.client.context().lock().clear();
        for (number, record) in records.into_iter().enumerate() {
            self.client.context().lock().push(None);
            self.enqueue(number, &record)?;
        }
        self.client.flush(Duration::from_secs(120))?;
        let outcomes = std::mem::take(&mut *self.client.context().lock());
        let positions = outcomes.into_iter().map(|outcome| Ok(outcome.unwrap_or(Err(KafkaError::Canceled))?));
        positions.collect()
    }

    fn enqueue(&self, number: usize, record: &Record) -> anyhow::Result<()> {
        let mut message: BaseRecord<'_, [u8], [u8], Box<usize>> =
            BaseRecord::with_opaque_to(&record.topic, Box::new(number));
        message.partition = record.partition;
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.timestamp = record.timestamp;
        message.headers = (!record.headers.is_empty()).then(|| headers(record));
        loop {
            match self.client.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    self.client.poll(Duration::from_millis(100));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.client.poll(Duration::ZERO);
        Ok(())
    }
}

fn headers(record: &Record) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    let insert = |headers: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
        headers.insert(Header { key: name, value: value.as_ref() })
    };
    record.headers.iter().fold(empty, insert)
}
