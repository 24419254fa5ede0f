//! How spans end that nobody ends: of requests that were cut off, and those that still wait when the process ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{self, Answer, Record, Redis};
use crate::tracing::stand_in::{Collector, Manner, Seen, hex};
use crate::tracing::{PARENT, TRACE, traceparent, watched};
use crate::tracing_troubles::lost;

/// Spans that may wait at once: docs/tracing.md.
const WAITING: usize = 2048;

/// One message, to an app that answers only from its second request on.
fn begin(scene: &Scene) {
    let first = AtomicBool::new(true);
    scene.ledger.behave(move |_| {
        let first = first.swap(false, Ordering::SeqCst);
        async move { if first { Answer::never() } else { Answer::status(200) } }
    });
    scene.produce(&[Record::new(&scene.topic, "").id("one").header("traceparent", traceparent("01"))]);
}

fn await_request(scene: &Scene) {
    scene.ledger.wait_until(PATIENCE, |records| !records.requests.is_empty()).expect("the request is open");
}

/// A span of the record's trace that says that its request was cut off, and no more than that.
fn assert_cancelled(seen: &Seen) {
    let attributes = seen.attributes();
    assert_eq!(attributes["error.type"], "cancelled", "{seen:?}");
    assert!(!attributes.contains_key("once.verdict") && !attributes.contains_key("http.response.status_code"));
    assert_eq!((attributes["once.attempt"].as_str(), attributes["once.delivery"].as_str()), ("1", "first"));
    let status = seen.span.status.clone().expect("a status");
    assert!(seen.has_failed() && status.message == "the request was cancelled", "{status:?}");
    assert_eq!((hex(&seen.span.trace_id).as_str(), hex(&seen.span.parent_span_id).as_str()), (TRACE, PARENT));
}

#[test]
fn a_request_that_the_end_of_a_drain_cuts_off_is_a_span_that_was_cancelled() {
    let Some(scene) = Scene::new(Ground::Real, "spans-drain", 1) else { return };
    let collector = Collector::start();
    begin(&scene);
    let url = collector.url();
    // What is open is cut off a quarter before the end, so before the app's own time is over.
    let settings = [watched(url)[0], watched(url)[1], ("ONCE_APP_TIMEOUT", "12s"), ("ONCE_DRAIN_TIMEOUT", "12s")];
    let sidecar = scene.sidecar(&settings);
    await_request(&scene);
    stop(&sidecar);
    let seen = collector.wait_for(1);
    assert_cancelled(&seen[0]);
    assert_eq!((seen.len(), scene.ledger.records().requests.len()), (1, 1));
    assert_eq!(seen[0].traceparent(), scene.ledger.records().requests[0].header("traceparent").expect("a trace"));
}

#[test]
fn a_request_that_a_lost_session_cuts_off_is_a_span_that_was_cancelled_and_the_next_one_another() {
    let Some(mut scene) = Scene::new(Ground::Real, "spans-fence", 1) else { return };
    let redis = support::redis_possible().then(|| Redis::start(&[]).expect("a redis-server"));
    let Some(redis) = redis else { return };
    scene.redis_url = redis.url();
    let collector = Collector::start();
    begin(&scene);
    let url = collector.url();
    // The session is looked for every five seconds.
    let settings = [watched(url)[0], watched(url)[1], ("ONCE_LEASE", "15s"), ("ONCE_APP_TIMEOUT", "14s")];
    let sidecar = scene.sidecar(&settings);
    await_request(&scene);
    let sessions = redis.cli(&["--scan", "--pattern", &format!("once:{}:s:*", scene.group)]).expect("an answer");
    sessions.lines().for_each(|key| assert_eq!(redis.cli(&["DEL", key]).expect("an answer"), "1"));
    let seen = collector.wait_for(2);
    assert_cancelled(&seen[0]);
    let next = seen[1].attributes();
    assert_eq!((next["once.attempt"].as_str(), next["once.delivery"].as_str()), ("2", "possible-repeat"));
    assert_eq!((next["once.verdict"].as_str(), seen[1].has_failed()), ("accepted", false));
    assert_eq!(hex(&seen[1].span.trace_id), TRACE);
    stop(&sidecar);
    assert_eq!(collector.count(), 2);
}

#[test]
fn behind_a_collector_that_never_answers_so_many_spans_wait_the_rest_is_lost_and_the_end_comes_in_time() {
    let Some(scene) = Scene::new(Ground::Real, "spans-silent", 1) else { return };
    let collector = Collector::start_as(Manner::Silent);
    let records: Vec<_> =
        (0..WAITING + 500).map(|number| Record::new(&scene.topic, "").id(format!("id-{number}"))).collect();
    let produced = scene.produce(&records);
    let url = collector.url();
    let sidecar = scene.sidecar(&[watched(url)[0], watched(url)[1], ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")]);
    scene.await_applied(records.len());
    scene.await_committed();
    lost(&sidecar, 500);
    sidecar.sigterm();
    // A promise of the specification: ONCE_DRAIN_TIMEOUT.
    assert_eq!(sidecar.wait_exit(Duration::from_secs(25)), Some(0), "{}", sidecar.tail());
    scene.audit(&produced).assert_exactly_once();
    let log = sidecar.log().all();
    let told = log.lines().find(|line| line.contains("spans were lost before the end"));
    let all = format!("\"spans\":{}", records.len());
    assert!(told.is_some_and(|line| line.contains(&all)), "{told:?}");
}
