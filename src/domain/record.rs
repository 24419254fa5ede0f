//! A record and where it stands: one Kafka message as we hold it.

use std::ops::Range;
use std::sync::Arc;

/// The name of a Kafka topic, shared by every record of it.
pub type Topic = Arc<str>;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Topic,
    /// The partition's number.
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The offset of a record that exists (or existed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The one place that adds one: what Kafka wants committed once this record is settled.
    pub fn next(self) -> NextOffset {
        NextOffset(self.0.saturating_add(1))
    }
}

/// The offset of the next record to read: what is committed, where a partition starts, where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(pub i64);

impl NextOffset {
    /// Whether a record at `offset` stands below this one.
    pub fn is_above(self, offset: Offset) -> bool {
        offset.0 < self.0
    }
}

/// Where a record stood within its topic. The timestamp tells a re-created topic's offsets from the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The partition's number.
    pub partition: i32,
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp in Unix milliseconds; -1 where it has none.
    pub timestamp: i64,
}

/// One Kafka message as we hold it: key, value and headers as bytes, in one allocation.
#[derive(Clone, Debug)]
pub struct Record {
    topic: Topic,
    position: Position,
    bytes: Box<[u8]>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
    unreadable: Option<&'static str>,
}

impl Record {
    /// Copies a message out of the client's memory.
    pub fn new(
        topic: Topic,
        position: Position,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Self {
        let size = key.map_or(0, <[u8]>::len)
            + value.map_or(0, <[u8]>::len)
            + headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
        let mut bytes = Vec::with_capacity(size);
        let mut keep = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            start..bytes.len()
        };
        let key = key.map(&mut keep);
        let value = value.map(&mut keep);
        let headers = headers.iter().map(|(name, value)| (keep(name), value.map(&mut keep))).collect();
        Self { topic, position, bytes: bytes.into_boxed_slice(), key, value, headers, unreadable: None }
    }

    /// The same record, of which a part could not be read; it holds what could.
    #[must_use]
    pub fn with_unreadable(self, why: &'static str) -> Self {
        Self { unreadable: Some(why), ..self }
    }

    /// The same record without its last `count` headers.
    #[must_use]
    pub fn without_last_headers(self, count: usize) -> Self {
        let (mut headers, mut bytes) = (self.headers, self.bytes.into_vec());
        let left = headers.len().saturating_sub(count);
        // Headers stand behind key and value, in their order.
        bytes.truncate(headers.get(left).map_or(bytes.len(), |(name, _)| name.start));
        headers.truncate(left);
        Self { headers, bytes: bytes.into_boxed_slice(), ..self }
    }

    /// Why a part of it could not be read; such a record is dead-lettered (`unreadable`).
    pub fn unreadable(&self) -> Option<&'static str> {
        self.unreadable
    }

    /// The topic it was read from.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Where it stood.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The partition it was read from.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition: self.position.partition }
    }

    /// The key; `None` when null.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.clone().map(|range| &self.bytes[range])
    }

    /// The value; `None` is a tombstone, which an empty value is not.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.clone().map(|range| &self.bytes[range])
    }

    /// The headers in their order, repeated where they stand twice. Names are bytes: Kafka does not promise UTF-8.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> + DoubleEndedIterator {
        self.headers
            .iter()
            .map(|(name, value)| (&self.bytes[name.clone()], value.clone().map(|range| &self.bytes[range])))
    }

    /// Key, value and headers together, in bytes.
    pub fn payload_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What it counts for in `held_bytes`: the payload and a flat charge for our bookkeeping.
    pub fn held_bytes(&self) -> u64 {
        const BOOKKEEPING: usize = 512;
        (self.bytes.len() + self.headers.len() * size_of::<(Range<usize>, Option<Range<usize>>)>() + BOOKKEEPING) as u64
    }
}
