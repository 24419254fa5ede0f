//! What a message is called: where its ID stands, how it goes on the wire, and what is hashed of it.

use std::fmt;
use std::sync::Arc;

use super::percent::{is_visible, percent_decode, percent_encode};
use super::reasons::DeadLetterReason;
use super::record::{Offset, Position, Record, Topic};

/// The longest message ID, in bytes before encoding (a `CloudEvents` source and ID together). On the wire it is at most
/// three times as long: that still fits, beside the record's own headers, into what HTTP servers take (8 KiB and up).
pub const LONGEST_ID: usize = 1024;

/// The Kafka headers of `CloudEvents`' unit of uniqueness (`CloudEvents` 1.0, Kafka protocol binding, binary mode).
const CE_SOURCE: &str = "ce_source";
const CE_ID: &str = "ce_id";

/// One place where a message ID may stand (`ONCE_MESSAGE_ID` lists them).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A header, by its exact name.
    Header(String),
    /// `ce_source` and `ce_id`, both.
    CloudEvents,
    /// The key.
    Key,
    /// A string or an integer within a JSON value, by its pointer (RFC 6901).
    JsonPointer(String),
    /// Topic, partition, offset and timestamp: always there.
    Position,
}

impl Source {
    /// The headers that it looks at.
    pub fn headers(&self) -> Vec<&str> {
        match self {
            Self::Header(name) => vec![name],
            Self::CloudEvents => vec![CE_SOURCE, CE_ID],
            Self::Key | Self::JsonPointer(_) | Self::Position => Vec::new(),
        }
    }
}

/// The producer's name for a message; two records with the same one are the same message. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessageId {
    /// From a header, the key or a JSON value: its bytes.
    Plain(Box<[u8]>),
    /// From a `CloudEvent`.
    CloudEvents {
        /// `ce_source`.
        source: Box<[u8]>,
        /// `ce_id`.
        id: Box<[u8]>,
    },
    /// Made from where the record stands: it finds redeliveries, not a producer's duplicates.
    Position(Topic, Position),
}

impl MessageId {
    /// Whether we made it from the position: such a mark is needed only until the offset is safely committed.
    pub fn is_position_made(&self) -> bool {
        matches!(self, Self::Position(..))
    }

    /// Whether no record can have it: it is longer than [`LONGEST_ID`].
    pub fn is_too_long(&self) -> bool {
        self.length() > LONGEST_ID
    }

    /// Its length in bytes before encoding; what we make ourselves is short and counts nothing.
    fn length(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::CloudEvents { source, id } => source.len() + id.len(),
            Self::Position(..) => 0,
        }
    }
}

/// Why a record has no message ID. Each one ends on the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdError {
    /// No source matched.
    Missing,
    /// A header of the ID stands more than once, with different values.
    Ambiguous {
        /// The header's name.
        header: String,
    },
    /// It is longer than [`LONGEST_ID`].
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

impl IdError {
    /// The reason of the dead letter.
    pub fn reason(&self) -> DeadLetterReason {
        match self {
            Self::Missing => DeadLetterReason::MissingId,
            Self::Ambiguous { .. } => DeadLetterReason::AmbiguousId,
            Self::TooLong { .. } => DeadLetterReason::Unreadable,
        }
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "no source of a message id matched"),
            Self::Ambiguous { header } => write!(f, "header {header} stands more than once with different values"),
            Self::TooLong { length } => write!(f, "message id of {length} bytes is longer than {LONGEST_ID}"),
        }
    }
}

impl std::error::Error for IdError {}

/// Looks up a JSON pointer (RFC 6901) in a record's value: the bytes of a string or integer, `None` for anything else.
pub type JsonLookup<'a> = dyn Fn(&[u8], &str) -> Option<Vec<u8>> + 'a;

/// Finds the message ID of a record: the first source that matches wins.
///
/// An empty ID is no ID: it falls through to the next source, as a null or absent one does.
pub fn identify(sources: &[Source], record: &Record, json: &JsonLookup<'_>) -> Result<MessageId, IdError> {
    for source in sources {
        if let Some(id) = from_source(source, record, json)? {
            let length = id.length();
            return if length > LONGEST_ID { Err(IdError::TooLong { length }) } else { Ok(id) };
        }
    }
    Err(IdError::Missing)
}

fn from_source(source: &Source, record: &Record, json: &JsonLookup<'_>) -> Result<Option<MessageId>, IdError> {
    let plain = |bytes: &[u8]| (!bytes.is_empty()).then(|| MessageId::Plain(bytes.into()));
    Ok(match source {
        Source::Header(name) => header(record, name)?.and_then(plain),
        Source::CloudEvents => match (header(record, CE_SOURCE)?, header(record, CE_ID)?) {
            (Some(source), Some(id)) => Some(MessageId::CloudEvents { source: source.into(), id: id.into() }),
            _ => None,
        },
        Source::Key => record.key().and_then(plain),
        Source::JsonPointer(pointer) => {
            record.value().and_then(|value| json(value, pointer)).and_then(|bytes| plain(&bytes))
        }
        Source::Position => Some(MessageId::Position(Arc::clone(record.topic()), record.position())),
    })
}

