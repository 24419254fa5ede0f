//! Every malformed setting through the real binary: one answer, all problems, exit code 2, no secret, no stack trace.

use std::time::Duration;

use crate::support::Sidecar;

const GOOD: [(&str, &str); 5] = [
    ("ONCE_KAFKA_BROKERS", "127.0.0.1:1"),
    ("ONCE_KAFKA_TOPICS", "orders"),
    ("ONCE_KAFKA_GROUP", "shop"),
    ("ONCE_REDIS_URL", "redis://127.0.0.1:1"),
    ("ONCE_APP_URL", "http://127.0.0.1:1/"),
];

/// What is wrong, the settings over good ones, and words that the answer must hold.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const TABLE: [Row; 17] = [
    ("unknown, with the nearest real name", &[("ONCE_KAFKA_TOPIC", "a")], &["ONCE_KAFKA_TOPIC", "ONCE_KAFKA_TOPICS"]),
    ("missing", &[("ONCE_APP_URL", "")], &["ONCE_APP_URL"]),
    ("a duration without unit", &[("ONCE_LEASE", "30")], &["ONCE_LEASE", "30"]),
    ("a size without unit", &[("ONCE_MAX_HELD_BYTES", "1000")], &["ONCE_MAX_HELD_BYTES"]),
    ("out of range", &[("ONCE_MAX_IN_FLIGHT", "0")], &["ONCE_MAX_IN_FLIGHT"]),
    ("lease not above the timeout", &[("ONCE_LEASE", "5s")], &["ONCE_LEASE", "ONCE_APP_TIMEOUT"]),
    ("window not above the lease", &[("ONCE_DEDUP_WINDOW", "10s")], &["ONCE_DEDUP_WINDOW", "ONCE_LEASE"]),
    ("an unsafe client property", &[("ONCE_KAFKA_PROPERTY_ENABLE_AUTO_COMMIT", "true")], &["enable.auto.commit"]),
    (
        "an unknown client property",
        &[("ONCE_KAFKA_PROPERTY_FETCH_MIN_BITES", "1")],
        &["ONCE_KAFKA_PROPERTY_FETCH_MIN_BYTES"],
    ),
    ("a remote app without consent", &[("ONCE_APP_URL", "http://10.0.0.1/")], &["ONCE_APP_ALLOW_REMOTE"]),
    ("credentials in the app's URL", &[("ONCE_APP_URL", "http://bob:hunter2@127.0.0.1/")], &["ONCE_APP_URL"]),
    ("an odd scheme", &[("ONCE_REDIS_URL", "http://127.0.0.1:1")], &["ONCE_REDIS_URL"]),
    ("a regex that matches everything", &[("ONCE_KAFKA_TOPICS", "^.*")], &["ONCE_KAFKA_TOPICS"]),
    ("a secret file that is missing", &[("ONCE_REDIS_CA_FILE", "/nowhere/ca")], &["ONCE_REDIS_CA_FILE", "/nowhere/ca"]),
    ("lookup without its URL", &[("ONCE_IN_DOUBT", "lookup")], &["ONCE_APP_LOOKUP_URL"]),
    ("its own dead-letter topic as source", &[("ONCE_DEAD_LETTER_TOPIC", "orders")], &["ONCE_DEAD_LETTER_TOPIC"]),
    ("a service link", &[("ONCE_PORT", "tcp://10.0.0.1:80")], &["ONCE_PORT", "enableServiceLinks"]),
];

