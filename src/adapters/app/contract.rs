//! The contract with the app: one record becomes one `POST`, header by header, in a fixed order.
//!
//! Nothing of a record can add a line, name a header of HTTP's or ours, or be lost: names and values are
//! percent-encoded, and every header travels once, under its own name (`content-type`, `traceparent`, `tracestate`,
//! `ce_*` as `ce-*`) or as `kafka-header-NAME`. HTTP's names have no case, so they are sent in lower case.
//! Only a `traceparent` that a span of ours goes on from is replaced, by that span's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::encoding::{CLOUD_EVENT, NAME, encode_value, encoded_value_len, is_plain_value, put_number, put_unsigned};
use super::target::Target;
use crate::domain::identity::WireId;
use crate::domain::record::{Record, TopicPartition};
use crate::ports::{Request, TraceContext};

/// How many headers a record may bring.
pub const MAX_RECORD_HEADERS: usize = 64;

/// How many bytes the head of a request may have, request line and all header lines together.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What of [`MAX_HEAD_BYTES`] is kept for the request line and for headers of ours whose size hardly changes.
const OWN_HEAD_BYTES: usize = 1024;

/// For how many partitions the constant headers are remembered; beyond, all are forgotten and built again.
const MAX_PLACES: usize = 16_384;

const PREFIX: &[u8] = b"kafka-header-";

/// Headers of records that travel under their own names.
const TAKEN_OVER: [&str; 3] = ["content-type", "traceparent", "tracestate"];

/// Whether a record can be sent to the app: at most [`MAX_RECORD_HEADERS`], at most [`MAX_HEAD_BYTES`] with ID, key
/// and headers encoded (counted as if every header had our prefix, so it may say no some bytes early).
///
/// # Errors
/// Says what is too much, for the detail of a dead letter.
pub fn fits(record: &Record, id: &WireId) -> Result<(), String> {
    let count = record.headers().len();
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

/// Builds the heads of requests to one target.
pub(super) struct Contract {
    target: Target,
    places: Mutex<HashMap<TopicPartition, Arc<Place>>>,
}

/// What is the same for every record of a partition.
struct Place {
    /// The request line and the first header.
    start: Vec<u8>,
    /// Topic and partition.
    position: Vec<u8>,
}

impl Contract {
    pub(super) fn new(target: Target) -> Self {
        Self { target, places: Mutex::default() }
    }

    /// The target it builds for.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Writes the head of a request, with the empty line behind it, over whatever stood in `out`. `trace`: what the app
    /// is told of its place in a trace, instead of what the record says; left out where the head would be too long.
    ///
    /// # Errors
    /// Says why the record cannot be sent; [`fits`] would have said so before.
    pub(super) fn write(
        &self,
        request: &Request,
        trace: Option<&TraceContext>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let place = self.place(request.record.topic_partition())?;
        out.clear();
        out.extend_from_slice(&place.start);
        own_headers(&place, request, out);
        if let Some(trace) = trace {
            line("traceparent", out, |out| out.extend_from_slice(trace.traceparent.as_bytes()));
        }
        record_headers(&request.record, trace, out);
        out.extend_from_slice(b"\r\n");
        if trace.is_some() && out.len() > MAX_HEAD_BYTES {
            return self.write(request, None, out); // there is room for the record, and none for our place in a trace
        }
        // Whoever named the record has asked `fits`; here what is built is looked at, which costs next to nothing.
        let headers = request.record.headers().len();
        if headers > MAX_RECORD_HEADERS || out.len() > MAX_HEAD_BYTES || !is_plain_value(request.id.0.as_bytes()) {
            fits(&request.record, &request.id)?;
        }
        Ok(())
    }

    fn place(&self, partition: TopicPartition) -> Result<Arc<Place>, String> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&partition) {
            return Ok(Arc::clone(place));
        }
        if places.len() >= MAX_PLACES {
            places.clear();
        }
        let path = self.target.path(&partition.topic, None)?;
        let start = format!("POST {path} HTTP/1.1\r\nhost: {}\r\n", self.target.host).into_bytes();
        let mut position = Vec::new();
        line("kafka-topic", &mut position, |out| encode_value(partition.topic.as_bytes(), out));
        line("kafka-partition", &mut position, |out| put_number(partition.partition.into(), out));
        let place = Arc::new(Place { start, position });
        places.insert(partition, Arc::clone(&place));
        Ok(place)
    }
}

