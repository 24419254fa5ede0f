//! The command line: one file for each command; here only which there are.

mod audit;
mod check;
mod demo;
mod run;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::table;

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
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

fn settings_help() -> String {
    format!("Settings are environment variables:\n{}", table::help())
}

/// The process' own environment, for the settings.
fn environment() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os()
}

/// Files that settings name by their `_FILE` twins.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}
