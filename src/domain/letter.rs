//! A letter on the dead-letter topic, read back: what is said about its record, and the marker that it was sent back.
//!
//! What we say stands behind the record's own headers, always in the same order; so a producer's own `once-*` headers
//! are told from ours, and stay.

use super::claim::Digest;
use super::identity::{MessageId, WireId};
use super::record::{Offset, Record};
use super::verdict::Delivery;

/// Why it is a letter.
pub const ERROR: &str = "once-error";
/// The same in more words.
pub const DETAIL: &str = "once-detail";
/// The HTTP status, when there was one.
pub const STATUS: &str = "once-status";
/// Requests that were sent for it.
pub const ATTEMPTS: &str = "once-attempts";
/// What the next request for it would say as `Once-Delivery`: whether an earlier one may have had its effect.
pub const DELIVERY: &str = "once-delivery";
/// The message ID in wire form; absent when it has none.
pub const MESSAGE_ID: &str = "once-message-id";
/// The scope of the IDs: whose letter it is where several groups share the topic.
pub const NAMESPACE: &str = "once-namespace";
/// Where the record stood.
pub const SOURCE_TOPIC: &str = "once-source-topic";
/// Its partition.
pub const SOURCE_PARTITION: &str = "once-source-partition";
/// Its offset.
pub const SOURCE_OFFSET: &str = "once-source-offset";
/// When it became a letter, RFC 3339; also when a marker was written.
pub const AT: &str = "once-at";
/// On a marker: partition and offset of the letter that was sent back.
pub const REDRIVEN: &str = "once-redriven";
/// On a marker: a hash of the source record, 32 hex digits, by which other copies of the letter are found.
pub const REDRIVEN_RECORD: &str = "once-redriven-record";

/// Nobody has sent more; a number above leaves no room to go on counting.
const MOST_ATTEMPTS: u32 = u32::MAX / 2;

/// The end of `once-detail` of a letter whose value the topic did not take.
pub const VALUE_LEFT: &str = "value too large for the dead-letter topic, left at its source position";

/// What is said about the record of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// `once-error`.
    pub reason: String,
    /// `once-message-id`.
    pub id: Option<MessageId>,
    /// `once-namespace`; versions before it was written leave it out.
    pub namespace: Option<String>,
    /// `once-source-topic`.
    pub topic: String,
    /// `once-source-partition`.
    pub partition: i32,
    /// `once-source-offset`.
    pub offset: Offset,
    /// `once-at`.
    pub at: String,
    /// Its value was too large for the topic, and stands only where the record came from.
    pub value_left: bool,
    /// `once-attempts`.
    pub attempts: u32,
    /// `once-delivery`: an earlier request for it may have had its effect. Versions before it was written leave it out:
    /// then it may.
    pub in_doubt: bool,
    /// How many headers are the record's own.
    own: usize,
}

impl Letter {
    /// Reads what is said about a record of the dead-letter topic; `None`: it is no letter of ours.
    pub fn read(record: &Record) -> Option<Self> {
        let headers: Vec<_> = record.headers().collect();
        let mut said = Tail(&headers);
        let at = said.text(AT)?.to_owned();
        let offset = Offset(said.text(SOURCE_OFFSET)?.parse().ok()?);
        let partition = said.text(SOURCE_PARTITION)?.parse().ok()?;
        let topic = said.text(SOURCE_TOPIC)?.to_owned();
        let namespace = said.text(NAMESPACE).map(str::to_owned);
        let id = match said.text(MESSAGE_ID) {
            Some(id) => Some(WireId::parse(id)?),
            None => None,
        };
        let in_doubt = said.text(DELIVERY).and_then(Delivery::parse) != Some(Delivery::First);
        let attempts = said.attempts()?;
        said.text(STATUS);
        let value_left = said.text(DETAIL)?.ends_with(VALUE_LEFT) && record.value().is_some_and(<[u8]>::is_empty);
        let reason = said.text(ERROR)?.to_owned();
        let own = said.0.len();
        record.unreadable().is_none().then_some(Self {
            reason,
            id,
            namespace,
            topic,
            partition,
            offset,
            at,
            value_left,
            attempts,
            in_doubt,
            own,
        })
    }

    /// The headers that the record had before it became a letter.
    pub fn headers<'a>(&self, record: &'a Record) -> impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        record.headers().take(self.own)
    }

    /// What the hash of the source record is taken of: a lost acknowledgement may leave two letters of one record.
    pub fn record_input(&self, digest: Digest) -> Vec<u8> {
        let mut input = self.source_input();
        put(&mut input, &digest.0);
        input
    }

    /// The same without its payload: also a letter whose value nobody has read can be told by it.
    pub fn source_input(&self) -> Vec<u8> {
        let id = self.id.as_ref().map(WireId::of);
        let parts = [
            self.namespace.as_deref().unwrap_or_default().as_bytes(),
            self.topic.as_bytes(),
            &self.partition.to_le_bytes(),
            &self.offset.0.to_le_bytes(),
            id.as_ref().map_or("", WireId::as_str).as_bytes(),
        ];
        let mut input = Vec::new();
        for part in parts {
            put(&mut input, part);
        }
        input
    }
}

