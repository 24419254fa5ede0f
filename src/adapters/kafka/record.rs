//! From a message in the client's memory to a record of ours: one copy, and no panic whatever the headers hold.

use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};

use super::quiet::quietly;
use crate::domain::record::{Offset, Position, Record, Topic};

/// What is said of a record one of whose header names is not UTF-8: the client library cannot read that header.
pub(super) const BAD_HEADER_NAME: &str = "a header name is not utf-8";

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Copies a message. `topic` is the shared name of the topic it was read from.
pub(super) fn to_record(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    let position = Position {
        partition: message.partition(),
        offset: Offset(message.offset()),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
    };
    let (headers, complete) = message.headers().map_or((Vec::new(), true), read_headers);
    let record = Record::new(topic, position, message.key(), message.payload(), &headers);
    if complete { record } else { record.with_unreadable(BAD_HEADER_NAME) }
}

/// The headers that can be read, and whether these are all.
fn read_headers(headers: &BorrowedHeaders) -> (Vec<Header<'_>>, bool) {
    let read = |index| quietly(|| headers.try_get(index)).flatten().map(|header| (header.key.as_bytes(), header.value));
    let found: Vec<_> = (0..headers.count()).map(read).collect();
    let count = found.len();
    let readable: Vec<_> = found.into_iter().flatten().collect();
    let complete = readable.len() == count;
    (readable, complete)
}
