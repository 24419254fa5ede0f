//! Records that are given up: to the dead-letter topic, or, where there is none, in the way of their lane.

use std::sync::Arc;

use super::table::{Entry, Token};
use super::{Pipeline, Report};
use crate::domain::life::Event;
use crate::domain::reasons::{DeadLetterReason, PauseReason};
use crate::ports::{App, Claims, DeadLetter, DeadLetters};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    pub(super) fn dead_letter(&mut self, token: Token, reason: DeadLetterReason, attempts: u32, in_doubt: bool) {
        let (Some(entry), Some(letters)) = (self.table.get(token), &self.letters) else { return };
        let letter = DeadLetter {
            record: Arc::clone(&entry.record),
            reason,
            detail: detail(entry, reason),
            status: entry.status,
            attempts,
            in_doubt,
            id: entry.id.as_ref().map(|(_, wire)| wire.clone()),
            at: self.now.wall,
        };
        let (letters, reports, epoch) = (Arc::clone(letters), self.reports.0.clone(), entry.epoch);
        tokio::spawn(async move {
            let sent = letters.send(letter).await;
            let _ = reports.send(Report::Letter { token, epoch, sent }); // nobody listens: we are at the end
        });
    }

    pub(super) fn letter_answered(&mut self, token: Token, epoch: u32, sent: Result<(), String>) {
        let Some(entry) = self.table.get(token).filter(|entry| entry.epoch == epoch) else { return };
        let (home, position) = (entry.home, entry.record.position());
        match sent {
            Ok(()) => {
                self.unpause_home(home, PauseReason::DeadLetterFailed);
                self.live(token, Event::LetterSent);
            }
            Err(why) => {
                if let Some(unsaid) = self.repeats.may_say(("letter", "failed"), self.now.moment) {
                    tracing::error!(
                        topic = %entry.record.topic(),
                        partition = position.partition,
                        offset = position.offset.0,
                        error = %why,
                        unsaid,
                        "dead-letter topic does not take a record; its partition waits"
                    );
                }
                self.pause_home(home, PauseReason::DeadLetterFailed, why);
                self.live(token, Event::LetterFailed);
            }
        }
    }

    /// A record has ended on the dead-letter topic.
    pub(super) fn say_dead(&mut self, entry: &Entry, reason: DeadLetterReason) {
        if let Some(unsaid) = self.repeats.may_say(("dead", reason.as_str()), self.now.moment) {
            let position = entry.record.position();
            tracing::warn!(
                topic = %entry.record.topic(),
                partition = position.partition,
                offset = position.offset.0,
                id = entry.id.as_ref().map(|(_, wire)| &*wire.0),
                reason = reason.as_str(),
                detail = detail(entry, reason),
                unsaid,
                "record given up: it stands on the dead-letter topic"
            );
        }
    }

    pub(super) fn blocked(&mut self, token: Token, reason: DeadLetterReason) {
        let Some(entry) = self.table.get(token) else { return };
        let (home, position) = (entry.home, entry.record.position());
        let words = given_up(entry, reason);
        if self.letters.is_some() {
            return self.park(token, reason, &words);
        }
        if let Some(unsaid) = self.repeats.may_say(("blocked", reason.as_str()), self.now.moment) {
            tracing::error!(
                topic = %entry.record.topic(),
                partition = position.partition,
                offset = position.offset.0,
                reason = reason.as_str(),
                unsaid,
                "record blocks its lane: it must be dead-lettered and no topic is set"
            );
        }
        self.pause_home(home, PauseReason::DeadLetterTopicUnset, no_topic(&words, reason));
    }
}

/// Which record is given up, and what was wrong with it.
pub(super) fn given_up(entry: &Entry, reason: DeadLetterReason) -> String {
    format!(
        "offset {} of {}: {}",
        entry.record.position().offset.0,
        entry.record.topic_partition(),
        detail(entry, reason)
    )
}

/// Why a record that is given up stays where it is.
pub(super) fn no_topic(given_up: &str, reason: DeadLetterReason) -> String {
    format!(
        "{given_up}: it must be dead-lettered ({reason}) and ONCE_DEAD_LETTER_TOPIC is not set; it holds its lane, and \
         others go on until a bound is reached"
    )
}

/// What the dead-letter topic and the operator are told.
fn detail(entry: &Entry, reason: DeadLetterReason) -> String {
    if !entry.detail.is_empty() {
        return entry.detail.clone();
    }
    let words = match reason {
        DeadLetterReason::Refused => "the app refused it",
        DeadLetterReason::Exhausted => "its retries are spent",
        DeadLetterReason::MissingId => "no source of a message id matched",
        DeadLetterReason::AmbiguousId => "its message id header stands twice with different values",
        DeadLetterReason::IdReuse => "its message id was used before for another payload",
        DeadLetterReason::InDoubt => "an earlier attempt may have had its effect",
        DeadLetterReason::TooLarge => "it is too large",
        DeadLetterReason::Unreadable => "it cannot be read",
    };
    words.to_owned()
}
