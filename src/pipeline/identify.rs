//! Names a record: its message ID, the hash that Redis knows it by, the digest of its payload.

use crate::domain::claim::{Digest, IdHash};
use crate::domain::identity::{self, IdError, Source, WireId};
use crate::domain::record::Record;

/// Who a record is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What Redis knows it by.
    pub hash: IdHash,
    /// As it stands on the wire.
    pub wire: WireId,
}

/// Finds message IDs by the order of sources in `ONCE_MESSAGE_ID`, scoped by namespace and topic.
#[derive(Clone, Debug)]
pub struct Identifier {
    sources: Vec<Source>,
    namespace: String,
}

impl Identifier {
    /// `namespace`: `ONCE_DEDUP_NAMESPACE`.
    pub fn new(sources: Vec<Source>, namespace: String) -> Self {
        Self { sources, namespace }
    }

    /// The identity of a record, or why it has none.
    pub fn identify(&self, record: &Record) -> Result<Identity, IdError> {
        let id = identity::identify(&self.sources, record, &json_pointer)?;
        Ok(Identity { hash: id_hash(&self.namespace, record.topic(), &id), wire: WireId::of(&id) })
    }
}

/// What Redis knows a message ID by.
pub fn id_hash(namespace: &str, topic: &str, id: &identity::MessageId) -> IdHash {
    let hash = blake3::hash(&identity::hash_input(namespace, topic, id));
    IdHash(first_half(&hash))
}

/// The digest of a record's key and value; headers are left out, traces differ.
pub fn digest(record: &Record) -> Digest {
    let mut hasher = blake3::Hasher::new();
    identity::digest_input(record, &mut |part| {
        hasher.update(part);
    });
    Digest(first_half(&hasher.finalize()))
}

fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

/// RFC 6901 on a JSON value: a string's bytes, or an integer's digits; anything else is no ID.
fn json_pointer(value: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    match value.pointer(pointer)? {
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        serde_json::Value::Number(number) if !number.is_f64() => Some(number.to_string().into_bytes()),
        _ => None,
    }
}
