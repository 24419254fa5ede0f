//! A collector of spans for tests: it takes OTLP by HTTP, with or without TLS, or misbehaves in any way a collector may.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::ledger;
use crate::support::redis::Certificates;
use crate::support::scene::PATIENCE;

/// A span as the collector got it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub span: Span,
    pub resource: BTreeMap<String, String>,
}

impl Seen {
    pub fn attributes(&self) -> BTreeMap<String, String> {
        texts(&self.span.attributes)
    }

    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", hex(&self.span.trace_id), hex(&self.span.span_id))
    }

    pub fn has_failed(&self) -> bool {
        self.span.status.clone().unwrap_or_default().code() == StatusCode::Error
    }
}

/// What a collector does with a connection.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Reads the request and answers with this status and body.
    Answers(u16, Vec<u8>),
    /// Accepts it and never reads nor writes; it stays open.
    Silent,
    /// Reads the request and resets it.
    Resets,
    /// Reads the request and writes this.
    Writes(&'static [u8]),
    /// Reads the request and writes a body without an end.
    Endless,
}

/// Where OTLP's `POST`s go: decodes each, remembers its spans and the head of the request.
pub struct Collector {
    url: String,
    seen: Arc<(Mutex<Vec<Seen>>, Condvar)>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::start_as(Manner::Answers(200, Vec::new()))
    }

    pub fn start_as(manner: Manner) -> Self {
        Self::launch(manner, None)
    }

    /// One that takes everything, over TLS, under the name `localhost`.
    pub fn start_tls(certificates: &Certificates) -> Self {
        let config = ledger::tls_config(certificates).expect("a server's certificate");
        Self::launch(Manner::Answers(200, Vec::new()), Some(Arc::new(config)))
    }

    fn launch(manner: Manner, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let url = if tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        let collector = Self { url, seen: Arc::default(), heads: Arc::default() };
        let desk = Desk { manner, seen: Arc::clone(&collector.seen), heads: Arc::clone(&collector.heads) };
        std::thread::spawn(move || {
            let mut open = Vec::new(); // those that are kept open without a word
            for stream in listener.incoming().map_while(Result::ok) {
                match (&desk.manner, &tls) {
                    (Manner::Silent, _) => open.push(stream),
                    (_, None) => drop(desk.serve(&stream, &stream)), // who goes away half way is no news here
                    (_, Some(config)) => {
                        let session = ServerConnection::new(Arc::clone(config)).expect("a session");
                        drop(desk.serve(StreamOwned::new(session, &stream), &stream));
                    }
                }
            }
        });
        collector
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The heads of the requests so far, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Waits for so many spans, in the order of their start.
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let end = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap();
        while seen.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {} spans came: {seen:?}", seen.len());
            seen = self.seen.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut found = seen.clone();
        found.sort_by_key(|seen| seen.span.start_time_unix_nano);
        found
    }

    /// How many spans have come.
    pub fn count(&self) -> usize {
        self.seen.0.lock().unwrap().len()
    }
}

struct Desk {
    manner: Manner,
    seen: Arc<(Mutex<Vec<Seen>>, Condvar)>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    fn serve(&self, stream: impl Read + Write, socket: &TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (head, body) = read(&mut stream)?;
        self.heads.lock().unwrap().push(head);
        let stream = stream.get_mut();
        match &self.manner {
            Manner::Answers(status, answer) => {
                write!(stream, "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", answer.len())?;
                stream.write_all(answer)?;
                stream.flush()?;
                self.keep(&body);
            }
            Manner::Writes(bytes) => stream.write_all(bytes)?,
            Manner::Resets => socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))?,
            Manner::Endless => {
                write!(stream, "HTTP/1.1 200 OK\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 8192])?; // until the other side has had enough
                }
            }
            Manner::Silent => unreachable!("it reads nothing"),
        }
        Ok(())
    }

    fn keep(&self, body: &[u8]) {
        let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
        let mut seen = self.seen.0.lock().unwrap();
        for spans in request.resource_spans {
            let resource = texts(&spans.resource.expect("a resource").attributes);
            let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            seen.extend(spans.map(|span| Seen { span, resource: resource.clone() }));
        }
        self.seen.1.notify_all();
    }
}

fn read(stream: &mut BufReader<impl Read>) -> io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}
