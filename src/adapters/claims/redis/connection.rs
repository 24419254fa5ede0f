//! One connection to one server: TCP or TLS, authenticated, multiplexed.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::config::{Address, RedisConfig, TlsConfig};
use super::fault::Fault;
use crate::ports::StoreError;

/// An idle connection whose other side is silent is given up by the kernel after about 20 s.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(3);
const KEEPALIVE_TRIES: u32 = 3;
/// What Redis shows of us in `CLIENT LIST`.
const CLIENT_NAME: &str = "kafka-once";

/// Dials servers with the settings of one store.
#[derive(Clone)]
pub(super) struct Dialer {
    user: Option<String>,
    password: Option<String>,
    db: i64,
    tls: Option<TlsConnector>,
}

/// An open connection. Dropping it closes it; its requests in flight fail.
pub(super) struct Connection {
    /// Where it leads.
    pub(super) address: Address,
    multiplexed: MultiplexedConnection,
    driver: AbortHandle,
}

impl Dialer {
    /// Reads the TLS settings; refused when a certificate or key cannot be read.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, StoreError> {
        let tls = config.tls.as_ref().map(tls_connector).transpose().map_err(StoreError::Refused)?;
        Ok(Self { user: config.user.clone(), password: config.password.clone(), db: config.db, tls })
    }

    /// The same without credentials and database: a sentinel, unless it asks for them.
    pub(super) fn anonymous(&self) -> Self {
        Self { user: None, password: None, db: 0, tls: self.tls.clone() }
    }

    /// The same without database: a cluster, or a sentinel that asks for credentials.
    pub(super) fn without_db(&self) -> Self {
        Self { db: 0, ..self.clone() }
    }

    /// Connects and authenticates. The caller bounds the time it may take.
    pub(super) async fn dial(&self, address: &Address) -> Result<Connection, Fault> {
        let away = |error: std::io::Error| Fault::away(address, error);
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(away)?;
        tcp.set_nodelay(true).map_err(away)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_TRIES);
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive).map_err(away)?;
        match &self.tls {
            None => self.greet(address, tcp).await,
            Some(tls) => {
                let name = ServerName::try_from(address.host.clone())
                    .map_err(|_| Fault::refused(address, "no valid name for a certificate"))?;
                let stream = tls.connect(name, tcp).await.map_err(|error| tls_fault(address, &error))?;
                self.greet(address, Box::new(stream)).await
            }
        }
    }

    async fn greet<S>(&self, address: &Address, stream: S) -> Result<Connection, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The crate's own greeting forgets why a server refuses AUTH (busy, or wrong?), so it sends nothing.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        // Our own timeout stands around each batch: the crate's would count from another moment.
        let settings = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (multiplexed, driver) = MultiplexedConnection::new_with_config(&info, stream, settings)
            .await
            .map_err(|error| Fault::away(address, error))?;
        let driver = tokio::spawn(driver).abort_handle();
        let connection = Connection { address: address.clone(), multiplexed, driver };
        self.introduce(&connection).await?;
        Ok(connection)
    }

    /// Says who we are: credentials and database must be taken, our name is a courtesy to readers of `CLIENT LIST`.
    async fn introduce(&self, connection: &Connection) -> Result<(), Fault> {
        let mut greeting = Pipeline::with_capacity(4);
        match (&self.user, &self.password) {
            (None, None) => {}
            (None, Some(password)) => _ = greeting.cmd("AUTH").arg(password),
            (Some(user), password) => _ = greeting.cmd("AUTH").arg(user).arg(password.as_deref().unwrap_or_default()),
        }
        if self.db != 0 {
            greeting.cmd("SELECT").arg(self.db);
        }
        let needed = greeting.len();
        greeting.cmd("CLIENT").arg("SETNAME").arg(CLIENT_NAME);
        let answers = connection.send(&greeting).await?;
        for answer in answers.iter().take(needed) {
            if let Value::ServerError(error) = answer {
                return Err(Fault::answered(&connection.address, error));
            }
        }
        Ok(())
    }
}

impl Connection {
    /// Sends all commands of `pipeline` in one write and waits for all answers; errors among them are values.
    pub(super) async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Fault> {
        let count = pipeline.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let values = (self.multiplexed.clone().send_packed_commands(pipeline, 0, count).await)
            .map_err(|error| Fault::away(&self.address, error))?;
        if values.len() == count {
            Ok(values)
        } else {
            Err(Fault::away(&self.address, format!("{} answers to {count} commands", values.len())))
        }
    }

    /// Sends one command; an error that Redis answers is a value.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        let answer = self.multiplexed.clone().send_packed_command(command).await;
        answer.map_err(|error| Fault::away(&self.address, error))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A certificate that does not verify heals only when somebody changes it.
fn tls_fault(address: &Address, error: &std::io::Error) -> Fault {
    let certificate = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some_and(|error| {
        matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    });
    if certificate {
        Fault::refused(address, format!("TLS: {error}"))
    } else {
        Fault::away(address, format!("TLS: {error}"))
    }
}

fn tls_connector(config: &TlsConfig) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots(config.ca.as_deref())?);
    let client = match (&config.cert, &config.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the TLS key is no private key in PEM")?;
            let chain = certificates(cert).map_err(|()| "the TLS certificate is no certificate in PEM")?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("TLS certificate and key: {error}"))?
        }
        _ => return Err("a TLS certificate and its key go together: only one of them is set".to_owned()),
    };
    Ok(TlsConnector::from(Arc::new(client)))
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in certificates(pem).map_err(|()| "the TLS CA is no certificate in PEM")? {
            store.add(certificate).map_err(|error| format!("the TLS CA cannot be used: {error}"))?;
        }
    } else {
        // Some of a system's certificates may be unreadable; only none at all is an error.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err("TLS: this system has no root certificates, and no CA is set".to_owned());
        }
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ()> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| ())?;
    if certificates.is_empty() { Err(()) } else { Ok(certificates) }
}
