//! Which real neighbours this machine has; tests without theirs are skipped loudly, or fail when they are required.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::kafka::{self, Kafka};
use super::redis::Redis;

/// The broker that a test binary shares, or `None` (recorded as a skip) where there is no Kafka.
///
/// A test begins with `let Some(kafka) = support::kafka() else { return };` and uses topics of its own.
pub fn kafka() -> Option<&'static Kafka> {
    kafka_possible().then(Kafka::shared)
}

/// Whether brokers can be started; for tests that need one of their own. Records the skip.
pub fn kafka_possible() -> bool {
    let missing = if !on_path("java") {
        Some("java missing")
    } else if !has_jars(&kafka::libs()) {
        Some("jars missing, see tests/install")
    } else {
        None
    };
    possible("Apache Kafka", "REQUIRE_KAFKA", missing)
}

/// The redis-server that a test binary shares, or `None` (recorded as a skip) where there is none.
pub fn redis() -> Option<&'static Redis> {
    redis_possible().then(Redis::shared)
}

/// Whether redis-server can be started. Records the skip.
pub fn redis_possible() -> bool {
    let found = on_path("redis-server") && on_path("redis-cli");
    possible("Redis", "REQUIRE_REDIS", (!found).then_some("redis-server or redis-cli missing"))
}

/// The path of helm, or `None` (recorded as a skip).
pub fn helm() -> Option<PathBuf> {
    let ours = root().join(".cache/bin/helm");
    let helm = if ours.is_file() { Some(ours) } else { on_path("helm").then(|| PathBuf::from("helm")) };
    possible("Helm", "REQUIRE_HELM", helm.is_none().then_some("helm missing, see tests/install"));
    helm
}

/// The package's root directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn possible(what: &str, required: &str, missing: Option<&str>) -> bool {
    let Some(reason) = missing else { return true };
    assert!(std::env::var_os(required).is_none_or(|v| v != "1"), "no {what} ({reason}), but {required}=1");
    record_skip(&format!("no {what} ({reason})"));
    false
}

/// Appends one line to the file named by `SKIPPED_TESTS`, which `make test` sums up at its end.
fn record_skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("unnamed").to_owned();
    eprintln!("SKIPPED {test}: {reason}");
    let Some(path) = std::env::var_os("SKIPPED_TESTS") else {
        return;
    };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{test}\t{reason}"));
    written.expect("recording a skipped test");
}

fn has_jars(libs: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(libs) else {
        return false;
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.iter().any(|name| name.starts_with("kafka_2.13-"))
        && names.iter().any(|name| name.starts_with("kafka-tools-"))
}

/// Whether a program can be started by its name.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Records the running test as skipped for want of something that nobody requires; says why.
pub fn skip(reason: &str) {
    record_skip(reason);
}
