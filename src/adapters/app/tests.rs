//! The adapter against raw sockets: what stands on the wire, and what comes of every way an answer can go wrong.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::domain::record::{Offset, Position, Record};
use crate::domain::time::UnixMillis;
use crate::domain::verdict::{Answer, Delivery, Overrule};
use crate::ports::{AppLine as _, Request};

const MAX_ANSWER: usize = connection::MAX_ANSWER_BYTES;
/// After this a test that waits for what will not come fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(15);

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn config(transport: Transport, path: &str) -> AppConfig {
    AppConfig {
        url: AppTarget { transport, path: path.to_owned() },
        lookup: None,
        ready: None,
        ca: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        idle_limit: Duration::from_secs(4),
        clock: SystemTime::now,
    }
}

/// An app that listens on a port of its own and does what the test says.
struct RawApp(TcpListener);

impl RawApp {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn transport(&self, tls: bool) -> Transport {
        Transport::Tcp { host: "127.0.0.1".to_owned(), port: self.0.local_addr().unwrap().port(), tls }
    }

    fn config(&self) -> AppConfig {
        config(self.transport(false), "/in")
    }

    fn line(&self) -> HttpLine {
        HttpApp::new(&self.config()).unwrap().line()
    }

    async fn accept(&self) -> TcpStream {
        let accepting = tokio::time::timeout(PATIENCE, self.0.accept());
        accepting.await.expect("somebody connects").unwrap().0
    }
}

/// Reads one whole request, head and body.
async fn read_request(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = head + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap());
            if bytes.len() >= whole {
                assert_eq!(bytes.len(), whole, "nothing follows a request");
                return String::from_utf8(bytes).unwrap();
            }
        }
        assert!(from.read_buf(&mut bytes).await.unwrap() > 0, "closed in the middle of a request");
    }
}

async fn exchange(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) -> String {
    let request = read_request(socket).await;
    socket.write_all(answer.as_bytes()).await.unwrap();
    socket.flush().await.unwrap();
    request
}

fn request_of(record: Record) -> Request {
    Request {
        record: Arc::new(record),
        id: WireId("id-1".into()),
        delivery: Delivery::First,
        attempt: 1,
        deadline: UnixMillis(1_700_000_020_000),
        timeout: Duration::from_secs(20),
    }
}

fn request() -> Request {
    let position = Position { partition: 0, offset: Offset(7), timestamp: 1_700_000_000_000 };
    request_of(Record::new("orders".into(), position, None, Some(b"body"), &[]))
}

fn status(code: u16) -> Answer {
    Answer::Status { code, overrule: None, retry_after: None }
}

/// Delivers while the app plays its part.
async fn play<T>(line: &mut HttpLine, app: impl Future<Output = T>) -> (Answer, T) {
    let request = request();
    tokio::join!(line.deliver(&request), app)
}

