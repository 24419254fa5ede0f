//! One sidecar: the real pipeline on a host, with the world's neighbours around it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use kafka_once::domain::history::OnHistoryLoss;
use kafka_once::domain::life::{IdReuse, InDoubt, Rules};
use kafka_once::domain::past::OnLoss;
use kafka_once::domain::reasons::{LossCause, PauseReason};
use kafka_once::domain::record::TopicPartition;
use kafka_once::domain::retry::RetryPolicy;
use kafka_once::pipeline::{Clock, Ending, Limits, Neighbours, Pipeline, Stopped};
use kafka_once::ports::{HeldBytes, Intake, LogOrder, Operation, Scope};
use kafka_once::telemetry::status::{Gap, GapState, Incident};
use kafka_once::telemetry::{Metrics, Pulses, StatusBoard};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::app::SimApp;
use super::host::{Host, OnHost};
use super::ledger::Lost;
use super::letters::SimLetters;
use super::log::{SimLog, Windows};
use super::plan::{APP_TIMEOUT, DRAIN, GAP_GRACE, LEASE, Plan, Sabotage};
use super::store::SimStore;
use super::world::World;

use std::time::Duration;

/// A running sidecar.
pub struct SimSidecar {
    pub host: Arc<Host>,
    pub metrics: Arc<Metrics>,
    pub held: Arc<HeldBytes>,
    pub windows: Windows,
    board: Arc<StatusBoard>,
    /// Incidents on its status page that were read.
    read: usize,
    /// An operator has been told and will answer.
    operator_comes: Arc<AtomicBool>,
    pub task: JoinHandle<Result<(), Stopped>>,
    stop: Option<oneshot::Sender<Ending>>,
    operations: mpsc::Sender<Operation>,
}

/// The other ends of what a pipeline has of its log.
pub struct Wires {
    pub intake: mpsc::Sender<Intake>,
    pub commands: mpsc::UnboundedReceiver<LogOrder>,
}

impl SimSidecar {
    /// Starts process `number`.
    pub fn start(world: &Arc<World>, number: u32) -> Self {
        let (sidecar, Wires { intake, commands }) = Self::wired(world, number);
        let (host, held, windows) = (&sidecar.host, &sidecar.held, &sidecar.windows);
        let polling =
            SimLog::run(Arc::clone(world), Arc::clone(host), intake, commands, Arc::clone(held), Arc::clone(windows));
        tokio::spawn(OnHost::new(host, polling));
        sidecar
    }

    /// Starts process `number` without a log: somebody else is it.
    pub fn wired(world: &Arc<World>, number: u32) -> (Self, Wires) {
        let skew = i64::try_from(world.dice.driver.below(world.plan.skew + 1)).expect("small");
        let host = Arc::new(Host::new(number, skew, world.dawn));
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let (intake, taken_in) = mpsc::channel(4);
        let (log, commands) = mpsc::unbounded_channel();
        let (operations, operated) = mpsc::channel(4);
        let (held, windows) = (Arc::new(HeldBytes::default()), Windows::default());
        let board = Arc::new(StatusBoard::default());
        let neighbours = Neighbours {
            claims: SimStore::new(world, &host),
            app: SimApp::new(world, &host),
            letters: world.plan.dead_letters.then(|| SimLetters::new(world, &host)),
            intake: taken_in,
            log,
            operations: operated,
            held: Arc::clone(&held),
            metrics: Arc::clone(&metrics),
            board: Arc::clone(&board),
            pulses: Arc::new(Pulses::default()),
        };
        let clock = Clock::new(host.wall(), world.plan.seed * 1000 + u64::from(number));
        let pipeline = Pipeline::new(neighbours, rules(&world.plan), limits(&world.plan), clock);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(OnHost::new(&host, pipeline.run(stopped)));
        world.truth().note(&format!("sidecar {number} starts"));
        let (operator_comes, stop) = (Arc::default(), Some(stop));
        let sidecar = Self { host, metrics, held, windows, board, read: 0, operator_comes, task, stop, operations };
        (sidecar, Wires { intake, commands })
    }

    /// The incidents on its status page.
    pub fn incidents(&self) -> Vec<Incident> {
        self.board.status().incidents.clone()
    }

    /// Whether its status page says that something waits since the store forgot.
    pub fn waits_for_operator(&self) -> bool {
        self.board.status().pauses.iter().any(|pause| pause.reason == PauseReason::HistoryLost)
    }

