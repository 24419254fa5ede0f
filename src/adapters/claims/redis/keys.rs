//! The names of a namespace's keys, and the cluster slots they fall into.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::claim::{IdHash, SessionId};
use crate::domain::record::TopicPartition;

/// How many slots a Redis Cluster has.
pub const SLOTS: u16 = 16_384;

/// The key names of one namespace.
#[derive(Clone, Debug)]
pub struct Keys {
    ids: Vec<u8>,
    sessions: String,
    pasts: String,
    history: String,
}

impl Keys {
    /// The names for `namespace`; what could be a hash tag or a separator in it is percent-encoded.
    pub fn new(namespace: &str) -> Self {
        let namespace = encoded(namespace);
        Self {
            ids: format!("once:{namespace}:i:").into_bytes(),
            sessions: format!("once:{namespace}:s:"),
            pasts: format!("once:{namespace}:p:"),
            history: format!("once:{namespace}:history"),
        }
    }

    /// Writes a message's key into `out`, whose old content is dropped: `once:NAMESPACE:i:` and 22 characters base64url.
    pub fn id(&self, id: IdHash, out: &mut Vec<u8>) {
        let mut name = [0; 22];
        // 16 bytes are 22 characters: the slice always suffices.
        let written = URL_SAFE_NO_PAD.encode_slice(id.0, &mut name).unwrap_or_default();
        out.clear();
        out.extend_from_slice(&self.ids);
        out.extend_from_slice(&name[..written]);
    }

    /// A session's key: `once:NAMESPACE:s:` and 32 hex digits.
    pub fn session(&self, session: SessionId) -> String {
        format!("{}{session}", self.sessions)
    }

    /// The key of a partition's past: `once:NAMESPACE:p:TOPIC/PARTITION`. No topic's name holds a separator.
    pub fn past(&self, partition: &TopicPartition) -> String {
        format!("{}{partition}", self.pasts)
    }

    /// The sentinel's key: `once:NAMESPACE:history`.
    pub fn history(&self) -> String {
        self.history.clone()
    }

    /// The sentinel's key numbered `number`, of which each primary of a cluster owns one: `once:NAMESPACE:history:N`.
    pub fn history_numbered(&self, number: u32) -> String {
        format!("{}:{number}", self.history)
    }
}

/// Everything outside `[A-Za-z0-9._-]` as `%XX`.
fn encoded(namespace: &str) -> String {
    let mut out = String::with_capacity(namespace.len());
    for byte in namespace.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The cluster slot of a key without a hash tag: CRC-16/XMODEM of the whole key, modulo 16,384.
pub fn slot(key: &[u8]) -> u16 {
    key.iter().fold(0_u16, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) ^ u16::from(*byte))]) % SLOTS
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_the_specification_says() {
        let keys = Keys::new("orders-v2");
        let mut id = b"left over".to_vec();
        keys.id(IdHash([0xff; 16]), &mut id);
        assert_eq!(id, b"once:orders-v2:i:_____________________w");
        assert_eq!(keys.session(SessionId([0x0a; 16])), format!("once:orders-v2:s:{}", "0a".repeat(16)));
        let partition = TopicPartition { topic: "a.b".into(), partition: 3 };
        assert_eq!(keys.past(&partition), "once:orders-v2:p:a.b/3");
        assert_eq!(keys.history(), "once:orders-v2:history");
        assert_eq!(keys.history_numbered(3), "once:orders-v2:history:3");
    }

    #[test]
    fn a_namespace_cannot_hold_a_hash_tag_a_separator_or_the_escape_itself() {
        for (namespace, name) in [
            ("a{b}c", "once:a%7Bb%7Dc:history"),
            ("a:b", "once:a%3Ab:history"),
            ("a%3Ab", "once:a%253Ab:history"),
            ("ä b", "once:%C3%A4%20b:history"),
            ("A-Z_.9", "once:A-Z_.9:history"),
        ] {
            assert_eq!(Keys::new(namespace).history(), name);
        }
    }

    #[test]
    fn slots_are_those_that_redis_computes() {
        // `CLUSTER KEYSLOT` of Redis 7.0.
        for (key, expected) in
            [("123456789", 12_739), ("once:orders:history", 12_280), ("once:a:i:_____________________w", 6_198)]
        {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b""), 0);
    }
}
