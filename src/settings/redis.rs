//! The dedup store: where Redis is, how it is reached, and how long it remembers.

use std::fmt;
use std::time::Duration;

use super::problems::Fault;
use super::reader::Reader;
use super::secret::{Secret, SecretString};
use super::url::{self, Node, Parts};
use super::{kafka, units};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The shortest lease: below, a pause of the scheduler costs a session.
const LEASE_MIN: Duration = Duration::from_secs(3);
const SCHEMES: &str =
    "redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster";

/// How the store is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Where it is.
    pub store: Store,
    /// Bound on one command.
    pub timeout: Duration,
    /// PEM of the authorities; `None`: the system's.
    pub ca: Option<SecretString>,
    /// PEM of our own certificate and of its key.
    pub identity: Option<ClientIdentity>,
    /// Start although Redis may evict marks.
    pub allow_eviction: bool,
}

/// Our certificate towards Redis.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// PEM of the certificate, with its chain.
    pub cert: SecretString,
    /// PEM of the private key.
    pub key: SecretString,
}

/// All settings of the store.
#[derive(Clone, Debug)]
pub struct Redis {
    /// How it is reached.
    pub reach: Reach,
    /// Scope of the IDs: the group unless set.
    pub namespace: String,
    /// Life of a mark.
    pub dedup_window: Duration,
    /// Life of a session without renewal; at least 3 s.
    pub lease: Duration,
    /// What follows when everything was forgotten.
    pub on_history_loss: OnHistoryLoss,
}

/// What follows when Redis forgot everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHistoryLoss {
    /// Go on, with what may repeat marked.
    Continue,
    /// Wait until somebody resumes.
    Pause,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In this process, forgotten at its exit.
    Memory,
    /// One node.
    Single {
        /// The node.
        node: Node,
        /// The database's number.
        db: u32,
        /// Who we are, and TLS or not.
        access: Access,
    },
    /// A primary that sentinels name.
    Sentinel {
        /// The sentinels, at least one.
        sentinels: Vec<Node>,
        /// The name under which they know the primary.
        master: String,
        /// The database's number.
        db: u32,
        /// Who we are, and TLS or not.
        access: Access,
    },
    /// A cluster.
    Cluster {
        /// The nodes to start from, at least one.
        nodes: Vec<Node>,
        /// Who we are, and TLS or not.
        access: Access,
    },
}

impl fmt::Display for Store {
    /// Where it is, without credentials: for logs and `check`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[Node]| {
            nodes
                .iter()
                .map(Node::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Single { node, db, access } => write!(f, "{}://{node}/{db}", access.scheme()),
            Self::Sentinel {
                sentinels,
                master,
                db,
                access,
            } => {
                write!(
                    f,
                    "{}+sentinel://{}/{master}/{db}",
                    access.scheme(),
                    list(sentinels)
                )
            }
            Self::Cluster { nodes, access } => {
                write!(f, "{}+cluster://{}", access.scheme(), list(nodes))
            }
        }
    }
}

/// Who we are towards Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The ACL user; `None`: the default one.
    pub username: Option<SecretString>,
    /// The password.
    pub password: Option<SecretString>,
    /// Whether the connection is TLS.
    pub tls: bool,
}

impl Access {
    fn scheme(&self) -> &'static str {
        if self.tls { "rediss" } else { "redis" }
    }
}

pub(super) fn reach(read: &mut Reader) -> Option<Reach> {
    let store = read.required("ONCE_REDIS_URL", store);
    let timeout = read.required("ONCE_REDIS_TIMEOUT", units::positive_duration);
    let ca = read.optional("ONCE_REDIS_CA", certificate);
    let cert = read.optional("ONCE_REDIS_CERT", certificate);
    let key = read.optional("ONCE_REDIS_KEY", private_key);
    let allow_eviction = read.required("ONCE_REDIS_ALLOW_EVICTION", units::flag);
    Some(Reach {
        store: store?,
        timeout: timeout?,
        ca,
        identity: cert
            .zip(key)
            .map(|(cert, key)| ClientIdentity { cert, key }),
        allow_eviction: allow_eviction?,
    })
}

/// The namespace: the group unless it is set. A problem of the group itself is noted with the group.
pub(super) fn namespace(read: &mut Reader) -> Option<String> {
    let own = "ONCE_DEDUP_NAMESPACE";
    if read.is_named(own) {
        return read.optional(own, braceless);
    }
    let group = read.peek("ONCE_KAFKA_GROUP", kafka::name)?;
    if let Ok(name) = braceless(&group) {
        return Some(name);
    }
    let what = "is not set, and the group has braces, which Redis Cluster reads as a hash tag";
    read.problem(own, Fault::new(what, "set it to a name without braces"));
    None
}

