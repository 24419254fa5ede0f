//! Records that become visible together or not at all: a transactional producer, one transaction at a time. It blocks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::config::producer;
use super::context;
use crate::failpoints::{self, Failpoint};

/// Bound of one step; a step that may be tried again is, until its own patience ends.
const STEP: Duration = Duration::from_secs(10);
/// Between two looks at what has been acknowledged or purged meanwhile: the client does not look by itself.
const GLANCE: Duration = Duration::from_millis(200);
/// How long we wait to be let in, and for acknowledgements. Shorter than a transaction may last (a minute).
const PATIENCE: Duration = Duration::from_secs(30);

/// What is wrong with a record itself, or with one of the same batch: no other try and nobody's rights would change it.
const OF_A_RECORD: [RDKafkaErrorCode; 6] = [
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::MessageBatchTooLarge,
    RDKafkaErrorCode::InvalidTimestamp,
    RDKafkaErrorCode::InvalidRecord,
    RDKafkaErrorCode::InvalidDifferentRecord,
];

/// Why a transaction, or all of them, came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Another producer has taken our name.
    #[error("another one has begun under the same transactional.id")]
    Fenced,
    /// The brokers refuse us until somebody changes rights or settings.
    #[error("kafka refuses us: {0}")]
    Refused(String),
    /// Its topic does not take a record, by its size, its timestamp or its form. Sent alone, the others may pass.
    #[error("topic {topic} does not take a record: {why}")]
    Record {
        /// The topic that it was for.
        topic: String,
        /// In Kafka's words.
        why: String,
    },
    /// A record that was refused before has left a hole in the client's sequence. An abort closes it: begin anew.
    #[error("the client has to begin anew: {0}")]
    Hole(String),
    /// Nobody knows yet whether it is committed.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(String),
    /// It is not committed.
    #[error("kafka: {0}")]
    Failed(String),
}

/// A record to be sent.
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: &'a str,
    /// `None`: by the key.
    pub partition: Option<i32>,
    /// Unix milliseconds; `None`: now.
    pub timestamp: Option<i64>,
    /// `None`: null.
    pub key: Option<&'a [u8]>,
    /// `None`: null.
    pub value: Option<&'a [u8]>,
    /// In their order.
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// What became of the records of the open transaction.
#[derive(Default)]
struct Tally {
    sent: usize,
    acknowledged: usize,
    /// What is told: the first record that failed by itself, else the first that did not come to be sent.
    failed: Option<Failure>,
}

/// A record that was not acknowledged.
#[derive(Clone)]
struct Failure {
    code: RDKafkaErrorCode,
    topic: String,
}

impl Failure {
    /// It was not sent, because the transaction had come to nothing by another one.
    fn is_purge(&self) -> bool {
        [RDKafkaErrorCode::PurgeQueue, RDKafkaErrorCode::PurgeInflight].contains(&self.code)
    }
}

#[derive(Default)]
struct Context(Mutex<Tally>);

impl Context {
    fn with<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "kafka", %error, reason, "transactional producer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.with(|tally| match result {
            Ok(_) => tally.acknowledged += 1,
            Err((error, message)) => {
                if tally.failed.as_ref().is_none_or(Failure::is_purge) {
                    tally.failed = Some(Failure { code: code(error), topic: message.topic().to_owned() });
                }
            }
        });
    }
}

/// A producer of transactions.
pub struct Transactions {
    producer: BaseProducer<Context>,
}

