//! The wiring, and the only place that knows both sides: settings become neighbours, neighbours a running sidecar.
//!
//! Three threads: `kafka` polls, `core` runs the pipeline with Redis and HTTP on one runtime, `admin` answers operators.

mod inspection;
mod neighbours;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

pub use inspection::{Inspecting, message_id};
pub use neighbours::{app, kafka_config, memory, redis_config};

use crate::adapters::admin::{AdminDeps, AdminServer};
use crate::adapters::app::HttpApp;
use crate::adapters::claims::memory::Memory;
use crate::adapters::collector::Collector;
use crate::adapters::kafka::{KafkaDeadLetters, KafkaLog};
use crate::domain::time::Moment;
use crate::pipeline::{Clock, Ending, Neighbours, Pipeline, Stopped};
use crate::ports::{HeldBytes, Spans};
use crate::settings::Settings;
use crate::telemetry::{Loop, Metrics, Pulses, StatusBoard};

/// Batches of records between the Kafka thread and the pipeline. Few: what waits here is held in memory.
const HANDED_OVER: usize = 4;

/// Operations of operators that wait at once.
const OPERATIONS: usize = 16;

/// How long the last spans may take at the end; less where the drain has taken its time.
const FLUSH: Duration = Duration::from_secs(2);

/// Why a sidecar did not start, or ended other than as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Settings, a port in use, or a neighbour that refuses us for good: exit code 2.
    #[error("{0}")]
    Refused(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

/// A running sidecar.
pub struct Sidecar {
    admin_addr: SocketAddr,
    admin: AdminServer,
    core: JoinHandle<Result<(), Stopped>>,
    metrics: Arc<Metrics>,
    collector: Option<Arc<Collector>>,
    /// When its end was asked for, and how long that may take.
    asked: Arc<OnceLock<Instant>>,
    drain_timeout: Duration,
}

/// Asks a sidecar to end.
#[derive(Debug)]
pub struct Stop {
    ending: oneshot::Sender<Ending>,
    asked: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// Finish what is open, give back the rest, leave the group.
    pub fn gracefully(self) {
        let _ = self.asked.set(Instant::now()); // nobody has before: this is the only one who asks
        let _ = self.ending.send(Ending::Drained); // it may have ended by itself
    }

    /// End at once, as a crash would. For the demo.
    pub fn abort(self) {
        let _ = self.ending.send(Ending::Aborted); // it may have ended by itself
    }
}

impl Sidecar {
    /// Starts all threads. `memory`: the store for `memory:`, shared with other sidecars of this process.
    pub fn start(settings: &Settings, memory: Option<Memory>) -> Result<(Self, Stop), Failure> {
        let refused = |error: &dyn std::fmt::Display| Failure::Refused(error.to_string());
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
        let memory = memory.or_else(|| neighbours::own_memory(settings));
        let metrics = Arc::new(Metrics::new().map_err(|error| failed(&error))?);
        let (board, pulses) = (Arc::new(StatusBoard::default()), Arc::new(Pulses::default()));
        let (operations, operated) = mpsc::channel(OPERATIONS);
        let clock = process_clock();
        let deps = AdminDeps {
            metrics: Arc::clone(&metrics),
            board: Arc::clone(&board),
            pulses: Arc::clone(&pulses),
            operations,
            inspect: neighbours::inspect(settings, memory.clone()),
            clock: Arc::clone(&clock),
        };
        let collector = neighbours::collector(settings, &metrics).map_err(|error| refused(&format!("{error:#}")))?;
        let spans = collector.clone().map(|collector| collector as Arc<dyn Spans>);
        let app = neighbours::watched_app(settings, spans).map_err(|error| refused(&format!("{error:#}")))?;
        let (admin_addr, admin) = AdminServer::start(settings.operating.admin_addr, deps)
            .map_err(|error| Failure::Refused(format!("ONCE_ADMIN_ADDR: {error:#}")))?;
        let (intake, taken_in) = mpsc::channel(HANDED_OVER);
        let (log, commands) = mpsc::unbounded_channel();
        let held = Arc::new(HeldBytes::default());
        let beat = Arc::clone(&pulses);
        let pulse = move || beat.beat(Loop::Kafka, clock());
        let (config, naming) = (neighbours::kafka_config(settings), neighbours::naming(settings));
        KafkaLog::start(config, intake, commands, Arc::clone(&held), naming, pulse).map_err(|error| refused(&error))?;
        let parts = Parts {
            settings: settings.clone(),
            memory,
            app,
            letters: neighbours::letters(settings),
            intake: taken_in,
            log,
            operations: operated,
            held,
            metrics: Arc::clone(&metrics),
            board,
            pulses,
        };
        let (ending, stopped) = oneshot::channel();
        let asked = Arc::new(OnceLock::new());
        let thread = std::thread::Builder::new().name("core".to_owned());
        let core = thread.spawn(move || parts.run(stopped)).map_err(|error| failed(&error))?;
        let stop = Stop { ending, asked: Arc::clone(&asked) };
        let drain_timeout = settings.operating.drain_timeout;
        Ok((Self { admin_addr, admin, core, metrics, collector, asked, drain_timeout }, stop))
    }

    /// Where the admin server listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// What operators see.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether it has ended, as asked or because it cannot go on; [`Sidecar::wait`] tells which.
    pub fn has_ended(&self) -> bool {
        self.core.is_finished()
    }

    /// Waits until it has ended, as asked or because it cannot go on.
    pub fn wait(self) -> Result<(), Failure> {
        let ended = self.core.join();
        if let Some(collector) = self.collector {
            collector.close(flush(self.drain_timeout, self.asked.get().map(Instant::elapsed)));
        }
        self.admin.stop();
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(stopped @ Stopped::Refused(_))) => Err(Failure::Refused(stopped.to_string())),
            Ok(Err(stopped @ (Stopped::Log(_) | Stopped::StandsStill(_)))) => Err(Failure::Failed(stopped.to_string())),
            Err(_) => Err(Failure::Failed("the core thread panicked".to_owned())),
        }
    }
}

