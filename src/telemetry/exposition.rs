//! Writes the books out as families of metrics.

use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::books::{Books, PartitionBook, Snapshot, TopicBook};
use super::catalog::{self, Family, Kind};
use super::metrics::locked;
use crate::domain::reasons::Outcome;

/// Gives the registry every family of the books, all from one snapshot.
pub struct BooksCollector {
    books: Arc<Mutex<Books>>,
    descriptions: Vec<Desc>,
}

impl BooksCollector {
    /// A collector over shared books.
    pub fn new(books: Arc<Mutex<Books>>) -> prometheus::Result<Self> {
        let descriptions = catalog::ALL.iter().filter(|family| family.kind != Kind::Histogram).map(describe);
        Ok(Self { books, descriptions: descriptions.collect::<Result<_, _>>()? })
    }
}

fn describe(family: &Family) -> prometheus::Result<Desc> {
    let labels = family.labels.iter().map(|label| label.name.to_owned()).collect();
    Desc::new(family.full_name(), family.help.to_owned(), labels, std::collections::HashMap::new())
}

impl Collector for BooksCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        // The lock is held for a copy of numbers only; the text is made after it.
        let snapshot = locked(&self.books).snapshot();
        let mut page = Page { families: Vec::with_capacity(catalog::ALL.len()) };
        topic_families(&snapshot, &mut page);
        partition_families(&snapshot, &mut page);
        process_families(&snapshot, &mut page);
        page.families
    }
}

/// What a family shows of a topic's book.
type OfTopic<T> = fn(&TopicBook) -> T;

fn topic_families(snapshot: &Snapshot, page: &mut Page) {
    let plain: [(Family, OfTopic<u64>); 10] = [
        (catalog::RECEIVED, |book| book.received),
        (catalog::RELEASED, |book| book.released),
        (catalog::POSSIBLE_REPEATS, |book| book.possible_repeats),
        (catalog::OVERLAPS, |book| book.overlaps),
        (catalog::ID_REUSE, |book| book.id_reuse),
        (catalog::MISSING_ID, |book| book.missing_id),
        (catalog::SUSPECTED, |book| book.suspected),
        (catalog::RECOVERED, |book| book.recovered),
        (catalog::SEQUENCE_UNREADABLE, |book| book.sequence_unreadable),
        (catalog::PRODUCERS_FORGOTTEN, |book| book.producers_forgotten),
    ];
    for (family, value) in plain {
        let samples = snapshot.topics.iter().map(|(topic, book)| (vec![topic.to_string()], float(value(book))));
        page.put(&family, samples.collect());
    }
    let by_word: [(Family, OfTopic<Vec<u64>>); 5] = [
        (catalog::SETTLED, |book| Outcome::ALL.iter().map(|outcome| book.settled(*outcome)).collect()),
        (catalog::DUPLICATES, |book| book.duplicates.to_vec()),
        (catalog::LOST, |book| book.lost.to_vec()),
        (catalog::RETRIES, |book| book.retries.to_vec()),
        (catalog::DEAD_LETTERS, |book| book.dead_letters.to_vec()),
    ];
    for (family, values) in by_word {
        let samples = snapshot.topics.iter().flat_map(|(topic, book)| {
            worded(&family, values(book)).map(|(word, value)| (vec![topic.to_string(), word.to_owned()], value))
        });
        page.put(&family, samples.collect());
    }
}

fn partition_families(snapshot: &Snapshot, page: &mut Page) {
    let lags = snapshot
        .partitions
        .iter()
        .map(|(partition, book)| (vec![partition.topic.to_string(), partition.partition.to_string()], float(book.lag)));
    page.put(&catalog::LAG, lags.collect());
    let flags = |book: &PartitionBook| book.paused.iter().map(|paused| u64::from(*paused)).collect();
    let paused = snapshot.partitions.iter().flat_map(|(partition, book)| {
        worded(&catalog::PAUSED, flags(book)).map(|(word, value)| {
            (vec![partition.topic.to_string(), partition.partition.to_string(), word.to_owned()], value)
        })
    });
    page.put(&catalog::PAUSED, paused.collect());
}

fn process_families(snapshot: &Snapshot, page: &mut Page) {
    let process = &snapshot.process;
    #[expect(clippy::cast_precision_loss, reason = "a count of records in memory is far below 2^53")]
    let open = snapshot.open() as f64;
    let plain = [
        (catalog::OPEN, open),
        (catalog::IN_FLIGHT, float(process.in_flight)),
        (catalog::IN_FLIGHT_LIMIT, float(process.in_flight_limit)),
        (catalog::HELD_BYTES, float(process.held_bytes)),
        (catalog::STORE_UP, f64::from(u8::from(process.store_up))),
        (catalog::APP_UP, f64::from(u8::from(process.app_up))),
        (catalog::BROKER_UP, f64::from(u8::from(process.broker_up))),
        (catalog::SESSIONS_STARTED, float(process.sessions_started)),
        (catalog::SPANS_LOST, float(process.spans_lost)),
    ];
    for (family, value) in plain {
        page.put(&family, vec![(Vec::new(), value)]);
    }
    page.put(&catalog::BUILD_INFO, vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)]);
    let by_word = [
        (catalog::ATTEMPTS, process.attempts.to_vec()),
        (catalog::COMMITS, process.commits.to_vec()),
        (catalog::HISTORY_LOST, process.history_lost.to_vec()),
    ];
    for (family, values) in by_word {
        let samples = worded(&family, values).map(|(word, value)| (vec![word.to_owned()], value));
        page.put(&family, samples.collect());
    }
}

/// Values beside the words of the family's last label, which stand in the same order.
fn worded(family: &Family, values: Vec<u64>) -> impl Iterator<Item = (&'static str, f64)> + use<> {
    let words = family.labels.last().map_or_else(Vec::new, |label| (label.words)());
    words.into_iter().zip(values.into_iter().map(float))
}

#[expect(clippy::cast_precision_loss, reason = "the text format has floats only; exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

struct Page {
    families: Vec<proto::MetricFamily>,
}

impl Page {
    /// Adds one family; `samples` are label values in the family's order, and a value.
    fn put(&mut self, family: &Family, samples: Vec<(Vec<String>, f64)>) {
        let mut out = proto::MetricFamily::default();
        out.set_name(family.full_name());
        out.set_help(family.help.to_owned());
        out.set_field_type(if family.kind == Kind::Counter {
            proto::MetricType::COUNTER
        } else {
            proto::MetricType::GAUGE
        });
        out.set_metric(samples.into_iter().map(|(labels, value)| sample(family, labels, value)).collect());
        self.families.push(out);
    }
}

fn sample(family: &Family, values: Vec<String>, value: f64) -> proto::Metric {
    let pairs = family.labels.iter().zip(values).map(|(label, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(label.name.to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = proto::Metric::from_label(pairs.collect());
    if family.kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}
