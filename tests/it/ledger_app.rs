//! The harness itself: the ledger app records what it is sent, misbehaves as told, and the auditor reads it rightly.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::audit::{Audit, Produced};
use crate::support::redis::certify;
use crate::support::wire;
use crate::support::{Answer, Ledger, Model};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn the_ledger_records_requests_raw_and_misbehaves_as_told() -> anyhow::Result<()> {
    let ledger = Ledger::start()?;
    let address = ledger.url("").trim_start_matches("http://").to_owned();
    let post = |path| wire::request(&address, "POST", path, b"body", SOON);
    assert_eq!(post("/a")?.status, 200);
    ledger.wait_until(SOON, |records| records.requests.len() == 1)?;
    let records = ledger.records();
    assert_eq!(records.requests[0].body, b"body");
    assert_eq!(records.requests[0].headers[1], (b"Connection".to_vec(), b"close".to_vec()));
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
        ledger.wait_until(SOON, |records| records.requests.last().is_some_and(|last| last.path == "/slow"))?;
        release.notify_one();
        let reply = slow.join().map_err(|_| anyhow::anyhow!("the slow request panicked"))??;
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
    ledger.until(SOON, |records| records.asked.len() == 2).await?;
    assert_eq!(status.await??, [200, 200, 404]);
    ledger.set_ready(false);
    let ready = tokio::task::spawn_blocking(move || wire::request(&address, "GET", "/ready", b"", SOON));
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
    assert_eq!((&answer, ledger.records().requests[0].body.as_slice()), (ok, &b"abc"[..]));

    let certificates = certify(dir.path())?;
    let ledger = Ledger::start_tls(&certificates)?;
    let address = ledger.url("").trim_start_matches("https://").to_owned();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let client = rustls::ClientConnection::new(config, "localhost".try_into()?)?;
    let mut secret = rustls::StreamOwned::new(client, std::net::TcpStream::connect(address)?);
    secret.write_all(request)?;
    secret.read_exact(&mut answer)?;
    assert_eq!((&answer, ledger.records().requests.len()), (ok, 1));
    Ok(())
}

/// Sends one request of the app contract: message ID, delivery, key and offset.
fn deliver(ledger: &Ledger, id: &str, delivery: &str, key: &str, offset: i64) -> anyhow::Result<()> {
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
    let named = |effects: &[(String, String)]| effects.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>().join(",");
    assert_eq!(named(&audit.lost), "lost");
    assert_eq!(named(&audit.repeated), "twice");
    assert_eq!(named(&audit.applied_twice), "twice");
    assert_eq!(named(&audit.repeated_in_doubt), "doubt");
    assert_eq!(named(&audit.forwarded_twice), "doubt,twice");
    assert_eq!(named(&audit.disorder), "early");
    assert_eq!(named(&audit.foreign), "foreign");
    Ok(())
}
