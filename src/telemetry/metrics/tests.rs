//! What a scrape holds, and that everything in it adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: Topic::from("orders"), partition: number }
}

/// Samples of a page by their full series name.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        (series.to_owned(), value.parse().expect("a number"))
    };
    page.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// The sum of all series of one family.
fn sum(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of_family = |series: &str| series.split('{').next() == Some(&format!("kafka_once_{name}"));
    samples.iter().filter(|(series, _)| of_family(series)).map(|(_, value)| value).sum()
}

fn adds_up(page: &str) -> f64 {
    let samples = samples(page);
    let received = sum(&samples, "records_received_total");
    let closed = sum(&samples, "records_settled_total") + sum(&samples, "records_released_total");
    let open = samples["kafka_once_open_records"];
    assert!((received - closed - open).abs() < 0.5, "received {received}, closed {closed}, open {open}");
    assert!(open > -0.5, "open {open}");
    let duplicates = samples[r#"kafka_once_records_settled_total{topic="orders",outcome="duplicate"}"#];
    assert!((sum(&samples, "duplicates_total") - duplicates).abs() < 0.5);
    let dead = samples[r#"kafka_once_records_settled_total{topic="orders",outcome="dead_lettered"}"#];
    assert!((sum(&samples, "dead_letters_total") - dead).abs() < 0.5);
    received
}

/// Every series that the catalog promises for one topic with one partition, histograms left out.
fn promised() -> BTreeSet<String> {
    let plain = catalog::ALL.iter().filter(|family| family.kind != catalog::Kind::Histogram);
    plain.flat_map(|family| label_sets(family).into_iter().map(|labels| series(family, &labels))).collect()
}

/// The product of all values of all labels, as `name="value"` pairs.
fn label_sets(family: &Family) -> Vec<Vec<String>> {
    family.labels.iter().fold(vec![Vec::new()], |sets, label| {
        let words = match label.name {
            "topic" => vec!["orders"],
            "partition" => vec!["3"],
            "version" => vec![env!("CARGO_PKG_VERSION")],
            _ => (label.words)(),
        };
        let with = |set: &[String], word: &str| [set, &[format!("{}={word:?}", label.name)]].concat();
        sets.iter().flat_map(|set| words.iter().map(move |word| with(set, word))).collect()
    })
}

fn series(family: &Family, labels: &[String]) -> String {
    if labels.is_empty() { family.full_name() } else { format!("{}{{{}}}", family.full_name(), labels.join(",")) }
}

#[test]
fn every_series_is_present_at_zero_from_assignment_on() {
    let metrics = Metrics::new().expect("metrics");
    metrics.assigned(&partition(3));
    let page = metrics.render().expect("page");
    let samples = samples(&page);
    let histogram =
        |series: &str| ["_bucket", "_sum", "_count"].iter().any(|part| series.contains(&format!("_seconds{part}")));
    let present: BTreeSet<String> = samples.keys().filter(|series| !histogram(series)).cloned().collect();
    assert_eq!(present, promised());
    for (series, value) in &samples {
        let expected = if series.starts_with("kafka_once_build_info") { 1.0 } else { 0.0 };
        assert!((value - expected).abs() < f64::EPSILON, "{series} {value}");
    }
}

#[test]
fn every_family_has_its_help_and_type_once_and_histograms_their_counts() {
    let metrics = Metrics::new().expect("metrics");
    metrics.assigned(&partition(3));
    let page = metrics.render().expect("page");
    for family in catalog::ALL {
        let lines = [
            format!("# HELP {} {}", family.full_name(), family.help),
            format!("# TYPE {} {}", family.full_name(), family.kind.as_str()),
        ];
        for line in lines {
            assert_eq!(page.lines().filter(|other| *other == line).count(), 1, "{line}");
        }
        if family.kind == catalog::Kind::Histogram {
            assert!(page.contains(&format!("{}_bucket{{le=\"+Inf\"}} 0\n", family.full_name())));
            assert!(page.contains(&format!("{}_count 0\n", family.full_name())));
        }
    }
    assert_eq!(page.matches("# TYPE ").count(), catalog::ALL.len());
}

#[test]
fn series_without_a_topic_are_present_before_any_assignment() {
    let samples = samples(&Metrics::new().expect("metrics").render().expect("page"));
    let expected: BTreeSet<String> = promised().into_iter().filter(|series| !series.contains("topic=")).collect();
    let missing: Vec<&String> = expected.iter().filter(|series| !samples.contains_key(*series)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_revoked_partition_takes_its_gauges_and_leaves_its_topics_counters() {
    let metrics = Metrics::new().expect("metrics");
    metrics.assigned(&partition(3));
    metrics.received(metrics.topic(&Topic::from("orders")), 2);
    metrics.lag(&partition(3), 8);
    metrics.unassigned(&partition(3));
    metrics.lag(&partition(3), 9);
    metrics.paused(&partition(3), PauseReason::Bound, true);
    let page = metrics.render().expect("page");
    assert!(!page.contains("partition="), "{page}");
    assert!(page.contains("kafka_once_records_received_total{topic=\"orders\"} 2\n"), "{page}");
}

fn each<L: Copy>(labels: &[L], say: impl Fn(L)) {
    for label in labels {
        say(*label);
    }
}

/// Says one of each to fresh metrics.
fn say_everything(metrics: &Metrics) {
    let topic = metrics.topic(&Topic::from("orders"));
    metrics.assigned(&partition(3));
    metrics.received(topic, 20);
    metrics.delivered(topic, 3);
    each(DuplicateCause::ALL, |cause| metrics.duplicate(topic, cause));
    each(DeadLetterReason::ALL, |reason| metrics.dead_lettered(topic, reason));
    metrics.released(topic, 2);
    metrics.possible_repeat(topic);
    metrics.overlap(topic);
    metrics.id_reuse(topic);
    metrics.missing_id(topic);
    each(LossCause::ALL, |cause| metrics.lost(topic, cause, 5));
    metrics.suspected_missing(&HashMap::from([(topic, 6)]));
    metrics.recovered(topic, 7);
    metrics.sequence_unreadable(topic);
    metrics.producers_forgotten(topic, 1);
    each(Verdict::ALL, |verdict| metrics.attempt(verdict));
    each(RetryReason::ALL, |reason| metrics.retry(topic, reason));
    metrics.in_flight(11);
    metrics.in_flight_limit(12);
    metrics.held_bytes(13);
    metrics.lag(&partition(3), 14);
    each(PauseReason::ALL, |reason| metrics.paused(&partition(3), reason, true));
    let time = Duration::from_millis(10);
    metrics.claim_took(time);
    metrics.forward_took(time);
    metrics.mark_took(time);
    metrics.end_to_end(time);
    each(CommitResult::ALL, |result| metrics.commit(result));
    metrics.store_up(true);
    metrics.app_up(true);
    metrics.broker_up(true);
    each(HistoryExtent::ALL, |extent| metrics.history_lost(extent));
    metrics.session_started();
    metrics.spans_lost(15);
}

#[test]
fn each_verb_moves_its_own_series() {
    let metrics = Metrics::new().expect("metrics");
    say_everything(&metrics);
    let samples = samples(&metrics.render().expect("page"));
    let special = [
        ("records_received_total{", 20.0),
        ("records_settled_total{topic=\"orders\",outcome=\"delivered\"", 3.0),
        ("records_settled_total{topic=\"orders\",outcome=\"duplicate\"", 3.0),
        ("records_settled_total{topic=\"orders\",outcome=\"dead_lettered\"", 8.0),
        ("records_released_total{", 2.0),
        ("open_records", 4.0),
        ("lost_records_total{", 5.0),
        ("suspected_missing_records{", 6.0),
        ("recovered_records_total{", 7.0),
        ("in_flight_requests", 11.0),
        ("in_flight_limit", 12.0),
        ("held_bytes", 13.0),
        ("partition_lag{", 14.0),
        ("spans_lost_total", 15.0),
    ];
    for series in promised() {
        let known = special.iter().find(|(start, _)| series.starts_with(&format!("kafka_once_{start}")));
        let expected = known.map_or(1.0, |(_, value)| *value);
        assert!((samples[&series] - expected).abs() < f64::EPSILON, "{series} {}", samples[&series]);
    }
    for name in ["claim", "forward", "mark", "end_to_end"] {
        assert!((samples[&format!("kafka_once_{name}_seconds_count")] - 1.0).abs() < f64::EPSILON, "{name}");
        assert!((samples[&format!("kafka_once_{name}_seconds_sum")] - 0.01).abs() < 1e-9, "{name}");
    }
    assert_eq!(metrics.open(), 4);
    assert_eq!((metrics.received_sum(), metrics.released_sum(), metrics.possible_repeats_sum()), (20, 2, 1));
    assert_eq!((metrics.settled_sum(Outcome::DeadLettered), metrics.lost_sum(LossCause::Retention)), (8, 5));
}

#[test]
fn each_word_moves_the_series_that_bears_it() {
    let metrics = Metrics::new().expect("metrics");
    let topic = metrics.topic(&Topic::from("orders"));
    metrics.assigned(&partition(3));
    metrics.attempt(Verdict::Overloaded);
    metrics.retry(topic, RetryReason::Unknown);
    metrics.duplicate(topic, DuplicateCause::Producer);
    metrics.dead_lettered(topic, DeadLetterReason::IdReuse);
    metrics.lost(topic, LossCause::Retention, 1);
    metrics.commit(CommitResult::NotOwner);
    metrics.history_lost(HistoryExtent::Recent);
    metrics.paused(&partition(3), PauseReason::Operator, true);
    metrics.paused(&partition(3), PauseReason::Bound, true);
    metrics.paused(&partition(3), PauseReason::Bound, false);
    let samples = samples(&metrics.render().expect("page"));
    let worded =
        |series: &str| ["verdict", "cause", "reason", "result", "extent"].iter().any(|label| series.contains(label));
    let moved: Vec<&str> = samples
        .iter()
        .filter(|(series, value)| worded(series) && **value > 0.5)
        .map(|(series, _)| series.as_str())
        .collect();
    assert_eq!(
        moved,
        [
            r#"kafka_once_attempts_total{verdict="overloaded"}"#,
            r#"kafka_once_commits_total{result="not_owner"}"#,
            r#"kafka_once_dead_letters_total{topic="orders",reason="id_reuse"}"#,
            r#"kafka_once_dedup_history_lost_total{extent="recent"}"#,
            r#"kafka_once_duplicates_total{topic="orders",cause="producer"}"#,
            r#"kafka_once_lost_records_total{topic="orders",cause="retention"}"#,
            r#"kafka_once_partition_paused{topic="orders",partition="3",reason="operator"}"#,
            r#"kafka_once_retries_total{topic="orders",reason="unknown"}"#,
        ]
    );
}

/// One thread's work in the race: takes records in and ends each of them, in every way there is.
fn live_through_records(metrics: &Metrics, until: &AtomicBool) {
    let topic = metrics.topic(&Topic::from("orders"));
    let mut round = 0;
    while !until.load(Ordering::Relaxed) {
        metrics.received(topic, 5);
        metrics.delivered(topic, 2);
        metrics.duplicate(topic, DuplicateCause::ALL[round % DuplicateCause::ALL.len()]);
        metrics.dead_lettered(topic, DeadLetterReason::ALL[round % DeadLetterReason::ALL.len()]);
        metrics.released(topic, 1);
        round += 1;
    }
}

/// Ends the workers also when an assertion fails: a scope waits for its threads.
struct EndsOnDrop<'a>(&'a AtomicBool);

impl Drop for EndsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn everything_adds_up_in_every_scrape_while_two_threads_change_the_books() {
    const SCRAPES: usize = 300;
    let metrics = Metrics::new().expect("metrics");
    metrics.assigned(&partition(3));
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let _ends = EndsOnDrop(&done);
        for _ in 0..2 {
            scope.spawn(|| live_through_records(&metrics, &done));
        }
        let mut seen = Vec::new();
        // At least so many scrapes, and until they have been seen to overlap with the work.
        while seen.len() < SCRAPES || seen.first() == seen.last() {
            seen.push(adds_up(&metrics.render().expect("page")));
        }
        seen
    });
    assert!(seen.is_sorted(), "a counter went back");
    assert_eq!(metrics.open(), 0);
    adds_up(&metrics.render().expect("page"));
}

#[test]
fn a_topic_with_any_legal_or_odd_name_stays_one_label() {
    let metrics = Metrics::new().expect("metrics");
    metrics.received(metrics.topic(&Topic::from("a\"b\\c\nd")), 1);
    let page = metrics.render().expect("page");
    assert!(page.contains(r#"kafka_once_records_received_total{topic="a\"b\\c\nd"} 1"#), "{page}");
}
