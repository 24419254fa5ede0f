//! What the bare loops say of a record: three headers, or all that our contract names, in their simplest form.

use anyhow::Context;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rdkafka::message::{BorrowedMessage, Headers, Message};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ONCE_DELIVERY: HeaderName = HeaderName::from_static("once-delivery");
const ONCE_ATTEMPT: HeaderName = HeaderName::from_static("once-attempt");
/// Set when the request is sent.
pub(super) const ONCE_DEADLINE: HeaderName = HeaderName::from_static("once-deadline");
const KAFKA_TOPIC: HeaderName = HeaderName::from_static("kafka-topic");
const KAFKA_PARTITION: HeaderName = HeaderName::from_static("kafka-partition");
const KAFKA_OFFSET: HeaderName = HeaderName::from_static("kafka-offset");
const KAFKA_TIMESTAMP: HeaderName = HeaderName::from_static("kafka-timestamp");
const KAFKA_KEY: HeaderName = HeaderName::from_static("kafka-key");

/// Which headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Message ID, topic and offset.
    Three,
    /// Everything that the app can learn from kafka-once.
    Contract,
}

impl Style {
    pub(super) fn named(name: &str) -> anyhow::Result<Self> {
        match name {
            "three" => Ok(Self::Three),
            "contract" => Ok(Self::Contract),
            other => anyhow::bail!("no style of headers: {other}"),
        }
    }
}

/// What never changes.
pub(super) struct Constants {
    style: Style,
    topic: HeaderValue,
}

impl Constants {
    pub(super) fn new(topic: &str, style: Style) -> anyhow::Result<Self> {
        Ok(Self { style, topic: HeaderValue::from_str(topic)? })
    }

    /// The headers of a record that needs no encoding and has an ID, as all of ours do.
    pub(super) fn headers(&self, message: &BorrowedMessage<'_>) -> anyhow::Result<HeaderMap> {
        let records = message.headers().context("a record without headers")?;
        let id = records.iter().find(|header| header.key == "message-id").and_then(|header| header.value);
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(id.context("a record without id")?)?);
        headers.insert(KAFKA_TOPIC, self.topic.clone());
        headers.insert(KAFKA_OFFSET, message.offset().into());
        if self.style == Style::Contract {
            headers.insert(ONCE_DELIVERY, HeaderValue::from_static("first"));
            headers.insert(ONCE_ATTEMPT, HeaderValue::from_static("1"));
            headers.insert(KAFKA_PARTITION, message.partition().into());
            headers.insert(KAFKA_TIMESTAMP, message.timestamp().to_millis().unwrap_or_default().into());
            headers.insert(KAFKA_KEY, HeaderValue::from_bytes(message.key().unwrap_or_default())?);
            for header in records.iter() {
                let name = HeaderName::from_bytes(format!("kafka-header-{}", header.key).as_bytes())?;
                headers.append(name, HeaderValue::from_bytes(header.value.unwrap_or_default())?);
            }
        }
        Ok(headers)
    }
}
