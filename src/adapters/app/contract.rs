//! The contract with the app: one record becomes one `POST`, header by header, in a fixed order.
//!
//! Nothing of a record can add a line, name a header of HTTP's or ours, or be lost: names and values are
//! percent-encoded, and every header travels once, under its own name (`content-type`, `traceparent`, `tracestate`,
//! `ce_*` as `ce-*`) or as `kafka-header-NAME`. HTTP's names have no case, so they are sent in lower case;
//! headers of one name stand together, in their order.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

use super::encoding::{CLOUD_EVENT, NAME, encode_value, encoded_value_len, is_plain_value, put_number, put_unsigned};
use super::payload::Payload;
use super::target::Target;
use crate::domain::identity::WireId;
use crate::domain::record::{Record, TopicPartition};
use crate::ports::Request;

/// How many headers a record may bring.
pub const MAX_RECORD_HEADERS: usize = 64;

/// How many bytes the head of a request may have, request line and all header lines together.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What of [`MAX_HEAD_BYTES`] is kept for the request line and for headers of ours whose size hardly changes.
const OWN_HEAD_BYTES: usize = 1024;

/// How many headers of ours a request may have; makes room, bounds nothing.
const OWN_HEADERS: usize = 12;

/// For how many partitions the constant headers are remembered; beyond, all are forgotten and built again.
const MAX_PLACES: usize = 16_384;

const PREFIX: &[u8] = b"kafka-header-";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ONCE_DELIVERY: HeaderName = HeaderName::from_static("once-delivery");
const ONCE_ATTEMPT: HeaderName = HeaderName::from_static("once-attempt");
const ONCE_DEADLINE: HeaderName = HeaderName::from_static("once-deadline");
const KAFKA_TOPIC: HeaderName = HeaderName::from_static("kafka-topic");
const KAFKA_PARTITION: HeaderName = HeaderName::from_static("kafka-partition");
const KAFKA_OFFSET: HeaderName = HeaderName::from_static("kafka-offset");
const KAFKA_TIMESTAMP: HeaderName = HeaderName::from_static("kafka-timestamp");
const KAFKA_KEY: HeaderName = HeaderName::from_static("kafka-key");
const KAFKA_TOMBSTONE: HeaderName = HeaderName::from_static("kafka-tombstone");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Whether a record can be sent to the app: at most [`MAX_RECORD_HEADERS`], at most [`MAX_HEAD_BYTES`] with ID, key
/// and headers encoded (counted as if every header had our prefix, so it may say no some bytes early).
///
/// # Errors
/// Says what is too much, for the detail of a dead letter.
pub fn fits(record: &Record, id: &WireId) -> Result<(), String> {
    let count = record.headers().count();
    if count > MAX_RECORD_HEADERS {
        return Err(format!("{count} headers; the app is sent at most {MAX_RECORD_HEADERS}"));
    }
    if !is_plain_value(id.0.as_bytes()) {
        return Err("the message id cannot stand in a header".to_owned());
    }
    let headers: usize = record.headers().map(|(name, value)| line_len(name, value)).sum();
    let bytes = OWN_HEAD_BYTES + id.0.len() + record.key().map_or(0, encoded_value_len) + headers;
    if bytes > MAX_HEAD_BYTES {
        return Err(format!("{bytes} bytes of id, key and headers; the app is sent at most {MAX_HEAD_BYTES}"));
    }
    Ok(())
}

/// The most a record's header can take, wherever it ends up.
fn line_len(name: &[u8], value: Option<&[u8]>) -> usize {
    let value = value.unwrap_or_default();
    // A value of CloudEvents' is never shorter encoded its way than ours.
    PREFIX.len() + NAME.encoded_len(name) + ": \r\n".len() + CLOUD_EVENT.encoded_len(value)
}

/// Builds requests to one target.
pub(super) struct Contract {
    target: Target,
    places: Mutex<HashMap<TopicPartition, Place>>,
}

/// What is the same for every record of a partition.
#[derive(Clone)]
struct Place {
    uri: Uri,
    topic: HeaderValue,
    partition: HeaderValue,
}

impl Contract {
    pub(super) fn new(target: Target) -> Self {
        Self { target, places: Mutex::default() }
    }

    /// The target it builds for.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The whole request.
    ///
    /// # Errors
    /// Says why the record cannot be sent; [`fits`] would have said so before.
    pub(super) fn request(&self, request: &Request) -> Result<hyper::Request<Payload>, String> {
        fits(&request.record, &request.id)?;
        let place = self.place(request.record.topic_partition())?;
        let mut head = Head::with_room_for(&request.record);
        self.own_headers(&mut head, &place, request)?;
        record_headers(&mut head, &request.record)?;

        let mut built = hyper::Request::new(Payload::of(&request.record));
        *built.method_mut() = Method::POST;
        *built.uri_mut() = place.uri;
        *built.headers_mut() = head.map;
        Ok(built)
    }

