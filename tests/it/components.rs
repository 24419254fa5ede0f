//! The harness itself: real components start, answer, break and come back, and never outlive a test.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::audit::{Audit, Produced};
use crate::support::process::Start;
use crate::support::redis::{Data, Options, certify};
use crate::support::redis_groups::{Cluster, Sentinel};
use crate::support::sidecar::Metrics;
use crate::support::topics::{self, Committed};
use crate::support::wire;
use crate::support::{
    self, Answer, Kafka, Ledger, Model, Producer, Record, Redis, Sidecar, Signal,
};

const SOON: Duration = Duration::from_secs(30);

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_child_dies_and_its_directory_goes_when_the_leash_is_let_go() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let inside = dir.path().join("inside");
    std::fs::create_dir(&inside)?;
    let child = Start::new("sleep").arg("600").wipe(&inside).spawn()?;
    let pid = child.pid();
    assert!(exists(pid));
    child.signal(Signal::STOP);
    child.unleash();
    assert_eq!(child.wait_exit(SOON), Some(137));
    assert!(!exists(pid) && !inside.exists());
    Ok(())
}

#[test]
fn a_child_dies_when_the_test_process_is_killed() -> anyhow::Result<()> {
    const AS_PARENT: &str = "TEST_AS_PARENT";
    if std::env::var_os(AS_PARENT).is_some() {
        let child = Start::new("sleep").arg("600").spawn()?;
        println!("\ngrandchild {}", child.pid());
        child.wait_exit(Duration::from_secs(600));
        anyhow::bail!("nobody killed this process");
    }
    // This very test, run as a process of its own, is the parent that gets killed.
    let name = "components::a_child_dies_when_the_test_process_is_killed";
    let parent = Start::new(std::env::current_exe()?).args(["--exact", name, "--nocapture"]);
    let parent = parent.env(AS_PARENT, "1").spawn()?;
    let line = parent
        .log()
        .wait_for(SOON, |line| line.starts_with("grandchild "))?;
    let pid: i32 = line.trim_start_matches("grandchild ").parse()?;
    assert!(exists(pid));
    parent.kill();
    await_gone(pid)
}

/// Waits for the end of a process that is not our child: nothing announces it, so it is looked for.
fn await_gone(pid: i32) -> anyhow::Result<()> {
    let end = Instant::now() + SOON;
    while exists(pid) {
        anyhow::ensure!(Instant::now() < end, "process {pid} outlived its parent");
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn exit_codes_and_lines_of_a_child_are_seen() -> anyhow::Result<()> {
    let child = Start::new("sh")
        .args(["-c", "echo out; echo err >&2; exit 7"])
        .clear_env()
        .spawn()?;
    child.log().wait_for(SOON, |line| line == "out")?;
    child.log().wait_for(SOON, |line| line == "err")?;
    assert_eq!(child.wait_exit(SOON), Some(7));
    let ended = child
        .log()
        .wait_for(SOON, |line| line == "never")
        .map_err(|error| error.to_string());
    assert!(ended.is_err_and(|text| text.contains("it ended")));
    Ok(())
}

#[test]
fn kafka_carries_records_with_all_they_hold() -> anyhow::Result<()> {
    let Some(kafka) = support::kafka() else {
        return Ok(());
    };
    let topic = "harness-round-trip";
    kafka.create_topic(topic, 2, &[("max.message.bytes", "2000000")])?;
    let record = Record::new(topic, b"value".to_vec())
        .key("k")
        .header("a", "1")
        .header("a", "2");
    let records = [
        record.partition(1).timestamp(1_700_000_000_000),
        Record::new(topic, "").tombstone().partition(1),
    ];
    let producer = Producer::new(&kafka.bootstrap())?;
    assert_eq!(producer.send(records)?, [(1, 0), (1, 1)]);
    let read = topics::read_all(&kafka.bootstrap(), topic)?;
    let headers = [("a", "1"), ("a", "2")]
        .map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())));
    assert_eq!(read[0].headers, headers);
    assert_eq!(read[0].timestamp, Some(1_700_000_000_000));
    assert_eq!(
        (read[0].key.as_deref(), read[0].value.as_deref()),
        (Some(&b"k"[..]), Some(&b"value"[..]))
    );
    assert_eq!(
        (read[1].key.as_deref(), read[1].value.as_deref()),
        (None, None)
    );
    topics::grow(&kafka.bootstrap(), topic, 3)?;
    assert_eq!(topics::partitions(&kafka.bootstrap(), topic)?, [0, 1, 2]);
    topics::delete_records_before(&kafka.bootstrap(), topic, 1, 1)?;
    assert_eq!(topics::watermarks(&kafka.bootstrap(), topic)?[&1], (1, 2));
    Ok(())
}

