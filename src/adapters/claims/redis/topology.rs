//! Finding the servers: the one server, the primary that the sentinels name, or all primaries of a cluster.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{Pipeline, Value};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::{Address, RedisConfig, Topology};
use super::connection::{Connection, Dialer};
use super::fault::Fault;
use super::keys::{Keys, slot};
use super::layout::{Layout, Slots, address_of, text};
use crate::ports::StoreError;

/// Numbers tried for a sentinel key that falls into a primary's slots: 64 times as many as there are slots.
const NUMBERS: u32 = 1 << 20;
/// Cluster nodes remembered beside the configured ones.
const MOST_KNOWN: usize = 64;

/// A primary and the sentinel key it owns.
pub(super) struct Primary {
    /// The connection to it.
    pub(super) connection: Connection,
    /// The key of its sentinel.
    pub(super) sentinel: String,
}

/// Open connections to every primary.
pub(super) struct Link {
    /// In a cluster in the order of their lowest slot; else exactly one.
    pub(super) primaries: Vec<Primary>,
    /// For each slot the index of its primary; `None`: not a cluster.
    slots: Option<Slots>,
    /// When it was made.
    pub(super) since: Instant,
}

impl Link {
    /// The index of the primary that owns `key`; `None` when the cluster serves its slot nowhere.
    pub(super) fn owner(&self, key: &[u8]) -> Option<usize> {
        match &self.slots {
            None => Some(0),
            Some(slots) => slots.get(usize::from(slot(key))).copied().flatten().map(usize::from),
        }
    }

    /// The index of the primary at `address`.
    pub(super) fn at(&self, address: &Address) -> Option<usize> {
        self.primaries.iter().position(|primary| primary.connection.address == *address)
    }

    /// Whether it leads to a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.slots.is_some()
    }

    /// Where it leads, for the log.
    pub(super) fn addresses(&self) -> String {
        let names: Vec<_> = self.primaries.iter().map(|primary| primary.connection.address.to_string()).collect();
        names.join(",")
    }
}

/// Makes links.
pub(super) struct Finder {
    dialer: Dialer,
    topology: Topology,
    keys: Keys,
    /// Cluster nodes met so far: the configured ones may all be gone while the cluster lives.
    known: Mutex<Vec<Address>>,
}

impl Finder {
    /// Refused when the TLS settings cannot be used.
    pub(super) fn new(config: &RedisConfig, keys: Keys) -> Result<Self, StoreError> {
        let dialer = Dialer::new(config)?;
        Ok(Self { dialer, topology: config.topology.clone(), keys, known: Mutex::default() })
    }

    /// What is configured, for messages: never credentials.
    pub(super) fn names(&self) -> String {
        let nodes = match &self.topology {
            Topology::Single(address) => std::slice::from_ref(address),
            Topology::Sentinel { nodes, .. } | Topology::Cluster { nodes } => nodes,
        };
        nodes.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
    }

    /// Connects to every primary. The caller bounds the time it may take.
    pub(super) async fn find(&self) -> Result<Link, Fault> {
        match &self.topology {
            Topology::Single(address) => Ok(self.lone(self.dialer.dial(address).await?)),
            Topology::Sentinel { nodes, master } => {
                let asked = nodes.iter().map(|node| primary_of(self.dialer.clone(), node.clone(), master.clone()));
                Ok(self.lone(first_of(asked).await?))
            }
            Topology::Cluster { nodes } => {
                let mut seeds = nodes.clone();
                seeds.extend(self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
                seeds.sort();
                seeds.dedup();
                let (connections, slots) =
                    first_of(seeds.into_iter().map(|seed| cluster_of(self.dialer.without_db(), seed))).await?;
                self.remember(&connections);
                self.cluster(connections, slots)
            }
        }
    }

    fn lone(&self, connection: Connection) -> Link {
        let primaries = vec![Primary { connection, sentinel: self.keys.history() }];
        Link { primaries, slots: None, since: Instant::now() }
    }

    fn cluster(&self, connections: Vec<Connection>, slots: Slots) -> Result<Link, Fault> {
        let mut sentinels = vec![None; connections.len()];
        let mut missing = connections.len();
        for name in (0..NUMBERS).map(|number| self.keys.history_numbered(number)) {
            if missing == 0 {
                break;
            }
            let owner = slots.get(usize::from(slot(name.as_bytes()))).copied().flatten();
            if let Some(free @ None) = owner.and_then(|owner| sentinels.get_mut(usize::from(owner))) {
                *free = Some(name);
                missing -= 1;
            }
        }
        let primaries = connections.into_iter().zip(sentinels).map(|(connection, sentinel)| match sentinel {
            Some(sentinel) => Ok(Primary { connection, sentinel }),
            None => Err(Fault::away(&connection.address, "owns no slot that a sentinel key falls into")),
        });
        let primaries = primaries.collect::<Result<_, _>>()?;
        Ok(Link { primaries, slots: Some(slots), since: Instant::now() })
    }

    fn remember(&self, connections: &[Connection]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = connections.iter().take(MOST_KNOWN).map(|connection| connection.address.clone()).collect();
    }
}

/// Runs all searches at once; the first that succeeds wins. A silent node thus never hides one that answers.
async fn first_of<T, F>(searches: impl Iterator<Item = F>) -> Result<T, Fault>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>> + Send + 'static,
{
    let mut running: JoinSet<_> = searches.collect();
    let mut refused = Vec::new();
    let mut away = Vec::new();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(Fault { error: StoreError::Refused(why), .. })) => refused.push(why),
            Ok(Err(Fault { error: StoreError::Away(why), .. })) => away.push(why),
            Err(_) => {} // a panic or an abort: neither happens to a search
        }
    }
    // What is away may heal, so a refusal counts only when every node that was asked says so.
    let error = if away.is_empty() && !refused.is_empty() {
        StoreError::Refused(refused.join("; "))
    } else {
        away.append(&mut refused);
        StoreError::Away(away.join("; "))
    };
    Err(Fault { error, reconnect: true })
}

