//! Who runs: two bare loops and our own binary, each as a child process.

use std::time::Duration;

use crate::plan::{IN_FLIGHT, PARTITIONS};
use crate::support::process::Start;
use crate::support::{Process, Sidecar};
use crate::usage;
use crate::world::World;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(40);

/// One of those who are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// Consume and `POST` with three headers.
    BareThree,
    /// Consume and `POST` with all headers of our contract.
    BareContract,
    /// kafka-once.
    Once,
}

/// All of them, in the order of the tables.
pub const ALL: [Contender; 3] = [Contender::BareThree, Contender::BareContract, Contender::Once];

impl Contender {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::BareThree => "bare loop, 3 headers",
            Self::BareContract => "bare loop, our headers",
            Self::Once => "kafka-once",
        }
    }

    /// Starts it as the only member of `group`, reading `topic` from its beginning.
    pub fn start(self, world: &World, topic: &str, group: &str, app: &str) -> anyhow::Result<Running> {
        match self {
            Self::BareThree => bare("three", world, topic, group, app),
            Self::BareContract => bare("contract", world, topic, group, app),
            Self::Once => once(world, topic, group, app, &[]),
        }
    }
}

fn bare(headers: &str, world: &World, topic: &str, group: &str, app: &str) -> anyhow::Result<Running> {
    let arguments = ["bare", headers, &world.brokers(), topic, group, app];
    Ok(Running::Bare(Start::new(std::env::current_exe()?).args(arguments).spawn()?))
}

/// Starts kafka-once with these settings beside those of the comparison, or in their place.
pub fn once(
    world: &World,
    topic: &str,
    group: &str,
    app: &str,
    more: &[(&'static str, String)],
) -> anyhow::Result<Running> {
    let settings = vec![
        ("ONCE_KAFKA_BROKERS", world.brokers()),
        ("ONCE_KAFKA_TOPICS", topic.to_owned()),
        ("ONCE_KAFKA_GROUP", group.to_owned()),
        ("ONCE_REDIS_URL", world.redis_url()),
        ("ONCE_APP_URL", format!("http://{app}/")),
        ("ONCE_MAX_IN_FLIGHT", IN_FLIGHT.to_string()),
    ];
    let overruled = |name: &str| more.iter().any(|(known, _)| *known == name);
    let settings = settings.into_iter().filter(|(name, _)| !overruled(name)).chain(more.iter().cloned());
    let settings: Vec<(&str, String)> = settings.collect();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Ok(Running::Once(Sidecar::start(&settings)?))
}

/// A contender's process. Dropping it kills it.
pub enum Running {
    /// A bare loop.
    Bare(Process),
    /// Our binary.
    Once(Sidecar),
}

impl Running {
    /// Waits until it has every partition.
    pub fn await_assigned(&self, topic: &str) -> anyhow::Result<()> {
        match self {
            Self::Bare(process) => process.log().wait_for(START, |line| line == "assigned").map(drop),
            Self::Once(sidecar) => {
                let partitions: Vec<String> = (0..PARTITIONS).map(|partition| partition.to_string()).collect();
                let series = |partition: &String| [("topic", topic.to_owned()), ("partition", partition.clone())];
                let every = |metrics: &crate::support::sidecar::Metrics| {
                    partitions.iter().all(|partition| {
                        let labels = series(partition);
                        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
                        metrics.get("kafka_once_partition_lag", &labels).is_some()
                    })
                };
                sidecar.await_metrics(START, every).map(drop)
            }
        }
    }

    /// Seconds of CPU used so far.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        usage::cpu_seconds(self.pid())
    }

    /// Resident memory now, in MiB.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        usage::resident_mib(self.pid())
    }

    /// Resident memory at its peak, in MiB.
    pub fn peak_mib(&self) -> anyhow::Result<f64> {
        usage::peak_mib(self.pid())
    }

    /// Asks it to end, and waits for that.
    pub fn stop(self) -> anyhow::Result<()> {
        let code = match &self {
            Self::Bare(process) => {
                process.kill();
                return Ok(());
            }
            Self::Once(sidecar) => {
                sidecar.sigterm();
                sidecar.wait_exit(STOP)
            }
        };
        anyhow::ensure!(code == Some(0), "it ended with {code:?}:\n{}", self.tail());
        Ok(())
    }

    /// The last lines it wrote.
    pub fn tail(&self) -> String {
        let lines = match self {
            Self::Bare(process) => process.log().lines(),
            Self::Once(sidecar) => sidecar.log().lines(),
        };
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn pid(&self) -> i32 {
        match self {
            Self::Bare(process) => process.pid(),
            Self::Once(sidecar) => sidecar.pid(),
        }
    }
}
