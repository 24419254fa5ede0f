//! What may be set, from `ONCE_*` variables only (and, for spans, OpenTelemetry's own): one section a file, the defaults in
//! [`table`].
//!
//! Strict: an unknown name, a bare number or an empty value is a problem, all problems are answered
//! at once, and no secret stands in any of them.

mod app;
mod collector;
mod commands;
mod delivery;
mod files;
mod kafka;
mod operating;
mod pattern;
mod problems;
mod properties;
mod reader;
mod redis;
mod relations;
mod secret;
mod store;
pub mod table;
mod units;
mod unknown;
mod url;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

pub use app::{App, AppUrl, Transport};
pub use collector::{Collector, Sampling};
pub use commands::{AuditSettings, DemoSettings, InspectSettings, RedriveSettings};
pub use delivery::Delivery;
pub use files::Files;
pub use kafka::{Connection, Kafka, Start, Topics};
pub use operating::{Log, LogFormat, Operating};
pub use problems::{Problem, Problems};
pub use redis::{ClientIdentity, Reach, Redis};
pub use secret::{Secret, SecretString};
pub use store::{Access, Store};
pub use url::Node;

use commands::Command;
use reader::Reader;

/// Everything that `run` and `check` need. Safe to print with `{:?}`: secrets show as `***`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Brokers, topics, group.
    pub kafka: Kafka,
    /// The dedup store.
    pub redis: Redis,
    /// The app.
    pub app: App,
    /// Order, identity, bounds, retries, dead letters.
    pub delivery: Delivery,
    /// Commits, drain, admin port, log.
    pub operating: Operating,
    /// Where spans go; `None`: nowhere.
    pub collector: Option<Collector>,
}

/// Reads a duration as the settings write it: an integer with `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|fault| format!("{}; {}", fault.what, fault.remedy))
}

/// Reads the name of one topic.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn topic(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty; name the topic".to_owned());
    }
    kafka::topic(text).map_err(|fault| format!("{}; {}", fault.what, fault.remedy))
}

impl Settings {
    /// Reads the sidecar's settings; `vars` is the whole environment, `files` reads what a `_FILE`
    /// twin names.
    ///
    /// # Errors
    /// Every problem at once; exit code [`Problems::EXIT_CODE`].
    pub fn load(vars: impl Iterator<Item = (OsString, OsString)>, files: Files<'_>) -> Result<Self, Problems> {
        let vars: Vec<_> = vars.collect();
        let mut read = Reader::gather(Command::Run, vars.iter().cloned(), files);
        let whole = Self::section(&mut read, &vars, files);
        relations::all(&mut read);
        read.finish(whole)
    }

    /// Reads the settings from pairs, with no files behind them: for tests and the demo.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, Problems> {
        let vars = pairs.iter().map(|(name, value)| (name.into(), value.into()));
        Self::load(vars, &|_: &Path| Err(io::ErrorKind::NotFound.into()))
    }

    fn section(read: &mut Reader, vars: &[(OsString, OsString)], files: Files<'_>) -> Option<Self> {
        let kafka = kafka::section(read);
        let redis = redis::section(read);
        let app = app::section(read);
        let delivery = delivery::section(read);
        let operating = operating::section(read);
        let collector = collector::section(read, vars, files);
        Some(Self {
            kafka: kafka?,
            redis: redis?,
            app: app?,
            delivery: delivery?,
            operating: operating?,
            collector: collector?,
        })
    }
}

/// The fewest settings that are valid: a start for tests of other modules and for the demo.
pub fn example() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("ONCE_KAFKA_BROKERS", "localhost:9092"),
        ("ONCE_KAFKA_TOPICS", "orders"),
        ("ONCE_KAFKA_GROUP", "billing"),
        ("ONCE_REDIS_URL", "memory:"),
        ("ONCE_APP_URL", "http://127.0.0.1:8080/"),
    ])
}
