//! Bytes to and from the app: TCP, TLS over TCP, or a unix socket.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::target::Transport;

/// Opens connections; holds the certificates to trust where any target speaks TLS.
#[derive(Clone)]
pub(super) struct Dialer {
    tls: Option<TlsConnector>,
}

impl Dialer {
    /// `ca` is PEM; without it the system's roots are trusted (`SSL_CERT_FILE` is honoured).
    pub(super) fn new(needs_tls: bool, ca: Option<&[u8]>) -> anyhow::Result<Self> {
        if !needs_tls {
            return Ok(Self { tls: None });
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Connects, and shakes hands where the transport is TLS.
    pub(super) async fn open(&self, transport: &Transport) -> io::Result<Stream> {
        match (transport, &self.tls) {
            (Transport::Unix { path }, _) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            (Transport::Tcp { host, port, tls: false }, _) => Ok(Stream::Tcp(tcp(host, *port).await?)),
            (Transport::Tcp { host, port, tls: true }, Some(connector)) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = connector.connect(name, tcp(host, *port).await?).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
            (Transport::Tcp { tls: true, .. }, None) => Err(io::Error::other("no certificates were loaded")),
        }
    }

    /// Whether anybody listens; no byte is sent.
    pub(super) async fn knock(&self, transport: &Transport) -> io::Result<()> {
        match transport {
            Transport::Unix { path } => UnixStream::connect(path).await.map(drop),
            Transport::Tcp { host, port, .. } => tcp(host, *port).await.map(drop),
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    if stream.local_addr()? == stream.peer_addr()? {
        // On loopback the kernel may connect a port of its own choice to itself where nobody listens.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn roots(ca: Option<&[u8]>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.context("the app's ca is not PEM")?).context("the app's ca")?;
        }
        ensure!(!roots.is_empty(), "the app's ca holds no certificate");
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        ensure!(!roots.is_empty(), "the system has no root certificates: {:?}", found.errors);
    }
    Ok(roots)
}

/// One open connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Whether the socket has nothing to read, not even its end. One system call; nothing is taken off.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let looked = match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
            Self::Tls(stream) => SockRef::from(stream.get_ref().0).peek(&mut byte),
            Self::Unix(stream) => SockRef::from(stream).peek(&mut byte),
        };
        looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether bytes may have gone out although writing them failed.
    pub(super) fn buffers(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Calls a method of `AsyncRead` or `AsyncWrite` on whichever stream this is.
macro_rules! each {
    ($this:expr, $method:ident($($argument:expr),*)) => {
        match $this.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_shutdown(cx))
    }
}
