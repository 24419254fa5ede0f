//! `kafka-once demo`: the main job end to end, with trouble on purpose, and a verdict.

mod app;
mod child;
mod crew;
mod planting;
mod play;
mod progress;
mod report;
mod scrape;
mod table;
mod topic;
mod world;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use self::child::ChildLog;
use self::report::Report;
use self::world::World;
use crate::settings::{DemoSettings, LogFormat};
use crate::sidecar::Failure;

/// What may be said behind `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Brokers of a running Kafka, for a topic of the demo's own, which it deletes; needs --redis
    #[arg(long, value_name = "HOST:PORT", requires = "redis")]
    kafka: Option<String>,
    /// A running Redis, as in `ONCE_REDIS_URL`; needs --kafka
    #[arg(long, value_name = "URL", requires = "kafka")]
    redis: Option<String>,
}

pub(super) fn run(arguments: &DemoArguments) -> ExitCode {
    let settings = match DemoSettings::load(super::environment(), &super::read_file) {
        Ok(settings) => settings,
        Err(problems) => return super::refuse(&problems),
    };
    let logs = super::log_if_asked(&settings.log);
    match demonstrate(arguments, &settings, logs) {
        Ok(report) => tell(&report, arguments.json),
        Err(error) => {
            eprintln!("kafka-once: {error:#}");
            ExitCode::from(error.downcast_ref().map_or(1, Failure::exit_code))
        }
    }
}

fn demonstrate(arguments: &DemoArguments, settings: &DemoSettings, logs: bool) -> anyhow::Result<Report> {
    let world = match (&arguments.kafka, &arguments.redis) {
        (Some(kafka), Some(redis)) => World::given(kafka, redis, child_log(settings, logs))?,
        _ => World::embedded()?,
    };
    play::play(&world, logs)
}

fn child_log(settings: &DemoSettings, logs: bool) -> ChildLog {
    let format = match settings.log.format {
        Some(LogFormat::Json) => "json",
        None if !std::io::stderr().is_terminal() => "json",
        Some(LogFormat::Text) | None => "text",
    };
    ChildLog { filter: logs.then(|| settings.log.filter.clone()), format }
}

/// Prints the result; 0 only if every promise was kept.
fn tell(report: &Report, json: bool) -> ExitCode {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("kafka-once: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        print!("{}", table::page(report));
    }
    if report.all_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