    /// `POST /resume` by an operator who has looked, some time after the status page has asked for one.
    pub fn call_operator(&self, world: &Arc<World>, after: Duration) {
        if !self.waits_for_operator() || self.operator_comes.swap(true, Ordering::Relaxed) {
            return;
        }
        let (world, host, comes) = (Arc::clone(world), Arc::clone(&self.host), Arc::clone(&self.operator_comes));
        let operations = self.operations.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            world.truth().resumed(host.number);
            let (reply, answered) = oneshot::channel();
            let _ = operations.send(Operation::Resume { scope: Scope::All, reply }).await;
            let _ = answered.await; // it may have ended
            comes.store(false, Ordering::Relaxed);
        });
    }

    /// Reads on its status page which numbers it has told as lost since the last look.
    pub fn hear_losses(&mut self, world: &World) {
        let status = self.board.status();
        let news = status.incidents.get(self.read..).unwrap_or_default();
        self.read = status.incidents.len();
        if news.is_empty() {
            return;
        }
        let of_sequences = news.iter().filter(|incident| incident.what == LossCause::Sequence.as_str());
        let words = of_sequences.map(|incident| self.lost_numbers(incident).expect("words that name what is lost"));
        let mut told: Vec<_> = words.collect();
        // What is told at the same moment has no order of its own.
        told.sort_by(|one, other| {
            (one.when, &one.at, &one.producer, one.first).cmp(&(other.when, &other.at, &other.producer, other.first))
        });
        let mut truth = world.truth();
        for lost in told {
            truth.note(&format!(
                "{} tells {} {} {}-{} as lost",
                lost.host, lost.at, lost.producer, lost.first, lost.last
            ));
            let broken = truth.ledger.told(&lost);
            truth.all_broken(broken);
        }
    }

    /// The process has ended: what its counters show of lost and recovered numbers.
    pub fn close_books(&mut self, world: &World) {
        if world.plan.producers > 0 {
            self.hear_losses(world);
            let (lost, recovered) = self.lost_and_recovered();
            let mut truth = world.truth();
            let broken = truth.ledger.closed(self.host.number, lost, recovered);
            truth.all_broken(broken);
        }
    }

    /// What the words of an incident name.
    fn lost_numbers(&self, incident: &Incident) -> Option<Lost> {
        let at = TopicPartition { topic: incident.topic.clone()?, partition: incident.partition? };
        let (producer, rest) = incident.detail.strip_prefix("producer ")?.split_once(": numbers ")?;
        let (first, last) = rest.split(',').next()?.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let same = |gap: &&Gap| {
            (&gap.topic, gap.partition, &*gap.producer) == (&at.topic, at.partition, producer)
                && (gap.first, gap.last, gap.state) == (first, last, GapState::Lost)
        };
        let after = self.board.gaps().gaps.iter().filter(same).filter_map(|gap| gap.after_offset).collect();
        let (host, when) = (self.host.number, self.host.moment(incident.at));
        Some(Lost { host, at, producer: producer.to_owned(), first, last, after, when })
    }

    /// Numbers that its counters show as lost, and as recovered.
    pub fn lost_and_recovered(&self) -> (u64, u64) {
        (self.metrics.lost_sum(LossCause::Sequence), self.recovered())
    }

    /// Whether intake is paused because the app is away.
    pub fn is_paused(&self) -> bool {
        self.board.status().pauses.iter().any(|pause| pause.reason == PauseReason::AppUnavailable)
    }

    /// The words of a pause on its status page.
    pub fn told(&self, reason: PauseReason) -> Option<String> {
        let status = self.board.status();
        status.pauses.iter().find(|pause| pause.reason == reason).map(|pause| pause.detail.clone())
    }

    /// How many partitions it has.
    pub fn owned(&self) -> usize {
        self.board.status().partitions.len()
    }

    fn recovered(&self) -> u64 {
        self.count("kafka_once_recovered_records_total{")
    }

    /// The sum of all series that begin so.
    pub fn count(&self, series: &str) -> u64 {
        let page = self.metrics.render().expect("metrics");
        let lines = page.lines().filter(|line| line.starts_with(series));
        lines.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")).sum()
    }

    /// What its page `/gaps` shows.
    pub fn gaps(&self) -> Vec<Gap> {
        self.board.gaps().gaps.clone()
    }

    /// SIGTERM.
    pub fn ask_to_end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(Ending::Drained); // it may have ended by itself
        }
    }

    /// `POST /drain`, as the app's preStop asks it; SIGTERM follows some time after the answer.
    pub fn drain(&mut self, then: Duration) {
        let Some(stop) = self.stop.take() else { return };
        let (reply, drained) = oneshot::channel();
        let operations = self.operations.clone();
        tokio::spawn(async move {
            let _ = operations.send(Operation::Drain { reply }).await;
            let _ = drained.await;
            tokio::time::sleep(then).await;
            let _ = stop.send(Ending::Drained); // it may have ended by itself
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.host.kill();
        self.task.abort();
    }

    /// Records between low water and the last one taken in, of all partitions.
    pub fn window(&self) -> u64 {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).values().map(|window| window.size()).sum()
    }
}

fn rules(plan: &Plan) -> Rules {
    let reckless = plan.sabotage == Sabotage::NobodyWaits && plan.in_doubt == InDoubt::DeadLetter;
    let (backoff, backoff_max) = (Duration::from_millis(20), Duration::from_millis(500));
    Rules {
        app_timeout: APP_TIMEOUT,
        retry: RetryPolicy { attempts: plan.attempts, backoff, backoff_max },
        in_doubt: if reckless { InDoubt::Repeat } else { plan.in_doubt },
        id_reuse: IdReuse::DeadLetter,
        dead_letters: plan.dead_letters,
        longest_wait: Duration::from_millis(200),
    }
}

fn limits(plan: &Plan) -> Limits {
    let reckless = plan.sabotage == Sabotage::NobodyWaits;
    Limits {
        ordering: plan.ordering,
        max_in_flight: plan.max_in_flight,
        dead_letter_budget: None,
        dedup_window: plan.window,
        safe_mark_life: plan.safe_mark_life,
        lease: LEASE,
        on_history_loss: if reckless { OnHistoryLoss::Continue } else { plan.on_history_loss },
        gap_grace: GAP_GRACE,
        on_loss: OnLoss::Continue,
        commit_interval: Duration::from_millis(200),
        drain_timeout: DRAIN,
    }
}