    fn own_headers(&self, head: &mut Head, place: &Place, request: &Request) -> Result<(), String> {
        let record = &request.record;
        let position = record.position();
        head.append(HOST, self.target.host.clone());
        head.unsigned(CONTENT_LENGTH, record.value().map_or(0, <[u8]>::len) as u64)?;
        head.value(IDEMPOTENCY_KEY, |out| out.extend_from_slice(request.id.0.as_bytes()))?;
        head.append(ONCE_DELIVERY, HeaderValue::from_static(request.delivery.as_str()));
        head.unsigned(ONCE_ATTEMPT, u64::from(request.attempt))?;
        head.unsigned(ONCE_DEADLINE, request.deadline.0)?;
        head.append(KAFKA_TOPIC, place.topic.clone());
        head.append(KAFKA_PARTITION, place.partition.clone());
        head.value(KAFKA_OFFSET, |out| put_number(position.offset.0, out))?;
        head.value(KAFKA_TIMESTAMP, |out| put_number(position.timestamp, out))?;
        if let Some(key) = record.key() {
            head.value(KAFKA_KEY, |out| encode_value(key, out))?;
        }
        if record.value().is_none() {
            head.append(KAFKA_TOMBSTONE, HeaderValue::from_static("true"));
        }
        Ok(())
    }

    fn place(&self, partition: TopicPartition) -> Result<Place, String> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&partition) {
            return Ok(place.clone());
        }
        if places.len() >= MAX_PLACES {
            places.clear();
        }
        let mut topic = BytesMut::new();
        encode_value(partition.topic.as_bytes(), &mut topic);
        let place = Place {
            uri: self.target.uri(&partition.topic, None)?,
            topic: HeaderValue::from_maybe_shared(topic.freeze()).map_err(|error| format!("the topic: {error}"))?,
            partition: HeaderValue::from(partition.partition),
        };
        places.insert(partition, place.clone());
        Ok(place)
    }
}

/// The record's own headers, in order, each one once.
fn record_headers(head: &mut Head, record: &Record) -> Result<(), String> {
    let mut scratch = BytesMut::new();
    for (name, value) in record.headers() {
        match taken_over(name, value) {
            // The first of a name is taken over; whatever repeats it could only contradict it.
            Some((own, value)) if !head.map.contains_key(&own) => match value {
                Taken::Plain(value) => head.value(own, |out| out.extend_from_slice(value))?,
                Taken::CloudEvent(value) => head.value(own, |out| CLOUD_EVENT.encode(value, out))?,
            },
            _ => {
                scratch.clear();
                scratch.extend_from_slice(PREFIX);
                NAME.encode(name, &mut scratch);
                let name = HeaderName::from_bytes(&scratch).map_err(|error| format!("a header's name: {error}"))?;
                // A null value looks like an empty one: HTTP has no third way besides leaving the header out.
                head.value(name, |out| encode_value(value.unwrap_or_default(), out))?;
            }
        }
    }
    Ok(())
}

/// A value that is taken over under a name without our prefix.
enum Taken<'a> {
    Plain(&'a [u8]),
    CloudEvent(&'a [u8]),
}

/// The name under which a record's header is taken over, if it is one of the few and its value allows it.
fn taken_over<'a>(name: &[u8], value: Option<&'a [u8]>) -> Option<(HeaderName, Taken<'a>)> {
    let value = value?;
    if let Some((b"ce_", attribute)) = name.split_first_chunk::<3>().map(|(prefix, rest)| (&prefix[..], rest)) {
        let is_attribute = !attribute.is_empty() && attribute.iter().all(u8::is_ascii_alphanumeric);
        let own = is_attribute.then(|| HeaderName::from_bytes(&[b"ce-", attribute].concat()).ok()).flatten()?;
        return (!value.is_empty()).then_some((own, Taken::CloudEvent(value)));
    }
    let own = [CONTENT_TYPE, TRACEPARENT, TRACESTATE]
        .into_iter()
        .find(|own| name.eq_ignore_ascii_case(own.as_str().as_bytes()))?;
    is_plain_value(value).then_some((own, Taken::Plain(value)))
}

/// The headers of a request in the making; all values share one piece of memory.
struct Head {
    map: HeaderMap,
    values: BytesMut,
}

impl Head {
    fn with_room_for(record: &Record) -> Self {
        const USUAL_VALUES: usize = 512;
        let headers = OWN_HEADERS + record.headers().count();
        Self { map: HeaderMap::with_capacity(headers), values: BytesMut::with_capacity(USUAL_VALUES) }
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.map.append(name, value); // at most OWN_HEADERS and MAX_RECORD_HEADERS: far below where the map panics
    }

    fn unsigned(&mut self, name: HeaderName, number: u64) -> Result<(), String> {
        self.value(name, |out| put_unsigned(number, out))
    }

    fn value(&mut self, name: HeaderName, write: impl FnOnce(&mut BytesMut)) -> Result<(), String> {
        write(&mut self.values);
        let value = self.values.split().freeze();
        let value = HeaderValue::from_maybe_shared(value).map_err(|error| format!("{name}: {error}"))?;
        self.append(name, value);
        Ok(())
    }
}

/// A `GET` without a body, on a connection of its own.
pub(super) fn question(target: &Target, uri: Uri) -> hyper::Request<Payload> {
    let mut built = hyper::Request::new(Payload::none());
    *built.uri_mut() = uri;
    built.headers_mut().append(HOST, target.host.clone());
    built.headers_mut().append(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    built
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
