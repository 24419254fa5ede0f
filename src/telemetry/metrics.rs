//! Every metric in one struct of verbs: whoever does something says so, and nobody else knows names or labels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, Registry, TEXT_FORMAT, TextEncoder};

use super::books::{Books, ProcessBook, Snapshot, TopicBook};
use super::catalog::{self, Family};
use super::exposition::BooksCollector;
use super::labels::RetryReason;
use crate::domain::reasons::{
    CommitResult, DeadLetterReason, DuplicateCause, HistoryExtent, LossCause, Outcome, PauseReason,
};
use crate::domain::record::{Topic, TopicPartition};
use crate::domain::verdict::Verdict;

/// The media type of [`Metrics::render`]: Prometheus' text format 0.0.4.
pub const METRICS_CONTENT_TYPE: &str = TEXT_FORMAT;

/// Bounds in seconds for one round trip to Redis.
const STORE_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Bounds in seconds for one request to the app; its timeout is 20 s unless set otherwise.
const FORWARD_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];
/// Bounds in seconds for a record's whole way, which includes backlogs.
const END_TO_END_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0];

/// A topic's place in the books: found once with [`Metrics::topic`], then used without hashing its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(usize);

/// What operators count. Shared by all threads; one short lock for each verb, so batch where records come in batches.
///
/// In every scrape: received = delivered + duplicate + dead-lettered + released + open. Open records are not counted
/// but derived in the same snapshot, so the sum cannot be seen half changed.
pub struct Metrics {
    books: Arc<Mutex<Books>>,
    registry: Registry,
    claim: Histogram,
    forward: Histogram,
    mark: Histogram,
    end_to_end: Histogram,
}

