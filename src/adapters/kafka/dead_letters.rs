//! Dead letters out: an idempotent producer of their own, made when the first one is to be sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;

use super::config::producer;
use super::context;
use crate::domain::letter as names;
use crate::domain::time::UnixMillis;
use crate::domain::verdict::Delivery;
use crate::ports::{DeadLetter, DeadLetters};
use crate::telemetry::rfc3339;

/// The largest record that is sent whole: a broker closes the connection on a request above its
/// `socket.request.max.bytes` (100 MiB unless set) and says nothing, so that one would be tried for ever.
const MOST_BYTES: u64 = 99 * 1024 * 1024;

/// What [`KafkaDeadLetters`] needs to know.
#[derive(Clone, Debug)]
pub struct DeadLetterConfig {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// librdkafka properties of the operator; those the promise rests on are already refused.
    pub properties: BTreeMap<String, String>,
    /// The dead-letter topic.
    pub topic: String,
    /// Whose letters these are: `ONCE_DEDUP_NAMESPACE`.
    pub namespace: String,
}

/// Used unless the operator says otherwise.
const DEFAULTS: [(&str, &str); 2] = [("linger.ms", "0"), ("delivery.timeout.ms", "30000")];

impl DeadLetterConfig {
    fn producer(&self) -> ClientConfig {
        producer(&self.brokers, &self.properties, &DEFAULTS)
    }
}

/// What of a record goes with its letter. What the topic refuses is left out, and `once-detail` says so.
#[derive(Clone, Copy)]
struct Shape {
    value: bool,
    timestamp: bool,
}

type Delivered = oneshot::Sender<Result<(), RDKafkaErrorCode>>;
type LetterProducer = ThreadedProducer<LetterContext>;

struct LetterContext;

impl ClientContext for LetterContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "kafka", %error, reason, "dead-letter producer");
    }
}

impl ProducerContext for LetterContext {
    type DeliveryOpaque = Box<Delivered>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivered: Self::DeliveryOpaque) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        // A sender that has given up does not want to know.
        let _ = delivered.send(result);
    }
}

/// The dead-letter topic of Kafka.
pub struct KafkaDeadLetters {
    config: DeadLetterConfig,
    producer: Mutex<Option<Arc<LetterProducer>>>,
}

impl DeadLetters for KafkaDeadLetters {
    async fn send(&self, letter: DeadLetter) -> Result<(), String> {
        use RDKafkaErrorCode::{InvalidMessageSize, InvalidTimestamp, MessageSizeTooLarge};
        let mut shape = Shape { value: letter.record.payload_bytes() <= MOST_BYTES, timestamp: true };
        // At most three times: each part is left out once.
        loop {
            match self.produce(&letter, shape).await {
                Err(MessageSizeTooLarge | InvalidMessageSize) if shape.value => shape.value = false,
                Err(InvalidTimestamp) if shape.timestamp => shape.timestamp = false,
                sent => return sent.map_err(|code| format!("dead-letter topic {}: {code}", self.config.topic)),
            }
        }
    }
}

impl KafkaDeadLetters {
    /// Nothing is connected before the first letter.
    pub fn new(config: DeadLetterConfig) -> Self {
        Self { config, producer: Mutex::default() }
    }

    async fn produce(&self, letter: &DeadLetter, shape: Shape) -> Result<(), RDKafkaErrorCode> {
        let producer = self.producer()?;
        let (delivered, result) = oneshot::channel();
        let headers = headers(letter, &detail(letter, shape), &self.config.namespace);
        let mut record: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(&self.config.topic, Box::new(delivered)).headers(headers);
        record.key = letter.record.key();
        record.payload = letter.record.value().map(|value| if shape.value { value } else { b"" });
        let timestamp = letter.record.position().timestamp;
        record.timestamp = (shape.timestamp && timestamp >= 0).then_some(timestamp);
        let queued = producer.send(record).map_err(|(error, _)| code(&error));
        let done = match queued {
            Ok(()) => result.await.unwrap_or(Err(RDKafkaErrorCode::PurgeQueue)),
            Err(code) => Err(code),
        };
        if done.is_err() && producer.client().fatal_error().is_some() {
            tracing::warn!(target: "kafka", "dead-letter producer is beyond healing, making another");
            self.lock().take_if(|current| Arc::ptr_eq(current, &producer));
        }
        done
    }

