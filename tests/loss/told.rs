//! What sidecars told of losses: log lines, counters, `/gaps`, `/status`.

use serde_json::Value;

pub use crate::support::load::stop;
use crate::support::scene::{PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{Record, Sidecar};

/// Suspicion is short, commits are frequent, and dead processes are noticed soon.
pub const QUICK: [(&str, &str); 5] = [
    ("ONCE_GAP_GRACE", "1s"),
    ("ONCE_COMMIT_INTERVAL", "100ms"),
    ("ONCE_LEASE", "3s"),
    ("ONCE_APP_TIMEOUT", "2s"),
    ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "6000"),
];

/// These settings and more.
pub fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    QUICK.iter().chain(more).copied().collect()
}

/// One range that was told as lost: producer, first, last.
pub type Range = (String, u64, u64);

/// A numbered message of a producer, with an ID of its own.
pub fn numbered(topic: &str, producer: &str, number: u64) -> Record {
    Record::new(topic, format!("{producer} {number}"))
        .partition(0)
        .id(format!("{producer}-{number}"))
        .header("producer-id", producer)
        .header("sequence", number.to_string())
}

/// Messages of a producer with these numbers.
pub fn run(topic: &str, producer: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Record> {
    numbers.into_iter().map(|number| numbered(topic, producer, number)).collect()
}

/// The log lines of these sidecars that say `message`, as JSON.
pub fn said(sidecars: &[&Sidecar], message: &str) -> Vec<Value> {
    let lines = sidecars.iter().flat_map(|sidecar| sidecar.log().lines());
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|said| said.starts_with(message))).collect()
}

/// Every range that was told as lost, in order.
pub fn lost_ranges(sidecars: &[&Sidecar]) -> Vec<Range> {
    let told = said(sidecars, "records lost: these sequence numbers");
    let mut ranges: Vec<Range> = told
        .iter()
        .map(|line| {
            let number = |field: &str| line[field].as_u64().unwrap_or_else(|| panic!("{field} in {line}"));
            let range = (line["producer"].as_str().expect("a producer").to_owned(), number("first"), number("last"));
            assert_eq!(number("missing"), range.2 - range.1 + 1, "{line}");
            range
        })
        .collect();
    ranges.sort_unstable();
    ranges
}

/// A range.
pub fn range(producer: &str, first: u64, last: u64) -> Range {
    (producer.to_owned(), first, last)
}

/// Waits until these sidecars have told so many ranges.
pub fn await_lost(sidecar: &Sidecar, missing: u64) {
    let counted = |metrics: &Metrics| lost(metrics, "sequence") >= missing;
    sidecar.await_metrics(PATIENCE, counted).expect("losses are counted");
}

/// `lost_records_total` of one cause.
pub fn lost(metrics: &Metrics, cause: &str) -> u64 {
    whole(metrics.sum("kafka_once_lost_records_total", &[("cause", cause)]))
}

/// A counter.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts of a test
pub fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// `/gaps` as producer, first, last and state.
pub fn gaps(sidecar: &Sidecar) -> Vec<(String, u64, u64, String)> {
    let page: Value = serde_json::from_str(&sidecar.get("/gaps").expect("a page").body).expect("JSON");
    let gaps = page["gaps"].as_array().expect("a list").iter();
    gaps.map(|gap| {
        let number = |field: &str| gap[field].as_u64().expect("a number");
        let word = |field: &str| gap[field].as_str().expect("a word").to_owned();
        (word("producer"), number("first"), number("last"), word("state"))
    })
    .collect()
}

/// What `/status` says of incidents: cause and words.
pub fn incidents(sidecar: &Sidecar) -> Vec<(String, String)> {
    let page: Value = serde_json::from_str(&sidecar.get("/status").expect("a page").body).expect("JSON");
    let word = |incident: &Value, field: &str| incident[field].as_str().expect("a word").to_owned();
    let incidents = page["incidents"].as_array().expect("a list").iter();
    incidents.map(|incident| (word(incident, "what"), word(incident, "detail"))).collect()
}

/// Waits until everything that was produced so far is applied and committed.
pub fn await_all(scene: &Scene, effects: usize) {
    scene.await_applied(effects);
    scene.await_committed();
}
