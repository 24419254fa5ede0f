//! One `POST` to the collector: a connection of its own, HTTP/1.1, no redirects, no proxies from the environment, a bounded time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::settings::Collector as Settings;

/// How much of an answer is read. One that took everything is empty.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How the collector is reached.
pub(super) struct Wire {
    host: String,
    port: u16,
    /// The value of `Host`.
    authority: HeaderValue,
    tls: Option<TlsConnector>,
    timeout: Duration,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects to nobody.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            host: settings.node.host.clone(),
            port: settings.node.port,
            authority: HeaderValue::from_str(&settings.node.to_string()).context("its host")?,
            tls: settings.tls.then(|| tls(settings.ca.as_ref().map(|ca| ca.expose().as_bytes()))).transpose()?,
            timeout: settings.timeout,
        })
    }

    /// Sends one request over a connection of its own and reads the answer, whatever its status. An error says how far it
    /// came.
    pub(super) async fn send(&self, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
        let sent = tokio::time::timeout(self.timeout, self.connect_and_send(request)).await;
        sent.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", self.timeout)))
    }

    async fn connect_and_send(&self, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let Some(connector) = &self.tls else {
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

/// `ca` is PEM; without it the system's roots are trusted (`SSL_CERT_FILE` is honoured).
fn tls(ca: Option<&[u8]>) -> anyhow::Result<TlsConnector> {
    const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE names a file that cannot be used; name one with PEM certificates";
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.context(CA)?).context(CA)?;
        }
        ensure!(!roots.is_empty(), "{CA}: it holds no certificate");
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        ensure!(
            !roots.is_empty(),
            "the system has no root certificates; set OTEL_EXPORTER_OTLP_CERTIFICATE: {:?}",
            found.errors
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
