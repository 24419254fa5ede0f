//! The machine and the versions a table was made with.

use std::fs;
use std::thread::available_parallelism;

use crate::support::kafka;
use crate::world::World;

/// One paragraph.
pub fn describe(world: &World) -> anyhow::Result<String> {
    let cores = available_parallelism()?;
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let memory: u64 = line_of("/proc/meminfo", "MemTotal")
        .and_then(|line| line.trim_end_matches("kB").trim().parse().ok())
        .unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let (_, client) = rdkafka::util::get_rdkafka_version();
    Ok(format!(
        "Machine: {cores} cores ({cpu}), {} GiB of memory, Linux {}. Apache Kafka {}, Redis {}, librdkafka {client}. \
         Broker, Redis, app and contender share the cores.\n",
        memory.div_ceil(1024 * 1024),
        kernel.trim(),
        kafka_version().unwrap_or_else(|| "of unknown version".to_owned()),
        world.store().figure("redis_version")?,
    ))
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// From the name of the broker's jar.
fn kafka_version() -> Option<String> {
    let names = fs::read_dir(kafka::libs()).ok()?.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).find_map(|name| {
        let version = name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?;
        Some(version.to_owned())
    })
}
