//! Where the dedup store is: `ONCE_REDIS_URL`, read without ever repeating its credentials.

use std::fmt;

use super::problems::Fault;
use super::secret::{Secret, SecretString};
use super::units;
use super::url::{self, Node, Parts};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const SCHEMES: &str = "redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster";

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
        let list = |nodes: &[Node]| nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Single { node, db, access } => write!(f, "{}://{node}/{db}", access.scheme()),
            Self::Sentinel { sentinels, master, db, access } => {
                write!(f, "{}+sentinel://{}/{master}/{db}", access.scheme(), list(sentinels))
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

/// Reads a URL of Redis, or `memory:`.
pub(super) fn parse(text: &str) -> Result<Store, Fault> {
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
        _ => Err(Fault::new("has an odd scheme", format!("write one of {SCHEMES}, or memory:"))),
    }
}

fn access(parts: &Parts<'_>, tls: bool) -> Result<Access, Fault> {
    let Some(userinfo) = parts.userinfo else {
        return Ok(Access { tls, ..Access::default() });
    };
    let Some((username, password)) = userinfo.split_once(':') else {
        let remedy = "write user:password@, or :password@ for the default user";
        return Err(Fault::new("has a user without a password", remedy));
    };
    if password.is_empty() {
        return Err(Fault::new("has an empty password", "write it, or leave out the user"));
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
    Ok(Store::Sentinel { sentinels, master: url::decode(master)?, db: database(db)?, access })
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