impl Transactions {
    /// Takes the name `id`: whoever had it before is fenced, and its open transaction has ended when this returns.
    ///
    /// # Errors
    /// We are refused, or no broker lets us in within half a minute.
    pub fn start(brokers: &str, properties: &BTreeMap<String, String>, id: &str) -> Result<Self, TransactionError> {
        let producer = BaseProducer::from_config_and_context(&config(brokers, properties, id), Context::default())
            .map_err(|error| TransactionError::Refused(error.to_string()))?;
        let transactions = Self { producer };
        transactions.again(PATIENCE, || transactions.producer.init_transactions(STEP))?;
        Ok(transactions)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// We are fenced, or beyond healing.
    pub fn begin(&self) -> Result<(), TransactionError> {
        self.context().with(|tally| *tally = Tally::default());
        self.producer.begin_transaction().map_err(|error| self.judge(&error))
    }

    /// Sends a record within the transaction.
    ///
    /// # Errors
    /// It cannot be sent, or we are fenced: abort.
    pub fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), TransactionError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(outgoing.topic).headers(headers(outgoing));
        (record.key, record.payload) = (outgoing.key, outgoing.value);
        (record.partition, record.timestamp) = (outgoing.partition, outgoing.timestamp);
        self.producer.send(record).map_err(|(error, _)| {
            self.why(&Failure { code: code(&error), topic: outgoing.topic.to_owned() }, &error)
        })?;
        self.context().with(|tally| tally.sent += 1);
        Ok(())
    }

    /// Waits until every record of the transaction is acknowledged by every in-sync replica, or one has failed: then those
    /// behind it wait for the abort.
    ///
    /// # Errors
    /// One is not, or we are fenced: abort.
    pub fn flush(&self) -> Result<(), TransactionError> {
        let failed = || self.context().with(|tally| tally.failed.as_ref().is_some_and(|failure| !failure.is_purge()));
        self.again(PATIENCE, || match self.producer.flush(GLANCE) {
            Err(_) if failed() => Ok(()),
            flushed => flushed,
        })?;
        let (whole, failed) = self.context().with(|tally| (tally.acknowledged == tally.sent, tally.failed.clone()));
        match failed {
            Some(failure) => Err(self.why(&failure, &KafkaError::MessageProduction(failure.code))),
            None if !whole => Err(TransactionError::Failed("not everything was acknowledged".to_owned())),
            None => {
                failpoints::pass(Failpoint::RedriveProduced);
                Ok(())
            }
        }
    }

    /// Why a record was not acknowledged. Those that were not sent because the transaction had come to nothing are purged:
    /// the client says why when it is asked to commit, which it refuses.
    fn why(&self, failure: &Failure, error: &KafkaError) -> TransactionError {
        if failure.is_purge()
            && let Err(error) = self.producer.commit_transaction(STEP)
        {
            return self.judge(&error);
        }
        match self.judge(error) {
            TransactionError::Failed(why) if OF_A_RECORD.contains(&failure.code) => {
                TransactionError::Record { topic: failure.topic.clone(), why }
            }
            other => other,
        }
    }

    /// Makes the transaction's records count.
    ///
    /// # Errors
    /// [`TransactionError::Unknown`] when nobody could say within `patience`; else they do not count: abort.
    pub fn commit(&self, patience: Duration) -> Result<(), TransactionError> {
        let end = Instant::now() + patience;
        while let Err(error) = self.producer.commit_transaction(STEP.min(patience)) {
            if !may_again(&error) {
                return Err(self.judge(&error));
            }
            if Instant::now() >= end {
                return Err(TransactionError::Unknown(error.to_string()));
            }
        }
        failpoints::pass(Failpoint::RedriveCommitted);
        Ok(())
    }

    /// Makes them void. What cannot be aborted, whoever takes our name next aborts, or its time ends.
    pub fn abort(&self) {
        let step = || {
            // An abort goes on where it stopped, once what it has purged is taken from the client.
            self.producer.abort_transaction(GLANCE).inspect_err(|_| drop(self.producer.flush(GLANCE)))
        };
        if let Err(error) = self.again(PATIENCE, step) {
            tracing::warn!(target: "kafka", %error, "transaction not aborted; it will be by the next run or by its time");
        }
    }

    fn context(&self) -> &Context {
        self.producer.context()
    }

    /// Does a step, and again while it may be, until the patience ends.
    fn again(&self, patience: Duration, step: impl Fn() -> Result<(), KafkaError>) -> Result<(), TransactionError> {
        let end = Instant::now() + patience;
        loop {
            match step() {
                Ok(()) => return Ok(()),
                Err(error) if may_again(&error) && Instant::now() < end => {
                    tracing::debug!(target: "kafka", %error, "once more");
                }
                Err(error) => return Err(self.judge(&error)),
            }
        }
    }

    fn judge(&self, error: &KafkaError) -> TransactionError {
        use RDKafkaErrorCode as Code;
        let fatal = self.producer.client().fatal_error();
        let codes = [Some(code(error)), fatal.as_ref().map(|(code, _)| *code)];
        let is = |wanted: &[Code]| codes.iter().flatten().any(|code| wanted.contains(code));
        if is(&[Code::Fenced, Code::ProducerFenced, Code::InvalidProducerEpoch]) {
            return TransactionError::Fenced;
        }
        let words = fatal.map_or_else(|| error.to_string(), |(_, words)| words);
        if is(&[Code::OutOfOrderSequenceNumber]) {
            return TransactionError::Hole(words);
        }
        let refused = [
            Code::TransactionalIdAuthorizationFailed,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::SaslAuthenticationFailed,
            Code::Authentication,
        ];
        if is(&refused) { TransactionError::Refused(words) } else { TransactionError::Failed(words) }
    }
}

/// Whether the same step may be taken again: nothing was decided by it.
fn may_again(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
        _ => false,
    }
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        KafkaError::Transaction(error) => error.code(),
        other => other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown),
    }
}

fn headers(outgoing: &Outgoing<'_>) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(outgoing.headers.len());
    outgoing.headers.iter().fold(empty, |headers, (key, value)| headers.insert(Header { key, value: *value }))
}

fn config(brokers: &str, properties: &BTreeMap<String, String>, id: &str) -> ClientConfig {
    let mut config = producer(brokers, properties, &[]);
    config.set("transactional.id", id);
    config
}