#[test]
fn kafka_keeps_offset_metadata() -> anyhow::Result<()> {
    let Some(kafka) = support::kafka() else {
        return Ok(());
    };
    let (topic, group) = ("harness-commit", "harness-commit");
    kafka.create_topic(topic, 1, &[])?;
    let bootstrap = kafka.bootstrap();
    assert!(topics::committed(&bootstrap, group, topic)?.is_empty());
    let to = Committed {
        next: 0,
        metadata: "history".to_owned(),
    };
    topics::commit(&bootstrap, group, topic, 0, &to)?;
    assert_eq!(topics::committed(&bootstrap, group, topic)?[&0], to);
    topics::delete(&bootstrap, topic)
}

#[test]
fn one_of_three_brokers_may_die_and_come_back() -> anyhow::Result<()> {
    if !support::kafka_possible() {
        return Ok(());
    }
    let kafka = Kafka::start(3)?;
    kafka.create_topic("t", 3, &[])?;
    let producer = Producer::new(&kafka.bootstrap())?;
    let three = || (0..3).map(|partition| Record::new("t", "x").partition(partition));
    producer.send(three())?;
    kafka.kill(2);
    producer.send(three())?;
    kafka.restart(2)?;
    kafka.pause(0);
    kafka.cont(0);
    producer.send(three())?;
    assert_eq!(topics::read_all(&kafka.bootstrap(), "t")?.len(), 9);
    Ok(())
}

#[test]
fn redis_loses_its_memory_or_keeps_it_as_asked() -> anyhow::Result<()> {
    if !support::redis_possible() {
        return Ok(());
    }
    let redis = Redis::start(&[])?;
    assert_eq!(redis.cli(&["SET", "a", "1"])?, "OK");
    redis.save()?;
    redis.kill();
    assert!(redis.cli(&["PING"]).is_err());
    redis.restart(Data::Kept)?;
    assert_eq!(redis.cli(&["GET", "a"])?, "1");
    redis.restart(Data::Empty)?;
    assert_eq!(redis.cli(&["GET", "a"])?, "");
    redis.pause();
    redis.cont();
    assert_eq!(redis.cli(&["PING"])?, "PONG");
    Ok(())
}

#[test]
fn redis_wants_its_password_and_speaks_tls() -> anyhow::Result<()> {
    let Some(shared) = support::redis() else {
        return Ok(());
    };
    assert_eq!(shared.cli(&["PING"])?, "PONG");
    let options = Options {
        password: Some("secret".to_owned()),
        tls: true,
        ..Options::default()
    };
    let redis = Redis::start_with(options)?;
    assert_eq!(redis.cli(&["PING"])?, "PONG");
    assert!(redis.url().starts_with("rediss://:secret@127.0.0.1:"));
    let locked = Redis::start(&["--requirepass", "other"])?;
    assert!(locked.cli(&["PING"])?.starts_with("NOAUTH"));
    Ok(())
}

#[test]
fn sentinel_fails_over() -> anyhow::Result<()> {
    if !support::redis_possible() {
        return Ok(());
    }
    let sentinel = Sentinel::start()?;
    assert_eq!(sentinel.current_primary()?, sentinel.primary.address());
    sentinel.primary.kill();
    sentinel.await_failover(SOON)?;
    assert_eq!(sentinel.current_primary()?, sentinel.replica.address());
    Ok(())
}

