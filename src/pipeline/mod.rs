//! What is done: waits for the log, the store, the app and the clock, and carries out what the domain decides.
//!
//! One task owns everything here. [`Pipeline::wait`] only waits and returns what happened; everything else changes state
//! and never waits. Work that takes time runs in tasks of its own, whose outcomes come back as a [`Report`].

mod ahead;
mod boundaries;
mod budget;
mod chronicle;
mod clock;
mod commits;
mod couriers;
mod desk;
mod drain;
mod effects;
mod forward;
mod history;
mod holding;
mod homes;
mod identify;
mod intake;
mod keeping;
mod leases;
mod letters;
mod limits;
mod losses;
mod marks;
mod operations;
mod pasts;
mod pauses;
mod readiness;
mod report;
mod status;
mod table;
mod timers;
mod watch;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use clock::Clock;
pub use identify::{Fits, Identifier, digest, hash_128, id_hash, json_at};
pub use limits::Limits;

use crate::domain::concurrency::Limiter;
use crate::domain::lanes::Lanes;
use crate::domain::life::Rules;
use crate::domain::repeats::Repeats;
use crate::domain::time::{Moment, Now};
use crate::domain::watchdog::Watchdog;
use crate::ports::{App, Assignment, Claims, DeadLetters, HeldBytes, Intake, LogOrder, Operation};
use crate::telemetry::{Loop, Metrics, Pulses, StatusBoard};

use ahead::Ahead;
use budget::Parked;
use couriers::Couriers;
use desk::Desk;
use drain::Drain;
use history::HeldBack;
use homes::Homes;
use leases::Leases;
use losses::Incidents;
use pauses::Pauses;
use readiness::Probe;
use report::{Action, Report};
use table::{Table, Token};
use timers::Timers;

/// Reports taken in one turn at most, so that one neighbour cannot keep the others waiting.
const REPORTS: usize = 256;

/// How often the log's channel is looked into without appetite: news of the group may stand behind records there.
const LOOK: Duration = Duration::from_millis(50);

/// How often the status page, the gauges and the pulse are brought up to date, in any case.
const TICK: Duration = Duration::from_millis(500);

/// Everything around the pipeline.
pub struct Neighbours<C, A, D> {
    /// The store of claims.
    pub claims: C,
    /// The app.
    pub app: A,
    /// The dead-letter topic, if one is set.
    pub letters: Option<D>,
    /// What the log tells.
    pub intake: mpsc::Receiver<Intake>,
    /// What the log is asked.
    pub log: mpsc::UnboundedSender<LogOrder>,
    /// What operators ask.
    pub operations: mpsc::Receiver<Operation>,
    /// Bytes held, shared with the log.
    pub held: Arc<HeldBytes>,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// The status page.
    pub board: Arc<StatusBoard>,
    /// Signs of life.
    pub pulses: Arc<Pulses>,
}

/// Why the pipeline ended other than as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The Kafka client is beyond healing.
    #[error("kafka client failed for good: {0}")]
    Log(String),
    /// A neighbour refuses us until somebody changes its or our settings.
    #[error("{0}")]
    Refused(String),
    /// Nothing moves, and no reason is known.
    #[error("standing still: {0}")]
    StandsStill(String),
}

/// How the process shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Finish what is open, give back the rest, commit, leave the group.
    Drained,
    /// At once, as a crash would: nothing is finished, given back or committed. For demonstrations and tests.
    Aborted,
}

