//! The contract as a table, and as a property: whatever a record holds, it arrives whole or is refused before.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::adapters::app::target::{AppTarget, Transport};
use crate::domain::record::{Offset, Position};
use crate::domain::time::UnixMillis;
use crate::domain::verdict::Delivery;

type Headers<'a> = &'a [(&'a [u8], Option<&'a [u8]>)];

fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers<'_>) -> Record {
    let position = Position { partition: 3, offset: Offset(42), timestamp: -1 };
    Record::new("orders".into(), position, key, value, headers)
}

fn contract() -> Contract {
    let transport = Transport::Tcp { host: "localhost".to_owned(), port: 80, tls: false };
    Contract::new(Target::without_id(&AppTarget { transport, path: "/in".to_owned() }).unwrap())
}

fn request(record: Record, id: &str) -> Request {
    Request {
        record: Arc::new(record),
        id: WireId(id.into()),
        delivery: Delivery::First,
        attempt: 1,
        deadline: UnixMillis(u64::MAX),
        timeout: Duration::from_secs(1),
    }
}

/// The header lines as they are written.
fn lines(record: Record, id: &str) -> Vec<(String, String)> {
    lines_in(&written(&request(record, id)).unwrap())
}

fn written(request: &Request) -> Result<Vec<u8>, String> {
    let mut head = b"what stood there before".to_vec();
    contract().write(request, None, &mut head).map(|()| head)
}

/// The header lines of a head, which must be one head and nothing else.
fn lines_in(head: &[u8]) -> Vec<(String, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 2 * MAX_RECORD_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    assert_eq!(parsed.parse(head), Ok(httparse::Status::Complete(head.len())));
    assert_eq!((parsed.method, parsed.path, parsed.version), (Some("POST"), Some("/in"), Some(1)));
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect()
}