/// A part of what a hash is taken of, told from the next one by its length.
fn put(input: &mut Vec<u8>, part: &[u8]) {
    input.extend_from_slice(&(part.len() as u64).to_le_bytes());
    input.extend_from_slice(part);
}

/// What a record that was sent back says of the letter that it was. Behind the record's own headers, always in the same
/// order; taken off before the record goes on. Whoever else writes that warns the app without need, or has what it wrote
/// itself tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SentBack {
    /// Where it stood when it was given up, partition and offset: the mark `dead` of that one is no news.
    pub source: (i32, Offset),
    /// Requests that were sent for it by then.
    pub attempts: u32,
    /// One of them may have had its effect.
    pub in_doubt: bool,
}

impl SentBack {
    /// How many headers say it.
    pub const HEADERS: usize = 5;

    /// Reads what is said on a record; `None`: it was not sent back, or not for this namespace.
    pub fn read(record: &Record, namespace: &str) -> Option<Self> {
        let (last, _) = record.headers().next_back()?;
        if last != DELIVERY.as_bytes() {
            return None;
        }
        let headers: Vec<_> = record.headers().collect();
        Self::parse(&mut Tail(&headers)).filter(|(of, _)| *of == namespace).map(|(_, said)| said)
    }

    fn parse<'a>(said: &mut Tail<'a>) -> Option<(&'a str, Self)> {
        let in_doubt = Delivery::parse(said.text(DELIVERY)?)? == Delivery::PossibleRepeat;
        let attempts = said.attempts()?;
        let offset = Offset(said.text(SOURCE_OFFSET)?.parse().ok()?);
        let partition = said.text(SOURCE_PARTITION)?.parse().ok()?;
        Some((said.text(NAMESPACE)?, Self { source: (partition, offset), attempts, in_doubt }))
    }

    /// Its headers.
    pub fn headers(&self, namespace: &str) -> [(&'static str, String); SentBack::HEADERS] {
        [
            (NAMESPACE, namespace.to_owned()),
            (SOURCE_PARTITION, self.source.0.to_string()),
            (SOURCE_OFFSET, self.source.1.0.to_string()),
            (ATTEMPTS, self.attempts.to_string()),
            (DELIVERY, Delivery::of(self.in_doubt).as_str().to_owned()),
        ]
    }
}

/// Says that a letter was sent back. It stands in the letter's own partition, so retention takes the letter first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The letter's partition.
    pub partition: i32,
    /// The letter's offset.
    pub offset: Offset,
    /// The hash of its source record.
    pub record: [u8; 16],
}

impl Marker {
    /// Reads a marker; `None`: the record is none. A letter never is: it ends with what is said about it.
    pub fn read(record: &Record) -> Option<Self> {
        let headers: Vec<_> = record.headers().collect();
        let mut said = Tail(&headers);
        said.text(AT)?;
        let hash = said.text(REDRIVEN_RECORD)?;
        let (partition, offset) = said.text(REDRIVEN)?.split_once('/')?;
        let (partition, offset) = (partition.parse().ok()?, Offset(offset.parse().ok()?));
        let record = u128::from_str_radix(hash, 16).ok()?.to_be_bytes();
        (said.0.is_empty() && hash.len() == 32).then_some(Self { partition, offset, record })
    }

    /// Its headers.
    pub fn headers(&self, at: String) -> [(&'static str, String); 3] {
        let record = format!("{:032x}", u128::from_be_bytes(self.record));
        [(REDRIVEN, format!("{}/{}", self.partition, self.offset.0)), (REDRIVEN_RECORD, record), (AT, at)]
    }
}

/// Headers, read from their end.
struct Tail<'a>(&'a [(&'a [u8], Option<&'a [u8]>)]);

impl<'a> Tail<'a> {
    /// The last header's value, if it has that name and a text; then what stands before it is next.
    fn text(&mut self, name: &str) -> Option<&'a str> {
        let ((last, value), before) = self.0.split_last()?;
        let text = std::str::from_utf8((*value)?).ok().filter(|_| *last == name.as_bytes())?;
        self.0 = before;
        Some(text)
    }

    fn attempts(&mut self) -> Option<u32> {
        Some(self.text(ATTEMPTS)?.parse::<u32>().ok()?.min(MOST_ATTEMPTS))
    }
}

#[cfg(test)]
mod tests;