/// The life of all records of one process.
#[allow(clippy::struct_excessive_bools)] // each is one neighbour's state, none excludes another
pub struct Pipeline<C, A, D> {
    claims: Arc<C>,
    app: Arc<A>,
    letters: Option<Arc<D>>,
    intake: mpsc::Receiver<Intake>,
    intake_open: bool,
    /// The newest assignment that the log has told of.
    assignment_seen: Assignment,
    log: mpsc::UnboundedSender<LogOrder>,
    operations: mpsc::Receiver<Operation>,
    reports: (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>),
    held: Arc<HeldBytes>,
    metrics: Arc<Metrics>,
    board: Arc<StatusBoard>,
    pulses: Arc<Pulses>,
    clock: Clock,
    now: Now,
    rules: Rules,
    limits: Limits,
    table: Table,
    homes: Homes,
    lanes: Lanes<Token>,
    /// Heads of lanes that may ask for their claim.
    to_claim: VecDeque<Token>,
    /// Claimed heads of lanes that may be sent.
    to_send: VecDeque<Token>,
    /// Records that start again when a session lives.
    to_restart: Vec<Token>,
    held_back: HeldBack,
    incidents: Incidents,
    /// What was said in the log when, so that repeats are few.
    repeats: Repeats,
    /// What `/gaps` shows is not up to date.
    gaps_changed: bool,
    desk: Desk,
    ahead: Ahead,
    couriers: Couriers,
    /// How many of them may be out.
    limiter: Limiter,
    /// As many were out when requests were last sent: answers that come together since then were all held by the limit.
    at_limit: bool,
    /// Records that the app gave up beyond its budget.
    parked: Parked,
    leases: Leases,
    timers: Timers,
    pauses: Pauses,
    drain: Drain,
    store_up: bool,
    app_up: bool,
    broker_up: bool,
    /// Of the thread that polls Kafka.
    watchdog: Watchdog,
    /// Questions to the app that are open: whether it has applied a message.
    lookups: usize,
    probe: Probe,
    commit_at: Moment,
    /// When claims are looked through for old ones.
    keep_at: Moment,
    /// What is taken in before this may have been settled by others while this process stood still.
    unsure_until: Moment,
    tick_at: Moment,
    look_at: Moment,
    stopped: Option<Stopped>,
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Wires the pipeline to its neighbours; nothing happens before [`Pipeline::run`].
    pub fn new(neighbours: Neighbours<C, A, D>, rules: Rules, limits: Limits, clock: Clock) -> Self {
        let now = clock.now();
        Self {
            claims: Arc::new(neighbours.claims),
            app: Arc::new(neighbours.app),
            letters: neighbours.letters.map(Arc::new),
            intake: neighbours.intake,
            intake_open: true,
            assignment_seen: Assignment::default(),
            log: neighbours.log,
            operations: neighbours.operations,
            reports: mpsc::unbounded_channel(),
            held: neighbours.held,
            metrics: neighbours.metrics,
            board: neighbours.board,
            pulses: neighbours.pulses,
            now,
            rules,
            table: Table::default(),
            homes: Homes::default(),
            lanes: Lanes::default(),
            to_claim: VecDeque::new(),
            to_send: VecDeque::new(),
            to_restart: Vec::new(),
            held_back: HeldBack::default(),
            incidents: Incidents::default(),
            repeats: Repeats::default(),
            gaps_changed: true,
            desk: Desk::default(),
            ahead: Ahead::new(),
            couriers: Couriers::new(),
            limiter: Limiter::new(limits.max_in_flight),
            at_limit: false,
            parked: Parked::new(limits.dead_letter_budget, now.moment),
            leases: Leases::new(limits.lease),
            timers: Timers::default(),
            pauses: Pauses::default(),
            drain: Drain::default(),
            store_up: false,
            app_up: false,
            broker_up: false,
            watchdog: Watchdog::default(),
            lookups: 0,
            probe: Probe::new(now.moment),
            commit_at: now.moment.after(limits.commit_interval),
            keep_at: now.moment,
            unsure_until: marks::SURE,
            tick_at: now.moment,
            look_at: now.moment,
            stopped: None,
            limits,
            clock,
        }
    }

    /// Runs until `shutdown` asks for the end and everything open is finished or given back, or until it cannot go on.
    ///
    /// Dropping the other end of `shutdown` asks for a drained end too.
    pub async fn run(mut self, mut shutdown: oneshot::Receiver<Ending>) -> Result<(), Stopped> {
        self.start();
        let mut asked = false;
        while !self.drain.has_left() && self.stopped.is_none() {
            let action = self.wait(&mut shutdown, asked).await;
            match action {
                Action::Shutdown(Ending::Aborted) => return Ok(()),
                Action::Shutdown(Ending::Drained) => asked = true,
                _ => {}
            }
            let before = std::mem::replace(&mut self.now, self.clock.now());
            self.pulses.beat(Loop::Pipeline, self.now.moment);
            self.look_for_standstill(before);
            self.apply(action);
            self.advance();
        }
        self.close().await
    }

