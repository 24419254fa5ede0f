//! The client's callbacks: they run on the polling thread, inside of `poll`, and only note what happened.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::statistics::{self, Statistics};
use crate::domain::record::TopicPartition;

/// What a callback noted.
#[derive(Debug)]
pub(super) enum Event {
    /// The group gives us partitions, or wants them back; the client waits for our answer.
    Rebalance(Change),
    /// Statistics came.
    Statistics(Statistics),
    /// The client reports an error, with its text.
    Error(RDKafkaErrorCode, String),
}

/// A change of the assignment that the client waits for us to make.
#[derive(Debug)]
pub(super) struct Change {
    /// What the change is.
    pub kind: ChangeKind,
    /// The partitions given or wanted back.
    pub partitions: Vec<TopicPartition>,
    /// Whether the protocol replaces whole assignments instead of adding and taking away.
    pub eager: bool,
}

/// The kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// Partitions become ours.
    Assign,
    /// Partitions are wanted back.
    Revoke,
    /// Partitions are somebody else's already.
    Lost,
}

/// What the callbacks write to.
pub(super) struct Context {
    events: Mutex<Vec<Event>>,
    closing: AtomicBool,
    log_limit: Mutex<LogLimit>,
    _alive: Sender<Infallible>,
}

impl Context {
    /// `alive` is dropped with the client, after its threads have ended.
    pub(super) fn new(alive: Sender<Infallible>) -> Self {
        Self {
            _alive: alive,
            events: Mutex::default(),
            closing: AtomicBool::new(false),
            log_limit: Mutex::new(LogLimit::new(Instant::now())),
        }
    }

    /// What was noted since the last call. Bounded: asked at every turn of the loop that polls.
    pub(super) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.events))
    }

    /// From now on a rebalance is answered at once, inside of its callback: nobody turns the loop any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn note(&self, event: Event) {
        lock(&self.events).push(event);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            // A closing client takes every answer for "nothing is ours", whatever its protocol, but needs one.
            if let Err(error) = consumer.unassign() {
                tracing::debug!(target: "kafka", %error, "unassign while closing");
            }
            return;
        }
        let eager = !matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let assigns = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let kind = match assigns {
            true => ChangeKind::Assign,
            false if consumer.assignment_lost() => ChangeKind::Lost,
            false => ChangeKind::Revoke,
        };
        self.note(Event::Rebalance(Change { kind, partitions: partitions(list), eager }));
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match lock(&self.log_limit).admit(Instant::now()) {
            Admitted::No => {}
            Admitted::Yes { suppressed } => {
                if suppressed > 0 {
                    tracing::warn!(target: "kafka", suppressed, "client log lines left out");
                }
                log(level, facility, message);
            }
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        match statistics::read(json) {
            Ok(statistics) => self.note(Event::Statistics(statistics)),
            Err(error) => tracing::debug!(target: "kafka", %error, "statistics not understood"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        self.note(Event::Error(code, reason.to_owned()));
    }
}

/// The partitions of a list.
pub(super) fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    elements
        .iter()
        .map(|element| TopicPartition { topic: element.topic().into(), partition: element.partition() })
        .collect()
}

/// The client's levels are about the client; what an error means for records is judged elsewhere.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
            tracing::warn!(target: "kafka", facility, "{message}");
        }
        Level::Notice => tracing::info!(target: "kafka", facility, "{message}"),
        Level::Info => tracing::debug!(target: "kafka", facility, "{message}"),
        Level::Debug => tracing::trace!(target: "kafka", facility, "{message}"),
    }
}

/// A client without brokers logs each attempt of each connection: so many lines are let through in each period.
struct LogLimit {
    since: Instant,
    lines: u32,
    suppressed: u32,
}

enum Admitted {
    Yes { suppressed: u32 },
    No,
}

impl LogLimit {
    const LINES: u32 = 20;
    const PERIOD: Duration = Duration::from_secs(10);

    fn new(now: Instant) -> Self {
        Self { since: now, lines: 0, suppressed: 0 }
    }

    fn admit(&mut self, now: Instant) -> Admitted {
        let over = now.duration_since(self.since) >= Self::PERIOD;
        let suppressed = if over { self.suppressed } else { 0 };
        if over {
            *self = Self::new(now);
        }
        if self.lines == Self::LINES {
            self.suppressed = self.suppressed.saturating_add(1);
            return Admitted::No;
        }
        self.lines += 1;
        Admitted::Yes { suppressed }
    }
}

/// Nothing of ours panics while it holds such a lock, and what it guards is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_log_lines_is_cut_and_counted() {
        let start = Instant::now();
        let mut limit = LogLimit::new(start);
        let admitted = (0..50).filter(|_| matches!(limit.admit(start), Admitted::Yes { .. })).count();
        assert_eq!(admitted, LogLimit::LINES as usize);
        assert!(matches!(limit.admit(start + LogLimit::PERIOD), Admitted::Yes { suppressed: 30 }));
    }
}
