//! The header contract with the app, byte for byte, from a real record to a real request.

use crate::support::load::stop;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{Ledger, Record, Request};

crate::on_both!(
    the_app_receives_exactly_the_headers_of_the_contract,
    a_tombstone_and_an_empty_value_are_told_apart,
    an_app_on_a_unix_socket_is_served,
);

fn unix_millis() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970").as_millis()
}

/// Header lines of a request in their order, without those that HTTP itself needs.
fn lines(request: &Request) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own = ["host", "content-length", "once-deadline"];
    let lines = request.headers.iter().map(|(name, value)| (text(name).to_lowercase(), text(value)));
    lines.filter(|(name, _)| !own.contains(&name.as_str())).collect()
}

fn the_app_receives_exactly_the_headers_of_the_contract(ground: Ground) {
    let Some(scene) = Scene::new(ground, "contract", 1) else { return };
    let sent_at = i64::try_from(unix_millis()).expect("a time"); // an old one would be deleted by retention at once
    let record = Record::new(&scene.topic, b"\x00\xFFbody".to_vec())
        .key("schlüssel/1 %".as_bytes().to_vec())
        .timestamp(sent_at)
        .id("order 7/ä\n".as_bytes().to_vec())
        .header("content-type", "application/json")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("ce_type", "shop order")
        .header("X-Tenant", "zoë")
        .header("X-Tenant", "second")
        .header("odd name\r\n", "a\r\nInjected: yes")
        .header("Host", "evil")
        .header("Idempotency-Key", "forged")
        .header("Transfer-Encoding", "chunked");
    scene.produce(&[record]);
    let sidecar = scene.sidecar(&[("ONCE_APP_URL", &scene.ledger.url("/in/{topic}"))]);
    scene.await_applied(1);
    let records = scene.ledger.records();
    let request = &records.requests[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", format!("/in/{}", scene.topic).as_str()));
    assert_eq!(request.body, b"\x00\xFFbody");
    let expected = [
        ("idempotency-key", "order%207/%C3%A4%0A"),
        ("once-delivery", "first"),
        ("once-attempt", "1"),
        ("kafka-topic", scene.topic.as_str()),
        ("kafka-partition", "0"),
        ("kafka-offset", "0"),
        ("kafka-timestamp", &sent_at.to_string()),
        ("kafka-key", "schl%C3%BCssel/1 %25"),
        ("kafka-header-message-id", "order 7/%C3%A4%0A"),
        ("content-type", "application/json"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("ce-type", "shop%20order"),
        ("kafka-header-x-tenant", "zo%C3%AB"),
        ("kafka-header-x-tenant", "second"),
        ("kafka-header-odd%20name%0d%0a", "a%0D%0AInjected: yes"),
        ("kafka-header-host", "evil"),
        ("kafka-header-idempotency-key", "forged"),
        ("kafka-header-transfer-encoding", "chunked"),
    ];
    let mut expected: Vec<(String, String)> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut got = lines(request);
    expected.sort();
    got.sort();
    assert_eq!(got, expected);
    let deadline: u64 = request.header("once-deadline").and_then(|value| value.parse().ok()).expect("a deadline");
    let now = unix_millis();
    assert!(u128::from(deadline).abs_diff(now) < PATIENCE.as_millis(), "{deadline} is not near {now}");
    stop(&sidecar);
}

fn a_tombstone_and_an_empty_value_are_told_apart(ground: Ground) {
    let Some(scene) = Scene::new(ground, "tombstone", 1) else { return };
    let tombstone = Record::new(&scene.topic, "").id("tombstone").tombstone();
    let empty = Record::new(&scene.topic, "").id("empty");
    scene.produce(&[tombstone, empty]);
    let sidecar = scene.sidecar(&[]);
    scene.await_applied(2);
    let records = scene.ledger.records();
    let marked = |id: &str| {
        let request = records.requests.iter().find(|request| request.id() == id).expect("its request");
        (request.header("kafka-tombstone").map(str::to_owned), request.body.len())
    };
    assert_eq!(marked("tombstone"), (Some("true".to_owned()), 0));
    assert_eq!(marked("empty"), (None, 0));
    stop(&sidecar);
}

fn an_app_on_a_unix_socket_is_served(ground: Ground) {
    let Some(mut scene) = Scene::new(ground, "unix", 1) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    scene.ledger = Ledger::start_unix(&folder.path().join("app.sock")).expect("an app");
    let produced = scene.produce(&[Record::new(&scene.topic, "by socket").id("one")]);
    let sidecar = scene.sidecar(&[("ONCE_APP_URL", &scene.ledger.url("/orders"))]);
    scene.await_applied(1);
    scene.await_committed();
    assert_eq!(scene.ledger.with(|records| records.requests[0].path.clone()), "/orders");
    stop(&sidecar);
    scene.audit(&produced).assert_exactly_once();
}