fn own_headers(place: &Place, request: &Request, out: &mut Vec<u8>) {
    let record = &request.record;
    let position = record.position();
    line("content-length", out, |out| put_unsigned(record.value().map_or(0, <[u8]>::len) as u64, out));
    line("idempotency-key", out, |out| out.extend_from_slice(request.id.0.as_bytes()));
    line("once-delivery", out, |out| out.extend_from_slice(request.delivery.as_str().as_bytes()));
    line("once-attempt", out, |out| put_unsigned(request.attempt.into(), out));
    line("once-deadline", out, |out| put_unsigned(request.deadline.0, out));
    out.extend_from_slice(&place.position);
    line("kafka-offset", out, |out| put_number(position.offset.0, out));
    line("kafka-timestamp", out, |out| put_number(position.timestamp, out));
    if let Some(key) = record.key() {
        line("kafka-key", out, |out| encode_value(key, out));
    }
    if record.value().is_none() {
        line("kafka-tombstone", out, |out| out.extend_from_slice(b"true"));
    }
}

/// The record's own headers, in order, each one once.
fn record_headers(record: &Record, trace: Option<&TraceContext>, out: &mut Vec<u8>) {
    let mut taken: Vec<Own<'_>> = Vec::new();
    for (place, (name, value)) in record.headers().enumerate() {
        if trace.is_some_and(|trace| trace.parent == Some(place)) {
            continue; // the span's own stands there already
        }
        match taken_over(name, value).filter(|(own, _)| trace.is_none_or(|trace| own.goes_with(trace))) {
            // The first of a name is taken over; whatever repeats it could only contradict it.
            Some((own, value)) if !taken.contains(&own) => {
                match own {
                    Own::Fixed(name) => line(name, out, |out| out.extend_from_slice(value)),
                    Own::CloudEvent(ref attribute) => {
                        out.extend_from_slice(b"ce-");
                        line(attribute, out, |out| CLOUD_EVENT.encode(value, out));
                    }
                }
                taken.push(own);
            }
            _ => {
                out.extend_from_slice(PREFIX);
                let start = out.len();
                NAME.encode(name, out);
                out[start..].make_ascii_lowercase();
                // A null value looks like an empty one: HTTP has no third way besides leaving the header out.
                line("", out, |out| encode_value(value.unwrap_or_default(), out));
            }
        }
    }
}

/// A name without our prefix.
#[derive(PartialEq, Eq)]
enum Own<'a> {
    Fixed(&'static str),
    /// An attribute of `CloudEvents`, in lower case.
    CloudEvent(Cow<'a, str>),
}

impl Own<'_> {
    /// Whether it may stand beside a `traceparent` of ours: no second one, and no state of a trace that ours does not
    /// belong to.
    fn goes_with(&self, trace: &TraceContext) -> bool {
        match self {
            Self::Fixed("traceparent") => false,
            Self::Fixed("tracestate") => trace.parent.is_some(),
            Self::Fixed(_) | Self::CloudEvent(_) => true,
        }
    }
}

/// The name under which a record's header is taken over, if it is one of the few and its value allows it.
fn taken_over<'a>(name: &'a [u8], value: Option<&'a [u8]>) -> Option<(Own<'a>, &'a [u8])> {
    let value = value?;
    if let Some((b"ce_", attribute)) = name.split_first_chunk::<3>().map(|(prefix, rest)| (&prefix[..], rest)) {
        let is_attribute = !attribute.is_empty() && attribute.iter().all(u8::is_ascii_alphanumeric);
        let attribute = is_attribute.then(|| std::str::from_utf8(attribute).ok()).flatten()?;
        let lower = if attribute.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(attribute.to_ascii_lowercase())
        } else {
            Cow::Borrowed(attribute)
        };
        return (!value.is_empty()).then_some((Own::CloudEvent(lower), value));
    }
    let own = TAKEN_OVER.into_iter().find(|own| name.eq_ignore_ascii_case(own.as_bytes()))?;
    is_plain_value(value).then_some((Own::Fixed(own), value))
}

/// Ends a header line: the name (or its last part), then the value.
fn line(name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    write(out);
    out.extend_from_slice(b"\r\n");
}

/// The head of a `GET` without a body, on a connection of its own.
pub(super) fn question(target: &Target, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", target.host).into_bytes()
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
