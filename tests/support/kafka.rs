//! Real Apache Kafka (`KRaft`, combined brokers and controllers) on free ports, each broker a leashed child process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;

use super::available::root;
use super::ports;
use super::process::{Process, Start};
use super::topics;

const START: Duration = Duration::from_secs(90);
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// What every broker has in common. Small and quick: no rebalance delay, few internal partitions,
/// retention looked at every second, dead brokers noticed after three, a log cleaner that fits the small heap.
const SETTINGS: &str = "process.roles=broker,controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=2
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.io.threads=4
num.network.threads=2
background.threads=2
";

/// Warnings and errors, and the one line by which we know that a broker is up.
const LOGGING: &str = r#"<Configuration status="OFF">
  <Appenders><Console name="out"><PatternLayout pattern="%d{HH:mm:ss.SSS} %p %c{1}: %m%n"/></Console></Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="out"/></Root>
    <Logger name="kafka.server.KafkaRaftServer" level="INFO"/>
  </Loggers>
</Configuration>
"#;

/// Where the jars are: `KAFKA_LIBS`, else `.cache/kafka/libs` of this package.
pub fn libs() -> PathBuf {
    std::env::var_os("KAFKA_LIBS").map_or_else(|| root().join(".cache/kafka/libs"), PathBuf::from)
}

/// A running Kafka of one broker or of three. Dropping it kills the brokers and removes their data.
pub struct Kafka {
    brokers: Vec<Broker>,
    // Removed after the brokers are gone: fields drop in order.
    _dir: tempfile::TempDir,
}

struct Broker {
    dir: PathBuf,
    port: u16,
    process: std::sync::Mutex<Option<Process>>,
}

impl Kafka {
    /// The one broker that all tests of a binary share; they use topics and groups of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| Kafka::start(1).map_err(|error| format!("{error:#}")));
        started.as_ref().unwrap_or_else(|error| panic!("Kafka did not start: {error}"))
    }

    /// Starts `brokers` brokers (1 or 3) and waits until all of them answer.
    pub fn start(brokers: usize) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kafka-").tempdir()?;
        let ports: Vec<(u16, u16)> = (0..brokers).map(|_| (ports::free(), ports::free())).collect();
        let mut made = Vec::new();
        for (index, &(port, _)) in ports.iter().enumerate() {
            let dir = dir.path().join(format!("broker-{index}"));
            std::fs::create_dir(&dir)?;
            std::fs::write(dir.join("server.properties"), settings(index, &ports, &dir))?;
            std::fs::write(dir.join("log4j2.xml"), LOGGING)?;
            made.push(Broker { dir, port, process: std::sync::Mutex::default() });
        }
        format_all(&made)?;
        for broker in &made {
            broker.launch()?;
        }
        for broker in &made {
            broker.await_start()?;
        }
        let kafka = Self { brokers: made, _dir: dir };
        topics::await_brokers(&kafka.bootstrap(), brokers, START)?;
        Ok(kafka)
    }

    /// `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect();
        addresses.join(",")
    }

    /// Number of brokers; a broker's index counts from 0, its node ID in Kafka from 1.
    pub fn size(&self) -> usize {
        self.brokers.len()
    }

    /// Creates a topic with replicas on every broker and waits until each partition has a leader.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> anyhow::Result<()> {
        topics::create(&self.bootstrap(), name, partitions, i32::try_from(self.size())?, configs)
    }

    /// Shuts a broker down in order.
    pub fn stop(&self, broker: usize) {
        self.with(broker, |process| {
            process.signal(Signal::TERM);
            if process.wait_exit(Duration::from_secs(30)).is_none() {
                process.kill();
            }
        });
    }

    /// Kills a broker with SIGKILL.
    pub fn kill(&self, broker: usize) {
        self.with(broker, Process::kill);
    }

    /// Starts a stopped or killed broker again, with its port and data, and waits until it is up.
    pub fn restart(&self, broker: usize) -> anyhow::Result<()> {
        self.kill(broker);
        self.brokers[broker].launch()?;
        self.brokers[broker].await_start()
    }

    /// Starts every broker that has ended, lets frozen ones go on, and waits until all replicas are in sync.
    pub fn heal(&self) -> anyhow::Result<()> {
        for (number, broker) in self.brokers.iter().enumerate() {
            self.cont(number);
            if !lock(&broker.process).as_ref().is_some_and(Process::runs) {
                self.restart(number)?;
            }
        }
        topics::await_in_sync(&self.bootstrap(), self.size(), START)
    }

    /// Freezes a broker (SIGSTOP): its connections stay open and silent.
    pub fn pause(&self, broker: usize) {
        self.with(broker, |process| process.signal(Signal::STOP));
    }

    /// Lets a frozen broker go on.
    pub fn cont(&self, broker: usize) {
        self.with(broker, |process| process.signal(Signal::CONT));
    }

    fn with(&self, broker: usize, act: impl FnOnce(&Process)) {
        if let Some(process) = lock(&self.brokers[broker].process).as_ref() {
            act(process);
        }
    }
}

impl Broker {
    fn launch(&self) -> anyhow::Result<()> {
        // Tests start many brokers, and most live for a minute: half the time to start is the better compiler's.
        let level = if cfg!(test) { "-XX:TieredStopAtLevel=1" } else { "-XX:TieredStopAtLevel=4" };
        let process = java(&self.dir)
            .args([level, "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.configurationFile=log4j2.xml"])
            .args(["-cp", &class_path()])
            .args(["kafka.Kafka", "server.properties"])
            .wipe(self.dir.parent().unwrap_or(&self.dir))
            .spawn()?;
        *lock(&self.process) = Some(process);
        Ok(())
    }

    fn await_start(&self) -> anyhow::Result<()> {
        let process = lock(&self.process);
        let process = process.as_ref().context("broker not launched")?;
        process.log().wait_for(START, |line| line.contains("Kafka Server started"))?;
        Ok(())
    }
}

fn format_all(brokers: &[Broker]) -> anyhow::Result<()> {
    let format = |broker: &Broker| {
        java(&broker.dir)
            .args(["-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=log4j2.xml"])
            .args(["-cp", &class_path(), "kafka.tools.StorageTool", "format"])
            .args(["--cluster-id", CLUSTER_ID, "--config", "server.properties"])
            .spawn()
    };
    let running: Vec<_> = brokers.iter().map(format).collect::<anyhow::Result<_>>()?;
    for process in running {
        let code = process.wait_exit(START);
        anyhow::ensure!(code == Some(0), "formatting ended with {code:?}:\n{}", process.log().lines().join("\n"));
    }
    Ok(())
}

fn settings(index: usize, ports: &[(u16, u16)], dir: &Path) -> String {
    let voters: Vec<_> =
        ports.iter().enumerate().map(|(i, (_, controller))| format!("{}@127.0.0.1:{controller}", i + 1)).collect();
    let (port, controller) = ports[index];
    let (replicas, in_sync) = (ports.len(), ports.len().div_ceil(2));
    let mut text = String::from(SETTINGS);
    let _ = write!(
        text,
        "node.id={}
controller.quorum.voters={}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
",
        index + 1,
        voters.join(","),
        dir.join("data").display(),
    );
    text
}

fn java(dir: &Path) -> Start {
    Start::new("java").dir(dir)
}

fn class_path() -> String {
    format!("{}/*", libs().display())
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