    fn producer(&self) -> Result<Arc<LetterProducer>, RDKafkaErrorCode> {
        let mut producer = self.lock();
        if let Some(producer) = &*producer {
            return Ok(Arc::clone(producer));
        }
        let made =
            LetterProducer::from_config_and_context(&self.config.producer(), LetterContext).map_err(|error| {
                tracing::error!(target: "kafka", %error, "dead-letter producer not made");
                code(&error)
            })?;
        let made = Arc::new(made);
        *producer = Some(Arc::clone(&made));
        Ok(made)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<LetterProducer>>> {
        self.producer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::InvalidArgument)
}

/// The record's headers as they were, and behind them what is said about it.
fn headers(letter: &DeadLetter, detail: &str, namespace: &str) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(letter.record.headers().count() + 11);
    for (name, value) in letter.record.headers() {
        headers = headers.insert(Header { key: &String::from_utf8_lossy(name), value });
    }
    for (key, value) in said(letter, detail, namespace) {
        headers = headers.insert(Header { key, value: Some(value.as_bytes()) });
    }
    headers
}

/// `domain::letter` reads it back.
fn said(letter: &DeadLetter, detail: &str, namespace: &str) -> Vec<(&'static str, String)> {
    let position = letter.record.position();
    let mut said = vec![(names::ERROR, letter.reason.to_string()), (names::DETAIL, detail.to_owned())];
    said.extend(letter.status.map(|status| (names::STATUS, status.to_string())));
    said.push((names::ATTEMPTS, letter.attempts.to_string()));
    said.push((names::DELIVERY, Delivery::of(letter.in_doubt).as_str().to_owned()));
    said.extend(letter.id.as_ref().map(|id| (names::MESSAGE_ID, id.0.to_string())));
    said.extend([
        (names::NAMESPACE, namespace.to_owned()),
        (names::SOURCE_TOPIC, letter.record.topic().to_string()),
        (names::SOURCE_PARTITION, position.partition.to_string()),
        (names::SOURCE_OFFSET, position.offset.0.to_string()),
        (names::AT, rfc3339(letter.at)),
    ]);
    said
}

/// `once-detail`. The words for a value that was left come last: by its end they are told.
fn detail(letter: &DeadLetter, shape: Shape) -> String {
    let mut detail = letter.detail.clone();
    if let Ok(timestamp) = u64::try_from(letter.record.position().timestamp)
        && !shape.timestamp
    {
        let old = rfc3339(UnixMillis(timestamp));
        detail = join(&detail, &format!("timestamp {old} refused by the dead-letter topic, replaced by that of now"));
    }
    if shape.value { detail } else { join(&detail, names::VALUE_LEFT) }
}

fn join(detail: &str, more: &str) -> String {
    if detail.is_empty() { more.to_owned() } else { format!("{detail}; {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::WireId;
    use crate::domain::reasons::DeadLetterReason;
    use crate::domain::record::{Offset, Position, Record};

    fn letter(status: Option<u16>, id: Option<&str>) -> DeadLetter {
        let position = Position { partition: 3, offset: Offset(7), timestamp: 5 };
        let record =
            Record::new("orders".into(), position, Some(b"k"), Some(b"v"), &[(b"h", None), (b"h", Some(b"1"))]);
        DeadLetter {
            record: Arc::new(record),
            reason: DeadLetterReason::Refused,
            detail: "422".into(),
            status,
            attempts: 2,
            in_doubt: false,
            id: id.map(|id| WireId(id.into())),
            at: UnixMillis(951_782_400_123),
        }
    }

    #[test]
    fn what_is_said_about_a_letter_stands_behind_its_own_headers() {
        let names: Vec<_> =
            said(&letter(Some(422), Some("a")), "422", "billing").into_iter().map(|(name, _)| name).collect();
        let all = "once-error once-detail once-status once-attempts once-delivery once-message-id once-namespace \
                   once-source-topic once-source-partition once-source-offset once-at";
        assert_eq!(names.join(" "), all);
    }

    #[test]
    fn without_a_request_there_is_no_status_and_without_an_id_none_is_said() {
        let said = said(&letter(None, None), "", "billing");
        assert!(said.iter().all(|(name, _)| !["once-status", "once-message-id"].contains(name)));
        assert!(said.contains(&("once-at", "2000-02-29T00:00:00.123Z".to_owned())));
        assert!(said.contains(&("once-source-offset", "7".to_owned())));
    }

    #[test]
    fn what_is_left_out_is_said_behind_the_detail_and_a_value_last() {
        let with = |value, timestamp| detail(&letter(None, None), Shape { value, timestamp });
        assert_eq!(with(true, true), "422");
        assert_eq!(with(false, true), format!("422; {}", names::VALUE_LEFT));
        let old = "422; timestamp 1970-01-01T00:00:00.005Z refused by the dead-letter topic, replaced by that of now";
        assert_eq!(with(true, false), old);
        assert_eq!(with(false, false), format!("{old}; {}", names::VALUE_LEFT));
    }
}
