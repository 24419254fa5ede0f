//! The ledger app's HTTP/1.1: by hand, because servers normalise what the tests must see byte for byte.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::redis::Certificates;
use super::answer::What;
use super::{Address, Answer, Request, Shared};

/// More headers than our contract allows; a request above is a broken one.
const MAX_HEADERS: usize = 512;

pub(super) enum Listener {
    Tcp(std::net::TcpListener, Option<Arc<ServerConfig>>),
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    pub(super) fn bind(address: &Address) -> io::Result<Self> {
        let tcp = |port: u16| {
            let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
            listener.set_nonblocking(true)?;
            io::Result::Ok(listener)
        };
        match address {
            Address::Tcp(port) => Ok(Self::Tcp(tcp(*port)?, None)),
            Address::Tls(port, config) => Ok(Self::Tcp(tcp(*port)?, Some(Arc::clone(config)))),
            Address::Unix(path) => {
                let _ = std::fs::remove_file(path);
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener))
            }
        }
    }

    /// Accepts until aborted; its connections end with it.
    pub(super) async fn serve(self, shared: Arc<Shared>) {
        let mut connections = JoinSet::new();
        let ended = match self {
            Self::Tcp(listener, tls) => accept_tcp(listener, tls, &shared, &mut connections).await,
            Self::Unix(listener) => accept_unix(listener, &shared, &mut connections).await,
        };
        if let Err(error) = ended {
            eprintln!("the ledger stopped listening: {error}");
        }
    }
}

async fn accept_tcp(
    listener: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let shared = Arc::clone(shared);
        let tls = tls.clone().map(TlsAcceptor::from);
        connections.spawn(async move {
            let _ = match tls {
                None => Connection::new(stream, shared).run().await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Connection::new(stream, shared).run().await,
                    Err(error) => Err(error),
                },
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn accept_unix(
    listener: std::os::unix::net::UnixListener,
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = Connection::new(stream, Arc::clone(shared));
        connections.spawn(async move {
            let _ = connection.run().await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A TLS server with this certificate and no client certificates.
pub fn tls_config(files: &Certificates) -> anyhow::Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_no_client_auth().with_single_cert(vec![certificate], key)?)
}

/// A stream that can be made to end with a reset instead of a close.
trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn arm_reset(&self) {}
}

impl Wire for TcpStream {
    fn arm_reset(&self) {
        let _ = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl Wire for tokio::net::UnixStream {}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {
    fn arm_reset(&self) {
        self.get_ref().0.arm_reset();
    }
}

struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
    number: u64,
    shared: Arc<Shared>,
}

/// A parsed head: the request without body, the length of its head, and how its body is framed.
struct Head {
    request: Request,
    length: usize,
    body: Framing,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl<S: Wire> Connection<S> {
    fn new(stream: S, shared: Arc<Shared>) -> Self {
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        Self { stream, buffer: Vec::with_capacity(4096), number, shared }
    }

    /// Serves requests one after another until either side ends the connection.
    async fn run(mut self) -> io::Result<()> {
        while let Some(request) = self.read_request().await? {
            let last = request.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            let answer = self.shared.handle(request).await;
            if !self.write(answer).await? || last {
                break;
            }
        }
        Ok(())
    }

    async fn read_request(&mut self) -> io::Result<Option<Request>> {
        let head = loop {
            if let Some(head) = parse(&self.buffer, self.number)? {
                break head;
            }
            if !self.fill().await? {
                return Ok(None);
            }
        };
        self.buffer.drain(..head.length);
        let mut request = head.request;
        request.body = match head.body {
            Framing::Length(length) => self.take(length).await?,
            Framing::Chunked => self.take_chunks().await?,
        };
        request.at = Instant::now();
        request.wall = SystemTime::now();
        Ok(Some(request))
    }

    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line().await?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            body.extend(self.take(size).await?);
            self.take_line().await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Answers; false when the connection ends with it.
    async fn write(&mut self, answer: Answer) -> io::Result<bool> {
        match answer.what {
            What::Respond { status, headers, body } => {
                self.stream.write_all(&respond(status, &headers, &body)).await?;
                return Ok(true);
            }
            What::Raw(bytes) => {
                self.stream.write_all(&bytes).await?;
                self.stream.shutdown().await?;
            }
            What::RawReset(bytes) => {
                self.stream.write_all(&bytes).await?;
                self.stream.arm_reset();
            }
            What::Drip(bytes, pause) => {
                for byte in bytes {
                    self.stream.write_all(&[byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            What::Endless => {
                self.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n").await?;
                loop {
                    self.stream.write_all(&[b'.'; 8192]).await?;
                }
            }
            What::Reset => self.stream.arm_reset(),
            What::Never => while self.fill().await? {},
        }
        Ok(false)
    }
}

fn respond(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} -\r\n");
    for (name, value) in headers {
        let _ = write!(answer, "{name}: {value}\r\n");
    }
    // A 204 and a 304 have no body and may not have a length.
    if !matches!(status, 204 | 304) {
        let _ = write!(answer, "Content-Length: {}\r\n", body.len());
    }
    answer.push_str("\r\n");
    let mut bytes = answer.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Parses the head at the beginning of `buffer`, or `None` when it is not all there.
fn parse(buffer: &[u8], connection: u64) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(buffer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let find = |name: &str| parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let body = match (find("transfer-encoding"), find("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(header)) => {
            let digits = std::str::from_utf8(header.value).map_err(io::Error::other)?;
            Framing::Length(digits.parse().map_err(io::Error::other)?)
        }
        (None, None) => Framing::Length(0),
    };
    let pairs = parsed.headers.iter().map(|header| (header.name.as_bytes().to_vec(), header.value.to_vec()));
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers: pairs.collect(),
        body: Vec::new(),
        at: Instant::now(),
        wall: SystemTime::now(),
        connection,
    };
    Ok(Some(Head { request, length, body }))
}
