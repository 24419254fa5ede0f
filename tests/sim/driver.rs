//! Runs the world of a seed: produces, breaks, heals, lets it finish, and looks whether every promise was kept.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kafka_once::adapters::claims::memory::Replica;
use tokio::time::{Instant, sleep, timeout};

use super::checks;
use super::plan::{DRAIN, GAP_GRACE, Plan};
use super::producer;
use super::sidecar::SimSidecar;
use super::world::World;

/// How far a replica may lag behind, in steps of the driver.
const LAG: usize = 10;

/// What came of a world.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub plan: String,
    /// Promises that were broken, in the order of time.
    pub violations: Vec<String>,
    /// Of everything that happened.
    pub hash: u64,
    pub requests: usize,
    pub effects: usize,
}

impl Outcome {
    /// Panics with the command that replays the seed when a promise was broken.
    pub fn assert_kept(&self) {
        assert!(
            self.violations.is_empty(),
            "seed {} breaks promises:\n  {}\n{}\nreplay it: SEED={} cargo test --test sim replay -- --nocapture",
            self.seed,
            self.violations.join("\n  "),
            self.plan,
            self.seed
        );
    }
}

/// Runs something on a runtime of its own, with paused time.
pub fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// Runs a plan on a runtime of its own, with paused time.
pub fn run(plan: Plan, loud: bool) -> Outcome {
    PANICS.with_borrow_mut(Vec::clear);
    std::sync::Once::call_once(&HOOK, || {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
    let mut outcome = on_paused_time(live(plan, loud));
    outcome.violations.extend(PANICS.with_borrow_mut(std::mem::take).into_iter().map(|what| format!("panic: {what}")));
    outcome
}

static HOOK: std::sync::Once = std::sync::Once::new();

thread_local! {
    /// What panicked on this thread: tasks of the pipeline do it silently otherwise.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

async fn live(plan: Plan, loud: bool) -> Outcome {
    let world = World::new(plan, loud);
    let mut crowd = Crowd { world: Arc::clone(&world), sidecars: Vec::new(), started: 0, replicas: VecDeque::new() };
    tokio::spawn(producer::produce(Arc::clone(&world)));
    for _ in 0..world.plan.hosts {
        crowd.start();
        sleep(world.dice.driver.millis(0, 300)).await;
    }
    crowd.trouble().await;
    crowd.heal().await;
    if crowd.finish().await {
        crowd.gaps_settle().await;
        crowd.end().await;
        checks::at_the_end(&world);
    }
    let truth = world.truth();
    Outcome {
        seed: world.plan.seed,
        plan: format!("{:?}", world.plan),
        violations: truth.violations.clone(),
        hash: truth.hash(),
        requests: truth.requests.values().map(Vec::len).sum(),
        effects: truth.effects.values().map(Vec::len).sum(),
    }
}

/// All sidecars.
struct Crowd {
    world: Arc<World>,
    sidecars: Vec<SimSidecar>,
    started: u32,
    /// What a replica of the store held lately, the oldest first.
    replicas: VecDeque<Replica>,
}

impl Crowd {
    fn start(&mut self) {
        self.started += 1;
        self.sidecars.push(SimSidecar::start(&self.world, self.started));
    }

    /// Faults at random, until the plan's time is over.
    async fn trouble(&mut self) {
        let until = self.world.dawn + self.world.plan.trouble;
        let mut next = Instant::now() + self.world.dice.driver.millis(100, 1_500);
        while Instant::now() < until {
            self.watch().await;
            if Instant::now() >= next {
                next = Instant::now() + self.world.dice.driver.millis(50, 1_500);
                self.act();
            }
        }
    }

    /// One step of time, and what must hold at any moment.
    async fn watch(&mut self) {
        sleep(Duration::from_millis(25)).await;
        let world = Arc::clone(&self.world);
        world.group().expire(world.dice.driver.below(8));
        if world.plan.faults.fail_over {
            self.replicas.push_back(world.memory.replica());
            if self.replicas.len() > LAG {
                self.replicas.pop_front();
            }
        }
        for sidecar in &mut self.sidecars {
            sidecar.hear_losses(&world);
            sidecar.call_operator(&world, world.dice.operator.millis(200, 4_000));
            if sidecar.metrics.open() < 0 {
                world.truth().broken("the books: more was closed than received");
            }
        }
        self.bury().await;
    }

    /// Takes away processes that have ended.
    async fn bury(&mut self) {
        let (ended, running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sidecars).into_iter().partition(|one| one.task.is_finished());
        self.sidecars = running;
        for mut sidecar in ended {
            sidecar.close_books(&self.world);
            let number = sidecar.host.number;
            let killed = sidecar.host.is_dead();
            sidecar.host.kill();
            match sidecar.task.await {
                Ok(Ok(())) => self.world.truth().note(&format!("sidecar {number} has ended")),
                Ok(Err(stopped)) => self.world.truth().broken(&format!("sidecar {number} gave up: {stopped}")),
                Err(_) if killed => {}
                Err(error) => self.world.truth().broken(&format!("sidecar {number}: {error}")),
            }
        }
        while self.sidecars.len() < self.world.plan.hosts as usize {
            self.start();
        }
    }

    /// One fault, of those that may happen.
    fn act(&mut self) {
        let (world, dice, faults) = (Arc::clone(&self.world), &self.world.dice.driver, self.world.plan.faults);
        let place = usize::try_from(dice.below(self.sidecars.len() as u64)).expect("small");
        let Some(sidecar) = self.sidecars.get_mut(place) else { return };
        let number = sidecar.host.number;
        let now = Instant::now();
        let note = |what: &str| world.truth().note(&format!("FAULT {what} ({number})"));
        match dice.below(8) {
            0 | 1 if faults.rebalance => {
                note("rebalance");
                world.group().rebalance(dice.below(8));
            }
            2 if faults.restart => {
                note("SIGTERM or drain");
                world.truth().ledger.leaves(number, None);
                if dice.percent(50) { sidecar.ask_to_end() } else { sidecar.drain(dice.millis(1, 2_000)) }
            }
            3 if faults.crash => {
                note("SIGKILL");
                sidecar.kill();
            }
            4 if faults.stall => {
                note("SIGSTOP");
                let host = Arc::clone(&sidecar.host);
                host.stop();
                let time = dice.pick(&[dice.millis(10, 900), dice.millis(1_000, 3_500), dice.millis(3_000, 9_000)]);
                tokio::spawn(async move {
                    sleep(time).await;
                    world.truth().note(&format!("SIGCONT ({number})"));
                    host.go_on();
                });
            }
            5 if faults.store_away => {
                note("store away");
                world.weather().store_away_until =
                    now + dice.pick(&[dice.millis(50, 400), dice.millis(500, 3_000), dice.millis(3_000, 6_000)]);
            }
            6 if faults.forget => {
                note("store forgets");
                world.memory.forget_all();
                world.forgot();
            }
            6 if faults.fail_over => {
                note("fail-over");
                if let Some(replica) = self.replicas.pop_front() {
                    self.replicas.clear();
                    world.memory.fail_over(replica);
                    world.weather().fail_overs += 1;
                    world.forgot();
                }
            }
            7 if faults.app_down => {
                note("app down");
                let time = dice.pick(&[dice.millis(50, 2_000), dice.millis(4_000, 9_000)]);
                world.weather().app_down_until.insert(number, now + time);
            }
            1 if faults.letters => {
                note("dead letters away");
                world.weather().letters_away_until = now + dice.millis(50, 2_000);
            }
            _ => {}
        }
    }

    /// Everything is well again, and there are as many sidecars as there should be.
    async fn heal(&mut self) {
        self.world.truth().note("everything heals");
        let now = Instant::now();
        {
            let mut weather = self.world.weather();
            weather.calm = true;
            weather.store_away_until = now;
            weather.letters_away_until = now;
            weather.app_down_until.clear();
        }
        self.sidecars.iter().for_each(|sidecar| sidecar.host.go_on());
        self.bury().await;
    }

    /// Waits until nothing is open any more. `false`: that never happens.
    async fn finish(&mut self) -> bool {
        let until = Instant::now() + self.world.plan.patience();
        let mut quiet = 0;
        while Instant::now() < until {
            self.watch().await;
            let open = self.world.truth().open_record();
            let idle =
                self.sidecars.iter().all(|one| one.metrics.open() == 0 && one.held.sum() == 0 && one.window() == 0);
            quiet = if open.is_none() && idle { quiet + 1 } else { 0 };
            if quiet > 60 {
                return true;
            }
        }
        let mut truth = self.world.truth();
        let open = truth.open_record().unwrap_or_else(|| "no record".to_owned());
        truth.broken(&format!("not finished in time: {open} is open"));
        for sidecar in &self.sidecars {
            let (open, held, window) = (sidecar.metrics.open(), sidecar.held.sum(), sidecar.window());
            truth.broken(&format!(
                "sidecar {}: {open} open, {held} bytes held, {window} in windows",
                sidecar.host.number
            ));
        }
        false
    }

    /// Waits until all that is missing is told as lost, and nothing else is.
    async fn gaps_settle(&mut self) {
        if self.world.plan.producers == 0 {
            return;
        }
        let until = Instant::now() + GAP_GRACE * 3;
        loop {
            let pages: Vec<_> = self.sidecars.iter().flat_map(SimSidecar::gaps).collect();
            let Some(what) = self.world.truth().ledger.differs(&pages) else { return };
            if Instant::now() >= until {
                return self.world.truth().broken(&what);
            }
            self.watch().await;
        }
    }

    /// SIGTERM for all: each must end in time.
    async fn end(&mut self) {
        for mut sidecar in std::mem::take(&mut self.sidecars) {
            self.world.truth().ledger.leaves(sidecar.host.number, None);
            sidecar.ask_to_end();
            let ended = within(DRAIN + Duration::from_secs(1), &mut sidecar.task).await;
            sidecar.close_books(&self.world);
            if !matches!(ended, Some(Ok(Ok(())))) {
                self.world.truth().broken(&format!("sidecar {} did not drain: {ended:?}", sidecar.host.number));
            }
            sidecar.host.kill();
            if sidecar.metrics.open() != 0 || sidecar.held.sum() != 0 {
                self.world.truth().broken("a drained sidecar holds records");
            }
        }
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(time, work).await.ok()
}
