//! What was sent back and what was not: the page, and what `--json` prints. The names of the fields are a promise
//! (docs/dead-letters.md).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::selection::Left;
use crate::cli::columns::Align::{Left as ToTheLeft, Right};
use crate::cli::columns::write;
use crate::domain::letter::Letter;
use crate::domain::percent::{is_visible, percent_encode};

/// Source positions that are listed; beyond it they are counted.
const MOST_LISTED: usize = 100;

/// Why a letter was not sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    SentBefore,
    Copy,
    DoneSince,
    InProgress,
    Foreign,
    NotOurs,
    Left(Left),
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub dead_letter_topic: String,
    pub namespace: String,
    /// Nothing was changed: `sent` is what would have been sent back.
    pub dry_run: bool,
    /// Whether the run has come to its end.
    pub complete: bool,
    /// Letters sent back.
    pub sent: u64,
    /// By source topic and reason.
    pub sent_by: Vec<SentLine>,
    /// Letters that an earlier run had sent back.
    pub sent_before: u64,
    /// Further copies of a letter that was sent back.
    pub copies: u64,
    /// Letters whose message was applied since.
    pub done_since: u64,
    /// Letters whose message is being worked on.
    pub in_progress: u64,
    /// Letters under whose message's key Redis holds what is not ours.
    pub foreign: u64,
    /// Letters whose value stands only at their source position.
    pub value_elsewhere: u64,
    /// Where, the first ones.
    pub value_elsewhere_at: Vec<PlaceLine>,
    /// Letters that their source topic does not take.
    pub topic_refuses: u64,
    /// Where they come from and why, the first ones.
    pub topic_refuses_at: Vec<PlaceLine>,
    /// Letters that the filters left out.
    pub not_asked: u64,
    /// Letters of topics that were not asked for.
    pub other_topic: u64,
    /// Letters of another namespace.
    pub other_namespace: u64,
    /// Records on the dead-letter topic that are no letters of ours.
    pub not_ours: u64,
    pub seconds: f64,
    #[serde(skip)]
    started: Instant,
    #[serde(skip)]
    by: BTreeMap<(String, String), u64>,
}

/// Letters of one source topic and reason that were sent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SentLine {
    pub topic: String,
    pub reason: String,
    pub letters: u64,
}

/// A source position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PlaceLine {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Kafka's words, where it said any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl PlaceLine {
    fn of(letter: &Letter, why: Option<String>) -> Self {
        Self { topic: letter.topic.clone(), partition: letter.partition, offset: letter.offset.0, why }
    }
}

impl Report {
    /// Of a run that has done nothing yet.
    pub(super) fn new(dead_letter_topic: &str, namespace: &str, dry_run: bool) -> Self {
        Self {
            dead_letter_topic: dead_letter_topic.to_owned(),
            namespace: namespace.to_owned(),
            dry_run,
            complete: false,
            sent: 0,
            sent_by: Vec::new(),
            sent_before: 0,
            copies: 0,
            done_since: 0,
            in_progress: 0,
            foreign: 0,
            value_elsewhere: 0,
            value_elsewhere_at: Vec::new(),
            topic_refuses: 0,
            topic_refuses_at: Vec::new(),
            not_asked: 0,
            other_topic: 0,
            other_namespace: 0,
            not_ours: 0,
            seconds: 0.0,
            started: Instant::now(),
            by: BTreeMap::new(),
        }
    }

    /// A letter was sent back.
    pub(super) fn sent(&mut self, letter: &Letter) {
        self.sent += 1;
        *self.by.entry((letter.topic.clone(), shown(&letter.reason))).or_default() += 1;
    }

    /// One was not.
    pub(super) fn keep(&mut self, kept: Kept) {
        let count = match kept {
            Kept::SentBefore => &mut self.sent_before,
            Kept::Copy => &mut self.copies,
            Kept::DoneSince => &mut self.done_since,
            Kept::InProgress => &mut self.in_progress,
            Kept::Foreign => &mut self.foreign,
            Kept::NotOurs => &mut self.not_ours,
            Kept::Left(Left::NotAsked) => &mut self.not_asked,
            Kept::Left(Left::OtherTopic) => &mut self.other_topic,
            Kept::Left(Left::OtherNamespace) => &mut self.other_namespace,
        };
        *count += 1;
    }

