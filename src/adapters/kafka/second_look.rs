//! A topic that nobody knows at the start is misspelt, unless it was made a moment ago and the broker that was asked has
//! not heard of it yet: it is asked for once more.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};

use super::config::KafkaConfig;
use super::consumer::{Polling, subscribe};
use super::context::Context;

/// How long a new topic may take to become known to every broker.
const WAIT: Duration = Duration::from_secs(5);
/// Bound of one answer of a broker.
const ANSWER: Duration = Duration::from_secs(5);

/// What is done about topics that a broker did not know at the start.
#[derive(Debug, Default)]
pub(super) enum SecondLook {
    /// All were known so far.
    #[default]
    NotNeeded,
    /// They are asked for once more, on a thread of its own.
    UnderWay(Receiver<Vec<String>>),
    /// They were.
    Over,
}

impl SecondLook {
    /// Waits and asks again, until there is an answer or nobody waits for it any more.
    pub(super) fn start(consumer: &Arc<BaseConsumer<Context>>, config: &Arc<KafkaConfig>) -> std::io::Result<Self> {
        let (sender, answer) = sync_channel(1);
        let (consumer, config) = (Arc::downgrade(consumer), Arc::clone(config));
        std::thread::Builder::new().name("kafka-topics".into()).spawn(move || {
            loop {
                std::thread::sleep(WAIT);
                let Some(consumer) = consumer.upgrade() else { return };
                match unknown(&consumer, &config.topics) {
                    Ok(unknown) => {
                        // A dropped receiver: nobody asks any more.
                        let _ = sender.send(unknown);
                        return;
                    }
                    Err(error) => tracing::debug!(target: "kafka", %error, "topics cannot be asked for"),
                }
            }
        })?;
        Ok(Self::UnderWay(answer))
    }

    /// The topics that nobody knows, once, when that is known.
    pub(super) fn answer(&mut self) -> Option<Vec<String>> {
        let Self::UnderWay(answer) = self else { return None };
        let unknown = answer.try_recv().ok()?;
        *self = Self::Over;
        Some(unknown)
    }
}

impl<P: Fn() + Send> Polling<P> {
    /// At the start a topic that nobody knows is misspelt, or very new.
    pub(super) fn unknown_topic(&mut self, reason: &str) {
        if !matches!(self.second_look, SecondLook::NotNeeded) {
            return;
        }
        tracing::warn!(target: "kafka", reason, "topic not known; asked for once more in {WAIT:?}");
        self.consumer.unsubscribe();
        match SecondLook::start(&self.consumer, &self.config) {
            Ok(look) => self.second_look = look,
            Err(error) => self.fatal(&format!("cannot start a thread: {error}")),
        }
    }

    pub(super) fn look_twice(&mut self) {
        let Some(unknown) = self.second_look.answer() else { return };
        if !unknown.is_empty() {
            return self.refused(&format!("no broker knows the topic {}: check ONCE_KAFKA_TOPICS", unknown.join(", ")));
        }
        if let Err(error) = subscribe(&self.consumer, &self.config) {
            self.fatal(&format!("cannot subscribe again: {error}"));
        }
    }
}

/// Those of a list that no broker knows. What a pattern matches need not be there.
fn unknown(consumer: &BaseConsumer<Context>, topics: &[String]) -> KafkaResult<Vec<String>> {
    let mut unknown = Vec::new();
    for name in topics.iter().filter(|name| !name.starts_with('^')) {
        let metadata = consumer.fetch_metadata(Some(name), ANSWER)?;
        let errors = metadata.topics().iter().filter_map(|topic| topic.error().map(RDKafkaErrorCode::from));
        if errors.into_iter().any(|code| code == RDKafkaErrorCode::UnknownTopicOrPartition) {
            unknown.push(name.clone());
        }
    }
    Ok(unknown)
}
