//! Worlds with a script instead of dice: one sidecar, one story, and what must be seen at each turn of it.

use std::sync::Arc;
use std::time::Duration;

use kafka_once::domain::history::OnHistoryLoss;
use kafka_once::domain::lanes::Ordering;
use kafka_once::domain::life::InDoubt;
use kafka_once::domain::record::TopicPartition;
use kafka_once::domain::verdict::Delivery;
use tokio::time::{Instant, sleep};

use super::app::STUBBORN;
use super::driver::on_paused_time;
use super::plan::{AppModel, Faults, Plan};
use super::producer::append;
use super::sidecar::SimSidecar;
use super::truth::Planted;
use super::world::World;

/// Longer than anything takes that needs no operator.
pub const LONG: Duration = Duration::from_secs(15);

/// Records that are taken in at once.
pub const SOME: usize = 12;

/// A quiet world with one partition, and an app that finds repeats by itself.
pub fn quiet() -> Plan {
    let plan = Plan { topics: vec![("orders", 1)], in_doubt: InDoubt::Repeat, ..Plan::of(0) };
    let plan = Plan { ordering: Ordering::None, service: 600, slow: Duration::ZERO, ..plan };
    let plan = Plan { model: AppModel::Transactional, on_history_loss: OnHistoryLoss::Continue, ..plan };
    let plan = Plan { positions: false, producers: 0, ..plan };
    Plan { attempts: None, max_in_flight: 64, max_open: 1000, max_held: 10_000_000, skew: 0, ..plan }
}

/// The same, whose store forgets.
fn forgetting(in_doubt: InDoubt, on_history_loss: OnHistoryLoss) -> Plan {
    Plan { in_doubt, on_history_loss, ..quiet() }.with(Faults { forget: true, ..Faults::default() })
}

/// The one who acts in a script.
pub struct Stage {
    pub world: Arc<World>,
    pub sidecar: SimSidecar,
    started: u32,
    produced: usize,
}

impl Stage {
    pub fn set(plan: Plan) -> Self {
        let world = World::new(plan, false);
        let sidecar = SimSidecar::start(&world, 1);
        tokio::spawn(coordinate(Arc::clone(&world)));
        Self { world, sidecar, started: 1, produced: 0 }
    }

    pub fn produce(&mut self, count: usize) {
        let at = TopicPartition { topic: Arc::from("orders"), partition: 0 };
        for _ in 0..count {
            let name = self.produced;
            let (id, payload) = (Some(format!("m{name}")), format!("p{name}"));
            let key = Some(format!("k{name}"));
            append(
                &self.world,
                &at,
                Planted {
                    offset: 0,
                    id,
                    by_position: self.world.plan.positions,
                    key,
                    payload,
                    stamp: None,
                    produced: Instant::now(),
                },
                0,
            );
            self.produced += 1;
        }
    }

    /// A record with this ID in this partition.
    pub fn produce_one(&self, id: &str, partition: i32) {
        let at = TopicPartition { topic: Arc::from("orders"), partition };
        let (id, payload) = (Some(id.to_owned()), id.to_owned());
        append(
            &self.world,
            &at,
            Planted { offset: 0, id, by_position: false, key: None, payload, stamp: None, produced: Instant::now() },
            0,
        );
    }

    /// One message in two partitions of this process: the first one is tried for ever, the other one waits for its end.
    pub async fn produce_twins(&self) {
        self.produce_one(STUBBORN, 0);
        self.until("a request", |stage| stage.acts().0 > 0).await;
        self.produce_one(STUBBORN, 1);
    }

    pub fn app_is_down(&self, down: bool) {
        let until = if down { Instant::now() + LONG * 100 } else { Instant::now() };
        self.world.weather().app_down_until.insert(self.started, until);
    }

    fn forget(&self) {
        self.world.memory.forget_all();
        let started = self.world.group().committed.keys().cloned().collect();
        let mut truth = self.world.truth();
        truth.forgotten.push(Instant::now());
        truth.started.push(started);
    }