    /// One's value stands only where its record came from.
    pub(super) fn value_elsewhere(&mut self, letter: &Letter) {
        self.value_elsewhere += 1;
        if self.value_elsewhere_at.len() < MOST_LISTED {
            self.value_elsewhere_at.push(PlaceLine::of(letter, None));
        }
    }

    /// One's source topic does not take it.
    pub(super) fn topic_refuses(&mut self, letter: &Letter, why: String) {
        self.topic_refuses += 1;
        if self.topic_refuses_at.len() < MOST_LISTED {
            self.topic_refuses_at.push(PlaceLine::of(letter, Some(why)));
        }
    }

    /// The run has ended, at its end or before.
    pub(super) fn finished(mut self, complete: bool) -> Self {
        self.complete = complete;
        self.seconds = self.started.elapsed().as_secs_f64();
        let line = |((topic, reason), letters): (&(String, String), &u64)| SentLine {
            topic: topic.clone(),
            reason: reason.clone(),
            letters: *letters,
        };
        self.sent_by = self.by.iter().map(line).collect();
        self
    }

    /// As a person reads it.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        let dry = if self.dry_run { ", dry run: nothing is changed" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "kafka-once redrive: dead-letter topic {}, namespace {}{dry}\n",
            self.dead_letter_topic, self.namespace
        );
        if !self.sent_by.is_empty() {
            let row = |line: &SentLine| [line.topic.clone(), line.reason.clone(), line.letters.to_string()];
            let sent = if self.dry_run { "would be sent back" } else { "sent back" };
            let heads = [("source topic", ToTheLeft), ("reason", ToTheLeft), (sent, Right)];
            write(&mut page, heads, &self.sent_by.iter().map(row).collect::<Vec<_>>());
            let _ = writeln!(page);
        }
        if self.not_ours > 0 {
            let _ = writeln!(page, "{} on the topic no letter of ours", records(self.not_ours));
        }
        for (number, words) in self.remarks() {
            let _ = writeln!(page, "{} {words}", letters(number));
        }
        list(&mut page, &self.value_elsewhere_at);
        if self.topic_refuses > 0 {
            let words = "not sent back: the source topic does not take the record that stood at";
            let _ = writeln!(page, "{} {words}", letters(self.topic_refuses));
            list(&mut page, &self.topic_refuses_at);
        }
        let _ = writeln!(page, "{}", self.verdict());
        page
    }

    fn remarks(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let all = [
            (self.sent_before, "sent back by an earlier run"),
            (self.copies, "not sent back: copies of one that was"),
            (self.done_since, "not sent back: the message was applied since"),
            (self.in_progress, "not sent back: the message is being worked on, run again later"),
            (self.foreign, "not sent back: Redis holds what is not ours under the message's key"),
            (self.not_asked, "not asked for"),
            (self.other_topic, "of other source topics"),
            (self.other_namespace, "of other namespaces"),
            (self.value_elsewhere, "not sent back: the value is too large for the dead-letter topic, and stands at"),
        ];
        all.into_iter().filter(|(number, _)| *number > 0)
    }

    fn verdict(&self) -> String {
        let sent = match (self.sent, self.dry_run) {
            (1, false) => "1 letter was sent back".to_owned(),
            (sent, false) => format!("{sent} letters were sent back"),
            (1, true) => "1 letter would be sent back".to_owned(),
            (sent, true) => format!("{sent} letters would be sent back"),
        };
        let end = if self.complete { "." } else { "; then it ended before its end." };
        format!("{sent}{end} ({:.1} s)", self.seconds)
    }
}

fn list(page: &mut String, places: &[PlaceLine]) {
    for place in places {
        let why = place.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let _ = writeln!(page, "  topic {}, partition {}, offset {}{why}", place.topic, place.partition, place.offset);
    }
}

fn letters(number: u64) -> String {
    if number == 1 { "1 letter".to_owned() } else { format!("{number} letters") }
}

fn records(number: u64) -> String {
    if number == 1 { "1 record is".to_owned() } else { format!("{number} records are") }
}

/// A word from outside must not reach a terminal as it is.
fn shown(word: &str) -> String {
    percent_encode(word.as_bytes(), is_visible)
}