/// Asks one sentinel for the primary, connects to it and has it say that it is one.
async fn primary_of(dialer: Dialer, sentinel: Address, master: String) -> Result<Connection, Fault> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(&master);
    let anonymous = dialer.anonymous().dial(&sentinel).await?;
    let answer = match anonymous.ask(&question).await? {
        Value::ServerError(error) if error.code() == "NOAUTH" => {
            dialer.without_db().dial(&sentinel).await?.ask(&question).await?
        }
        answer => answer,
    };
    let address = match &answer {
        Value::Nil => return Err(Fault::refused(&sentinel, format!("knows no primary called {master}"))),
        Value::ServerError(error) => return Err(Fault::answered(&sentinel, error)),
        Value::Array(parts) => address_of(parts, &sentinel),
        _ => None,
    };
    let address = address.ok_or_else(|| Fault::away(&sentinel, "an answer that names no primary"))?;
    let connection = dialer.dial(&address).await?;
    match connection.ask(&redis::cmd("ROLE")).await? {
        Value::Array(parts) if parts.first().and_then(text).is_some_and(|role| role != "master") => {
            Err(Fault::away(&address, "no primary (any more)"))
        }
        // An ACL may hide ROLE: a replica then shows itself by READONLY.
        _ => Ok(connection),
    }
}

/// Asks one node for the cluster's layout and connects to every primary in it, in the order of their lowest slot.
async fn cluster_of(dialer: Dialer, seed: Address) -> Result<(Vec<Connection>, Slots), Fault> {
    let connection = dialer.dial(&seed).await?;
    let mut questions = Pipeline::with_capacity(2);
    questions.cmd("CLUSTER").arg("SLOTS");
    questions.cmd("CLUSTER").arg("INFO");
    let answers = connection.send(&questions).await?;
    // A node cut off from the others still tells the layout that was. An ACL may hide INFO.
    if answers.get(1).and_then(text).is_some_and(|info| info.contains("cluster_state:fail")) {
        return Err(Fault::away(&seed, "CLUSTERDOWN as this node sees it"));
    }
    let layout = match answers.first() {
        Some(Value::ServerError(error)) => return Err(Fault::answered(&seed, error)),
        answer => answer.and_then(|answer| Layout::read(answer, &seed)),
    };
    let layout = layout.ok_or_else(|| Fault::away(&seed, "no slots are assigned"))?;
    let dialer = Arc::new(dialer);
    let dial = |(index, address): (usize, Address)| {
        let dialer = Arc::clone(&dialer);
        async move { (index, dialer.dial(&address).await) }
    };
    let mut dialing: JoinSet<_> = layout.primaries.iter().cloned().enumerate().map(dial).collect();
    let mut connections: Vec<Option<Connection>> = layout.primaries.iter().map(|_| None).collect();
    while let Some(ended) = dialing.join_next().await {
        let (index, connection) = ended.map_err(|error| Fault::away(&seed, error))?;
        connections[index] = Some(connection?);
    }
    Ok((connections.into_iter().flatten().collect(), layout.slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_search_that_succeeds_wins_and_only_a_common_refusal_is_one() {
        let seed = Address { host: "seed".to_owned(), port: 1 };
        let (away, refused) = (Err(Fault::away(&seed, "away")), Err(Fault::refused(&seed, "refused")));
        let error = |why: &str| format!("seed:1: {why}");
        for (answers, expected) in [
            (vec![away.clone(), refused.clone(), Ok(7)], Ok(7)),
            (
                vec![refused.clone(), refused.clone()],
                Err(StoreError::Refused([error("refused"), error("refused")].join("; "))),
            ),
            (vec![refused, away], Err(StoreError::Away([error("away"), error("refused")].join("; ")))),
            (vec![], Err(StoreError::Away(String::new()))),
        ] {
            let found = first_of(answers.into_iter().map(std::future::ready)).await;
            assert_eq!(found.map_err(|fault: Fault| fault.error), expected);
        }
    }
}