/// The lines a record's own headers become.
fn lines_of(headers: Headers<'_>) -> Vec<String> {
    let all = lines(record(None, Some(b"v"), headers), "id");
    all.into_iter().skip(10).map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn each_header_of_a_record_travels_once_and_can_only_be_itself() {
    let table: &[(Headers, &[&str])] = &[
        (&[], &[]),
        (&[(b"plain", Some(b"value"))], &["kafka-header-plain: value"]),
        (&[(b"Twice", Some(b"1")), (b"twice", Some(b"2"))], &["kafka-header-twice: 1", "kafka-header-twice: 2"]),
        (&[(b"null", None), (b"empty", Some(b""))], &["kafka-header-null: ", "kafka-header-empty: "]),
        (&[(b"", Some(b"x"))], &["kafka-header-: x"]),
        (&[(b"Host", Some(b"evil"))], &["kafka-header-host: evil"]),
        (&[(b"Transfer-Encoding", Some(b"chunked"))], &["kafka-header-transfer-encoding: chunked"]),
        (&[(b"Content-Length", Some(b"9"))], &["kafka-header-content-length: 9"]),
        (
            &[(b"Authorization", Some(b"x")), (b"Cookie", Some(b"y"))],
            &["kafka-header-authorization: x", "kafka-header-cookie: y"],
        ),
        (&[(b"Idempotency-Key", Some(b"forged"))], &["kafka-header-idempotency-key: forged"]),
        (&[(b"Once-Attempt", Some(b"99"))], &["kafka-header-once-attempt: 99"]),
        (&[(b"Kafka-Tombstone", Some(b"true"))], &["kafka-header-kafka-tombstone: true"]),
        (
            &[(b"a\r\nEvil: 1", Some(b"x\r\nEvil: 2\r\n\r\nGET /"))],
            &["kafka-header-a%0d%0aevil%3a%201: x%0D%0AEvil: 2%0D%0A%0D%0AGET /"],
        ),
        (&[(b"\xFF\xFE", Some(b"\x00\xFF%"))], &["kafka-header-%ff%fe: %00%FF%25"]),
        // Taken over.
        (&[(b"content-type", Some(b"text/plain; q=\"1%\""))], &["content-type: text/plain; q=\"1%\""]),
        (
            &[(b"Content-Type", Some(b"a/b")), (b"content-type", Some(b"c/d"))],
            &["content-type: a/b", "kafka-header-content-type: c/d"],
        ),
        (&[(b"content-type", Some(b"a\r\nEvil: 1"))], &["kafka-header-content-type: a%0D%0AEvil: 1"]),
        (&[(b"content-type", None)], &["kafka-header-content-type: "]),
        (
            &[(b"traceparent", Some(b"00-ab-cd-01")), (b"tracestate", Some(b"a=1,b=2"))],
            &["traceparent: 00-ab-cd-01", "tracestate: a=1,b=2"],
        ),
        (
            &[(b"ce_id", Some(b"1")), (b"ce_source", Some("/é \"%".as_bytes()))],
            &["ce-id: 1", "ce-source: /%C3%A9%20%22%25"],
        ),
        (&[(b"ce_id", Some(b"1")), (b"ce_id", Some(b"2 2"))], &["ce-id: 1", "kafka-header-ce_id: 2 2"]),
        (
            &[(b"ce_", Some(b"1")), (b"ce_a-b", Some(b"2")), (b"ce_x", None)],
            &["kafka-header-ce_: 1", "kafka-header-ce_a-b: 2", "kafka-header-ce_x: "],
        ),
    ];
    for (headers, expected) in table {
        assert_eq!(lines_of(headers), *expected);
    }
}

#[test]
fn a_head_without_room_for_a_trace_goes_without() {
    let with = |size: usize| request(record(None, None, &[(b"h", Some(&vec![b'x'; size]))]), "id");
    let largest = (0..MAX_HEAD_BYTES).rev().find(|size| written(&with(*size)).is_ok()).expect("a small one fits");
    let trace = TraceContext { traceparent: "0".repeat(55), parent: None };
    let traced = |size| {
        let mut head = Vec::new();
        contract().write(&with(size), Some(&trace), &mut head).map(|()| head)
    };
    assert_eq!(
        traced(largest - 2_000).map(|head| head.len()),
        written(&with(largest - 2_000)).map(|head| head.len() + 70)
    );
    let too_near = (0..=largest).rev().find(|size| traced(*size) != written(&with(*size)));
    assert!(too_near.is_some_and(|size| traced(size).expect("it fits").len() <= MAX_HEAD_BYTES), "{too_near:?}");
    assert!(traced(largest).expect("it fits").len() <= MAX_HEAD_BYTES);
}

#[test]
fn a_span_of_ours_takes_the_place_of_the_header_that_it_goes_on_from_and_of_no_other() {
    let headers: Headers = &[
        (b"traceparent", Some(b"broken")),
        (b"Traceparent", Some(b"good")),
        (b"traceparent", Some(b"later")),
        (b"tracestate", Some(b"a=1")),
        (b"content-type", Some(b"a/b")),
    ];
    for (parent, expected) in [
        (
            Some(1),
            &[
                "traceparent: ours",
                "kafka-header-traceparent: broken",
                "kafka-header-traceparent: later",
                "tracestate: a=1",
                "content-type: a/b",
            ][..],
        ),
        (
            None,
            &[
                "traceparent: ours",
                "kafka-header-traceparent: broken",
                "kafka-header-traceparent: good",
                "kafka-header-traceparent: later",
                "kafka-header-tracestate: a=1",
                "content-type: a/b",
            ],
        ),
    ] {
        let trace = TraceContext { traceparent: "ours".to_owned(), parent };
        let mut head = Vec::new();
        contract().write(&request(record(None, Some(b"v"), headers), "id"), Some(&trace), &mut head).unwrap();
        let found = lines_in(&head).into_iter().skip(10).map(|(name, value)| format!("{name}: {value}"));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn null_and_empty_are_told_apart_for_key_and_value() {
    for (key, value, expected) in [
        (None, None, &["0", "tombstone"][..]),
        (None, Some(&b""[..]), &["0"]),
        (Some(&b""[..]), Some(&b"four"[..]), &["4", "key="]),
        (Some(b" k%\n\xFF "), None, &["0", "key=%20k%25%0A%FF%20", "tombstone"]),
    ] {
        let found: Vec<String> = lines(record(key, value, &[]), "id")
            .into_iter()
            .filter_map(|(name, value)| match name.as_str() {
                "content-length" => Some(value),
                "kafka-key" => Some(format!("key={value}")),
                "kafka-tombstone" => Some("tombstone".to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_record_over_a_cap_is_found_before_anything_is_built() {
    let header: (&[u8], Option<&[u8]>) = (b"n", Some(b"v"));
    let large = vec![b'x'; MAX_HEAD_BYTES];
    let third = vec![0_u8; MAX_HEAD_BYTES / 3];
    let forty_thousand = vec![header; 40_000];
    for (headers, key, id, fit) in [
        (vec![header; MAX_RECORD_HEADERS], &b"k"[..], "id", true),
        (vec![header; MAX_RECORD_HEADERS + 1], b"k", "id", false),
        (forty_thousand, b"k", "id", false),
        (vec![(&large[..], None)], b"k", "id", false),
        (vec![(b"n", Some(&large[..]))], b"k", "id", false),
        (vec![(b"n", Some(&third[..]))], b"k", "id", false),
        (vec![], &large, "id", false),
        (vec![], b"k", &"i".repeat(1_000_000), false),
        (vec![], b"k", "line\r\nbreak", false),
        (vec![], b"k", "", false),
    ] {
        let record = record(Some(key), None, &headers);
        assert_eq!(fits(&record, &WireId(id.into())).is_ok(), fit, "{} headers", headers.len());
        assert_eq!(written(&request(record, id)).is_ok(), fit);
    }
}

#[test]
fn the_constant_headers_of_many_partitions_stay_bounded_and_right() {
    let contract = contract();
    for partition in 0..=i32::try_from(MAX_PLACES).unwrap() {
        let place = contract.place(TopicPartition { topic: "orders".into(), partition }).unwrap();
        assert_eq!(place.position, format!("kafka-topic: orders\r\nkafka-partition: {partition}\r\n").as_bytes());
    }
    assert_eq!(contract.places.lock().unwrap().len(), 1);
}

/// Undoes any of the encodings.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::sample::select(vec![
            "content-type",
            "traceparent",
            "ce_id",
            "CE_id",
            "ce_ä",
            "host",
            "Kafka-Key",
            "a",
            "A"
        ])
        .prop_map(|name| name.as_bytes().to_vec()),
    ]
}

fn values() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 0..6000),
        20 => "[ -~]{0,30}".prop_map(String::into_bytes),
    ])
}