    /// Only waits. At most one thing happened when it returns, or a time has come.
    async fn wait(&mut self, shutdown: &mut oneshot::Receiver<Ending>, asked: bool) -> Action {
        let next = self.clock.instant(self.next_time());
        let hungry = self.intake_open && self.has_appetite();
        let mut reports = Vec::new();
        tokio::select! {
            biased;
            ending = shutdown, if !asked => Action::Shutdown(ending.unwrap_or(Ending::Drained)),
            Some(operation) = self.operations.recv() => Action::Operation(operation),
            count = self.reports.1.recv_many(&mut reports, REPORTS) => {
                debug_assert!(count > 0, "the pipeline holds a sender itself");
                Action::Reports(reports)
            }
            intake = self.intake.recv(), if hungry => Action::Intake(intake),
            () = tokio::time::sleep_until(next) => Action::Time,
        }
    }

    /// Only changes state.
    fn apply(&mut self, action: Action) {
        match action {
            Action::Intake(Some(intake)) => {
                self.look_at = self.now.moment.after(LOOK);
                self.take_in(intake);
            }
            Action::Intake(None) => self.log_closed(),
            Action::Reports(reports) => reports.into_iter().for_each(|report| self.hear(report)),
            Action::Operation(operation) => self.operate(operation),
            Action::Shutdown(_) => self.shut_down(),
            Action::Time => {}
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Answered { token, courier, answer } => self.answered(token, courier, &answer),
            Report::Batch(place, outcome) => self.store_answered(place, outcome),
            Report::Session(outcome) => self.session_answered(outcome),
            Report::LookedUp { token, epoch, said } => self.looked_up(token, epoch, &said),
            Report::Letter { token, epoch, sent } => self.letter_answered(token, epoch, sent),
            Report::AppReady(ready) => self.app_probed(ready),
            Report::Pasts { asked, stored } => self.pasts_read(asked, stored),
            Report::Kept { kept, commits, outcome } => self.pasts_kept(kept, commits, outcome),
        }
    }

    /// What follows from whatever has just changed, in the order in which it may follow.
    fn advance(&mut self) {
        self.keep_session();
        self.probe_store();
        self.wake_records();
        self.start_claims();
        self.send_batch();
        self.send_requests();
        self.probe_app();
        self.progress_drains();
        self.commit_when_due();
        self.tell_pauses();
        if self.now.moment >= self.tick_at {
            self.tick_at = self.now.moment.after(TICK);
            self.ahead.tick();
            self.watch();
            self.keep_claims();
            self.expire_gaps();
            self.give_up_looks();
            self.unpark();
            self.tell_parked();
            self.tell_blocked();
            self.tell_holding();
            self.tell_readiness();
            self.desk.let_riders_go();
            self.publish();
        }
    }

    /// When something is due without anything happening.
    fn next_time(&self) -> Moment {
        let times = [
            Some(self.tick_at),
            Some(self.commit_at),
            Some(self.leases.wakes_at()),
            self.timers.next(),
            self.desk.wakes_at().filter(|_| self.store_up),
            self.store_probe_at(),
            self.parked.wakes_at(self.now.moment),
            self.drain.wakes_at(),
            self.homes.wakes_at(),
            self.probe.wakes_at().filter(|_| !self.drain.is_over()),
            (self.look_at > self.now.moment).then_some(self.look_at),
        ];
        times.into_iter().flatten().min().unwrap_or(self.tick_at)
    }

    /// Records are taken from the log's channel while there is too little to do, and one batch now and then in any case;
    /// what waits there is bounded, and the log holds back before it. Records behind others of their key are no work.
    fn has_appetite(&self) -> bool {
        self.to_claim.len() < 2 * self.ahead.bound() || self.now.moment >= self.look_at
    }
}
