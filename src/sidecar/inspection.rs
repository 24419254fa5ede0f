//! What is asked about one message, and where to look for it: the same for `kafka-once inspect` and `GET /inspect`.

use crate::adapters::claims::Inspector;
use crate::adapters::claims::memory::Memory;
use crate::domain::identity::{LONGEST_ID, MessageId, WireId};
use crate::pipeline::id_hash;
use crate::settings::{Reach, Topics};
use crate::telemetry::inspection::{InspectError, Inspection};

use super::neighbours::redis_config;

/// Answers questions about messages.
pub struct Inspecting {
    inspector: Inspector,
    namespace: String,
    topics: Option<Topics>,
}

impl Inspecting {
    /// Looks into the Redis of the settings; `None`: their store is a process' memory.
    pub fn redis(reach: &Reach, namespace: &str, topics: Option<Topics>) -> Option<Self> {
        let inspector = Inspector::redis(redis_config(reach, namespace)?);
        Some(Self { inspector, namespace: namespace.to_owned(), topics })
    }

    /// Looks into a store in this process' memory.
    pub fn memory(memory: Memory, namespace: &str, topics: Option<Topics>) -> Self {
        Self { inspector: Inspector::memory(memory), namespace: namespace.to_owned(), topics }
    }

    /// What is known of a message, by its ID in wire form, in that topic or in each of the settings.
    /// Waits for a connection and then for the answers, each at most the timeout of the store.
    ///
    /// # Errors
    /// See [`InspectError`].
    pub async fn ask(&self, id: &str, topic: Option<&str>) -> Result<Inspection, InspectError> {
        let id = message_id(id)?;
        let topics = places(&id, topic, self.topics.as_ref())?;
        let hashes: Vec<_> = topics.iter().map(|topic| id_hash(&self.namespace, topic, &id)).collect();
        let seen = self.inspector.look(&hashes).await.map_err(|error| InspectError::Store(error.to_string()))?;
        Ok(Inspection::new(WireId::of(&id).as_str(), &self.namespace, topics.into_iter().zip(seen)))
    }
}

/// Reads an ID in its wire form.
///
/// # Errors
/// It is none, or longer than any message's.
pub fn message_id(id: &str) -> Result<MessageId, InspectError> {
    let question = |why: String| Err(InspectError::Question(why));
    match WireId::parse(id) {
        None if id.is_empty() => question("an ID is needed: write it as in Idempotency-Key".to_owned()),
        None => question("this is no message ID: write it as in Idempotency-Key, % as %25".to_owned()),
        Some(id) if id.is_too_long() => {
            question(format!("no message has such an ID: it is longer than {LONGEST_ID} bytes"))
        }
        Some(id) => Ok(id),
    }
}

/// The topics to look in. An ID that was made from the position names its own.
fn places(id: &MessageId, topic: Option<&str>, topics: Option<&Topics>) -> Result<Vec<String>, InspectError> {
    let question = |why: String| Err(InspectError::Question(why));
    match (id, topic, topics) {
        (MessageId::Position(own, _), Some(asked), _) if &**own != asked => {
            question(format!("this ID was made from a position in topic {own}, and cannot stand in topic {asked}"))
        }
        (MessageId::Position(own, _), ..) => Ok(vec![own.to_string()]),
        (_, Some(topic), _) => Ok(vec![topic.to_owned()]),
        (_, None, Some(Topics::List(names))) => Ok(names.clone()),
        (_, None, Some(Topics::Pattern(pattern))) => {
            question(format!("which topic? ONCE_KAFKA_TOPICS is a pattern ({pattern}): name one (--topic T, ?topic=T)"))
        }
        (_, None, None) => question("which topic? name it by --topic, or set ONCE_KAFKA_TOPICS".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: &str, topic: Option<&str>, topics: Option<&Topics>) -> Result<Vec<String>, String> {
        places(&message_id(id).map_err(|error| error.to_string())?, topic, topics).map_err(|error| error.to_string())
    }

    #[test]
    fn a_message_is_looked_for_in_the_topic_asked_for_or_in_each_of_the_settings() {
        let list = Topics::List(vec!["a".to_owned(), "b".to_owned()]);
        let own = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(asked("x", None, Some(&list)), own(&["a", "b"]));
        assert_eq!(asked("x", Some("c"), Some(&list)), own(&["c"]));
        assert_eq!(asked("x", Some("c"), None), own(&["c"]));
        assert_eq!(asked("position:c/0/1/2", None, Some(&list)), own(&["c"]));
    }

    #[test]
    fn a_question_that_makes_no_sense_is_answered_by_a_sentence() {
        let pattern = Topics::Pattern("^orders".to_owned());
        let long = "x".repeat(LONGEST_ID + 1);
        for (id, topic, topics, words) in [
            ("", None, None, "an ID is needed"),
            ("%4", None, None, "no message ID"),
            ("ce:only-a-source", None, None, "no message ID"),
            (long.as_str(), Some("a"), None, "longer than 1024"),
            ("x", None, Some(&pattern), "is a pattern (^orders)"),
            ("x", None, None, "set ONCE_KAFKA_TOPICS"),
            ("position:c/0/1/2", Some("a"), None, "cannot stand in topic a"),
        ] {
            let said = asked(id, topic, topics).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
    }
}
