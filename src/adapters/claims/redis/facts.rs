//! What a server says of itself: version, role, eviction and persistence, for the checks at start.

use redis::{Pipeline, Value};

use super::connection::Connection;
use super::fault::Fault;
use super::layout::text;

/// One primary's facts; `None`: hidden by an ACL or by a hosting service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    /// `host:port`.
    pub node: String,
    /// Version of Redis, or the Redis version that a Valkey is compatible with.
    pub version: Option<String>,
    /// `master` or `slave`.
    pub role: Option<String>,
    /// `maxmemory-policy`: anything but `noeviction` may forget marks.
    pub eviction_policy: Option<String>,
    /// Whether the append-only file is on.
    pub aof: Option<bool>,
    /// `appendfsync`: `always`, `everysec` or `no`.
    pub aof_fsync: Option<String>,
    /// When snapshots are written (`save`); empty: never.
    pub rdb: Option<String>,
    /// Replicas connected now.
    pub replicas: Option<u32>,
}

impl StoreFacts {
    /// Whether the server is known to be older than 7.0, which lacks `SET NX GET`.
    pub fn is_too_old(&self) -> bool {
        let major = self.version.as_deref().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        major.is_some_and(|major| major < 7)
    }

    /// Whether marks may be evicted before they expire; `None`: hidden.
    pub fn evicts(&self) -> Option<bool> {
        self.eviction_policy.as_deref().map(|policy| policy != "noeviction")
    }
}

/// Asks one server. What it refuses to tell is `None`; only a failure that is no refusal is an error.
pub(super) async fn of(connection: &Connection) -> Result<StoreFacts, Fault> {
    let mut pipeline = Pipeline::with_capacity(5);
    for section in ["server", "memory", "persistence", "replication"] {
        pipeline.cmd("INFO").arg(section);
    }
    for setting in ["maxmemory-policy", "appendfsync", "save"] {
        pipeline.cmd("CONFIG").arg("GET").arg(setting);
    }
    let answers = connection.send(&pipeline).await?;
    for answer in &answers {
        if let Value::ServerError(error) = answer {
            let fault = Fault::answered(&connection.address, error);
            if matches!(fault.error, crate::ports::StoreError::Away(_)) && error.code() != "ERR" {
                return Err(fault);
            }
        }
    }
    let info = |section: usize, name: &str| field(answers.get(section).and_then(text)?, name).map(str::to_owned);
    let setting = |index: usize| match answers.get(index) {
        Some(Value::Array(pair)) => pair.get(1).and_then(text).map(str::to_owned),
        _ => None,
    };
    Ok(StoreFacts {
        node: connection.address.to_string(),
        version: info(0, "redis_version"),
        role: info(3, "role"),
        eviction_policy: info(1, "maxmemory_policy").or_else(|| setting(4)),
        aof: info(2, "aof_enabled").map(|enabled| enabled == "1"),
        aof_fsync: setting(5),
        rdb: setting(6),
        replicas: info(3, "connected_slaves").and_then(|count| count.parse().ok()),
    })
}

/// One field of an `INFO` section.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: Option<&str>, policy: Option<&str>) -> StoreFacts {
        StoreFacts {
            node: String::new(),
            version: version.map(str::to_owned),
            role: None,
            eviction_policy: policy.map(str::to_owned),
            aof: None,
            aof_fsync: None,
            rdb: None,
            replicas: None,
        }
    }

    #[test]
    fn only_a_version_known_to_be_below_seven_is_too_old() {
        for (version, too_old) in
            [(Some("6.2.14"), true), (Some("7.0.0"), false), (Some("10.1"), false), (Some("odd"), false), (None, false)]
        {
            assert_eq!(facts(version, None).is_too_old(), too_old, "{version:?}");
        }
    }

    #[test]
    fn every_policy_but_noeviction_evicts() {
        for (policy, evicts) in [
            (Some("noeviction"), Some(false)),
            (Some("allkeys-lru"), Some(true)),
            (Some("volatile-ttl"), Some(true)),
            (None, None),
        ] {
            assert_eq!(facts(None, policy).evicts(), evicts, "{policy:?}");
        }
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Replication\r\nrole:master\r\nmaster_replid2:00\r\nmaster_replid:ab12\r\n";
        assert_eq!(field(info, "master_replid"), Some("ab12"));
        assert_eq!(field(info, "replid"), None);
    }
}
