//! The watcher of requests, without a collector behind it.

use super::*;
use crate::domain::identity::WireId;
use crate::domain::record::{Offset, Position, Record};
use crate::domain::time::UnixMillis;
use crate::domain::verdict::{Answer, Delivery};
use crate::settings;

fn collector(more: &[(&str, &str)]) -> Collector {
    let mut pairs: Vec<(&str, &str)> = settings::example().into_iter().collect();
    pairs.extend([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_BSP_SCHEDULE_DELAY", "600000")]);
    pairs.extend(more);
    let settings = settings::Settings::from_pairs(&pairs).expect("settings");
    Collector::start(&settings.collector.expect("a collector"), "billing").expect("it starts")
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
