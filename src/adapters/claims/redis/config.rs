//! What must be known to reach a Redis.

use std::fmt;
use std::time::Duration;

/// One Redis server, Sentinel or Cluster node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How the Redis servers stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// `redis://`, `rediss://`: one server.
    Single(Address),
    /// `redis+sentinel://`: sentinels know which server is the primary.
    Sentinel {
        /// The sentinels; any of them will do.
        nodes: Vec<Address>,
        /// The name under which they know the primary.
        master: String,
    },
    /// `redis+cluster://`: any of these nodes knows the others.
    Cluster {
        /// Where to begin.
        nodes: Vec<Address>,
    },
}

/// TLS: what is set replaces the system's roots.
#[derive(Clone, Default)]
pub struct TlsConfig {
    /// Certificates of the authorities to trust, PEM; `None`: the system's roots (`SSL_CERT_FILE` is honoured).
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain, PEM; needs `key`.
    pub cert: Option<Vec<u8>>,
    /// Our private key, PEM; needs `cert`.
    pub key: Option<Vec<u8>>,
}

/// Everything the adapter needs. No `Debug` that prints a secret.
#[derive(Clone)]
pub struct RedisConfig {
    /// Which servers.
    pub topology: Topology,
    /// TLS to every server and sentinel; `None`: plain TCP.
    pub tls: Option<TlsConfig>,
    /// ACL user; `None`: the default user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Database number; a cluster has only 0.
    pub db: i64,
    /// How long the answers of one batch are waited for (`ONCE_REDIS_TIMEOUT`).
    pub timeout: Duration,
    /// `ONCE_DEDUP_NAMESPACE`, as set; the keys hold it percent-encoded.
    pub namespace: String,
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("topology", &self.topology)
            .field("tls", &self.tls.is_some())
            .field("db", &self.db)
            .field("timeout", &self.timeout)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_form_holds_no_secret() {
        let config = RedisConfig {
            topology: Topology::Single(Address { host: "::1".to_owned(), port: 6379 }),
            tls: Some(TlsConfig { ca: None, cert: None, key: Some(b"hunter2".to_vec()) }),
            user: Some("alice".to_owned()),
            password: Some("hunter2".to_owned()),
            db: 0,
            timeout: Duration::from_millis(500),
            namespace: "orders".to_owned(),
        };
        let text = format!("{config:?}");
        assert!(text.contains("orders") && !text.contains("hunter2") && !text.contains("alice"), "{text}");
    }

    #[test]
    fn an_ipv6_address_is_written_in_brackets() {
        assert_eq!(Address { host: "::1".to_owned(), port: 1 }.to_string(), "[::1]:1");
        assert_eq!(Address { host: "redis".to_owned(), port: 6379 }.to_string(), "redis:6379");
    }
}