/// How long the last spans may take, so long after the end was asked for; `None`: nobody has asked.
fn flush(drain_timeout: Duration, since: Option<Duration>) -> Duration {
    since.map_or(FLUSH, |since| FLUSH.min(drain_timeout.saturating_sub(since)))
}

/// Everything the core thread takes with it.
struct Parts {
    settings: Settings,
    memory: Option<Memory>,
    app: HttpApp,
    letters: Option<KafkaDeadLetters>,
    intake: mpsc::Receiver<crate::ports::Intake>,
    log: mpsc::UnboundedSender<crate::ports::LogOrder>,
    operations: mpsc::Receiver<crate::ports::Operation>,
    held: Arc<HeldBytes>,
    metrics: Arc<Metrics>,
    board: Arc<StatusBoard>,
    pulses: Arc<Pulses>,
}

impl Parts {
    fn run(self, stop: oneshot::Receiver<Ending>) -> Result<(), Stopped> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stopped::Log(format!("the runtime cannot be built: {error}")))?;
        runtime.block_on(async move {
            let claims = neighbours::store(&self.settings, self.memory);
            let claims = claims.map_err(|error| Stopped::Refused(error.to_string()))?;
            let neighbours = Neighbours {
                claims,
                app: self.app,
                letters: self.letters,
                intake: self.intake,
                log: self.log,
                operations: self.operations,
                held: self.held,
                metrics: self.metrics,
                board: self.board,
                pulses: self.pulses,
            };
            let (rules, limits) = (neighbours::rules(&self.settings), neighbours::limits(&self.settings));
            Pipeline::new(neighbours, rules, limits, Clock::of_host()).run(stop).await
        })
    }
}

/// Moments since the process began to count, for loops that live on different threads.
fn process_clock() -> Arc<dyn Fn() -> Moment + Send + Sync> {
    let started = std::time::Instant::now();
    Arc::new(move || Moment(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_spans_get_what_is_left_of_the_drain_and_two_seconds_at_most() {
        let seconds = Duration::from_secs;
        for (since, left) in [(None, 2), (Some(0), 2), (Some(22), 2), (Some(24), 1), (Some(25), 0), (Some(99), 0)] {
            assert_eq!(flush(seconds(25), since.map(seconds)), seconds(left), "{since:?}");
        }
    }
}
