//! Several redis-servers together: a primary with replica and Sentinel, and a cluster of three.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::ports;
use super::process::{Process, Start};
use super::redis::{Redis, run};

const START: Duration = Duration::from_secs(30);

/// One primary, one replica and one Sentinel (quorum 1) that fails over about a second after the primary is gone.
pub struct Sentinel {
    /// The server started as primary.
    pub primary: Redis,
    /// The server started as its replica.
    pub replica: Redis,
    process: Process,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Sentinel {
    /// The name under which Sentinel watches the primary.
    pub const NAME: &'static str = "once";

    /// Starts all three and waits until the replica is in sync and known to Sentinel.
    pub fn start() -> anyhow::Result<Self> {
        let primary = Redis::start(&["--repl-diskless-sync-delay", "0"])?;
        let of = primary.port().to_string();
        let replica = Redis::start(&["--replicaof", "127.0.0.1", &of])?;
        replica.wait_log(|line| line.contains("Finished with success"))?;
        let dir = tempfile::Builder::new().prefix("sentinel-").tempdir()?;
        let (port, name) = (ports::free(), Self::NAME);
        let file = dir.path().join("sentinel.conf");
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {of} 1\n\
             sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 3000\n"
        );
        std::fs::write(&file, config)?;
        let process =
            Start::new("redis-server").arg(&file).arg("--sentinel").dir(dir.path()).wipe(dir.path()).spawn()?;
        process.log().wait_for(START, |line| line.contains("+slave"))?;
        Ok(Self { primary, replica, process, port, _dir: dir })
    }

    /// `HOST:PORT` of Sentinel itself.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A value for `ONCE_REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/{}", self.address(), Self::NAME)
    }

    /// `HOST:PORT` of the primary as Sentinel sees it now.
    pub fn current_primary(&self) -> anyhow::Result<String> {
        let answer = self.cli(&["SENTINEL", "get-master-addr-by-name", Self::NAME])?;
        let (host, port) = answer.split_once('\n').with_context(|| format!("no primary: {answer}"))?;
        Ok(format!("{host}:{port}"))
    }

    /// Waits until Sentinel has made another server the primary.
    pub fn await_failover(&self, deadline: Duration) -> anyhow::Result<()> {
        self.process.log().wait_for(deadline, |line| line.contains("+switch-master"))?;
        Ok(())
    }

    /// Runs one command on Sentinel.
    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments))
    }
}

/// A cluster of three primaries, without replicas at first.
pub struct Cluster {
    /// Its nodes, the primaries first.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts three nodes, joins them and waits until each sees the cluster as whole.
    pub fn start() -> anyhow::Result<Self> {
        let nodes: Vec<Redis> = (0..3).map(|_| Self::start_node()).collect::<anyhow::Result<_>>()?;
        let addresses = nodes.iter().map(Redis::address);
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes");
        let answer = run(&mut create)?;
        anyhow::ensure!(answer.contains("All 16384 slots covered"), "creating the cluster: {answer}");
        for node in &nodes {
            await_answer(node, &["CLUSTER", "INFO"], "cluster_state:ok")?;
        }
        Ok(Self { nodes })
    }

    /// Adds a node that replicates one of the primaries, and waits until it is in sync and known to all others.
    pub fn add_replica_of(&mut self, primary: usize) -> anyhow::Result<()> {
        let replica = Self::start_node()?;
        let id = self.nodes[primary].cli(&["CLUSTER", "MYID"])?;
        let mut add = Command::new("redis-cli");
        add.args(["--cluster", "add-node", &replica.address(), &self.nodes[0].address(), "--cluster-slave"]);
        let answer = run(add.args(["--cluster-master-id", &id]))?;
        anyhow::ensure!(answer.contains("New node added correctly"), "adding a replica: {answer}");
        await_answer(&replica, &["INFO", "replication"], "master_link_status:up")?;
        for node in &self.nodes {
            await_answer(node, &["CLUSTER", "REPLICAS", &id], &replica.address())?;
        }
        self.nodes.push(replica);
        Ok(())
    }

    fn start_node() -> anyhow::Result<Redis> {
        let bus = ports::free().to_string();
        Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"])
    }

    /// `HOST:PORT` of each node, with commas.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(Redis::address).collect::<Vec<_>>().join(",")
    }

    /// A value for `ONCE_REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", self.addresses())
    }

    /// Runs one command on the node that owns its keys.
    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let port = self.nodes.first().context("no nodes")?.port().to_string();
        run(Command::new("redis-cli").args(["-c", "-p", &port]).args(arguments))
    }
}

/// Asks until the answer holds `words`. Each round starts a redis-cli, which paces this loop.
fn await_answer(node: &Redis, question: &[&str], words: &str) -> anyhow::Result<()> {
    let end = Instant::now() + START;
    loop {
        let answer = node.cli(question)?;
        if answer.contains(words) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "{question:?} never said {words}: {answer}");
    }
}
