//! `kafka-once demo`, as a newcomer runs it: embedded, and on real Kafka and Redis.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use serde_json::Value;

use support::Process;
use support::process::Start;

/// Far above what a run takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn demo(arguments: &[&str]) -> Process {
    let start = Start::new(env!("CARGO_BIN_EXE_kafka-once")).arg("demo").args(arguments).clear_env();
    start.spawn().expect("the demo starts")
}

fn said(demo: &Process) -> String {
    demo.log().all()
}

/// Runs it with `--json`: it says nothing else, every effect happened exactly once, and a sidecar died over open requests.
fn assert_promise_kept(arguments: &[&str], aborted_by: &str) -> Value {
    let demo = demo(&[&["--json"], arguments].concat());
    assert_eq!(demo.wait_exit(PATIENCE), Some(0), "{}", said(&demo));
    let report: Value = serde_json::from_str(&said(&demo)).unwrap_or_else(|error| panic!("{error}: {}", said(&demo)));
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}"));
    assert_eq!(number("/applied/once"), number("/distinct"), "{report:#}");
    for nothing in ["/applied/more_than_once", "/applied/never", "/applied/unknown"] {
        assert_eq!(number(nothing), 0, "{nothing}: {report:#}");
    }
    let planted: u64 =
        ["adjacent", "later", "elsewhere"].map(|at| number(&format!("/planted_duplicates/{at}"))).iter().sum();
    assert_eq!(number("/sent"), number("/distinct") + planted, "{report:#}");
    let found = number("/detected_duplicates/producer") + number("/detected_duplicates/in_flight");
    assert!(planted > 0 && found > 0, "{report:#}");
    assert!(number("/possible_repeats/sent") >= number("/possible_repeats/absorbed"), "{report:#}");
    assert!(number("/possible_repeats/absorbed") > 0 && number("/aborted/unanswered") > 0, "{report:#}");
    assert_eq!(report["aborted"]["by"], aborted_by, "{report:#}");
    for counted in ["ranges", "messages"] {
        let planted = number(&format!("/planted_gaps/{counted}"));
        assert!(planted > 0 && number(&format!("/named_gaps/{counted}")) == planted, "{report:#}");
    }
    assert!(number("/planted_late") > 0 && number("/recovered") >= number("/planted_late"), "{report:#}");
    report
}

#[test]
fn the_embedded_demo_keeps_its_promise_over_an_aborted_sidecar() {
    assert_promise_kept(&[], "aborted");
}

#[test]
fn the_demo_on_real_kafka_and_redis_keeps_its_promise_over_a_sigkill_and_leaves_no_topic() {
    let (Some(kafka), Some(redis)) = (support::kafka(), support::redis()) else { return };
    assert_promise_kept(&["--kafka", &kafka.bootstrap(), "--redis", &redis.url()], "SIGKILL");
    let consumer = support::topics::consumer(&kafka.bootstrap(), "unused").expect("a consumer");
    let metadata = rdkafka::consumer::Consumer::fetch_metadata(&consumer, None, PATIENCE).expect("metadata");
    let topics: Vec<_> = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
    assert!(!topics.iter().any(|name| name.starts_with("kafka-once-demo")), "{topics:?}");
}

#[test]
fn the_table_is_for_people_and_ends_with_the_verdict() {
    let demo = demo(&[]);
    assert_eq!(demo.wait_exit(PATIENCE), Some(0), "{}", said(&demo));
    let said = said(&demo);
    for words in [
        "planted duplicates",
        "planted gaps",
        "gaps named as lost",
        "more than once",
        "possible repeats sent",
        "offsets committed",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(
        said.lines().last().is_some_and(
            |line| line.starts_with("Every effect happened exactly once, and every planted loss was named.")
        ),
        "{said}"
    );
}

#[test]
fn usage_and_settings_errors_exit_with_2_and_say_what_to_change() {
    let table: [(&[&str], (&str, &str), &str); 7] = [
        (&["--kafka", "127.0.0.1:1"], ("A", "b"), "--redis"),
        (&["--redis", "redis://127.0.0.1:1"], ("A", "b"), "--kafka"),
        (&["--sidecars", "3"], ("A", "b"), "--sidecars"),
        (&["--kafka", "127.0.0.1:1", "--redis", "http://127.0.0.1:1"], ("A", "b"), "ONCE_REDIS_URL"),
        (&["--kafka", "127.0.0.1:1", "--redis", "memory:"], ("A", "b"), "memory:"),
        (&[], ("ONCE_LOG", "loud"), "ONCE_LOG"),
        (&[], ("ONCE_LEASES", "3s"), "ONCE_LEASE"),
    ];
    for (arguments, (name, value), expected) in table {
        let start = Start::new(env!("CARGO_BIN_EXE_kafka-once")).arg("demo").args(arguments).clear_env();
        let demo = start.env(name, value).spawn().expect("the demo starts");
        assert_eq!(demo.wait_exit(PATIENCE), Some(2), "{arguments:?}: {}", said(&demo));
        assert!(said(&demo).contains(expected), "{arguments:?}: {}", said(&demo));
    }
}
