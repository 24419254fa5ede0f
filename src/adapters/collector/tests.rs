//! The watcher of requests, without a collector behind it.

use std::sync::Mutex;

use opentelemetry::trace::Status;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as Exports};

use super::*;
use crate::domain::identity::WireId;
use crate::domain::record::{Offset, Position, Record};
use crate::domain::time::UnixMillis;
use crate::domain::verdict::{Answer, Delivery, Overrule};
use crate::settings;

pub(super) fn settings(more: &[(&str, &str)]) -> Settings {
    let mut pairs: Vec<(&str, &str)> = settings::example().into_iter().collect();
    pairs.extend([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_BSP_SCHEDULE_DELAY", "600000")]);
    pairs.extend(more);
    settings::Settings::from_pairs(&pairs).expect("settings").collector.expect("a collector")
}

fn collector(more: &[(&str, &str)]) -> Collector {
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    Collector::start(&settings(more), "billing", metrics).expect("it starts")
}

fn request(traceparent: Option<&str>) -> Request {
    let position = Position { partition: 0, offset: Offset(7), timestamp: 0 };
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        traceparent.iter().map(|value| (&b"traceparent"[..], Some(value.as_bytes()))).collect();
    Request {
        record: Arc::new(Record::new("orders".into(), position, None, None, &headers)),
        id: WireId("id-1".into()),
        delivery: Delivery::First,
        attempt: 1,
        deadline: UnixMillis(0),
        timeout: Duration::from_secs(1),
    }
}

#[test]
fn the_sampler_decides_the_flag_of_roots_and_a_parent_that_of_its_children() {
    let of = |flags: &str| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    let (unsampled, sampled) = (of("00"), of("01"));
    for (sampler, argument, parent, flag) in [
        ("parentbased_always_on", "", None, "-01"),
        ("parentbased_always_on", "", Some(&unsampled), "-00"),
        ("parentbased_always_off", "", None, "-00"),
        ("parentbased_always_off", "", Some(&sampled), "-01"),
        ("always_on", "", Some(&unsampled), "-01"),
        ("always_off", "", Some(&sampled), "-00"),
        ("traceidratio", "0", Some(&sampled), "-00"),
        ("parentbased_traceidratio", "1.0", None, "-01"),
        ("parentbased_traceidratio", "", None, "-01"),
    ] {
        let collector = collector(&[("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
        let span = collector.begin(&request(parent.map(String::as_str))).expect("a span");
        let context = span.context();
        assert!(context.traceparent.ends_with(flag), "{sampler} {argument} {parent:?}: {context:?}");
        assert_eq!((context.traceparent.len(), context.parent), (55, parent.map(|_| 0)));
    }
}

#[test]
fn after_the_end_nobody_is_watched() {
    let collector = collector(&[]);
    let span = collector.begin(&request(None)).expect("a span");
    collector.close(Duration::ZERO);
    span.end(&Answer::NotSent("late".to_owned()));
    assert!(collector.begin(&request(None)).is_none());
}

/// Keeps the spans that have ended.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Exports for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[test]
fn what_came_of_a_request_is_its_verdict_its_status_and_the_kind_of_its_error() {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let collector = Collector { tracer: provider.tracer("test"), provider, ..collector(&[]) };
    let status = |code, overrule| Some(Answer::Status { code, overrule, retry_after: None });
    for (answer, verdict, code, error, described) in [
        (status(204, None), "accepted", "204", "", ""),
        (status(400, Some(Overrule::Accepted)), "accepted", "400", "", ""),
        (status(400, None), "refused", "400", "400", "the app answered 400"),
        (status(503, None), "overloaded", "503", "503", "the app answered 503"),
        (status(200, Some(Overrule::Failed)), "failed", "200", "failed", "the app answered 200 and overruled it"),
        (Some(Answer::NotSent("nobody is there".to_owned())), "unavailable", "", "unavailable", "nobody is there"),
        (Some(Answer::NoAnswer("cut short".to_owned())), "unknown", "", "unknown", "cut short"),
        (None, "", "", "cancelled", "the request was cancelled"),
    ] {
        let span = collector.begin(&request(None)).expect("a span");
        match &answer {
            Some(answer) => span.end(answer),
            None => drop(span),
        }
        let [seen] = &std::mem::take(&mut *kept.0.lock().unwrap())[..] else { panic!("not one span of {answer:?}") };
        let told = |name: &str| {
            let found = seen.attributes.iter().find(|pair| pair.key.as_str() == name);
            found.map(|pair| pair.value.to_string()).unwrap_or_default()
        };
        let names = ["once.verdict", "http.response.status_code", "error.type"];
        assert_eq!(names.map(told), [verdict, code, error], "{answer:?}");
        let status = if error.is_empty() { Status::Unset } else { Status::error(described) };
        assert_eq!(seen.status, status, "{answer:?}");
        assert_eq!(told("messaging.kafka.message.tombstone"), "true");
    }
}
