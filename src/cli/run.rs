//! `kafka-once run`: the sidecar, until SIGTERM or SIGINT.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::mpsc;

use tokio::signal::unix::{SignalKind, signal};

use crate::settings::{Log, LogFormat, Problems, Settings};
use crate::sidecar::{Failure, Sidecar, Stop};
use crate::telemetry::logging;

pub(super) fn run() -> ExitCode {
    let settings = match Settings::load(super::environment(), &super::read_file) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("kafka-once: {} with the settings:\n{problems}", count(&problems));
            return ExitCode::from(Problems::EXIT_CODE);
        }
    };
    start_logging(&settings.operating.log);
    match serve(&settings) {
        Ok(()) => {
            tracing::info!("ended as asked");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tracing::error!(error = %failure, "ended");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn count(problems: &Problems) -> String {
    match problems.iter().count() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    }
}

/// Logs to standard error: JSON, or text when a terminal looks, unless the settings say which.
pub(super) fn start_logging(log: &Log) {
    let format = match log.format {
        Some(LogFormat::Json) => logging::LogFormat::Json,
        Some(LogFormat::Text) => logging::LogFormat::Text,
        None if std::io::stderr().is_terminal() => logging::LogFormat::Text,
        None => logging::LogFormat::Json,
    };
    if let Err(error) = logging::init(&log.filter, format) {
        eprintln!("kafka-once: logging cannot be set up: {error:#}");
    }
}

fn serve(settings: &Settings) -> Result<(), Failure> {
    // Before anything begins: a signal that comes while we start is an ordered end, too.
    let stops = hear_signals().map_err(|error| Failure::Failed(format!("signals cannot be heard: {error}")))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let (sidecar, stop) = Sidecar::start(settings, None)?;
    let _ = stops.send(stop); // the thread that hears signals lives as long as the process
    sidecar.wait()
}

/// SIGTERM and SIGINT ask for the end of the sidecar that is handed in; a thread of its own hears them until the process
/// ends.
fn hear_signals() -> std::io::Result<mpsc::Sender<Stop>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    drop(inside);
    let (sender, stops) = mpsc::channel::<Stop>();
    let hear = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => tracing::info!(signal = "SIGTERM", "asked to end"),
                _ = int.recv() => tracing::info!(signal = "SIGINT", "asked to end"),
            }
        });
        if let Ok(stop) = stops.recv() {
            stop.gracefully();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(hear)?;
    Ok(sender)
}
