//! Every family of metrics by name, kind, labels and help: the one table that code and documentation are made from.

use std::fmt::Write as _;

use super::labels::RetryReason;
use crate::domain::reasons::{
    CommitResult, DeadLetterReason, DuplicateCause, HistoryExtent, LossCause, Outcome, PauseReason,
};
use crate::domain::verdict::Verdict;

/// What stands before every name.
pub const PREFIX: &str = "kafka_once_";

/// Prometheus' type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the process' start.
    Counter,
    /// A value now.
    Gauge,
    /// Observations in cumulative buckets, in seconds.
    Histogram,
}

impl Kind {
    /// The word after `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One label of a family.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Every value it can have; empty for topics, partitions and the version.
    pub words: fn() -> Vec<&'static str>,
}

/// One family of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name, without the prefix.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in the order of the values.
    pub labels: &'static [Label],
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl Family {
    /// The name as Prometheus sees it.
    pub fn full_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }
}

const TOPIC: Label = Label { name: "topic", words: Vec::new };
const PARTITION: Label = Label { name: "partition", words: Vec::new };
const VERSION: Label = Label { name: "version", words: Vec::new };

macro_rules! closed {
    ($($label:ident = $name:literal of $set:ident;)+) => {
        $(const $label: Label = Label { name: $name, words: || $set::ALL.iter().map(|word| word.as_str()).collect() };)+
    };
}
closed! {
    OUTCOME = "outcome" of Outcome;
    DUPLICATE_CAUSE = "cause" of DuplicateCause;
    LOSS_CAUSE = "cause" of LossCause;
    VERDICT = "verdict" of Verdict;
    RETRY_REASON = "reason" of RetryReason;
    DEAD_LETTER_REASON = "reason" of DeadLetterReason;
    PAUSE_REASON = "reason" of PauseReason;
    RESULT = "result" of CommitResult;
    EXTENT = "extent" of HistoryExtent;
}

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:ident),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $id: Family = Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )+

        /// Every family, in the order of the specification.
        pub const ALL: &[Family] = &[$($id),+];
    };
}
families! {
    RECEIVED = Counter "records_received_total" [TOPIC]
        "Records taken in: always the sum of settled, released and open ones.";
    SETTLED = Counter "records_settled_total" [TOPIC, OUTCOME]
        "Records that came to their end.";
    DUPLICATES = Counter "duplicates_total" [TOPIC, DUPLICATE_CAUSE]
        "Records settled as duplicates, by what made them one.";
    RELEASED = Counter "records_released_total" [TOPIC]
        "Records given back unsettled (revoke, drain); their next owner receives them again.";
    POSSIBLE_REPEATS = Counter "possible_repeats_total" [TOPIC]
        "Requests sent with Once-Delivery: possible-repeat.";
    OVERLAPS = Counter "overlaps_total" [TOPIC]
        "Records that two sessions had at the same time.";
    ID_REUSE = Counter "id_reuse_total" [TOPIC]
        "Records with the message ID of another one and another payload.";
    MISSING_ID = Counter "missing_id_total" [TOPIC]
        "Records in which no source of a message ID matched.";
    LOST = Counter "lost_records_total" [TOPIC, LOSS_CAUSE]
        "Records lost upstream, by who saw it; causes overlap, do not add them up.";
    SUSPECTED = Gauge "suspected_missing_records" [TOPIC]
        "Sequence numbers that are missing and may still arrive.";
    RECOVERED = Counter "recovered_records_total" [TOPIC]
        "Records that arrived after their sequence number was missing.";
    SEQUENCE_UNREADABLE = Counter "sequence_unreadable_total" [TOPIC]
        "Records whose sequence number cannot be read, or is nobody's.";
    PRODUCERS_FORGOTTEN = Counter "producers_forgotten_total" [TOPIC]
        "Producers whose sequence is not followed any more, because there were too many at once.";
    ATTEMPTS = Counter "attempts_total" [VERDICT]
        "Requests to the app, by the judgement on the answer.";
    RETRIES = Counter "retries_total" [TOPIC, RETRY_REASON]
        "Times a record was put back to wait for another request.";
    DEAD_LETTERS = Counter "dead_letters_total" [TOPIC, DEAD_LETTER_REASON]
        "Records settled on the dead-letter topic.";
    OPEN = Gauge "open_records" []
        "Records taken in and neither settled nor released.";
    IN_FLIGHT = Gauge "in_flight_requests" []
        "Requests to the app that wait for their answer.";
    IN_FLIGHT_LIMIT = Gauge "in_flight_limit" []
        "Requests to the app that may wait at once; adapts to the app.";
    HELD_BYTES = Gauge "held_bytes" []
        "Bytes of records held in memory.";
    LAG = Gauge "partition_lag" [TOPIC, PARTITION]
        "Offsets between low water and the log's end.";
    PAUSED = Gauge "partition_paused" [TOPIC, PARTITION, PAUSE_REASON]
        "1 while this reason holds the partition, or lanes of it.";
    CLAIM_SECONDS = Histogram "claim_seconds" []
        "From asking Redis for a claim to its answer.";
    FORWARD_SECONDS = Histogram "forward_seconds" []
        "From sending a request to the app to the judgement on its answer.";
    MARK_SECONDS = Histogram "mark_seconds" []
        "From an accepted answer to its mark being stored.";
    END_TO_END_SECONDS = Histogram "end_to_end_seconds" []
        "From a record's Kafka timestamp to its settlement.";
    COMMITS = Counter "commits_total" [RESULT]
        "Commit requests, by how they ended.";
    STORE_UP = Gauge "store_up" []
        "1 while Redis answers.";
    APP_UP = Gauge "app_up" []
        "1 while the app takes requests.";
    BROKER_UP = Gauge "broker_up" []
        "1 while a Kafka broker answers.";
    HISTORY_LOST = Counter "dedup_history_lost_total" [EXTENT]
        "Times Redis was seen to have lost its memory, or its last moments.";
    SESSIONS_STARTED = Counter "sessions_started_total" []
        "Sessions begun in Redis: one at the start, one more whenever a lease was lost.";
    SPANS_LOST = Counter "spans_lost_total" []
        "Spans that the collector did not take, or that found no room to wait for it.";
    BUILD_INFO = Gauge "build_info" [VERSION]
        "Always 1; the label says which build this is.";
}