#[test]
fn a_cluster_spreads_keys() -> anyhow::Result<()> {
    if !support::redis_possible() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(cluster.cli(&["SET", key, key])?, "OK");
    }
    let sizes: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| node.cli(&["DBSIZE"]))
        .collect::<anyhow::Result<_>>()?;
    assert!(
        sizes.iter().filter(|size| *size != "0").count() > 1,
        "{sizes:?}"
    );
    Ok(())
}

#[test]
fn the_ledger_records_requests_raw_and_misbehaves_as_told() -> anyhow::Result<()> {
    let ledger = Ledger::start()?;
    let address = ledger.url("").trim_start_matches("http://").to_owned();
    let post = |path| wire::request(&address, "POST", path, b"body", SOON);
    assert_eq!(post("/a")?.status, 200);
    ledger.wait_until(SOON, |records| records.requests.len() == 1)?;
    let records = ledger.records();
    assert_eq!(records.requests[0].body, b"body");
    assert_eq!(
        records.requests[0].headers[1],
        (b"Connection".to_vec(), b"close".to_vec())
    );
    assert_eq!(records.applied.len(), 1);

    let release = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&release);
    ledger.behave(move |request| {
        let held = Arc::clone(&held);
        async move {
            match request.path.as_str() {
                "/slow" => Answer::status(204).held(async move { held.notified().await }),
                "/reset" => Answer::reset().applied(true),
                _ => Answer::status(503).header("Retry-After", "1").body("later"),
            }
        }
    });
    let busy = post("/busy")?;
    assert!(busy.status == 503 && busy.head.contains("Retry-After: 1") && busy.body == "later");
    assert!(post("/reset").is_err());
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let slow = scope.spawn(|| post("/slow"));
        ledger.wait_until(SOON, |records| {
            records
                .requests
                .last()
                .is_some_and(|last| last.path == "/slow")
        })?;
        release.notify_one();
        let reply = slow
            .join()
            .map_err(|_| anyhow::anyhow!("the slow request panicked"))??;
        assert_eq!(reply.status, 204);
        Ok(())
    })?;
    ledger.close();
    assert!(post("/a").is_err());
    ledger.open()?;
    assert_eq!(post("/busy")?.status, 503);
    Ok(())
}

#[tokio::test]
async fn the_ledger_wakes_asynchronous_tests_and_answers_lookups() -> anyhow::Result<()> {
    let ledger = Ledger::start_as(Model::Transactional)?;
    let address = ledger.url("").trim_start_matches("http://").to_owned();
    let ask = address.clone();
    let status = tokio::task::spawn_blocking(move || {
        let post = wire::request(&ask, "POST", "/", b"", SOON)?;
        let known = wire::request(&ask, "GET", "/applied/", b"", SOON)?;
        let unknown = wire::request(&ask, "GET", "/applied/x", b"", SOON)?;
        anyhow::Ok([post.status, known.status, unknown.status])
    });
    ledger
        .until(SOON, |records| records.asked.len() == 2)
        .await?;
    assert_eq!(status.await??, [200, 200, 404]);
    ledger.set_ready(false);
    let ready =
        tokio::task::spawn_blocking(move || wire::request(&address, "GET", "/ready", b"", SOON));
    assert_eq!(ready.await??.status, 503);
    Ok(())
}

#[test]
fn the_ledger_listens_on_a_unix_socket_and_with_tls() -> anyhow::Result<()> {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir()?;
    let request = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let ok = b"HTTP/1.1 200";
    let mut answer = [0; 12];

    let socket = dir.path().join("app.sock");
    let ledger = Ledger::start_unix(&socket)?;
    assert_eq!(ledger.url("/a"), format!("unix:{}:/a", socket.display()));
    let mut plain = std::os::unix::net::UnixStream::connect(&socket)?;
    plain.write_all(request)?;
    plain.read_exact(&mut answer)?;
    assert_eq!(
        (&answer, ledger.records().requests[0].body.as_slice()),
        (ok, &b"abc"[..])
    );

    let certificates = certify(dir.path())?;
    let ledger = Ledger::start_tls(&certificates)?;
    let address = ledger.url("").trim_start_matches("https://").to_owned();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let client = rustls::ClientConnection::new(config, "localhost".try_into()?)?;
    let mut secret = rustls::StreamOwned::new(client, std::net::TcpStream::connect(address)?);
    secret.write_all(request)?;
    secret.read_exact(&mut answer)?;
    assert_eq!((&answer, ledger.records().requests.len()), (ok, 1));
    Ok(())
}

