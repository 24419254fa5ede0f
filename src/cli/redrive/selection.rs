//! Which letters are asked for.

use super::RedriveArguments;
use super::trouble::Trouble;
use crate::cli::times::When;
use crate::domain::identity::MessageId;
use crate::domain::letter::Letter;
use crate::domain::reasons::DeadLetterReason;
use crate::domain::time::UnixMillis;
use crate::settings::{RedriveSettings, Topics};

/// Why a letter stays that could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its record comes from a topic that is not ours, or not asked for.
    OtherTopic,
    /// Another namespace's sidecars wrote it.
    OtherNamespace,
    /// By reason, ID or time.
    NotAsked,
}

/// What is asked for.
pub(super) struct Selection {
    namespace: String,
    topics: Topics,
    reasons: Vec<DeadLetterReason>,
    ids: Vec<MessageId>,
    since: Option<UnixMillis>,
}

impl Selection {
    /// From the command line and the settings.
    pub(super) fn new(
        arguments: &RedriveArguments,
        settings: &RedriveSettings,
        now: UnixMillis,
    ) -> Result<Self, Trouble> {
        let topics = match (&arguments.topic, &settings.topics) {
            (Some(topic), _) => Topics::List(vec![topic.clone()]),
            (None, Some(topics)) => topics.clone(),
            (None, None) => return Err(Trouble::before("whose letters? set ONCE_KAFKA_TOPICS, or say --topic")),
        };
        Ok(Self {
            namespace: settings.namespace.clone(),
            topics,
            reasons: arguments.reasons.clone(),
            ids: arguments.ids.clone(),
            since: arguments.since.map(|since| since.seen_from(now)),
        })
    }

    /// Whether a letter is asked for; if not, why it stays.
    pub(super) fn judge(&self, letter: &Letter) -> Result<(), Left> {
        if letter.namespace.as_ref().is_some_and(|namespace| *namespace != self.namespace) {
            return Err(Left::OtherNamespace);
        }
        if !self.topics.contains(&letter.topic) {
            return Err(Left::OtherTopic);
        }
        let reason = self.reasons.is_empty() || self.reasons.iter().any(|reason| reason.as_str() == letter.reason);
        let id = self.ids.is_empty() || letter.id.as_ref().is_some_and(|id| self.ids.contains(id));
        let time = self.since.is_none_or(|since| written(&letter.at).is_some_and(|at| at >= since));
        if reason && id && time { Ok(()) } else { Err(Left::NotAsked) }
    }
}

/// `once-at`; `None`: it is no time.
fn written(at: &str) -> Option<UnixMillis> {
    match When::parse(at) {
        Ok(When::At(time)) => Some(time),
        _ => None,
    }
}