    /// SIGKILL, and another process in its place.
    pub fn kill_and_start(&mut self) {
        self.sidecar.kill();
        self.started += 1;
        self.sidecar = SimSidecar::start(&self.world, self.started);
    }

    /// SIGSTOP, and another process beside it, which is the one that is looked at from now on.
    pub fn stop_and_start(&mut self) -> SimSidecar {
        self.sidecar.host.stop();
        self.started += 1;
        std::mem::replace(&mut self.sidecar, SimSidecar::start(&self.world, self.started))
    }

    pub fn open(&self) -> usize {
        usize::try_from(self.sidecar.metrics.open()).expect("the books")
    }

    pub fn effects(&self) -> usize {
        self.world.truth().effects.values().map(Vec::len).sum()
    }

    /// Requests and dead letters.
    pub fn acts(&self) -> (usize, usize) {
        let truth = self.world.truth();
        (truth.requests.values().map(Vec::len).sum(), truth.letters.len())
    }

    pub async fn until(&self, what: &str, happens: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !happens(self) {
            assert!(Instant::now() < end, "{what} does not happen");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn all_is_settled(&self) {
        self.until("the end of everything", |stage| {
            stage.world.truth().open_record().is_none() && stage.sidecar.metrics.open() == 0
        })
        .await;
        assert_eq!(self.world.truth().violations, Vec::<String>::new());
    }
}

/// The group throws out whoever is silent.
async fn coordinate(world: Arc<World>) {
    loop {
        sleep(Duration::from_millis(25)).await;
        world.group().expire(0);
    }
}

/// The modes in which an operator must look, and where the records in doubt end then.
const WAITING: [(InDoubt, OnHistoryLoss, bool); 3] = [
    (InDoubt::Repeat, OnHistoryLoss::Pause, false),
    (InDoubt::DeadLetter, OnHistoryLoss::Pause, true),
    (InDoubt::DeadLetter, OnHistoryLoss::Continue, true),
];

async fn nothing_goes_on_before_the_operator(stage: &mut Stage, lettered: bool) {
    stage.until("a pause", |stage| stage.sidecar.waits_for_operator()).await;
    let before = stage.acts();
    stage.app_is_down(false);
    sleep(LONG).await;
    assert_eq!(stage.acts(), before, "requests and dead letters before anybody has looked");
    assert!(stage.sidecar.waits_for_operator());
    stage.sidecar.call_operator(&stage.world, Duration::ZERO);
    stage.all_is_settled().await;
    let letters = if lettered { SOME } else { 0 };
    assert_eq!((stage.effects(), stage.acts().1), (2 * SOME - letters, letters));
    stage.produce(SOME);
    stage.all_is_settled().await;
    assert_eq!(stage.effects(), 3 * SOME - letters, "what was produced after the loss is in no doubt");
}

#[test]
fn after_a_loss_of_memory_nothing_in_doubt_goes_on_before_an_operator_has_looked() {
    for (in_doubt, on_history_loss, lettered) in WAITING {
        on_paused_time(async move {
            let mut stage = Stage::set(forgetting(in_doubt, on_history_loss));
            stage.produce(SOME);
            stage.all_is_settled().await;
            stage.app_is_down(true);
            stage.produce(SOME);
            stage.until("an intake", |stage| stage.open() == SOME).await;
            stage.forget();
            nothing_goes_on_before_the_operator(&mut stage, lettered).await;
        });
    }
}

#[test]
fn the_same_when_sidecar_and_store_die_together() {
    for (in_doubt, on_history_loss, lettered) in WAITING {
        on_paused_time(async move {
            let mut stage = Stage::set(forgetting(in_doubt, on_history_loss));
            stage.produce(SOME);
            stage.all_is_settled().await;
            sleep(Duration::from_secs(1)).await; // its last commit
            stage.app_is_down(true);
            stage.produce(SOME);
            stage.until("an intake", |stage| stage.open() == SOME).await;
            stage.forget();
            stage.kill_and_start();
            nothing_goes_on_before_the_operator(&mut stage, lettered).await;
        });
    }
}

#[test]
fn what_is_in_flight_when_the_store_forgets_finishes_while_the_rest_waits() {
    on_paused_time(async {
        let plan = Plan { max_in_flight: 5, ..forgetting(InDoubt::Repeat, OnHistoryLoss::Pause) };
        let mut stage = Stage::set(Plan { slow: Duration::from_millis(100), ..plan });
        stage.produce(20);
        stage.until("five requests", |stage| stage.acts().0 == 5).await;
        stage.forget();
        stage.until("a pause", |stage| stage.sidecar.waits_for_operator()).await;
        let (sent, finished) = (stage.acts().0, stage.effects());
        assert!(finished < sent && sent < 20, "{finished} of {sent} have finished");
        sleep(LONG).await;
        assert_eq!((stage.effects(), stage.acts().0), (sent, sent));
        stage.sidecar.call_operator(&stage.world, Duration::ZERO);
        stage.all_is_settled().await;
        assert_eq!(stage.effects(), 20);
    });
}

#[test]
fn an_operator_who_has_looked_is_not_asked_again_for_a_partition_that_comes_later() {
    on_paused_time(async {
        let mut stage = Stage::set(forgetting(InDoubt::Repeat, OnHistoryLoss::Pause));
        stage.produce(SOME);
        stage.all_is_settled().await;
        stage.app_is_down(true);
        stage.produce(SOME);
        stage.until("an intake", |stage| stage.open() == SOME).await;
        stage.forget();
        stage.until("a pause", |stage| stage.sidecar.waits_for_operator()).await;
        stage.sidecar.call_operator(&stage.world, Duration::ZERO);
        stage.until("the end of the pause", |stage| !stage.sidecar.waits_for_operator()).await;
        stage.world.group().expel_all(0);
        stage.until("the loss of the partition", |stage| stage.sidecar.metrics.open() == 0).await;
        stage.app_is_down(false);
        stage.all_is_settled().await;
        assert_eq!(stage.effects(), 2 * SOME);
    });
}

/// One message that was applied without an answer; the app is away since.
async fn applied_without_an_answer(window: Duration) -> Stage {
    let mut stage = Stage::set(Plan { window, ..quiet() });
    stage.world.weather().app_dies = true;
    stage.produce(1);
    stage.until("an effect without an answer", |stage| stage.effects() == 1).await;
    stage.app_is_down(true);
    stage.world.weather().app_dies = false;
    stage
}

#[test]
fn a_claim_that_waits_for_longer_than_the_window_keeps_its_doubt_and_its_attempts() {
    on_paused_time(async {
        let mut stage = applied_without_an_answer(Duration::from_secs(6)).await;
        sleep(LONG * 2).await; // its claim would have expired five times
        let sent = stage.acts().0;
        stage.kill_and_start();
        stage.until("a repeat", |stage| stage.acts().0 > sent).await; // the effect is there: nothing else tells
        stage.all_is_settled().await;
        let truth = stage.world.truth();
        let attempts: Vec<u32> = truth.requests.values().flatten().map(|request| request.attempt).collect();
        assert!(attempts.is_sorted_by(|one, next| one < next), "{attempts:?}");
        assert!(truth.requests.values().flatten().skip(1).all(|one| one.delivery == Delivery::PossibleRepeat));
    });
}

/// Whoever comes next must know what was spent, and nobody may take the message for a new one meanwhile.
#[test]
fn a_claim_that_expired_while_the_store_was_away_is_made_anew() {
    on_paused_time(async {
        // Shorter than any operator may set it: over before the session is.
        let window = Duration::from_millis(1_200);
        let stage = applied_without_an_answer(window).await;
        sleep(LONG).await;
        let claims = || stage.world.memory.lives().0;
        assert_eq!(claims(), 1, "it is kept");
        stage.world.weather().store_away_until = Instant::now() + window + window / 10;
        sleep(window + window / 20).await;
        assert_eq!(claims(), 0, "it has expired");
        sleep(window / 2).await;
        assert_eq!(claims(), 1, "it stands there again");
    });
}

#[test]
fn a_mark_made_from_a_position_goes_soon_after_its_commit_and_not_before() {
    on_paused_time(async {
        let safe_mark_life = Duration::from_secs(5);
        let plan = Plan { positions: true, window: LONG * 1000, safe_mark_life, ..quiet() };
        let mut stage = Stage::set(plan);
        stage.produce(SOME);
        stage.all_is_settled().await;
        let marks = || stage.world.memory.lives().0;
        sleep(safe_mark_life * 2).await;
        assert_eq!(marks(), 0, "all are committed");

        stage.world.weather().commits_away = true;
        stage.produce(SOME);
        stage.all_is_settled().await;
        sleep(safe_mark_life * 10).await;
        let marks = || stage.world.memory.lives().0;
        assert_eq!(marks(), SOME, "none is committed");
        stage.kill_and_start();
        stage.world.weather().commits_away = false;
        sleep(LONG).await;
        assert_eq!((stage.effects(), stage.acts().0), (2 * SOME, 2 * SOME), "each is found to be a duplicate");
        sleep(safe_mark_life * 2).await;
        assert_eq!(stage.world.memory.lives().0, 0, "committed now, by whoever came next");
    });
}

#[test]
fn a_mark_of_a_producers_id_lives_for_the_whole_window() {
    on_paused_time(async {
        let plan = Plan { window: LONG * 10, safe_mark_life: Duration::from_secs(5), ..quiet() };
        let mut stage = Stage::set(plan);
        stage.produce(SOME);
        stage.all_is_settled().await;
        sleep(LONG * 5).await;
        assert_eq!(stage.world.memory.lives().0, SOME);
    });
}

/// It is stopped with records in hand; another takes the partition, settles and commits them, and their marks expire.
#[test]
fn a_process_that_stood_still_for_longer_than_a_short_mark_lives_doubts_what_it_holds() {
    stands_still(1_000);
}

/// The same with most of the records still in its Kafka client, which hands them out before it knows.
#[test]
fn a_process_that_stood_still_doubts_what_it_takes_in_soon_afterwards() {
    stands_still(4);
}

fn stands_still(max_open: usize) {
    on_paused_time(async move {
        let plan = Plan { positions: true, safe_mark_life: Duration::from_secs(5), ..quiet() };
        let plan = Plan { max_open: u64::try_from(max_open).expect("small"), ..plan };
        let mut stage = Stage::set(Plan { faults: Faults { stall: true, ..Faults::default() }, ..plan });
        sleep(LONG).await; // the app is seen, so that records are taken in before it is missed
        stage.app_is_down(true);
        stage.produce(SOME);
        stage.until("an intake", |stage| stage.open() == SOME.min(max_open)).await;
        let stopped = stage.stop_and_start();
        stage.all_is_settled().await;
        sleep(LONG * 2).await;
        assert_eq!(stage.world.memory.lives().0, 0);
        stage.world.weather().app_down_until.clear();
        stage.world.group().keep_stale_members = true;
        stopped.host.go_on();
        sleep(LONG).await;
        let truth = stage.world.truth();
        // What it had not claimed has forgotten with its mark how often it was sent.
        let numbers = |what: &&String| max_open < SOME && what.ends_with("was sent twice");
        assert!(truth.violations.iter().all(|what| numbers(&what)), "{:?}", truth.violations);
        assert_eq!(truth.effects.values().map(Vec::len).sum::<usize>(), SOME);
        let late: Vec<_> = truth.requests.values().flatten().filter(|request| request.host == 1).collect();
        assert_eq!(late.len(), SOME, "it has sent what it held and what was handed out to it");
        assert!(late.iter().all(|request| request.delivery == Delivery::PossibleRepeat), "{late:?}");
    });
}

#[test]
fn a_record_that_waits_for_a_twin_that_is_tried_for_ever_is_no_standstill() {
    on_paused_time(async {
        let stage = Stage::set(Plan { topics: vec![("orders", 2)], ..quiet() });
        stage.produce_twins().await;
        stage.until("an intake", |stage| stage.open() == 2).await;
        sleep(LONG * 60).await; // three times what a watchdog waits for
        assert!(!stage.sidecar.task.is_finished(), "it has ended");
        assert_eq!(stage.open(), 2);
    });
}