#[test]
fn our_binary_starts_below_the_leash_and_ends_with_its_code() -> anyhow::Result<()> {
    let sidecar = Sidecar::command(&["--version"], &[])?;
    assert_eq!(sidecar.wait_exit(SOON), Some(0), "{}", sidecar.tail());
    assert!(!sidecar.runs() && sidecar.get("/live").is_err());
    Ok(())
}

/// Sends one request of the app contract: message ID, delivery, key and offset.
fn deliver(
    ledger: &Ledger,
    id: &str,
    delivery: &str,
    key: &str,
    offset: i64,
) -> anyhow::Result<()> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(ledger.url("").trim_start_matches("http://"))?;
    let text = format!(
        "POST / HTTP/1.1\r\nIdempotency-Key: {id}\r\nOnce-Delivery: {delivery}\r\nKafka-Topic: t\r\n\
         Kafka-Partition: 0\r\nKafka-Offset: {offset}\r\nKafka-Key: {key}\r\n\r\n"
    );
    stream.write_all(text.as_bytes())?;
    let mut first = [0; 16];
    stream.read_exact(&mut first)?;
    Ok(())
}

#[test]
fn the_auditor_names_what_is_wrong() -> anyhow::Result<()> {
    let ledger = Ledger::start()?;
    let requests = [
        ("fine", "first", "a", 0),
        ("late", "first", "b", 3),
        ("early", "first", "b", 2),
        ("twice", "first", "c", 4),
        ("twice", "first", "c", 4),
        ("doubt", "first", "d", 5),
        ("doubt", "possible-repeat", "d", 5),
        ("foreign", "first", "e", 6),
    ];
    for (id, delivery, key, offset) in requests {
        deliver(&ledger, id, delivery, key, offset)?;
    }
    let produced = ["fine", "late", "early", "twice", "doubt", "lost"].map(|id| Produced {
        topic: "t".to_owned(),
        id: id.to_owned(),
        position: (0, 0),
    });
    let audit = Audit::new(&produced, &ledger.records(), &[]);
    let named = |effects: &[(String, String)]| {
        effects
            .iter()
            .map(|(_, id)| id.clone())
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!(named(&audit.lost), "lost");
    assert_eq!(named(&audit.repeated), "twice");
    assert_eq!(named(&audit.applied_twice), "twice");
    assert_eq!(named(&audit.repeated_in_doubt), "doubt");
    assert_eq!(named(&audit.forwarded_twice), "doubt,twice");
    assert_eq!(named(&audit.disorder), "early");
    assert_eq!(named(&audit.foreign), "foreign");
    Ok(())
}

#[test]
fn scrapes_are_parsed_with_labels_and_escapes() -> anyhow::Result<()> {
    let text = "# HELP a b\na_total{topic=\"x\\\"y\",outcome=\"d\"} 3\na_total{topic=\"z\",outcome=\"d\"} 4\n\
                h_bucket{le=\"+Inf\"} +Inf\nup 1\n";
    let metrics = Metrics::parse(text)?;
    assert_eq!(metrics.get("a_total", &[("topic", "x\"y")]), Some(3.0));
    assert_eq!(metrics.get("a_total", &[("outcome", "d")]), Some(7.0));
    assert_eq!(
        metrics.get("h_bucket", &[("le", "+Inf")]),
        Some(f64::INFINITY)
    );
    assert_eq!(
        (metrics.sum("up", &[]), metrics.get("down", &[])),
        (1.0, None)
    );
    assert!(Metrics::parse("a{b=\"c").is_err());
    Ok(())
}
