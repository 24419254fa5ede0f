//! What the ledger app remembers: requests byte for byte, and the effects it applied.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// How the app decides whether a request's effect is applied, once its behaviour has said that it would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// Applies a `first` request without looking; looks into its own records when told `possible-repeat`.
    #[default]
    Trusting,
    /// Like `Trusting`, but refuses (409) an `Once-Attempt` below the highest it has seen for the message.
    Fencing,
    /// Stores topic and message ID with the effect: never applies twice.
    Transactional,
}

/// One request, byte for byte.
#[derive(Debug)]
pub struct Request {
    /// Method, e.g. `POST`.
    pub method: String,
    /// Request target.
    pub path: String,
    /// Names and values in the order and the case in which they came.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Body, unchunked.
    pub body: Vec<u8>,
    /// When its last byte had arrived.
    pub at: Instant,
    /// The same as wall-clock time.
    pub wall: SystemTime,
    /// Number of its connection.
    pub connection: u64,
}

impl Request {
    /// Value of the first header of that name (in any case), as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(&found.1).ok()
    }

    /// Message ID as on the wire; empty without one.
    pub fn id(&self) -> &str {
        self.header("Idempotency-Key").unwrap_or_default()
    }

    /// Topic; empty without one.
    pub fn topic(&self) -> &str {
        self.header("Kafka-Topic").unwrap_or_default()
    }

    /// Key as on the wire.
    pub fn key(&self) -> Option<&str> {
        self.header("Kafka-Key")
    }

    /// Partition and offset.
    pub fn position(&self) -> Option<(i32, i64)> {
        Some((self.header("Kafka-Partition")?.parse().ok()?, self.header("Kafka-Offset")?.parse().ok()?))
    }

    /// `Once-Attempt`; 0 without one.
    pub fn attempt(&self) -> u64 {
        self.header("Once-Attempt").and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Whether it says `possible-repeat`.
    pub fn in_doubt(&self) -> bool {
        self.header("Once-Delivery") == Some("possible-repeat")
    }

    /// What identifies its effect: topic and message ID.
    pub fn effect(&self) -> Effect {
        (self.topic().to_owned(), self.id().to_owned())
    }
}

/// Topic and message ID.
pub type Effect = (String, String);

/// Everything the app saw and did.
#[derive(Clone, Default)]
pub struct Records {
    /// Requests other than GET, in order of arrival.
    pub requests: Vec<Arc<Request>>,
    /// Requests whose effect was applied, in order of application; a message applied twice stands here twice.
    pub applied: Vec<Arc<Request>>,
    /// Requests that reached the app's own look-up or application when their effect was applied already.
    pub repeats: Vec<Arc<Request>>,
    /// Stale attempts that an app which fences has refused.
    pub refused: Vec<Arc<Request>>,
    /// How often each effect was applied.
    pub effects: HashMap<Effect, u32>,
    /// GET requests: readiness probes and lookups.
    pub asked: Vec<Arc<Request>>,
    /// Highest `Once-Attempt` seen per message.
    pub(super) attempts: HashMap<Effect, u64>,
}

/// The bytes behind `%XX`.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let value = pair.filter(|_| byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    decoded
}
