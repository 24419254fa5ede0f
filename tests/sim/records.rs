//! Records as a sidecar's client reads them, and how the sidecar names them.

use std::sync::Arc;

use kafka_once::domain::identity::Source;
use kafka_once::domain::numbering::SequenceSource;
use kafka_once::domain::record::{Offset, Position, Record, TopicPartition};
use kafka_once::pipeline::Identifier;

use super::plan::Sabotage;
use super::producer::timestamp;
use super::truth::Planted;
use super::world::World;

/// The headers that number a record.
const PRODUCER: &str = "producer-id";
const SEQUENCE: &str = "sequence";

/// A planted record.
pub fn record(world: &World, at: &TopicPartition, planted: &Planted) -> Record {
    let timestamp = timestamp(world, planted);
    let position = Position { partition: at.partition, offset: Offset(planted.offset), timestamp };
    let id = planted.id.as_ref().filter(|_| !planted.by_position).map(|id| (&b"message-id"[..], Some(id.as_bytes())));
    let number = planted.stamp.as_ref().map(|stamp| stamp.number.to_string());
    let producer = planted.stamp.as_ref().map(|stamp| (PRODUCER.as_bytes(), Some(stamp.producer.as_bytes())));
    let number = number.as_ref().map(|number| (SEQUENCE.as_bytes(), Some(number.as_bytes())));
    let headers: Vec<_> = id.into_iter().chain(producer).chain(number).collect();
    let key = planted.key.as_ref().filter(|_| world.plan.sabotage != Sabotage::KeysAreLost);
    Record::new(Arc::clone(&at.topic), position, key.map(String::as_bytes), Some(planted.payload.as_bytes()), &headers)
}

/// Messages are named as the sidecar names them.
pub fn identifier(positions: bool) -> Identifier {
    let sources = [Some(Source::Header("message-id".to_owned())), positions.then_some(Source::Position)];
    Identifier {
        sources: sources.into_iter().flatten().collect(),
        sequences: vec![SequenceSource::Header { producer: PRODUCER.to_owned(), number: SEQUENCE.to_owned() }],
        namespace: "sim".to_owned(),
        max_message_bytes: 1 << 20,
        fits: |_, _| Ok(()),
    }
}
