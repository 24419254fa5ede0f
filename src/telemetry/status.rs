//! The pages `/status` and `/gaps`: what they hold, and the board from which the admin server reads them.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Serialize, Serializer};

use super::rfc3339;
use crate::domain::reasons::PauseReason;
use crate::domain::record::Topic;
use crate::domain::time::UnixMillis;

/// The most gaps that one page of `/gaps` lists; `more` counts the rest.
pub const GAPS_OF_A_PAGE: usize = 1000;
/// The most gaps that all pages list together.
pub const MOST_GAPS: usize = 10_000;
/// The most incidents that are kept, the newest last.
pub const MOST_INCIDENTS: usize = 100;

/// What the process is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Settings are good; a neighbour may still be waited for.
    #[default]
    Starting,
    /// Taking records.
    Running,
    /// Intake of everything is paused.
    Paused,
    /// Drained, or about to be.
    Draining,
}

/// The page `/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The build.
    pub version: &'static str,
    /// This process' session in Redis, in hex; none before the first and while one is lost.
    pub session: Option<String>,
    /// The history that Redis shows now.
    pub history_id: Option<String>,
    /// What the process is doing.
    pub state: State,
    /// Every pause with its reason.
    pub pauses: Vec<Pause>,
    /// Every assigned partition.
    pub partitions: Vec<PartitionStatus>,
    /// The lanes of all partitions in sum.
    pub lanes: Lanes,
    /// Losses and other things worth a look, at most [`MOST_INCIDENTS`], the newest last.
    pub incidents: Vec<Incident>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            session: None,
            history_id: None,
            state: State::default(),
            pauses: Vec::new(),
            partitions: Vec::new(),
            lanes: Lanes::default(),
            incidents: Vec::new(),
        }
    }
}

/// Why intake is paused, of one partition or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// The word that metrics and logs use too.
    #[serde(serialize_with = "reason")]
    pub reason: PauseReason,
    /// The topic, where it is one partition's.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_topic")]
    pub topic: Option<Topic>,
    /// The partition, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Since when.
    #[serde(serialize_with = "time")]
    pub since: UnixMillis,
    /// What to know or do, in words, without secrets.
    pub detail: String,
}

/// One assigned partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Its topic.
    #[serde(serialize_with = "topic")]
    pub topic: Topic,
    /// Its number.
    pub partition: i32,
    /// The next offset as last acknowledged by the broker.
    pub committed: Option<i64>,
    /// The next offset that may be committed.
    pub low_water: i64,
    /// Where the log ends, as far as known.
    pub end: Option<i64>,
    /// Offsets between low water and end.
    pub lag: Option<u64>,
    /// Records taken in and not settled.
    pub open: u64,
}

/// Lanes of all partitions, in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lanes {
    /// Lanes with a record at work.
    pub busy: u64,
    /// Records that wait behind another one of their lane.
    pub waiting: u64,
    /// Records that wait for a retry.
    pub retrying: u64,
}

/// Something that happened and is worth a look: a loss, a truncation, a forgotten history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// The word that metrics and logs use too, such as `truncation`.
    pub what: &'static str,
    /// The topic, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_topic")]
    pub topic: Option<Topic>,
    /// The partition, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// When it was seen.
    #[serde(serialize_with = "time")]
    pub at: UnixMillis,
    /// What exactly, in words.
    pub detail: String,
}

/// The page `/gaps`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Gaps {
    /// Open gaps, at most [`MOST_GAPS`], by topic, partition, producer and number.
    pub gaps: Vec<Gap>,
    /// How many more there are.
    pub more: u64,
}

impl Gaps {
    /// One page: `limit` gaps (at most [`GAPS_OF_A_PAGE`]) behind the first `skip` ones.
    #[must_use]
    pub fn page(&self, skip: usize, limit: usize) -> Self {
        let rest = self.gaps.get(skip..).unwrap_or_default();
        let gaps = rest[..rest.len().min(limit).min(GAPS_OF_A_PAGE)].to_vec();
        Self { more: self.more + (rest.len() - gaps.len()) as u64, gaps }
    }
}

/// Sequence numbers of one producer that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The topic.
    #[serde(serialize_with = "topic")]
    pub topic: Topic,
    /// The partition's number.
    pub partition: i32,
    /// The producer's ID, percent-encoded.
    pub producer: String,
    /// The first missing number.
    pub first: u64,
    /// The last missing number.
    pub last: u64,
    /// How many between the two are missing.
    pub missing: u64,
    /// Whether they may still arrive.
    pub state: GapState,
    /// The offset of the record before the gap, where known.
    pub before_offset: Option<i64>,
    /// The offset of the record behind the gap.
    pub after_offset: Option<i64>,
    /// When the gap was seen.
    #[serde(serialize_with = "time")]
    pub since: UnixMillis,
}

/// What is thought of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapState {
    /// It may still be filled.
    Suspected,
    /// `ONCE_GAP_GRACE` has passed.
    Lost,
}

impl GapState {
    /// The word that stands on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspected => "suspected",
            Self::Lost => "lost",
        }
    }
}

