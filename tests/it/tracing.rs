//! Spans of requests to the app: from a record's `traceparent` to the app and to a collector, over real OTLP.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::support::load::stop;
use crate::support::scene::{Ground, Scene};
use crate::support::{Answer, Record, Request};

pub mod stand_in;

use stand_in::{Collector, Seen, hex};

pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub const PARENT: &str = "b7ad6b7169203331";

pub fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

fn traceparents(request: &Request) -> Vec<String> {
    let named = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"traceparent"));
    named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// What the variables are for every test of spans but one: a collector, and no long wait for company.
pub fn watched(url: &str) -> [(&'static str, &str); 2] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", url), ("OTEL_BSP_SCHEDULE_DELAY", "20")]
}

#[test]
fn a_record_s_trace_goes_on_in_a_span_of_ours_and_from_there_in_the_app() {
    let Some(scene) = Scene::new(Ground::Real, "spans", 1) else { return };
    let collector = Collector::start();
    let record = Record::new(&scene.topic, "body").id("one").header("traceparent", traceparent("01"));
    scene.produce(&[record.header("tracestate", "vendor=1")]);
    let url = collector.url();
    let more = [
        watched(url)[0],
        watched(url)[1],
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
        ("OTEL_SERVICE_NAME", "billing-sidecar"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=pre%20prod,service.name=other"),
    ];
    let sidecar = scene.sidecar(&more);
    let seen = collector.wait_for(1).remove(0);
    assert_eq!((hex(&seen.span.trace_id).as_str(), hex(&seen.span.parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!((seen.span.name.as_str(), seen.span.kind()), (&*format!("process {}", scene.topic), SpanKind::Consumer));
    assert_eq!(seen.span.trace_state, "vendor=1");
    assert!(seen.span.start_time_unix_nano <= seen.span.end_time_unix_nano && seen.span.start_time_unix_nano > 0);
    assert!(!seen.has_failed());
    let expected = [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", &scene.topic),
        ("messaging.destination.partition.id", "0"),
        ("messaging.kafka.offset", "0"),
        ("messaging.consumer.group.name", &scene.group),
        ("messaging.message.id", "one"),
        ("http.response.status_code", "200"),
        ("once.attempt", "1"),
        ("once.delivery", "first"),
        ("once.verdict", "accepted"),
    ];
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(seen.attributes(), expected);
    assert_eq!(seen.resource["service.name"], "billing-sidecar");
    assert_eq!(seen.resource["deployment.environment.name"], "pre prod");

    let request = scene.ledger.records().requests[0].clone();
    assert_eq!(traceparents(&request), [seen.traceparent()]);
    assert_ne!(hex(&seen.span.span_id), PARENT);
    assert_eq!(request.header("tracestate"), Some("vendor=1"));
    let head = collector.heads()[0].clone();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    assert!(head.contains("authorization: bearer hunter2\r\n"), "{head}");
    assert_eq!(sidecar.metrics().expect("a scrape").get("kafka_once_spans_lost_total", &[]), Some(0.0));
    stop(&sidecar);
    assert!(!sidecar.log().all().contains("hunter2"), "a secret is in the log");
}

#[test]
fn a_record_without_a_valid_traceparent_begins_a_trace_and_nothing_of_it_is_lost() {
    let Some(scene) = Scene::new(Ground::Real, "spans-new", 1) else { return };
    let collector = Collector::start();
    let none = Record::new(&scene.topic, "").id("none");
    let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
    let broken =
        Record::new(&scene.topic, "").id("broken").header("traceparent", zero).header("tracestate", "vendor=1");
    scene.produce(&[none, broken]);
    let sidecar = scene.sidecar(&watched(collector.url()));
    let seen = collector.wait_for(2);
    let records = scene.ledger.records();
    for id in ["none", "broken"] {
        let request = records.requests.iter().find(|request| request.id() == id).expect("its request");
        let span = seen.iter().find(|seen| seen.attributes()["messaging.message.id"] == id).expect("its span");
        assert_eq!(traceparents(request), [span.traceparent()], "{id}");
        assert!(span.span.parent_span_id.is_empty() && hex(&span.span.trace_id) != "0".repeat(32));
        assert_eq!(request.header("tracestate"), None);
    }
    assert_ne!(seen[0].span.trace_id, seen[1].span.trace_id);
    let broken = records.requests.iter().find(|request| request.id() == "broken").expect("its request");
    assert_eq!(broken.header("kafka-header-traceparent"), Some(zero));
    assert_eq!(broken.header("kafka-header-tracestate"), Some("vendor=1"));
    stop(&sidecar);
}

#[test]
fn each_attempt_is_a_span_and_those_that_were_not_accepted_say_why() {
    let Some(scene) = Scene::new(Ground::Real, "spans-retry", 1) else { return };
    let collector = Collector::start();
    let requests = AtomicU32::new(0);
    scene.ledger.behave(move |_| {
        let first = requests.fetch_add(1, Ordering::SeqCst) == 0;
        async move { Answer::status(if first { 500 } else { 200 }) }
    });
    scene.produce(&[Record::new(&scene.topic, "").id("one").header("traceparent", traceparent("01"))]);
    let url = collector.url();
    let sidecar = scene.sidecar(&[watched(url)[0], watched(url)[1], ("ONCE_RETRY_BACKOFF", "10ms")]);
    let seen = collector.wait_for(2);
    let told: Vec<_> = seen.iter().map(Seen::attributes).collect();
    for (place, attempt, verdict, status, error) in
        [(0, "1", "failed", "500", Some("500")), (1, "2", "accepted", "200", None)]
    {
        let attributes = &told[place];
        assert_eq!((attributes["once.attempt"].as_str(), attributes["once.verdict"].as_str()), (attempt, verdict));
        assert_eq!(attributes["http.response.status_code"], status);
        assert_eq!(attributes.get("error.type").map(String::as_str), error);
        assert_eq!(seen[place].has_failed(), error.is_some());
        assert_eq!(
            (hex(&seen[place].span.trace_id), hex(&seen[place].span.parent_span_id)),
            (TRACE.into(), PARENT.into())
        );
    }
    assert_ne!(seen[0].span.span_id, seen[1].span.span_id);
    let records = scene.ledger.records();
    let sent: Vec<_> = records.requests.iter().flat_map(|request| traceparents(request)).collect();
    assert_eq!(sent, [seen[0].traceparent(), seen[1].traceparent()]);
    stop(&sidecar);
}

#[test]
fn a_trace_that_is_not_sampled_stays_so_and_the_last_spans_are_flushed_at_the_end() {
    let Some(scene) = Scene::new(Ground::Real, "spans-sampled", 1) else { return };
    let collector = Collector::start();
    let unsampled = Record::new(&scene.topic, "").id("unsampled").header("traceparent", traceparent("00"));
    let sampled = Record::new(&scene.topic, "").id("sampled").header("traceparent", traceparent("01"));
    scene.produce(&[unsampled, sampled]);
    // Nothing goes out before the end: what comes then is all there is.
    let sidecar = scene.sidecar(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/custom", collector.url())),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ]);
    scene.await_applied(2);
    scene.await_committed();
    stop(&sidecar);
    let seen = collector.wait_for(1);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].attributes()["messaging.message.id"], "sampled");
    assert!(collector.heads()[0].starts_with("post /custom http/1.1\r\n"));
    let records = scene.ledger.records();
    let request = records.requests.iter().find(|request| request.id() == "unsampled").expect("its request");
    let sent = traceparents(request).remove(0);
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00") && !sent.contains(PARENT), "{sent}");
}

#[test]
fn without_a_collector_a_record_s_trace_headers_travel_byte_for_byte() {
    let Some(scene) = Scene::new(Ground::Real, "spans-unset", 1) else { return };
    let sent = [traceparent("00"), traceparent("01"), "not a traceparent".to_owned()];
    let record =
        |value: &String| Record::new(&scene.topic, "").id(value.as_str()).header("traceparent", value.as_str());
    scene.produce(&sent.iter().map(|value| record(value).header("tracestate", "vendor=1")).collect::<Vec<_>>());
    // What is said beside an endpoint says nothing without one, not even what is wrong with it.
    let sidecar = scene.sidecar(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "nonsense")]);
    scene.await_applied(sent.len());
    let mut got: Vec<_> = scene.ledger.records().requests.iter().flat_map(|request| traceparents(request)).collect();
    let mut expected = sent.to_vec();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    assert!(scene.ledger.records().requests.iter().all(|request| request.header("tracestate") == Some("vendor=1")));
    stop(&sidecar);
}