/// The same beside an endpoint of OpenTelemetry's: nothing is judged without one.
const OTEL: [Row; 13] = [
    (
        "no scheme",
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318")],
        &["OTLP_TRACES_ENDPOINT", "scheme and ://"],
    ),
    ("an odd scheme", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317")], &["OTLP_ENDPOINT", "http://"]),
    (
        "credentials in the URL",
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://bob:hunter2@collector")],
        &["OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"],
    ),
    ("port 0", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:0/?token=hunter2")], &["OTLP_ENDPOINT", "port"]),
    ("an unknown protocol", &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], &["OTLP_PROTOCOL", "http/protobuf", "4318"]),
    ("headers without =", &[("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")], &["OTLP_HEADERS", "name=value"]),
    (
        "a header with a line end",
        &[("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0A")],
        &["OTLP_HEADERS", "percent-encode"],
    ),
    ("a timeout with a unit", &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], &["OTLP_TIMEOUT", "10s", "10000"]),
    ("compression", &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], &["OTLP_COMPRESSION", "leave it unset"]),
    (
        "authorities that are missing",
        &[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")],
        &["OTLP_CERTIFICATE", "/nowhere/ca.pem", "readable file"],
    ),
    ("a client's key", &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/some/key")], &["OTLP_CLIENT_KEY", "OTLP_HEADERS"]),
    ("an unknown sampler", &[("OTEL_TRACES_SAMPLER", "jaeger_remote")], &["OTEL_TRACES_SAMPLER", "always_on"]),
    ("a delay that is none", &[("OTEL_BSP_SCHEDULE_DELAY", "-1")], &["OTEL_BSP_SCHEDULE_DELAY", "10000"]),
];

fn refused(settings: &[(&str, &str)]) -> String {
    let mut all: Vec<(&str, &str)> =
        GOOD.iter().filter(|(name, _)| settings.iter().all(|(set, _)| set != name)).copied().collect();
    all.extend(settings.iter().filter(|(_, value)| !value.is_empty()));
    let sidecar = Sidecar::start(&all).expect("a process");
    assert_eq!(sidecar.wait_exit(Duration::from_secs(30)), Some(2), "{settings:?}: {}", sidecar.tail());
    sidecar.log().all()
}

#[test]
fn every_malformed_setting_is_refused_with_exit_code_2_and_words_that_help() {
    for (what, settings, words) in TABLE {
        let said = refused(settings);
        for word in words {
            assert!(said.contains(word), "{what}: {word:?} is not in: {said}");
        }
        assert!(!said.contains("hunter2") && !said.contains("panicked") && !said.contains("stack"), "{what}: {said}");
    }
}

#[test]
fn every_standard_variable_of_tracing_that_cannot_be_used_is_one_problem_with_exit_code_2() {
    for (what, settings, words) in OTEL {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
        let said = refused(&[&[endpoint][..usize::from(settings[0].0 != endpoint.0)], settings].concat());
        assert!(said.contains("1 problem with the settings:\nOTEL_"), "{what}: {said}");
        for word in words {
            assert!(said.contains(word), "{what}: {word:?} is not in: {said}");
        }
        assert!(!said.contains("hunter2") && !said.contains("panicked") && !said.contains("stack"), "{what}: {said}");
    }
}

#[test]
fn authorities_of_a_collector_that_are_no_certificates_are_refused_with_exit_code_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, word) in [("", "is empty"), ("no certificate", "PEM"), (broken, "PEM")] {
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, text).expect("a file");
        let ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().expect("a path"));
        let said = refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"), ca]);
        assert!(said.contains("OTEL_EXPORTER_OTLP_CERTIFICATE") && said.contains(word), "{text:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn all_problems_are_told_in_one_answer() {
    let wrong = [
        ("ONCE_KAFKA_TOPIC", "a"),
        ("ONCE_LEASE", "30"),
        ("ONCE_MAX_IN_FLIGHT", "0"),
        ("ONCE_MAX_HELD_BYTES", "1000"),
        ("ONCE_APP_URL", "http://bob:hunter2@127.0.0.1/"),
        ("ONCE_REDIS_URL", "http://127.0.0.1:1"),
        ("ONCE_REDIS_CA_FILE", "/nowhere/ca"),
        ("ONCE_IN_DOUBT", "perhaps"),
        ("ONCE_PORT", "tcp://10.0.0.1:80"),
    ];
    let said = refused(&wrong);
    assert!(said.contains("9 problems"), "{said}");
    for (name, _) in wrong {
        assert!(said.contains(&format!("\n{name}: ")), "{name} has no line in: {said}");
    }
}

#[test]
fn a_port_in_use_is_refused_with_exit_code_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let said = refused(&[("ONCE_ADMIN_ADDR", &address)]);
    assert!(said.contains("ONCE_ADMIN_ADDR") && said.contains(&address), "{said}");
}
