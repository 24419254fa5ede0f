//! The command line: one file for each command; here only which there are.

mod audit;
mod check;
mod columns;
mod demo;
mod inspect;
mod progress;
mod redrive;
mod run;
mod times;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::{Log, Problems, table};

/// What the user asked for.
#[derive(Debug, Parser)]
#[command(name = "kafka-once", version, about, long_about = None, after_help = settings_help())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hand each message once to the app beside (the default)
    Run,
    /// Look at the settings, then at Kafka, Redis and the app, one line each
    Check,
    /// Read a whole topic and name what is missing, sent twice or out of order
    Audit(audit::AuditArguments),
    /// Send dead letters back to their topic
    Redrive(redrive::RedriveArguments),
    /// Say what Redis knows of a message
    Inspect(inspect::InspectArguments),
    /// Show the main job end to end, with trouble on purpose; needs nothing installed
    Demo(demo::DemoArguments),
}

/// Runs the command of this process' arguments; the exit code says how it ended (README, "Exit codes").
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run::run(),
        Command::Check => check::check(),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Redrive(arguments) => redrive::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

fn settings_help() -> String {
    format!("Settings are environment variables:\n{}", table::help())
}

/// Says what is wrong with the settings of a command that ends with a table.
fn refuse(problems: &Problems) -> ExitCode {
    eprintln!("kafka-once: problems with the settings:\n{problems}");
    ExitCode::from(Problems::EXIT_CODE)
}

/// The table is what one came for: logs only for those who ask. Whether they have.
fn log_if_asked(log: &Log) -> bool {
    let asked = environment().any(|(name, _)| name == "ONCE_LOG");
    if asked {
        run::start_logging(log);
    }
    asked
}

/// Writes a command's result. Whoever pipes a long list into `head` has seen enough: that is no error.
fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// The process' own environment, for the settings.
fn environment() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os()
}

/// Files that settings name by their `_FILE` twins.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}
