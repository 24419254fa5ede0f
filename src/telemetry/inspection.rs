//! What the store knows of one message, as a page and as JSON: `kafka-once inspect` and `GET /inspect`.
//! The names of the fields are a promise (docs/dead-letters.md).

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::rfc3339;
use crate::domain::claim::{ClaimValue, Digest, Spent};
use crate::domain::inspection::{Held, Sighting};
use crate::domain::record::Position;
use crate::domain::time::UnixMillis;

/// What is known of a message in each topic that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The message ID in its wire form.
    pub id: String,
    /// The scope of the IDs.
    pub namespace: String,
    /// Whether anything is known, in any of the topics.
    pub known: bool,
    /// One for each topic.
    pub topics: Vec<TopicInspection>,
}

/// Why there is no answer, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The question makes no sense.
    #[error("{0}")]
    Question(String),
    /// The store gave no answer.
    #[error("{0}")]
    Store(String),
}

/// What is known of a message in one topic. What a state does not have is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopicInspection {
    /// The topic.
    pub topic: String,
    /// `unknown`, `claimed`, `released`, `done`, `dead`, `foreign`.
    pub state: &'static str,
    /// The state in words.
    pub detail: String,
    /// The session that has claimed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whether that session lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_lives: Option<bool>,
    /// Whether an earlier attempt may have had its effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<bool>,
    /// Number of the last request that may have been sent; 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Retries spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// When the last request is waited for no longer; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Where the record stands that the value was written for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Its offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Its timestamp, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Digest of its key and value, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Milliseconds until the key expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keeps_ms: Option<u64>,
}

impl Inspection {
    /// Puts together what was seen in each topic.
    pub fn new(id: &str, namespace: &str, seen: impl IntoIterator<Item = (String, Sighting)>) -> Self {
        let topics: Vec<_> = seen.into_iter().map(|(topic, sighting)| TopicInspection::new(topic, &sighting)).collect();
        let known = topics.iter().any(|topic| topic.state != UNKNOWN);
        Self { id: id.to_owned(), namespace: namespace.to_owned(), known, topics }
    }

    /// As a person reads it.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "kafka-once inspect: {}, namespace {}", self.id, self.namespace);
        for topic in &self.topics {
            let _ = writeln!(page, "\ntopic {}: {}", topic.topic, topic.detail);
            for (name, value) in topic.lines() {
                let _ = writeln!(page, "  {name:<15} {value}");
            }
        }
        page
    }
}

const UNKNOWN: &str = "unknown";

impl TopicInspection {
    fn new(topic: String, seen: &Sighting) -> Self {
        let found = match seen.held {
            Held::Nothing => Self::of(UNKNOWN, "nothing is known of it"),
            Held::OtherType => Self::of("foreign", "its key holds a value that is no string: not ours"),
            Held::Unreadable { first, length } => {
                let first = first.map_or_else(String::new, |byte| format!(", the first one 0x{byte:02x}"));
                let what = "its key holds a value of another version, or not ours";
                Self::of("foreign", &format!("{what}: {length} bytes{first}"))
            }
            Held::Value(value) => Self::of_value(&value, seen.session_lives.unwrap_or(false)),
        };
        let keeps_ms = seen.keeps.map(|keeps| u64::try_from(keeps.as_millis()).unwrap_or(u64::MAX));
        Self { topic, keeps_ms, ..found }
    }

    fn of(state: &'static str, detail: &str) -> Self {
        Self { state, detail: detail.to_owned(), ..Self::default() }
    }

    fn of_value(value: &ClaimValue, lives: bool) -> Self {
        let (found, position, digest) = match *value {
            ClaimValue::Claimed { session, spent, in_doubt, position, digest } => {
                let fate = if lives {
                    "lives and works on it"
                } else {
                    "is gone: the next record of it takes it over, in doubt"
                };
                let mut found = Self::of("claimed", &format!("claimed by session {session}, which {fate}"));
                (found.session, found.session_lives) = (Some(session.to_string()), Some(lives));
                (found.spent(spent, in_doubt), position, digest)
            }
            ClaimValue::Released { spent, in_doubt, position, digest } => {
                let doubt = if in_doubt { ", in doubt: an attempt may have had its effect" } else { ", not in doubt" };
                (Self::of("released", &format!("released{doubt}")).spent(spent, in_doubt), position, digest)
            }
            ClaimValue::Done { position, digest } => (Self::of("done", "done: the effect happened"), position, digest),
            ClaimValue::Dead { position, digest, .. } => {
                (Self::of("dead", "dead: it stands on the dead-letter topic"), position, digest)
            }
        };
        found.stands(position, digest)
    }

    fn spent(mut self, spent: Spent, in_doubt: bool) -> Self {
        self.in_doubt = Some(in_doubt);
        (self.attempt, self.retries) = (Some(spent.attempt), Some(spent.retries));
        self.deadline = (spent.deadline.0 > 0).then(|| rfc3339(spent.deadline));
        self
    }