/// Locks the books. Every change to them is one addition or assignment: a thread that died leaves them whole.
pub(super) fn locked(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// All families at 0. Fails only if the catalog names one twice or malformed, which a test excludes.
    pub fn new() -> anyhow::Result<Self> {
        let books = Arc::new(Mutex::new(Books::default()));
        let registry = Registry::new();
        registry.register(Box::new(BooksCollector::new(Arc::clone(&books))?))?;
        let histogram = |family: &Family, buckets: &[f64]| -> prometheus::Result<Histogram> {
            let options = HistogramOpts::new(family.full_name(), family.help).buckets(buckets.to_vec());
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let claim = histogram(&catalog::CLAIM_SECONDS, STORE_BUCKETS)?;
        let forward = histogram(&catalog::FORWARD_SECONDS, FORWARD_BUCKETS)?;
        let mark = histogram(&catalog::MARK_SECONDS, STORE_BUCKETS)?;
        let end_to_end = histogram(&catalog::END_TO_END_SECONDS, END_TO_END_BUCKETS)?;
        Ok(Self { books, registry, claim, forward, mark, end_to_end })
    }

    /// The page `/metrics`: one consistent snapshot, as [`METRICS_CONTENT_TYPE`].
    pub fn render(&self) -> anyhow::Result<String> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }

    /// A topic's place; its series are present from this call on.
    pub fn topic(&self, topic: &Topic) -> TopicId {
        TopicId(locked(&self.books).place(topic))
    }

    /// A partition became ours: its series and its topic's are present from now on.
    pub fn assigned(&self, partition: &TopicPartition) {
        locked(&self.books).assign(partition);
    }

    /// A partition is gone: its gauges end, its topic's counters stay.
    pub fn unassigned(&self, partition: &TopicPartition) {
        locked(&self.books).unassign(partition);
    }

    // ---- the life of records ----

    /// Records were taken in; they are open from now on.
    pub fn received(&self, topic: TopicId, count: u64) {
        self.in_topic(topic, |book| book.received += count);
    }

    /// Records were accepted by the app and are settled.
    pub fn delivered(&self, topic: TopicId, count: u64) {
        self.in_topic(topic, |book| book.delivered += count);
    }

    /// A record is settled as a duplicate.
    pub fn duplicate(&self, topic: TopicId, cause: DuplicateCause) {
        self.in_topic(topic, |book| book.duplicates[cause as usize] += 1);
    }

    /// A record is settled on the dead-letter topic.
    pub fn dead_lettered(&self, topic: TopicId, reason: DeadLetterReason) {
        self.in_topic(topic, |book| book.dead_letters[reason as usize] += 1);
    }

    /// Open records were given back (revoke, drain).
    pub fn released(&self, topic: TopicId, count: u64) {
        self.in_topic(topic, |book| book.released += count);
    }

    // ---- doubt and loss ----

    /// A request was sent with `possible-repeat`.
    pub fn possible_repeat(&self, topic: TopicId) {
        self.in_topic(topic, |book| book.possible_repeats += 1);
    }

    /// Two sessions had the same record.
    pub fn overlap(&self, topic: TopicId) {
        self.in_topic(topic, |book| book.overlaps += 1);
    }

    /// A message ID came again with another payload, whatever follows from it.
    pub fn id_reuse(&self, topic: TopicId) {
        self.in_topic(topic, |book| book.id_reuse += 1);
    }

    /// A record has no message ID.
    pub fn missing_id(&self, topic: TopicId) {
        self.in_topic(topic, |book| book.missing_id += 1);
    }

    /// Records were lost upstream.
    pub fn lost(&self, topic: TopicId, cause: LossCause, count: u64) {
        self.in_topic(topic, |book| book.lost[cause as usize] += count);
    }

    /// How many sequence numbers are missing now and may still arrive; none in topics that are not named.
    pub fn suspected_missing(&self, now: &HashMap<TopicId, u64>) {
        let mut books = locked(&self.books);
        let mut place = 0;
        while let Some(book) = books.topic_at(place) {
            book.suspected = now.get(&TopicId(place)).copied().unwrap_or(0);
            place += 1;
        }
    }

    /// What should be a sequence number is none.
    pub fn sequence_unreadable(&self, topic: TopicId) {
        self.in_topic(topic, |book| book.sequence_unreadable += 1);
    }

    /// Producers are not followed any more: there were too many.
    pub fn producers_forgotten(&self, topic: TopicId, count: u64) {
        self.in_topic(topic, |book| book.producers_forgotten += count);
    }

    /// Records arrived after their numbers were missing.
    pub fn recovered(&self, topic: TopicId, count: u64) {
        self.in_topic(topic, |book| book.recovered += count);
    }

    // ---- the app ----

    /// A request was judged.
    pub fn attempt(&self, verdict: Verdict) {
        self.in_process(|book| book.attempts[verdict as usize] += 1);
    }

    /// A record waits for another request.
    pub fn retry(&self, topic: TopicId, reason: RetryReason) {
        self.in_topic(topic, |book| book.retries[reason as usize] += 1);
    }

    /// Requests that wait for their answer now.
    pub fn in_flight(&self, now: u64) {
        self.in_process(|book| book.in_flight = now);
    }

    /// Requests that may wait at once now.
    pub fn in_flight_limit(&self, now: u64) {
        self.in_process(|book| book.in_flight_limit = now);
    }

    /// Bytes of records held now.
    pub fn held_bytes(&self, now: u64) {
        self.in_process(|book| book.held_bytes = now);
    }

    /// Whether the app takes requests.
    pub fn app_up(&self, up: bool) {
        self.in_process(|book| book.app_up = up);
    }

    // ---- the log ----

    /// Offsets between low water and the log's end; nothing for a partition that is not assigned.
    pub fn lag(&self, partition: &TopicPartition, offsets: u64) {
        if let Some(book) = locked(&self.books).partition(partition) {
            book.lag = offsets;
        }
    }

    /// Whether intake of a partition is paused for this reason; nothing for a partition that is not assigned.
    pub fn paused(&self, partition: &TopicPartition, reason: PauseReason, paused: bool) {
        if let Some(book) = locked(&self.books).partition(partition) {
            book.paused[reason as usize] = paused;
        }
    }

    /// A commit request ended.
    pub fn commit(&self, result: CommitResult) {
        self.in_process(|book| book.commits[result as usize] += 1);
    }

    /// Whether a broker answers.
    pub fn broker_up(&self, up: bool) {
        self.in_process(|book| book.broker_up = up);
    }

    // ---- the store ----

    /// Whether Redis answers.
    pub fn store_up(&self, up: bool) {
        self.in_process(|book| book.store_up = up);
    }

    /// Redis was seen to have lost memory.
    pub fn history_lost(&self, extent: HistoryExtent) {
        self.in_process(|book| book.history_lost[extent as usize] += 1);
    }

    /// A session began in Redis.
    pub fn session_started(&self) {
        self.in_process(|book| book.sessions_started += 1);
    }

    // ---- the collector of spans ----

    /// Spans will never reach the collector.
    pub fn spans_lost(&self, count: u64) {
        self.in_process(|book| book.spans_lost += count);
    }

    // ---- how long things took (lock-free, about 10 ns each) ----

    /// A claim was answered.
    pub fn claim_took(&self, time: Duration) {
        self.claim.observe(time.as_secs_f64());
    }

    /// A request was judged.
    pub fn forward_took(&self, time: Duration) {
        self.forward.observe(time.as_secs_f64());
    }

    /// A mark was stored.
    pub fn mark_took(&self, time: Duration) {
        self.mark.observe(time.as_secs_f64());
    }

    /// A record was settled so long after its Kafka timestamp.
    pub fn end_to_end(&self, time: Duration) {
        self.end_to_end.observe(time.as_secs_f64());
    }

    // ---- reading, for the demo's table and for tests ----

    /// Records taken in, of all topics.
    pub fn received_sum(&self) -> u64 {
        self.snapshot().topics.iter().map(|(_, book)| book.received).sum()
    }

    /// Records that ended so, of all topics.
    pub fn settled_sum(&self, outcome: Outcome) -> u64 {
        self.snapshot().topics.iter().map(|(_, book)| book.settled(outcome)).sum()
    }

    /// Records given back, of all topics.
    pub fn released_sum(&self) -> u64 {
        self.snapshot().topics.iter().map(|(_, book)| book.released).sum()
    }

    /// Requests sent with `possible-repeat`, of all topics.
    pub fn possible_repeats_sum(&self) -> u64 {
        self.snapshot().topics.iter().map(|(_, book)| book.possible_repeats).sum()
    }

    /// Records lost upstream for this cause, of all topics.
    pub fn lost_sum(&self, cause: LossCause) -> u64 {
        self.snapshot().topics.iter().map(|(_, book)| book.lost[cause as usize]).sum()
    }

    /// Open records of all topics; below zero only by a defect.
    pub fn open(&self) -> i64 {
        self.snapshot().open()
    }

    fn snapshot(&self) -> Snapshot {
        locked(&self.books).snapshot()
    }

    fn in_topic(&self, topic: TopicId, change: impl FnOnce(&mut TopicBook)) {
        if let Some(book) = locked(&self.books).topic_at(topic.0) {
            change(book);
        }
    }

    fn in_process(&self, change: impl FnOnce(&mut ProcessBook)) {
        change(&mut locked(&self.books).process);
    }
}

#[cfg(test)]
mod tests;
