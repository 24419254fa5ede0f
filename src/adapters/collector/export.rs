//! From a span's end to the collector: a bounded queue in front, and a count of what was lost on the way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use super::client::Told;
use crate::domain::repeats::Repeats;
use crate::domain::time::Moment;
use crate::telemetry::Metrics;

/// Spans that wait for the collector at most, those on their way to it included; beyond, they are lost.
pub(super) const MAX_WAITING: usize = 2048;

/// Spans in one `POST` at most.
const BATCH: usize = 512;

/// What waits, and what was lost and not told yet. Whatever is lost is counted in the metrics at once.
pub(super) struct Tally {
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// What was said when, so that repeats are few.
    repeats: Mutex<Repeats>,
    started: Instant,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("waiting", &self.waiting).field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Tally {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let (waiting, lost) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { waiting, lost, repeats: Mutex::default(), started: Instant::now(), metrics }
    }

    fn lose(&self, spans: u64) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
        self.metrics.spans_lost(spans);
    }

    /// A span has ended. `false`: there is no room for it.
    fn take_in(&self) -> bool {
        let room = |waiting: usize| (waiting < MAX_WAITING).then_some(waiting + 1);
        let taken = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok();
        if !taken {
            self.lose(1);
        }
        taken
    }

    /// So many have left, and so many of them the collector did not take.
    fn left(&self, spans: usize, lost: u64) {
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        if lost > 0 {
            self.lose(lost);
        }
    }

    /// Says in the log what was lost, unless that was said a moment ago: then the next line has it too.
    fn tell(&self, why: &str) {
        let now = Moment(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX));
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lost.load(Ordering::Relaxed) > 0 && repeats.may_say(("collector", "lost"), now).is_some() {
            let spans = self.lost.swap(0, Ordering::Relaxed);
            tracing::warn!(spans, error = why, "spans are lost: the collector does not take them");
        }
    }

    /// Says what was not told yet, and what still waits: nobody will send it.
    pub(super) fn tell_at_the_end(&self) {
        let waiting = self.waiting.load(Ordering::Acquire) as u64;
        if waiting > 0 {
            self.lose(waiting);
        }
        let spans = self.lost.swap(0, Ordering::Relaxed);
        if spans > 0 {
            tracing::warn!(spans, "spans were lost before the end");
        }
    }
}

/// The SDK's queue, with a bound and a count of our own: its drops go unseen.
#[derive(Debug)]
pub(super) struct Queue {
    inner: BatchSpanProcessor,
    tally: Arc<Tally>,
}

impl Queue {
    /// Sends what has come every so often, or as soon as a batch is full.
    pub(super) fn new(exporter: Exporter, tally: Arc<Tally>, delay: Duration) -> Self {
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(delay);
        Self { inner: BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build(), tally }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.tally.take_in() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// OTLP's exporter, which says what it could not send.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) inner: Otlp,
    pub(super) tally: Arc<Tally>,
    pub(super) told: Told,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.inner.export(batch).await;
        let told = self.told.take();
        let spans_lost = if sent.is_ok() { told.rejected.min(spans as u64) } else { spans as u64 };
        self.tally.left(spans, spans_lost);
        let why = told.why.or_else(|| sent.as_ref().err().map(ToString::to_string));
        self.tally.tell(why.as_deref().unwrap_or("it was too slow"));
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> (Tally, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        (Tally::new(Arc::clone(&metrics)), metrics)
    }

    fn shown(metrics: &Metrics) -> String {
        metrics.render().expect("a page")
    }

    #[test]
    fn the_queue_has_a_bound_and_what_finds_no_room_is_counted() {
        let (tally, metrics) = tally();
        assert!((0..MAX_WAITING).all(|_| tally.take_in()));
        assert!(!tally.take_in() && !tally.take_in());
        assert_eq!(tally.lost.load(Ordering::Relaxed), 2);
        tally.left(BATCH, 0);
        assert!((0..BATCH).all(|_| tally.take_in()) && !tally.take_in());
        tally.left(BATCH, BATCH as u64);
        assert_eq!(tally.lost.load(Ordering::Relaxed), 3 + BATCH as u64);
        assert!(shown(&metrics).contains(&format!("kafka_once_spans_lost_total {}\n", 3 + BATCH)));
    }

    #[test]
    fn what_was_lost_is_told_at_once_and_then_kept_for_the_next_line() {
        let (tally, metrics) = tally();
        tally.lose(5);
        tally.tell("away");
        assert_eq!(tally.lost.load(Ordering::Relaxed), 0);
        tally.lose(7);
        tally.tell("away");
        assert_eq!(tally.lost.load(Ordering::Relaxed), 7);
        assert!(tally.take_in() && tally.take_in());
        tally.tell_at_the_end();
        assert_eq!(tally.lost.load(Ordering::Relaxed), 0);
        assert!(
            shown(&metrics).contains("kafka_once_spans_lost_total 14\n"),
            "what still waits at the end is lost too"
        );
    }
}