    fn stands(mut self, position: Position, digest: Digest) -> Self {
        (self.partition, self.offset) = (Some(position.partition), Some(position.offset.0));
        self.timestamp = u64::try_from(position.timestamp).ok().map(|millis| rfc3339(UnixMillis(millis)));
        self.digest = Some(digest.to_string());
        self
    }

    /// What there is to say beside the state.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let doubt = self.in_doubt.map(|doubt| if doubt { "yes" } else { "no" }.to_owned());
        let place = self.partition.zip(self.offset);
        let timestamp = self.timestamp.as_ref().map_or_else(String::new, |time| format!(", timestamp {time}"));
        let place = place.map(|(partition, offset)| format!("partition {partition}, offset {offset}{timestamp}"));
        let lines = [
            ("in doubt", doubt),
            ("attempt", self.attempt.map(|number| number.to_string())),
            ("retries spent", self.retries.map(|number| number.to_string())),
            ("last deadline", self.deadline.clone()),
            ("stands at", place),
            ("payload digest", self.digest.clone()),
            ("forgotten in", self.keeps_ms.map(|millis| words(Duration::from_millis(millis)))),
        ];
        lines.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A duration in its two largest units, seconds at the least.
fn words(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (size, unit) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
        if rest >= size || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claim::SessionId;
    use crate::domain::record::Offset;

    const POSITION: Position = Position { partition: 3, offset: Offset(12), timestamp: 0 };
    const DIGEST: Digest = Digest([0xd1; 16]);

    fn seen(held: Held, session_lives: Option<bool>) -> Sighting {
        Sighting { held, session_lives, keeps: Some(Duration::from_secs(90_061)) }
    }

    fn claimed(session_lives: bool) -> Sighting {
        let spent = Spent { attempt: 2, retries: 1, deadline: UnixMillis(951_782_400_000) };
        let (session, in_doubt) = (SessionId([0x5e; 16]), false);
        let value = ClaimValue::Claimed { session, spent, in_doubt, position: POSITION, digest: DIGEST };
        seen(Held::Value(value), Some(session_lives))
    }

    #[test]
    fn a_page_says_everything_that_is_known() {
        let topics = [("orders".to_owned(), claimed(true)), ("refunds".to_owned(), seen(Held::Nothing, None))];
        let inspection = Inspection::new("order%207", "billing", topics);
        let session = "5e".repeat(16);
        let digest = "d1".repeat(16);
        let expected = format!(
            "kafka-once inspect: order%207, namespace billing

topic orders: claimed by session {session}, which lives and works on it
  in doubt        no
  attempt         2
  retries spent   1
  last deadline   2000-02-29T00:00:00.000Z
  stands at       partition 3, offset 12, timestamp 1970-01-01T00:00:00.000Z
  payload digest  {digest}
  forgotten in    1d 1h

topic refunds: nothing is known of it
  forgotten in    1d 1h
"
        );
        assert_eq!(inspection.page(), expected);
        assert!(inspection.known);
    }

    #[test]
    fn each_state_has_its_word_and_its_sentence() {
        let spent = Spent::default();
        let released = |in_doubt| ClaimValue::Released { spent, in_doubt, position: POSITION, digest: DIGEST };
        let (done, dead) = (
            ClaimValue::Done { position: POSITION, digest: DIGEST },
            ClaimValue::Dead { attempt: 1, in_doubt: false, position: POSITION, digest: DIGEST },
        );
        for (sighting, state, words) in [
            (claimed(true), "claimed", "lives"),
            (claimed(false), "claimed", "is gone: the next record of it takes it over, in doubt"),
            (seen(Held::Value(released(true)), None), "released", "may have had its effect"),
            (seen(Held::Value(released(false)), None), "released", "not in doubt"),
            (seen(Held::Value(done), None), "done", "the effect happened"),
            (seen(Held::Value(dead), None), "dead", "dead-letter topic"),
            (seen(Held::Unreadable { first: Some(0x20), length: 7 }, None), "foreign", "7 bytes, the first one 0x20"),
            (seen(Held::Unreadable { first: None, length: 0 }, None), "foreign", "0 bytes"),
            (seen(Held::OtherType, None), "foreign", "no string"),
        ] {
            let found = Inspection::new("x", "n", [("t".to_owned(), sighting)]);
            let topic = &found.topics[0];
            assert!(found.known && topic.state == state && topic.detail.contains(words), "{topic:?}");
        }
        assert!(!Inspection::new("x", "n", [("t".to_owned(), seen(Held::Nothing, None))]).known);
    }

    #[test]
    fn the_fields_of_the_json_are_those_that_are_documented() {
        let json = serde_json::to_value(Inspection::new("x", "n", [("t".to_owned(), claimed(true))])).expect("json");
        let page = include_str!("../../docs/dead-letters.md");
        for name in [&json, &json["topics"][0]].iter().flat_map(|line| line.as_object().expect("an object").keys()) {
            assert!(page.contains(&format!("`{name}`")), "docs/dead-letters.md does not name {name}");
        }
    }
}
