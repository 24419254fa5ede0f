//! From a message in the client's memory to a record of ours: one copy, and no panic whatever the headers hold.

use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};

use super::quiet::quietly;
use crate::domain::record::{Offset, Position, Record, Topic};

/// What is said of a record one of whose header names is not UTF-8: the client library cannot read that header.
pub(super) const BAD_HEADER_NAME: &str = "a header name is not utf-8";

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// What somebody wants to know of a record; the rest is not copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Headers of these names.
    pub headers: Vec<String>,
    /// All headers, and whether one of them cannot be read.
    pub every_header: bool,
    /// The key.
    pub key: bool,
    /// The value.
    pub value: bool,
}

/// Copies a message. `topic` is the shared name of the topic it was read from.
pub(super) fn to_record(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    let (headers, complete) = message.headers().map_or((Vec::new(), true), |headers| read_headers(headers, |_| true));
    let record = Record::new(topic, position(message), message.key(), message.payload(), &headers);
    if complete { record } else { record.with_unreadable(BAD_HEADER_NAME) }
}

/// Copies what is wanted of a message. A header whose name is not UTF-8 is none that anybody can want.
pub(super) fn to_record_of(topic: Topic, message: &BorrowedMessage<'_>, wanted: &Wanted) -> Record {
    let named = |name: &[u8]| wanted.headers.iter().any(|wanted| wanted.as_bytes() == name);
    let (headers, complete) = match message.headers() {
        Some(found) if wanted.every_header => read_headers(found, |_| true),
        Some(found) if !wanted.headers.is_empty() => (read_headers(found, named).0, true),
        _ => (Vec::new(), true),
    };
    let (key, value) = (message.key().filter(|_| wanted.key), message.payload().filter(|_| wanted.value));
    let record = Record::new(topic, position(message), key, value, &headers);
    if complete { record } else { record.with_unreadable(BAD_HEADER_NAME) }
}

fn position(message: &BorrowedMessage<'_>) -> Position {
    Position {
        partition: message.partition(),
        offset: Offset(message.offset()),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
    }
}

/// The headers that can be read and are wanted, and whether all can be read.
fn read_headers(headers: &BorrowedHeaders, wanted: impl Fn(&[u8]) -> bool) -> (Vec<Header<'_>>, bool) {
    let count = headers.count();
    let (mut found, mut complete) = (Vec::with_capacity(count), true);
    for index in 0..count {
        match quietly(|| headers.try_get(index)).flatten() {
            Some(header) if wanted(header.key.as_bytes()) => found.push((header.key.as_bytes(), header.value)),
            Some(_) => {}
            None => complete = false,
        }
    }
    (found, complete)
}