/// The value of a header that is part of an ID. Null and empty are the same here: nothing. A header may stand twice
/// with the same value; nothing beside something is two values.
fn header<'a>(record: &'a Record, name: &str) -> Result<Option<&'a [u8]>, IdError> {
    let mut values = record
        .headers()
        .filter(|(header, _)| *header == name.as_bytes())
        .map(|(_, value)| value.filter(|value| !value.is_empty()));
    let first = values.next().flatten();
    if values.all(|value| value == first) { Ok(first) } else { Err(IdError::Ambiguous { header: name.to_owned() }) }
}

// ---- on the wire ---------------------------------------------------------------------------------------------------

const CE_PREFIX: &str = "ce:";
const POSITION_PREFIX: &str = "position:";

/// What is encoded in a URL besides what is encoded everywhere: `%` itself, what would end the ID there (`/ ? #` in a
/// path, `& + ;` in a query or a parameter), and what no URL may hold.
const URL_ONLY: &[u8] = b"%/?#&+;\"<>\\^`{|}";

/// A message ID as it stands on the wire: printable ASCII, everything else percent-encoded.
///
/// No two message IDs share one: `ce:SOURCE#ID` and `position:TOPIC/PARTITION/OFFSET/TIMESTAMP` cannot be forged, as
/// the colon of another ID that begins so is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireId(pub Arc<str>);

impl WireId {
    /// The wire form (`Idempotency-Key`, `inspect`, dead letters).
    pub fn of(id: &MessageId) -> Self {
        let text = match id {
            MessageId::Plain(bytes) => plain_text(bytes),
            MessageId::CloudEvents { source, id } => {
                let part = |bytes| percent_encode(bytes, |byte| is_visible(byte) && byte != b'#');
                format!("{CE_PREFIX}{}#{}", part(source), part(id))
            }
            MessageId::Position(topic, position) => {
                let topic = percent_encode(topic.as_bytes(), |byte| is_visible(byte) && byte != b'/');
                let Position { partition, offset, timestamp } = position;
                format!("{POSITION_PREFIX}{topic}/{partition}/{}/{timestamp}", offset.0)
            }
        };
        Self(text.into())
    }

    /// The wire form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that stands in a URL, in its path or its query: an app that decodes it once holds exactly what
    /// `Idempotency-Key` said, so that what it has stored is found again.
    pub fn in_url(&self) -> String {
        percent_encode(self.0.as_bytes(), |byte| !URL_ONLY.contains(&byte))
    }

    /// Reads a wire form back, for people and dead letters: bytes that should be encoded and are not stand for
    /// themselves. `None` for a broken escape, an empty ID, or `ce:` and `position:` without their parts.
    pub fn parse(text: &str) -> Option<MessageId> {
        let part = |text| percent_decode(text).filter(|bytes| !bytes.is_empty()).map(Vec::into_boxed_slice);
        if let Some(event) = text.strip_prefix(CE_PREFIX) {
            let (source, id) = event.split_once('#').filter(|(_, id)| !id.contains('#'))?;
            Some(MessageId::CloudEvents { source: part(source)?, id: part(id)? })
        } else if let Some(position) = text.strip_prefix(POSITION_PREFIX) {
            parse_position(position)
        } else {
            part(text).map(MessageId::Plain)
        }
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn plain_text(bytes: &[u8]) -> String {
    let text = percent_encode(bytes, is_visible);
    let forged = text.starts_with(CE_PREFIX) || text.starts_with(POSITION_PREFIX);
    if forged { text.replacen(':', "%3A", 1) } else { text }
}

fn parse_position(text: &str) -> Option<MessageId> {
    let mut parts = text.split('/');
    let topic = String::from_utf8(percent_decode(parts.next()?)?).ok()?;
    let partition = parts.next()?.parse().ok()?;
    let offset = Offset(parts.next()?.parse().ok()?);
    let timestamp = parts.next()?.parse().ok()?;
    parts.next().is_none().then(|| MessageId::Position(topic.into(), Position { partition, offset, timestamp }))
}

// ---- what is hashed ------------------------------------------------------------------------------------------------

/// What the hash of a message ID is taken of: namespace, topic and ID, each with its length before it, and the kind of
/// the ID. No two different scopes or IDs give the same bytes.
///
/// The marks of every running version depend on these bytes: another layout forgets them all.
pub fn hash_input(namespace: &str, topic: &str, id: &MessageId) -> Vec<u8> {
    let mut input = Vec::with_capacity(64 + namespace.len() + topic.len() + id.length());
    let mut add = |part: &[u8]| {
        input.extend_from_slice(&(part.len() as u64).to_le_bytes());
        input.extend_from_slice(part);
    };
    add(namespace.as_bytes());
    add(topic.as_bytes());
    match id {
        MessageId::Plain(bytes) => {
            add(b"plain");
            add(bytes);
        }
        MessageId::CloudEvents { source, id } => {
            add(b"cloudevents");
            add(source);
            add(id);
        }
        MessageId::Position(topic, Position { partition, offset, timestamp }) => {
            add(b"position");
            add(topic.as_bytes());
            add(&partition.to_le_bytes());
            add(&offset.0.to_le_bytes());
            add(&timestamp.to_le_bytes());
        }
    }
    input
}

/// Feeds what the digest of a payload is taken of: key and value, each with its length before it, null told from
/// empty. Headers are left out: traces differ between a message and its duplicate.
pub fn digest_input(record: &Record, feed: &mut dyn FnMut(&[u8])) {
    for part in [record.key(), record.value()] {
        match part {
            None => feed(&[0]),
            Some(bytes) => {
                feed(&[1]);
                feed(&(bytes.len() as u64).to_le_bytes());
                feed(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests;