/// The latest pages. The pipeline puts them up, the admin server reads them; neither waits for the other's work:
/// the locks are held for a change of pointers only.
#[derive(Debug, Default)]
pub struct StatusBoard {
    status: Mutex<Arc<Status>>,
    gaps: Mutex<Arc<Gaps>>,
}

impl StatusBoard {
    /// Puts up a new `/status`.
    pub fn publish(&self, status: Status) {
        replace(&self.status, status);
    }

    /// Puts up a new `/gaps`.
    pub fn publish_gaps(&self, gaps: Gaps) {
        replace(&self.gaps, gaps);
    }

    /// The latest `/status`.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The latest `/gaps`.
    pub fn gaps(&self) -> Arc<Gaps> {
        Arc::clone(&self.gaps.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn replace<T>(place: &Mutex<Arc<T>>, page: T) {
    let page = Arc::new(page);
    let old = std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), page);
    drop(old); // after the lock is free again
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn time<S: Serializer>(time: &UnixMillis, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*time))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn reason<S: Serializer>(reason: &PauseReason, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(reason.as_str())
}

fn topic<S: Serializer>(topic: &Topic, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(topic)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn optional_topic<S: Serializer>(topic: &Option<Topic>, to: S) -> Result<S::Ok, S::Error> {
    topic.as_deref().serialize(to)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page() -> Status {
        let pause = |topic: Option<&str>, partition| Pause {
            reason: PauseReason::StoreUnavailable,
            topic: topic.map(Topic::from),
            partition,
            since: UnixMillis(1_767_225_600_000),
            detail: "redis is away: timed out".to_owned(),
        };
        Status {
            session: Some("0f".repeat(16)),
            history_id: Some("aa:bb".to_owned()),
            state: State::Paused,
            pauses: vec![pause(None, None), pause(Some("orders"), Some(3))],
            partitions: vec![PartitionStatus {
                topic: Topic::from("orders"),
                partition: 3,
                committed: None,
                low_water: 7,
                end: Some(9),
                lag: Some(2),
                open: 1,
            }],
            ..Status::default()
        }
    }

    #[test]
    fn status_holds_the_specified_fields() {
        let since = "2026-01-01T00:00:00.000Z";
        let detail = "redis is away: timed out";
        assert_eq!(
            serde_json::to_value(page()).expect("json"),
            json!({
                "version": env!("CARGO_PKG_VERSION"), "session": "0f".repeat(16), "history_id": "aa:bb",
                "state": "paused",
                "pauses": [
                    {"reason": "store_unavailable", "since": since, "detail": detail},
                    {"reason": "store_unavailable", "topic": "orders", "partition": 3, "since": since, "detail": detail},
                ],
                "partitions": [{"topic": "orders", "partition": 3, "committed": null, "low_water": 7, "end": 9,
                    "lag": 2, "open": 1}],
                "lanes": {"busy": 0, "waiting": 0, "retrying": 0},
                "incidents": [],
            })
        );
    }

    #[test]
    fn gaps_hold_the_specified_fields() {
        let gap = Gap {
            topic: Topic::from("orders"),
            partition: 0,
            producer: "p1".to_owned(),
            first: 5,
            last: 9,
            missing: 4,
            state: GapState::Suspected,
            before_offset: Some(4),
            after_offset: Some(5),
            since: UnixMillis(0),
        };
        assert_eq!(
            serde_json::to_value(Gaps { gaps: vec![gap], more: 2 }).expect("json"),
            json!({"gaps": [{"topic": "orders", "partition": 0, "producer": "p1", "first": 5, "last": 9, "missing": 4,
                "state": "suspected", "before_offset": 4, "after_offset": 5, "since": "1970-01-01T00:00:00.000Z"}],
                "more": 2})
        );
    }

    #[test]
    fn pages_of_gaps_follow_each_other_and_count_what_comes_behind() {
        let gap = |first| Gap {
            topic: Topic::from("t"),
            partition: 0,
            producer: "p".to_owned(),
            first,
            last: first,
            missing: 1,
            state: GapState::Lost,
            before_offset: None,
            after_offset: None,
            since: UnixMillis(0),
        };
        let all = Gaps { gaps: (0..1_500).map(gap).collect(), more: 7 };
        let table = [
            ((0, usize::MAX), (0..1_000, 507)),
            ((1_000, usize::MAX), (1_000..1_500, 7)),
            ((10, 5), (10..15, 1_492)),
            ((1_500, 1), (0..0, 7)),
            ((usize::MAX, 1), (0..0, 7)),
        ];
        for ((skip, limit), (numbers, more)) in table {
            let page = all.page(skip, limit);
            assert_eq!(page.gaps.iter().map(|gap| gap.first).collect::<Vec<_>>(), numbers.collect::<Vec<_>>());
            assert_eq!(page.more, more, "skip {skip} limit {limit}");
        }
    }

    #[test]
    fn the_board_shows_the_latest_page_and_leaves_an_older_reader_its_own() {
        let board = StatusBoard::default();
        let before = board.status();
        board.publish(page());
        assert_eq!((before.state, board.status().state), (State::Starting, State::Paused));
        board.publish_gaps(Gaps { gaps: Vec::new(), more: 1 });
        assert_eq!(board.gaps().more, 1);
    }
}
