//! Names a record: its message ID, the hash that Redis knows it by, the digest of its payload. Pure; runs on the log's thread.

use std::sync::Arc;

use crate::domain::claim::{Digest, IdHash};
use crate::domain::identity::{self, Source, WireId};
use crate::domain::letter::SentBack;
use crate::domain::numbering::{SequenceSource, number};
use crate::domain::reasons::DeadLetterReason;
use crate::domain::record::Record;
use crate::ports::{Identity, Taken, Unfit};

/// Whether a record can be sent to the app at all; the error says why not.
pub type Fits = fn(&Record, &WireId) -> Result<(), String>;

/// Finds message IDs by the order of sources in `ONCE_MESSAGE_ID`, scoped by namespace and topic.
#[derive(Clone, Debug)]
pub struct Identifier {
    /// `ONCE_MESSAGE_ID`.
    pub sources: Vec<Source>,
    /// `ONCE_SEQUENCE`.
    pub sequences: Vec<SequenceSource>,
    /// `ONCE_DEDUP_NAMESPACE`.
    pub namespace: String,
    /// `ONCE_MAX_MESSAGE_BYTES`: key, value and headers of one record.
    pub max_message_bytes: u64,
    /// What the app can be sent.
    pub fits: Fits,
}

impl Identifier {
    /// Names a record.
    pub fn name(&self, record: Record) -> Taken {
        let sent_back = SentBack::read(&record, &self.namespace);
        let record = if sent_back.is_some() { record.without_last_headers(SentBack::HEADERS) } else { record };
        let (identity, numbered) = (self.identity(&record), number(&self.sequences, &record, &json_pointer));
        Taken { record: Arc::new(record), identity, numbered, sent_back }
    }

    fn identity(&self, record: &Record) -> Result<Identity, Unfit> {
        let unfit = |reason, detail| Unfit { reason, detail };
        if let Some(why) = record.unreadable() {
            return Err(unfit(DeadLetterReason::Unreadable, why.to_owned()));
        }
        let (size, most) = (record.payload_bytes(), self.max_message_bytes);
        if size > most {
            let detail = format!("{size} bytes, above ONCE_MAX_MESSAGE_BYTES ({most})");
            return Err(unfit(DeadLetterReason::TooLarge, detail));
        }
        let id = identity::identify(&self.sources, record, &json_pointer)
            .map_err(|error| unfit(error.reason(), error.to_string()))?;
        let wire = WireId::of(&id);
        (self.fits)(record, &wire).map_err(|detail| unfit(DeadLetterReason::Unreadable, detail))?;
        let (hash, position_made) = (id_hash(&self.namespace, record.topic(), &id), id.is_position_made());
        Ok(Identity { hash, wire, position_made, digest: digest(record) })
    }
}

/// What Redis knows a message ID by.
pub fn id_hash(namespace: &str, topic: &str, id: &identity::MessageId) -> IdHash {
    IdHash(hash_128(&identity::hash_input(namespace, topic, id)))
}

/// The digest of a record's key and value; headers are left out, traces differ.
pub fn digest(record: &Record) -> Digest {
    let mut hasher = blake3::Hasher::new();
    identity::digest_input(record, &mut |part| {
        hasher.update(part);
    });
    Digest(first_half(&hasher.finalize()))
}

/// 128 bits of a hash.
pub fn hash_128(input: &[u8]) -> [u8; 16] {
    first_half(&blake3::hash(input))
}

fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

fn json_pointer(value: &[u8], pointer: &str) -> Option<Vec<u8>> {
    json_at(&serde_json::from_slice(value).ok()?, pointer)
}

/// RFC 6901 on a JSON value: a string's bytes, or an integer's digits; anything else is no ID.
pub fn json_at(value: &serde_json::Value, pointer: &str) -> Option<Vec<u8>> {
    match value.pointer(pointer)? {
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        serde_json::Value::Number(number) if !number.is_f64() => Some(number.to_string().into_bytes()),
        _ => None,
    }
}
