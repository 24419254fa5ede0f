//! Operating: how often offsets are committed, how long a drain may take, the admin port, the log.

use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::problems::Fault;
use super::reader::Reader;
use super::units;

/// All settings of operation.
#[derive(Clone, Debug)]
pub struct Operating {
    /// How often low water is committed.
    pub commit_interval: Duration,
    /// Longest drain at a shutdown.
    pub drain_timeout: Duration,
    /// Where the admin endpoints are served.
    pub admin_addr: SocketAddr,
    /// What is logged, and how.
    pub log: Log,
}

/// What is logged, and how: every command has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Directives that [`EnvFilter`] takes.
    pub filter: String,
    /// `None`: text when a terminal looks, else JSON.
    pub format: Option<LogFormat>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

pub(super) fn section(read: &mut Reader) -> Option<Operating> {
    let commit_interval = read.required("ONCE_COMMIT_INTERVAL", units::positive_duration);
    let drain_timeout = read.required("ONCE_DRAIN_TIMEOUT", units::positive_duration);
    let admin_addr = read.required("ONCE_ADMIN_ADDR", address);
    let log = log(read);
    Some(Operating {
        commit_interval: commit_interval?,
        drain_timeout: drain_timeout?,
        admin_addr: admin_addr?,
        log: log?,
    })
}

pub(super) fn log(read: &mut Reader) -> Option<Log> {
    let filter = read.required("ONCE_LOG", filter);
    let format = read
        .optional("ONCE_LOG_FORMAT", |text| units::word(text, &[("json", LogFormat::Json), ("text", LogFormat::Text)]));
    Some(Log { filter: filter?, format })
}

fn address(text: &str) -> Result<SocketAddr, Fault> {
    let bad = |_| Fault::new("is not an address with a port", "write such as 0.0.0.0:9600 or [::]:9600");
    text.parse().map_err(bad)
}

/// A bare word must be a level: the filter would take a misspelt one for a target and log nothing.
fn filter(text: &str) -> Result<String, Fault> {
    let remedy = "write a level (error, warn, info, debug, trace, off), or directives like info,kafka_once=debug";
    let bare = |entry: &&str| !entry.contains(['=', '[']);
    let misspelt = |entry: &str| entry.trim().parse::<LevelFilter>().is_err();
    if text.split(',').filter(bare).any(misspelt) {
        return Err(Fault::new("holds a word that is no level", remedy));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Fault::new("is not a log filter", remedy)),
    }
}