/// The table of all metrics in Markdown, for the documentation.
pub fn markdown() -> String {
    let mut page = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for family in ALL {
        let labels: Vec<String> = family.labels.iter().map(label_text).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            family.full_name(),
            family.kind.as_str(),
            labels.join("; "),
            family.help
        );
    }
    page
}

fn label_text(label: &Label) -> String {
    let words = (label.words)();
    if words.is_empty() { label.name.to_owned() } else { format!("{} = {}", label.name, words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's table, section 9, word for word.
    const SPECIFIED: &[(&str, &str)] = &[
        ("records_received_total", "topic"),
        ("records_settled_total", "topic; outcome = delivered, duplicate, dead_lettered"),
        ("duplicates_total", "topic; cause = redelivery, producer, in_flight"),
        ("records_released_total", "topic"),
        ("possible_repeats_total", "topic"),
        ("overlaps_total", "topic"),
        ("id_reuse_total", "topic"),
        ("missing_id_total", "topic"),
        ("lost_records_total", "topic; cause = sequence, retention, truncation"),
        ("suspected_missing_records", "topic"),
        ("recovered_records_total", "topic"),
        // Not in the specification's table, but its section 7 wants both counted.
        ("sequence_unreadable_total", "topic"),
        ("producers_forgotten_total", "topic"),
        ("attempts_total", "verdict = accepted, refused, failed, overloaded, unavailable, unknown"),
        ("retries_total", "topic; reason = failed, overloaded, unavailable, unknown"),
        (
            "dead_letters_total",
            "topic; reason = refused, exhausted, missing_id, ambiguous_id, id_reuse, in_doubt, too_large, unreadable",
        ),
        ("open_records", ""),
        ("in_flight_requests", ""),
        ("in_flight_limit", ""),
        ("held_bytes", ""),
        ("partition_lag", "topic; partition"),
        (
            "partition_paused",
            "topic; partition; reason = app_unavailable, store_unavailable, bound, retry_blocked, \
             dead_letter_budget, dead_letter_failed, dead_letter_topic_unset, history_lost, loss, operator, draining",
        ),
        ("claim_seconds", ""),
        ("forward_seconds", ""),
        ("mark_seconds", ""),
        ("end_to_end_seconds", ""),
        ("commits_total", "result = ok, rebalancing, not_owner, failed"),
        ("store_up", ""),
        ("app_up", ""),
        ("broker_up", ""),
        ("dedup_history_lost_total", "extent = all, recent"),
        ("sessions_started_total", ""),
        // Not in the specification's table: tracing came later.
        ("spans_lost_total", ""),
        ("build_info", "version"),
    ];

    fn labels(family: &Family) -> String {
        family.labels.iter().map(label_text).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_catalog_is_the_specifications_table() {
        let ours: Vec<(&str, String)> = ALL.iter().map(|family| (family.name, labels(family))).collect();
        let theirs: Vec<(&str, String)> =
            SPECIFIED.iter().map(|(name, labels)| (*name, (*labels).to_owned())).collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_name_tells_its_type() {
        for family in ALL {
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            assert_eq!(family.name.ends_with("_seconds"), family.kind == Kind::Histogram, "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{}", family.name);
        }
    }

    #[test]
    fn the_markdown_table_has_a_row_for_each_family() {
        let page = markdown();
        assert_eq!(page.lines().count(), ALL.len() + 2);
        assert!(
            page.contains(
                "| `kafka_once_duplicates_total` | counter | topic; cause = redelivery, producer, in_flight | "
            )
        );
    }
}
