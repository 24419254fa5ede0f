//! One `POST` of spans: a connection of its own, HTTP/1.1, no redirects, no proxies from the environment, a bounded time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::settings::Collector as Settings;

/// How much of an answer is read. One that took everything is empty.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends spans. Blocks the thread that asks: that of the exporter, which has nothing else to do.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    host: String,
    port: u16,
    /// The value of `Host`.
    authority: HeaderValue,
    tls: Option<Tls>,
    timeout: Duration,
    trouble: Trouble,
}

/// Why the last `POST` failed, in words that the exporter's own error leaves out.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// Takes the words out.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, words: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}

#[derive(Clone)]
struct Tls(TlsConnector);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Client {
    /// Connects to nobody.
    pub(super) fn new(settings: &Settings, trouble: Trouble) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tls = settings.tls.then(|| tls(settings.ca.as_ref().map(|ca| ca.expose().as_bytes()))).transpose()?;
        Ok(Self {
            runtime,
            host: settings.node.host.clone(),
            port: settings.node.port,
            authority: HeaderValue::from_str(&settings.node.to_string()).context("its host")?,
            tls,
            timeout: settings.timeout,
            trouble,
        })
    }

    async fn send(&self, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let Some(Tls(connector)) = &self.tls else {
            return self.exchange(stream, request).await;
        };
        let name = ServerName::try_from(self.host.clone())?;
        let stream = connector.connect(name, stream).await.context("TLS")?;
        self.exchange(stream, request).await
    }

    async fn exchange<S>(&self, stream: S, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse::<Uri>()?;
        parts.headers.insert(header::HOST, self.authority.clone());
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = async move {
            let (head, body) = sender.send_request(Request::from_parts(parts, Full::new(body))).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended?;
                answer.await // what came before the end is there
            }
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let bounded = async { tokio::time::timeout(self.timeout, self.send(request)).await };
        let sent = match self.runtime.block_on(bounded) {
            Ok(sent) => sent,
            Err(_) => Err(anyhow::anyhow!("no answer within {:?}", self.timeout)),
        };
        self.trouble.set(sent.as_ref().err().map(|error| format!("{error:#}")));
        sent.map_err(Into::into)
    }
}

/// `ca` is PEM; without it the system's roots are trusted (`SSL_CERT_FILE` is honoured).
fn tls(ca: Option<&[u8]>) -> anyhow::Result<Tls> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.context("the collector's ca is not PEM")?).context("the collector's ca")?;
        }
        ensure!(!roots.is_empty(), "the collector's ca holds no certificate");
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        ensure!(!roots.is_empty(), "the system has no root certificates: {:?}", found.errors);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Tls(TlsConnector::from(Arc::new(config))))
}
