//! `kafka-once run`: the sidecar, until SIGTERM or SIGINT.

use std::io::IsTerminal;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
    end_on_panic();
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

/// Whatever a task that panicked was at (a request, a batch, a commit) nobody would ever hear of again: the process ends,
/// as by a crash, and whoever comes next takes over.
fn end_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        tracing::error!(error = %info, "panicked; the process ends so that another one goes on");
        std::process::exit(1);
    }));
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
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let unheard = |error: std::io::Error| Failure::Failed(format!("signals cannot be heard: {error}"));
    let signals = Signals::listen().map_err(unheard)?;
    let (sidecar, stop) = Sidecar::start(settings, None)?;
    advise(settings.clone());
    signals.stop(stop).map_err(unheard)?;
    sidecar.wait()
}

/// Says, beside everything else, what of the topics does not fit the dedup window; nothing waits for it.
fn advise(settings: Settings) {
    let thread = std::thread::Builder::new().name("advice".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        for words in runtime.block_on(super::check::advice(&settings)) {
            tracing::warn!(advice = words, "the dedup window is short for a topic");
        }
    });
    if let Err(error) = thread {
        tracing::debug!(%error, "no thread for advice");
    }
}

/// SIGTERM and SIGINT. Heard before anything starts: whoever sees a sidecar may ask for its end.
struct Signals {
    runtime: tokio::runtime::Runtime,
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listen = |kind| {
            let _inside = runtime.enter();
            signal(kind)
        };
        let (term, int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { runtime, term, int })
    }

    /// Asks for the end when one comes; a thread of its own waits for that until the process ends.
    fn stop(self, stop: Stop) -> std::io::Result<()> {
        let Self { runtime, mut term, mut int } = self;
        let hear = move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = term.recv() => tracing::info!(signal = "SIGTERM", "asked to end"),
                    _ = int.recv() => tracing::info!(signal = "SIGINT", "asked to end"),
                }
                stop.gracefully();
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(hear).map(drop)
    }
}
