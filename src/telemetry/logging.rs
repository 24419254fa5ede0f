//! Logs: to standard error, one event a line, in JSON for machines or text for people.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, the event's fields at its top.
    Json,
    /// For a person at a terminal; colours only there.
    Text,
}

/// Starts logging for the whole process. `filter` as in `ONCE_LOG`: a level, or `target=level` pairs with commas.
///
/// Fails for a filter that cannot be read, and when logging has started before.
pub fn init(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = parse(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).finish().try_init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder().parse(filter).with_context(|| format!("log filter {filter:?} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_pairs_of_target_and_level() {
        for good in ["info", "warn,kafka_once=debug", "off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["kafka_once=loud", "a=b=c"] {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}