#[tokio::test]
async fn a_request_stands_on_the_wire_byte_for_byte() {
    let app = RawApp::new().await;
    let mut line = HttpApp::new(&config(app.transport(false), "/in/{topic}?from=kafka")).unwrap().line();
    let position = Position { partition: 3, offset: Offset(42), timestamp: 1_700_000_000_123 };
    let headers: [(&[u8], Option<&[u8]>); 6] = [
        (b"X-Tenant", Some("zoë & co".as_bytes())),
        (b"content-type", Some(b"application/json")),
        (b"ce_source", Some(b"/shop floor")),
        (b"x-tenant", None),
        (b"traceparent", Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        (b"odd name\n", Some(b"\r\n")),
    ];
    let key = "schlüssel 1%".as_bytes();
    let record = Record::new("orders.v1".into(), position, Some(key), Some(b"{\"a\":1}\r\n"), &headers);
    let request = Request {
        id: WireId("ce:/shop%20floor#4%2F2".into()),
        delivery: Delivery::PossibleRepeat,
        attempt: 17,
        ..request_of(record)
    };
    let (answer, sent) = tokio::join!(line.deliver(&request), async { exchange(&mut app.accept().await, OK).await });
    assert_eq!(answer, status(204));
    let host = app.0.local_addr().unwrap();
    let expected = format!(
        "POST /in/orders.v1?from=kafka HTTP/1.1\r\n\
         host: {host}\r\n\
         content-length: 9\r\n\
         idempotency-key: ce:/shop%20floor#4%2F2\r\n\
         once-delivery: possible-repeat\r\n\
         once-attempt: 17\r\n\
         once-deadline: 1700000020000\r\n\
         kafka-topic: orders.v1\r\n\
         kafka-partition: 3\r\n\
         kafka-offset: 42\r\n\
         kafka-timestamp: 1700000000123\r\n\
         kafka-key: schl%C3%BCssel 1%25\r\n\
         kafka-header-x-tenant: zo%C3%AB & co\r\n\
         content-type: application/json\r\n\
         ce-source: /shop%20floor\r\n\
         kafka-header-x-tenant: \r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
         kafka-header-odd%20name%0a: %0D%0A\r\n\
         \r\n\
         {{\"a\":1}}\r\n"
    );
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_tombstone_is_told_from_an_empty_value_on_the_wire() {
    let app = RawApp::new().await;
    let mut line = app.line();
    let position = Position { partition: 0, offset: Offset(0), timestamp: -1 };
    let mut sent = Vec::new();
    for value in [None, Some(&b""[..])] {
        let request = request_of(Record::new("t".into(), position, None, value, &[]));
        let fresh = async {
            let mut socket = app.accept().await;
            exchange(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await
        };
        sent.push(tokio::join!(line.deliver(&request), fresh).1);
    }
    assert!(sent[0].ends_with("kafka-timestamp: -1\r\nkafka-tombstone: true\r\n\r\n"), "{}", sent[0]);
    assert!(sent[1].ends_with("kafka-timestamp: -1\r\n\r\n"), "{}", sent[1]);
    assert!(sent.iter().all(|sent| sent.contains("\r\ncontent-length: 0\r\n")));
}

#[tokio::test]
async fn a_large_value_arrives_untouched_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut line = HttpApp::new(&config(Transport::Unix { path }, "/")).unwrap().line();
    let value = "0123456789abcdef".repeat(200_000);
    let position = Position { partition: 0, offset: Offset(0), timestamp: 0 };
    let request = request_of(Record::new("t".into(), position, None, Some(value.as_bytes()), &[]));
    let serving = async { exchange(&mut listener.accept().await.unwrap().0, OK).await };
    let (answer, sent) = tokio::join!(line.deliver(&request), serving);
    assert_eq!(answer, status(204));
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST / HTTP/1.1\r\nhost: localhost\r\n"), "{head}");
    assert!(body == value);
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let app = RawApp::new().await;
    let mut line = app.line();
    let (_, mut socket) = play(&mut line, async {
        let mut socket = app.accept().await;
        exchange(&mut socket, OK).await;
        socket
    })
    .await;
    for body in ["", "hello", &"x".repeat(MAX_ANSWER)] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(play(&mut line, exchange(&mut socket, &answer)).await.0, status(200));
    }
    let chunked = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    assert_eq!(play(&mut line, exchange(&mut socket, chunked)).await.0, status(201));
    let informed =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(play(&mut line, exchange(&mut socket, informed)).await.0, status(200));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_unnoticed() {
    let app = RawApp::new().await;
    let mut line = app.line();
    for _ in 0..3 {
        let serving = async { exchange(&mut app.accept().await, OK).await }; // closes after its answer
        assert_eq!(play(&mut line, serving).await.0, status(204));
    }
}

#[tokio::test]
async fn a_request_whose_connection_was_closed_before_it_was_written_is_unsent() {
    let app = RawApp::new().await;
    let http = HttpApp::new(&app.config()).unwrap();
    let transport = app.transport(false);
    let (open, ()) = tokio::join!(connection::Connection::open(&http.0.dialer, &transport), async {
        app.accept().await; // and close
    });
    let message = connection::Message { head: b"POST / HTTP/1.1\r\n\r\n", body: &[] };
    let sent = open.unwrap().exchange(message, SystemTime::now).await;
    assert!(matches!(sent, connection::Exchange::Unsent(_)), "nobody was there to write to");
}

#[tokio::test]
async fn a_connection_that_brings_bytes_nobody_asked_for_is_replaced() {
    let app = RawApp::new().await;
    let mut line = app.line();
    let too_long =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK and HTTP/1.1 500 Forged\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..2 {
        let serving = async {
            let mut socket = app.accept().await;
            exchange(&mut socket, too_long).await;
            socket
        };
        let (answer, _open) = play(&mut line, serving).await;
        assert_eq!(answer, status(200));
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_never_taken_for_the_next_ones() {
    let app = RawApp::new().await;
    let mut line = app.line();
    let (_, mut first) = play(&mut line, async {
        let mut socket = app.accept().await;
        exchange(&mut socket, OK).await;
        socket
    })
    .await;
    first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap(); // after the answer was read
    let busy = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
    let serving = async { exchange(&mut app.accept().await, busy).await };
    assert_eq!(play(&mut line, serving).await.0, status(500));
}

#[tokio::test]
async fn an_idle_connection_is_not_used_beyond_its_limit() {
    for (limit, answer) in [
        (Duration::ZERO, OK),
        (Duration::from_secs(4), "HTTP/1.1 204 No Content\r\nKeep-Alive: timeout=0\r\n\r\n"),
        (Duration::from_secs(4), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        (Duration::from_secs(4), "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let app = RawApp::new().await;
        let mut line = HttpApp::new(&AppConfig { idle_limit: limit, ..app.config() }).unwrap().line();
        let mut open = Vec::new();
        for _ in 0..2 {
            let serving = async {
                let mut socket = app.accept().await;
                exchange(&mut socket, answer).await;
                socket
            };
            open.push(play(&mut line, serving).await.1);
        }
        assert_eq!(open[0].read(&mut [0]).await.unwrap(), 0, "the first connection is closed");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let app = RawApp::new().await;
    let mut line = app.line();
    drop(app);
    let Answer::NotSent(why) = line.deliver(&request()).await else { panic!("refused connections send nothing") };
    assert!(why.contains("refused"), "{why}");

    let nowhere = Transport::Unix { path: Path::new("/nonexistent/app.sock").to_owned() };
    let mut line = HttpApp::new(&config(nowhere, "/")).unwrap().line();
    assert!(matches!(line.deliver(&request()).await, Answer::NotSent(_)));
}

#[tokio::test]
async fn a_handshake_that_never_ends_sends_nothing() {
    let app = RawApp::new().await;
    let ca = Some(authority().0.into_bytes());
    let base = AppConfig { ca, ..config(app.transport(true), "/in") };
    let short = Duration::from_millis(50);
    for (connect_timeout, timeout) in [(short, Duration::from_secs(20)), (Duration::from_secs(20), short)] {
        let mut line = HttpApp::new(&AppConfig { connect_timeout, ..base.clone() }).unwrap().line();
        let request = Request { timeout, ..request() };
        let (answer, _open) = tokio::join!(line.deliver(&request), app.accept());
        assert!(matches!(answer, Answer::NotSent(_)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_broken_answer_is_no_answer() {
    for answer in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chess\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 9 Nothing\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        let app = RawApp::new().await;
        let serving = async { exchange(&mut app.accept().await, answer).await };
        let (found, _) = play(&mut app.line(), serving).await;
        assert!(matches!(&found, Answer::NoAnswer(why) if !why.is_empty()), "{answer:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_no_answer() {
    for line in ["X: y\r\n".to_owned(), "x".repeat(100)] {
        let app = RawApp::new().await;
        let serving = async {
            let mut socket = app.accept().await;
            exchange(&mut socket, "HTTP/1.1 200 OK\r\n").await;
            while socket.write_all(line.as_bytes()).await.is_ok() {}
        };
        let (found, ()) = play(&mut app.line(), serving).await;
        assert!(matches!(found, Answer::NoAnswer(_)), "{found:?}");
    }
}

#[tokio::test]
async fn a_connection_reset_under_a_request_is_no_answer_and_nothing_is_sent_again() {
    let app = RawApp::new().await;
    let mut line = app.line();
    let reset = async {
        let mut socket = app.accept().await;
        read_request(&mut socket).await;
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let (answer, ()) = play(&mut line, reset).await;
    assert!(matches!(answer, Answer::NoAnswer(_)), "{answer:?}");
    let again = tokio::time::timeout(Duration::ZERO, app.0.accept()).await;
    assert!(again.is_err(), "no second connection was opened");
}

#[tokio::test]
async fn an_endless_answer_counts_by_its_status_and_costs_the_connection() {
    let app = RawApp::new().await;
    let mut line = app.line();
    for head in ["Content-Length: 10000000000", "Transfer-Encoding: chunked", "Connection: close"] {
        let serving = async {
            let mut socket = app.accept().await;
            exchange(&mut socket, &format!("HTTP/1.1 503 Busy\r\n{head}\r\n\r\n")).await;
            while socket.write_all(b"8\r\nabcdefgh\r\n").await.is_ok() {}
        };
        assert_eq!(play(&mut line, serving).await.0, status(503), "{head}");
    }
}

#[tokio::test]
async fn an_answer_later_than_the_timeout_is_no_answer() {
    for begun in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"] {
        let app = RawApp::new().await;
        let mut line = app.line();
        let request = Request { timeout: Duration::from_millis(100), ..request() };
        let serving = async {
            let mut socket = app.accept().await;
            exchange(&mut socket, begun).await;
            socket
        };
        let (answer, mut socket) = tokio::join!(line.deliver(&request), serving);
        assert!(matches!(answer, Answer::NoAnswer(_)), "{answer:?}");
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "the connection is closed");
    }
}

#[tokio::test]
async fn a_cancelled_delivery_closes_its_connection() {
    let app = RawApp::new().await;
    let mut line = app.line();
    let request = request();
    let mut socket = tokio::select! {
        answer = line.deliver(&request) => panic!("nobody answered: {answer:?}"),
        socket = async {
            let mut socket = app.accept().await;
            read_request(&mut socket).await;
            socket
        } => socket,
    };
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    let serving = async { exchange(&mut app.accept().await, OK).await };
    assert_eq!(play(&mut line, serving).await.0, status(204));
}

#[tokio::test]
async fn an_answer_given_before_the_request_was_read_counts_and_costs_the_connection() {
    let app = RawApp::new().await;
    let mut line = app.line();
    let value = vec![b'x'; 8 * 1024 * 1024];
    let position = Position { partition: 0, offset: Offset(0), timestamp: 0 };
    let request = request_of(Record::new("t".into(), position, None, Some(&value), &[]));
    for _ in 0..2 {
        let serving = async {
            let mut socket = app.accept().await;
            socket.read_exact(&mut [0; 100]).await.unwrap();
            socket.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            socket
        };
        let (answer, mut socket) = tokio::join!(line.deliver(&request), serving);
        assert_eq!(answer, status(413));
        let rest = async { while matches!(socket.read(&mut [0; 4096]).await, Ok(1..)) {} };
        tokio::time::timeout(PATIENCE, rest).await.expect("the connection is closed, the value let go");
    }
}

#[tokio::test]
async fn redirects_are_an_answer_and_never_followed() {
    let app = RawApp::new().await;
    let elsewhere = RawApp::new().await;
    let location = elsewhere.0.local_addr().unwrap();
    let answer =
        format!("HTTP/1.1 307 Go\r\nLocation: http://{location}/latest/meta-data\r\nContent-Length: 0\r\n\r\n");
    let serving = async { exchange(&mut app.accept().await, &answer).await };
    assert_eq!(play(&mut app.line(), serving).await.0, status(307));
    assert!(tokio::time::timeout(Duration::ZERO, elsewhere.0.accept()).await.is_err());
}

#[tokio::test]
async fn the_words_of_an_answer_reach_the_verdict() {
    let app = RawApp::new().await;
    let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nOnce-Verdict: refused\r\nContent-Length: 0\r\n\r\n";
    let serving = async { exchange(&mut app.accept().await, answer).await };
    let expected =
        Answer::Status { code: 503, overrule: Some(Overrule::Refused), retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(play(&mut app.line(), serving).await.0, expected);
}

#[tokio::test]
async fn a_record_that_does_not_fit_is_refused_without_a_connection() {
    let app = RawApp::new().await;
    let header: (&[u8], Option<&[u8]>) = (b"n", Some(b"v"));
    let position = Position { partition: 0, offset: Offset(0), timestamp: 0 };
    let request = request_of(Record::new("t".into(), position, None, None, &vec![header; 40_000]));
    assert!(fits(&request.record, &request.id).unwrap_err().contains("40000 headers"));
    assert_eq!(app.line().deliver(&request).await, status(431));
    assert!(tokio::time::timeout(Duration::ZERO, app.0.accept()).await.is_err());
}

/// A certificate for 127.0.0.1 that signs itself, PEM, and a server that shows it.
fn authority() -> (String, TlsAcceptor) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (cert.pem(), TlsAcceptor::from(Arc::new(server)))
}

#[tokio::test]
async fn tls_trusts_the_given_ca_and_nobody_else() {
    let app = RawApp::new().await;
    let ((ca, acceptor), (stranger, _)) = (authority(), authority());
    let line = |ca: String| {
        let config = AppConfig { ca: Some(ca.into_bytes()), ..config(app.transport(true), "/in") };
        HttpApp::new(&config).unwrap().line()
    };
    let mut trusting = line(ca);
    let serving = async {
        let mut socket = acceptor.accept(app.accept().await).await.unwrap();
        exchange(&mut socket, OK).await;
        exchange(&mut socket, OK).await
    };
    let twice = async { [trusting.deliver(&request()).await, trusting.deliver(&request()).await] };
    let (answers, sent) = tokio::join!(twice, serving);
    assert_eq!(answers, [status(204), status(204)]);
    assert!(sent.ends_with("\r\n\r\nbody"), "{sent}");

    let serving = async { acceptor.accept(app.accept().await).await.is_err() };
    let (answer, failed) = play(&mut line(stranger), serving).await;
    assert!(matches!(&answer, Answer::NotSent(why) if why.contains("certificate")), "{answer:?}");
    assert!(failed);
}

#[test]
fn certificates_that_cannot_be_read_are_refused() {
    let transport = Transport::Tcp { host: "localhost".to_owned(), port: 443, tls: true };
    for ca in ["", "not pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let config = AppConfig { ca: Some(ca.into()), ..config(transport.clone(), "/") };
        assert!(HttpApp::new(&config).is_err(), "{ca:?}");
    }
}

#[tokio::test]
async fn readiness_is_a_2xx_or_else_somebody_who_listens() {
    let app = RawApp::new().await;
    let ready = Some(AppTarget { transport: app.transport(false), path: "/healthz".to_owned() });
    let with_url = AppConfig { ready, ..app.config() };
    let asking = HttpApp::new(&with_url).unwrap();
    for (answer, expected) in [
        (OK, Ok(())),
        ("HTTP/1.1 503 Not Yet\r\nContent-Length: 0\r\n\r\n", Err("readiness answered 503".to_owned())),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Err("readiness answered 302".to_owned())),
    ] {
        let (found, sent) = tokio::join!(asking.ready(), async { exchange(&mut app.accept().await, answer).await });
        assert_eq!(found, expected);
        let host = app.0.local_addr().unwrap();
        assert_eq!(sent, format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    }

    let knocking = HttpApp::new(&app.config()).unwrap();
    let (found, _open) = tokio::join!(knocking.ready(), app.accept());
    assert_eq!(found, Ok(()));
    let silent = AppConfig { timeout: Duration::from_millis(50), ..with_url };
    let (found, _open) = tokio::join!(async { HttpApp::new(&silent).unwrap().ready().await }, app.accept());
    assert_eq!(found, Err("readiness gave no answer within 50ms".to_owned()));
    drop(app);
    assert!(asking.ready().await.is_err());
    assert!(knocking.ready().await.is_err());
}

#[tokio::test]
async fn a_lookup_says_applied_or_not_only_when_the_app_does() {
    let app = RawApp::new().await;
    let lookup = Some(AppTarget { transport: app.transport(false), path: "/seen/{topic}?id={id}".to_owned() });
    let asking = HttpApp::new(&AppConfig { lookup, ..app.config() }).unwrap();
    let id = WireId("position:orders/0/7/1".into());
    let unclear = |why: &str| Lookup::Unclear(why.to_owned());
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", Lookup::Applied),
        (OK, Lookup::Applied),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Lookup::NotApplied),
        ("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", unclear("lookup answered 201")),
        ("HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", unclear("lookup answered 301")),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", unclear("lookup answered 500")),
    ] {
        let serving = async { exchange(&mut app.accept().await, answer).await };
        let topic: Topic = "orders".into();
        let (found, sent) = tokio::join!(asking.look_up(&topic, &id), serving);
        assert_eq!(found, expected);
        assert!(sent.starts_with("GET /seen/orders?id=position:orders%2F0%2F7%2F1 HTTP/1.1\r\n"), "{sent}");
    }
    let broken = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nhalf";
    let topic: Topic = "orders".into();
    let serving = async { exchange(&mut app.accept().await, broken).await };
    let (found, _) = tokio::join!(asking.look_up(&topic, &id), serving);
    assert!(matches!(found, Lookup::Unclear(_)), "{found:?}");

    let unset = HttpApp::new(&app.config()).unwrap();
    assert_eq!(unset.look_up(&topic, &id).await, unclear("no lookup url is set"));
    drop(app);
    assert!(matches!(asking.look_up(&topic, &id).await, Lookup::Unclear(_)));
}