proptest! {
    #[test]
    fn whatever_a_record_holds_arrives_whole_or_does_not_fit(
        key in values(),
        value in values(),
        headers in prop::collection::vec((names(), values()), 0..70),
        id in "[!-~]{1,60}",
    ) {
        let borrowed: Vec<_> = headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        let record = record(key.as_deref(), value.as_deref(), &borrowed);
        let Ok(head) = written(&request(record.clone(), &id)) else {
            prop_assert!(fits(&record, &WireId(id.into())).is_err());
            return Ok(());
        };
        prop_assert!(head.len() <= MAX_HEAD_BYTES);
        let trace = TraceContext { traceparent: "0".repeat(55), parent: None };
        let mut traced = Vec::new();
        contract().write(&request(record.clone(), &id), Some(&trace), &mut traced).unwrap();
        prop_assert!(traced.len() <= MAX_HEAD_BYTES);
        let built = lines_in(&head);
        let value_of = |name: &str| built.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        prop_assert_eq!(value_of("idempotency-key"), Some(&id[..]));
        prop_assert_eq!(value_of("kafka-key").map(decoded), key);

        // Every pair of name and value, wherever it stands.
        let mut sent: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (name, text) in &built {
            prop_assert!(text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) && text.trim() == text);
            match name.as_str() {
                "content-type" | "traceparent" => sent.push((name.clone().into(), text.clone().into())),
                "ce-id" => sent.push((b"ce_id".to_vec(), decoded(text))),
                name => if let Some(name) = name.strip_prefix("kafka-header-") {
                    sent.push((decoded(name), decoded(text)));
                },
            }
        }
        let mut held: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone().unwrap_or_default()))
            .collect();
        for (name, _) in &mut sent {
            name.make_ascii_lowercase(); // an upper-case byte may have travelled encoded
        }
        sent.sort();
        held.sort();
        prop_assert_eq!(sent, held);
    }
}
