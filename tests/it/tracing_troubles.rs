//! Collectors of spans that misbehave, and those behind TLS: spans are lost and counted, and nothing else happens.

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message as _;

use crate::support::load::stop;
use crate::support::redis::certify;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{Record, Sidecar, ports};
use crate::tracing::stand_in::{Collector, Manner};
use crate::tracing::watched;

/// What the log says when spans are lost, once in a while.
pub const LOST: &str = "spans are lost: the collector does not take them";

pub fn lost(sidecar: &Sidecar, spans: usize) {
    let spans = f64::from(u32::try_from(spans).expect("few"));
    let told = |lost: Option<f64>| lost.is_some_and(|lost| (lost - spans).abs() < 0.5);
    let scrape = sidecar.await_metrics(PATIENCE, |scrape| told(scrape.get("kafka_once_spans_lost_total", &[])));
    scrape.unwrap_or_else(|error| panic!("not {spans} spans were lost: {error:#}"));
}

/// Delivers so many messages with these settings, each exactly once; `meanwhile` happens before the end. Gives back the log.
fn delivers(scene: &Scene, count: usize, settings: &[(&'static str, &str)], meanwhile: impl Fn(&Sidecar)) -> String {
    let records: Vec<_> = (0..count).map(|number| Record::new(&scene.topic, "").id(format!("id-{number}"))).collect();
    let produced = scene.produce(&records);
    let sidecar = scene.sidecar(settings);
    scene.await_applied(count);
    scene.await_committed();
    meanwhile(&sidecar);
    stop(&sidecar);
    scene.audit(&produced).assert_exactly_once();
    sidecar.log().all()
}

#[test]
fn a_collector_that_is_away_or_refuses_costs_spans_and_nothing_else() {
    let answers = |status| Some(Manner::Answers(status, Vec::new()));
    for (what, manner, words) in [
        ("away", None, "connecting: "),
        ("broken", answers(500), "status code: 500"),
        ("overloaded", answers(503), "status code: 503"),
        ("elsewhere", answers(307), "status code: 307"),
        ("silent", Some(Manner::Silent), "no answer within 300ms"),
        ("resets", Some(Manner::Resets), "reset"),
        ("closes", Some(Manner::Writes(b"")), "connection closed"),
        ("garbage", Some(Manner::Writes(b"SSH-2.0-OpenSSH_9.6\r\n")), "invalid HTTP"),
        (
            "cut short",
            Some(Manner::Writes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")),
            "before message length reached",
        ),
        ("endless", Some(Manner::Endless), "length limit exceeded"),
    ] {
        let Some(scene) = Scene::new(Ground::Real, "spans-away", 1) else { return };
        let collector = manner.map(Collector::start_as);
        let away = format!("http://127.0.0.1:{}", ports::free());
        let url = collector.as_ref().map_or(away.as_str(), Collector::url);
        let settings = [watched(url)[0], watched(url)[1], ("OTEL_EXPORTER_OTLP_TIMEOUT", "300")];
        let log = delivers(&scene, 50, &settings, |sidecar| lost(sidecar, 50));
        let line = log.lines().find(|line| line.contains(LOST)).unwrap_or_else(|| panic!("{what}: {log}"));
        assert!(line.contains(words) && line.contains("\"level\":\"WARN\""), "{what}: {line}");
    }
}

#[test]
fn what_a_collector_leaves_out_of_what_it_took_is_counted_as_lost_with_its_words() {
    let Some(scene) = Scene::new(Ground::Real, "spans-partial", 1) else { return };
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "over its quota".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let collector = Collector::start_as(Manner::Answers(200, answer));
    let log = delivers(&scene, 1, &watched(collector.url()), |sidecar| lost(sidecar, 1));
    assert!(log.lines().any(|line| line.contains(LOST) && line.contains("over its quota")), "{log}");
}

#[test]
fn over_tls_spans_reach_a_collector_that_the_given_authorities_vouch_for_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let certificates = [&ours, &theirs].map(|dir| {
        std::fs::create_dir(dir).expect("a directory");
        certify(dir).expect("certificates")
    });
    let [right, wrong] = certificates.each_ref().map(|files| files.ca.to_str().expect("a path"));
    for (variable, ca, trusted) in [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", right, true),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", right, true),
        ("SSL_CERT_FILE", right, true),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", wrong, false),
        ("SSL_CERT_FILE", wrong, false),
    ] {
        let Some(scene) = Scene::new(Ground::Real, "spans-tls", 1) else { return };
        let collector = Collector::start_tls(&certificates[0]);
        let settings = [watched(collector.url())[0], watched(collector.url())[1], (variable, ca)];
        let log = delivers(&scene, 20, &settings, |sidecar| {
            if trusted {
                assert_eq!(collector.wait_for(20).len(), 20);
            }
            lost(sidecar, if trusted { 0 } else { 20 });
        });
        let line = log.lines().find(|line| line.contains(LOST)).unwrap_or_default();
        if trusted {
            assert_eq!(line, "", "{variable}");
        } else {
            assert!(line.contains("TLS: invalid peer certificate: "), "{variable}: {line}");
            assert_eq!((collector.count(), collector.heads().len()), (0, 0), "nothing is told to a stranger");
        }
    }
}

#[test]
fn check_says_in_one_line_whether_the_collector_takes_spans_and_its_absence_is_a_warning() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificates = certify(dir.path()).expect("certificates");
    let bad = dir.path().join("bad.pem");
    std::fs::write(&bad, "no certificate").expect("a file");
    let (ca, bad) = (certificates.ca.to_str().expect("a path"), bad.to_str().expect("a path"));
    let (takes, refuses) = (Collector::start(), Collector::start_as(Manner::Answers(401, Vec::new())));
    let (secret, away) = (Collector::start_tls(&certificates), format!("http://127.0.0.1:{}", ports::free()));
    let short = ("OTEL_EXPORTER_OTLP_TIMEOUT", "300");
    let silent = Collector::start_as(Manner::Silent);
    let Some(scene) = Scene::new(Ground::Real, "spans-check", 1) else { return };
    let ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca);
    for (url, more, exit, words) in [
        ("", ca, 0, &[][..]),
        (takes.url(), ca, 0, &["ok ", "takes spans"]),
        (refuses.url(), ca, 0, &["warning ", "takes no spans", "status code: 401"]),
        (&away, ca, 0, &["warning ", "takes no spans", "connecting"]),
        (silent.url(), short, 0, &["warning ", "takes no spans", "no answer within 300ms"]),
        (secret.url(), ca, 0, &["ok ", "takes spans"]),
        (secret.url(), ("SSL_CERT_FILE", bad), 2, &["refused ", "OTEL_EXPORTER_OTLP_CERTIFICATE"]),
        (secret.url(), ("OTEL_EXPORTER_OTLP_CERTIFICATE", bad), 2, &["refused ", "OTEL_EXPORTER_OTLP_CERTIFICATE"]),
    ] {
        let mut settings = scene.settings();
        settings.extend([("OTEL_EXPORTER_OTLP_ENDPOINT", url.to_owned()), (more.0, more.1.to_owned())]);
        settings.push(("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2".to_owned()));
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let check = Sidecar::command(&["check"], &settings).expect("it starts");
        assert_eq!(check.wait_exit(PATIENCE), Some(exit), "{}", check.log().all());
        let said = check.log().all();
        let told: Vec<_> = said.lines().filter(|line| line.contains(" collector ")).collect();
        assert_eq!(told.len(), usize::from(!words.is_empty()), "{url} {more:?}: {said}");
        assert!(words.iter().all(|word| told[0].contains(word)), "{url} {more:?}: {told:?}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert!(takes.heads().iter().all(|head| head.contains("authorization: bearer hunter2\r\n")), "as it will be asked");
    assert_eq!((takes.heads().len(), takes.count()), (1, 0), "it is asked by no span");
}