pub(super) fn section(read: &mut Reader) -> Option<Redis> {
    let reach = reach(read);
    let namespace = namespace(read);
    let dedup_window = read.required("ONCE_DEDUP_WINDOW", units::positive_duration);
    let own_lease = read.required("ONCE_LEASE", lease);
    let on_history_loss = read.required("ONCE_ON_HISTORY_LOSS", |text| {
        let words = [
            ("continue", OnHistoryLoss::Continue),
            ("pause", OnHistoryLoss::Pause),
        ];
        units::word(text, &words)
    });
    Some(Redis {
        reach: reach?,
        namespace: namespace?,
        dedup_window: dedup_window?,
        lease: own_lease?,
        on_history_loss: on_history_loss?,
    })
}

pub(super) fn lease(text: &str) -> Result<Duration, Fault> {
    match units::duration(text)? {
        short if short < LEASE_MIN => Err(Fault::new("is below 3s", "write at least 3s")),
        lease => Ok(lease),
    }
}

fn braceless(text: &str) -> Result<String, Fault> {
    if text.contains(['{', '}']) {
        let what = "has braces, which Redis Cluster reads as a hash tag";
        return Err(Fault::new(what, "write it without braces"));
    }
    kafka::name(text)
}

fn store(text: &str) -> Result<Store, Fault> {
    if text == "memory:" {
        return Ok(Store::Memory);
    }
    let parts = url::split(text)?;
    if parts.query.is_some() {
        return Err(Fault::new("has a query", "remove it, or write ? as %3F"));
    }
    match parts.scheme {
        "redis" => single(&parts, access(&parts, false)?),
        "rediss" => single(&parts, access(&parts, true)?),
        "redis+sentinel" => sentinel(&parts, access(&parts, false)?),
        "rediss+sentinel" => sentinel(&parts, access(&parts, true)?),
        "redis+cluster" => cluster(&parts, access(&parts, false)?),
        "rediss+cluster" => cluster(&parts, access(&parts, true)?),
        _ => Err(Fault::new(
            "has an odd scheme",
            format!("write one of {SCHEMES}, or memory:"),
        )),
    }
}

fn access(parts: &Parts<'_>, tls: bool) -> Result<Access, Fault> {
    let Some(userinfo) = parts.userinfo else {
        return Ok(Access {
            tls,
            ..Access::default()
        });
    };
    let Some((username, password)) = userinfo.split_once(':') else {
        let remedy = "write user:password@, or :password@ for the default user";
        return Err(Fault::new("has a user without a password", remedy));
    };
    if password.is_empty() {
        return Err(Fault::new(
            "has an empty password",
            "write it, or leave out the user",
        ));
    }
    let username = url::decode(username)?;
    Ok(Access {
        username: (!username.is_empty()).then(|| Secret::new(username)),
        password: Some(Secret::new(url::decode(password)?)),
        tls,
    })
}

fn single(parts: &Parts<'_>, access: Access) -> Result<Store, Fault> {
    if parts.authority.contains(',') {
        let remedy = "name one host, or use redis+sentinel:// or redis+cluster://";
        return Err(Fault::new("names several hosts", remedy));
    }
    let node = url::node(parts.authority, REDIS_PORT)?;
    let db = database(parts.path.strip_prefix('/').unwrap_or_default())?;
    Ok(Store::Single { node, db, access })
}

fn sentinel(parts: &Parts<'_>, access: Access) -> Result<Store, Fault> {
    let sentinels = url::nodes(parts.authority, SENTINEL_PORT)?;
    let path = parts.path.strip_prefix('/').unwrap_or_default();
    let (master, db) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        let remedy = "write redis+sentinel://host:port,host:port/master-name";
        return Err(Fault::new("names no master", remedy));
    }
    Ok(Store::Sentinel {
        sentinels,
        master: url::decode(master)?,
        db: database(db)?,
        access,
    })
}

fn cluster(parts: &Parts<'_>, access: Access) -> Result<Store, Fault> {
    let nodes = url::nodes(parts.authority, REDIS_PORT)?;
    if !matches!(parts.path, "" | "/") {
        let what = "has a path: a cluster has no numbered databases";
        return Err(Fault::new(what, "remove everything behind the hosts"));
    }
    Ok(Store::Cluster { nodes, access })
}

fn database(text: &str) -> Result<u32, Fault> {
    if text.is_empty() {
        return Ok(0);
    }
    let bad = |_| Fault::new("has a bad database", "write its number behind the last /");
    units::count(text, 0, i32::MAX.cast_unsigned()).map_err(bad)
}

/// A PEM that holds a certificate; whether it is a good one, the TLS library says.
pub(super) fn certificate(text: &str) -> Result<SecretString, Fault> {
    pem(text, "CERTIFICATE-----", "a certificate")
}

fn private_key(text: &str) -> Result<SecretString, Fault> {
    pem(text, "PRIVATE KEY-----", "a private key")
}

fn pem(text: &str, marker: &str, thing: &str) -> Result<SecretString, Fault> {
    if text.contains("-----BEGIN ") && text.contains(marker) {
        return Ok(Secret::new(text.to_owned()));
    }
    let what = format!("is not a PEM that holds {thing}");
    Err(Fault::new(
        what,
        "give the PEM itself, or its path by the _FILE twin",
    ))
}
