//! `kafka-once audit`: reads a whole topic without a group, and names what is missing.

mod ids;
mod reading;
mod report;
mod table;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::reading::What;
use self::report::{Asked, Report};
use super::times::When;
use crate::adapters::kafka::{FactsError, ReadError, TopicReader, Window, facts};
use crate::pipeline::Clock;
use crate::settings::{self, AuditSettings, Problems};

/// Exit code when numbers are missing.
const MISSING: u8 = 1;

/// How long the topic's settings are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

const SETTINGS: &str = "Settings, from environment variables (kafka-once --help): ONCE_KAFKA_BROKERS, ONCE_KAFKA_PROPERTY_<NAME>, \
ONCE_MESSAGE_ID, ONCE_SEQUENCE; with ONCE_LOG, logs instead of a progress bar.\n\
Exit codes: 0 nothing is missing, 1 something is missing, 2 usage, settings, or a topic that could not be read.";

/// What may be said behind `audit`.
#[derive(Debug, Args)]
#[command(after_help = SETTINGS)]
pub(super) struct AuditArguments {
    /// The topic
    #[arg(long, value_name = "TOPIC", value_parser = settings::topic)]
    topic: String,
    /// Only this partition; may be said again for others
    #[arg(long = "partition", value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Each partition from its first record at or after this time: RFC 3339, or a duration back such as 2h
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,
    /// Each partition up to its first record at or after this time, not including that one
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,
    /// Remember so many message IDs, some 30 bytes each; beyond it not every duplicate is found
    #[arg(long, value_name = "IDS", default_value_t = ids::MOST_IDS)]
    remember: u64,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &AuditArguments) -> ExitCode {
    let settings = match AuditSettings::load(super::environment(), &super::read_file) {
        Ok(settings) => settings,
        Err(problems) => return super::refuse(&problems),
    };
    let logs = super::log_if_asked(&settings.log);
    match audit(arguments, &settings, logs) {
        Ok(report) => tell(&report, arguments.json),
        Err(error) => {
            eprintln!("kafka-once audit: {error}");
            ExitCode::from(Problems::EXIT_CODE)
        }
    }
}

/// The report, or one line: what, where, what to do.
fn audit(arguments: &AuditArguments, settings: &AuditSettings, logs: bool) -> Result<Report, String> {
    let now = Clock::of_host().now().wall;
    let at = |when: Option<When>| when.map(|when| when.seen_from(now));
    let window =
        Window { partitions: arguments.partitions.clone(), since: at(arguments.since), until: at(arguments.until) };
    if let (Some(since), Some(until)) = (window.since, window.until)
        && since >= until
    {
        return Err("--since is not before --until; swap them".to_owned());
    }
    let properties: BTreeMap<String, String> =
        settings.kafka.consumer_properties().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let reader = TopicReader::new(&settings.kafka.brokers, &properties, &arguments.topic);
    let what = What::new(&settings.message_id, &settings.sequence);
    let words = |error: &ReadError| format!("{error}; {}", remedy(error, &settings.kafka.brokers, &arguments.topic));
    let spans = reader.spans(&window).map_err(|error| words(&error))?;
    let read = reading::read(&reader, spans, &what, arguments.remember, logs).map_err(|error| words(&error))?;
    let asked = Asked {
        topic: &arguments.topic,
        since: window.since,
        until: window.until,
        sequences: !settings.sequence.is_empty(),
        compacted: compacted(&settings.kafka.brokers, &properties, &arguments.topic),
    };
    Ok(Report::new(&asked, read))
}

/// Whether the topic is compacted, if that may be read.
fn compacted(brokers: &str, properties: &BTreeMap<String, String>, topic: &str) -> Option<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let topics = [topic.to_owned()];
    let facts = runtime.block_on(facts(brokers, properties, &topics, PATIENCE)).ok()?;
    facts.topics.first()?.compacted
}

fn remedy(error: &ReadError, brokers: &str, topic: &str) -> String {
    match error {
        ReadError::Facts(FactsError::Away(_)) => {
            format!("check ONCE_KAFKA_BROKERS ({brokers}), and whether these brokers run")
        }
        ReadError::Facts(FactsError::Refused(_)) => {
            format!("check ONCE_KAFKA_PROPERTY_* (security, password) and the right to read topic {topic}")
        }
        ReadError::Facts(FactsError::UnknownTopics(_)) => format!("check --topic, and ONCE_KAFKA_BROKERS ({brokers})"),
        ReadError::UnknownPartition { .. } => "check --partition".to_owned(),
        ReadError::BrokenOff(_) => "nothing is reported: run it again".to_owned(),
    }
}

/// Prints the result.
fn tell(report: &Report, json: bool) -> ExitCode {
    let text = if json {
        serde_json::to_string_pretty(report).map(|text| text + "\n").map_err(|error| error.to_string())
    } else {
        Ok(table::page(report))
    };
    match text.and_then(|text| super::write(&text).map_err(|error| error.to_string())) {
        Ok(()) if report.is_missing_something() => ExitCode::from(MISSING),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafka-once audit: the report cannot be written: {error}");
            ExitCode::from(Problems::EXIT_CODE)
        }
    }
}
