//! The budget of dead letters (H23): an outage of the app does not drain a topic into the dead-letter topic, and ends by
//! itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::scene::{PATIENCE, Scene};
use crate::support::sidecar::Metrics;
use crate::support::{Answer, Produced, Sidecar};
use crate::told::{QUICK_GROUP, Stage, await_owned, await_told, await_untold, count, messages, names, pauses, status};

/// Dead letters that the app may cause in these scenarios.
pub const BUDGET: usize = 5;
const LOAD: usize = 300;

/// The app, and how many requests are open in it at once.
#[derive(Clone, Default)]
pub struct App(Arc<Inside>);

#[derive(Default)]
struct Inside {
    healed: AtomicBool,
    open: AtomicUsize,
    most: AtomicUsize,
}

/// A request that is open in the app: until its answer, or until its connection ends and it is dropped half way.
struct Open(Arc<Inside>);

impl Open {
    fn enter(inside: &Arc<Inside>) -> Self {
        let open = inside.open.fetch_add(1, Ordering::SeqCst) + 1;
        inside.most.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(inside))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl App {
    /// Answers `bad` to everything until it is healed; each request takes it a moment.
    pub fn fails(scene: &Scene, bad: u16) -> Self {
        Self::judges(scene, move |_| bad)
    }

    /// Judges by the message's name until it is healed.
    pub fn judges(scene: &Scene, judge: impl Fn(&str) -> u16 + Send + Sync + 'static) -> Self {
        let (app, judge) = (Self::default(), Arc::new(judge));
        let inside = Arc::clone(&app.0);
        scene.ledger.behave(move |request| {
            let (inside, judge) = (Arc::clone(&inside), Arc::clone(&judge));
            async move {
                let open = Open::enter(&inside);
                tokio::time::sleep(Duration::from_millis(10)).await; // the app's work
                drop(open);
                let healed = inside.healed.load(Ordering::SeqCst);
                Answer::status(if healed { 200 } else { judge(request.id()) })
            }
        });
        app
    }

    pub fn heal(&self) {
        self.0.healed.store(true, Ordering::SeqCst);
    }

    /// Waits for so many more requests; how many of them were open at once at most.
    pub fn most_at_once(&self, scene: &Scene, more: usize) -> usize {
        self.0.most.store(0, Ordering::SeqCst);
        let seen = scene.ledger.with(|records| records.requests.len());
        scene.ledger.wait_until(PATIENCE, |records| records.requests.len() >= seen + more).expect("it is tried on");
        self.0.most.load(Ordering::SeqCst)
    }
}

/// A load of messages that have keys of their own, in every partition.
pub fn load(scene: &Scene, partitions: i32) -> Vec<Produced> {
    let each = LOAD / usize::try_from(partitions).expect("few");
    let of = |partition| messages(&scene.topic, partition, names(&format!("p{partition}"), each));
    scene.produce(&(0..partitions).flat_map(of).collect::<Vec<_>>())
}

pub fn budget() -> String {
    BUDGET.to_string()
}

/// Waits until intake is paused for the budget and whatever was open is answered.
pub fn await_closed(sidecar: &Sidecar) {
    let detail = await_told(sidecar, "dead_letter_budget", None);
    assert!(detail.contains("POST /resume"), "{detail}");
    let idle = |metrics: &Metrics| count(metrics, "in_flight_requests", &[]) <= 1;
    sidecar.await_metrics(PATIENCE, idle).expect("open requests are answered");
}

/// Everything that is not on the dead-letter topic is applied.
pub fn await_all(stage: &Stage, produced: &[Produced], letters: usize) {
    stage.scene.await_applied(produced.len() - letters);
}

fn closes_and_reopens(name: &str, bad: u16, settings: &[(&'static str, &str)], reason: &str) {
    let Some(stage) = Stage::new(name, 3) else { return };
    let scene = &stage.scene;
    let app = App::fails(scene, bad);
    let produced = load(scene, 3);
    let budget = budget();
    let sidecar = stage.sidecar(&[&[("ONCE_DEAD_LETTER_BUDGET", budget.as_str())], settings].concat());
    await_closed(&sidecar);
    sidecar
        .log()
        .wait_for(PATIENCE, |line| line.contains("more records than ONCE_DEAD_LETTER_BUDGET"))
        .expect("a line");
    assert_eq!(app.most_at_once(scene, 10), 1, "one at a time is tried");
    assert_eq!(stage.count(), BUDGET, "no more letters than the budget");
    let metrics = sidecar.metrics().expect("a scrape");
    assert_eq!(count(&metrics, "dead_letters_total", &[("reason", reason)]), BUDGET as u64);
    app.heal();
    await_untold(&sidecar, "dead_letter_budget");
    await_all(&stage, &produced, BUDGET);
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, BUDGET);
}

#[test]
fn an_app_that_refuses_everything_costs_its_budget_of_letters_and_one_success_reopens_it() {
    closes_and_reopens("refuses-all", 400, &[], "refused");
}

#[test]
fn an_app_that_fails_everything_costs_its_budget_of_letters_and_one_success_reopens_it() {
    closes_and_reopens("fails-all", 500, &[("ONCE_RETRY_ATTEMPTS", "1")], "exhausted");
}

/// The slowest probe is slower than a claim's deadline lasts: claims of waiting records are renewed again and again.
#[test]
fn a_probe_that_is_slower_than_the_apps_timeout_still_finds_the_app_healed() {
    let slow = [("ONCE_RETRY_BACKOFF", "2500ms"), ("ONCE_RETRY_BACKOFF_MAX", "2500ms"), ("ONCE_APP_TIMEOUT", "1s")];
    let Some(stage) = Stage::new("slow-probe", 3) else { return };
    let scene = &stage.scene;
    let app = App::fails(scene, 400);
    let produced = load(scene, 3);
    let budget = budget();
    let sidecar = stage.sidecar(&[&slow[..], &[("ONCE_DEAD_LETTER_BUDGET", budget.as_str())]].concat());
    await_closed(&sidecar);
    app.most_at_once(scene, 3);
    app.heal();
    await_all(&stage, &produced, BUDGET);
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, BUDGET);
}

#[test]
fn with_a_budget_of_one_the_second_letter_waits() {
    let Some(stage) = Stage::new("one", 3) else { return };
    let app = App::fails(&stage.scene, 400);
    let produced = load(&stage.scene, 3);
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", "1")]);
    await_closed(&sidecar);
    assert_eq!((app.most_at_once(&stage.scene, 5), stage.count()), (1, 1));
    app.heal();
    await_all(&stage, &produced, 1);
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, 1);
}

/// Nothing else is there to be tried: those that were given up are, one after the other.
#[test]
fn where_all_that_is_open_was_given_up_each_is_tried_in_turn_until_one_is_accepted() {
    const FEW: usize = 8;
    let Some(stage) = Stage::new("all-given-up", 1) else { return };
    let app = App::fails(&stage.scene, 400);
    let produced = stage.scene.produce(&messages(&stage.scene.topic, 0, names("one", FEW)));
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", "1")]);
    await_closed(&sidecar);
    assert_eq!(app.most_at_once(&stage.scene, 2 * FEW), 1);
    app.heal();
    await_all(&stage, &produced, 1);
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, 1);
}

#[test]
fn resume_restores_the_budget_so_that_as_many_letters_more_are_written() {
    let Some(stage) = Stage::new("restored", 3) else { return };
    let app = App::fails(&stage.scene, 400);
    let produced = load(&stage.scene, 3);
    let budget = budget();
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", &budget)]);
    for round in 1..=3 {
        await_closed(&sidecar);
        app.most_at_once(&stage.scene, 3);
        assert_eq!(stage.count(), round * BUDGET);
        if round < 3 {
            let lines = sidecar.log().len();
            assert_eq!(sidecar.post("/resume").expect("an answer").status, 200);
            let again = |line: &str| line.contains("more records than ONCE_DEAD_LETTER_BUDGET");
            sidecar.log().wait_from(lines, PATIENCE, again).expect("it is spent again");
        }
    }
    app.heal();
    await_all(&stage, &produced, 3 * BUDGET);
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, 3 * BUDGET);
}

/// What another partition's records wait for is not forgotten with it.
#[test]
fn a_resume_of_one_partition_leaves_no_record_of_another_one_behind() {
    let Some(stage) = Stage::new("partial", 2) else { return };
    let scene = &stage.scene;
    let app = App::fails(scene, 400);
    let produced = load(scene, 2);
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", "1")]);
    await_closed(&sidecar);
    app.most_at_once(scene, 40);
    app.heal();
    let scope = format!("/resume?topic={}&partition=0", scene.topic);
    assert_eq!(sidecar.post(&scope).expect("an answer").status, 200);
    await_all(&stage, &produced, 1);
    stage.end(&produced, &[&sidecar]);
}

/// Each success pays for one more letter: a topic in which every third message is refused never stops.
#[test]
fn successes_earn_letters_back() {
    let Some(stage) = Stage::new("earned", 3) else { return };
    let refused =
        |id: &str| id.rsplit('-').next().and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0) % 3 == 2;
    App::judges(&stage.scene, move |id| if refused(id) { 400 } else { 200 });
    let produced = load(&stage.scene, 3);
    let budget = budget();
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", &budget)]);
    let dead = produced.iter().filter(|one| refused(&one.id)).count();
    await_all(&stage, &produced, dead);
    let audit = stage.end(&produced, &[&sidecar]);
    assert!(audit.dead == dead && dead > 10 * BUDGET, "{audit}");
}

#[test]
fn an_unlimited_budget_never_pauses() {
    let Some(stage) = Stage::new("unlimited", 3) else { return };
    App::fails(&stage.scene, 400);
    let produced = load(&stage.scene, 3);
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", "unlimited")]);
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.dead, audit.effects), (produced.len(), 0), "{audit}");
    assert!(!sidecar.log().lines().iter().any(|line| line.contains("ONCE_DEAD_LETTER_BUDGET")));
}

/// Poison at the head of its lanes ends as dead letters while others pay for it, and what stands behind it follows.
#[test]
fn poison_in_the_way_of_lanes_ends_as_dead_letters_while_other_records_succeed() {
    const LANES: usize = 20;
    let Some(stage) = Stage::new("in-the-way", 1) else { return };
    let scene = &stage.scene;
    App::judges(scene, |id| if id.starts_with("poison") { 400 } else { 200 });
    let lanes = |prefix: &str| messages(&scene.topic, 0, names(prefix, LANES)).into_iter().zip(0..);
    let keyed =
        |prefix: &str| lanes(prefix).map(|(record, lane)| record.key(format!("lane-{lane}"))).collect::<Vec<_>>();
    let others = messages(&scene.topic, 0, names("other", LANES));
    let produced = scene.produce(&[keyed("poison"), keyed("behind"), others].concat());
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", "1")]);
    await_all(&stage, &produced, LANES);
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.dead, audit.effects), (LANES, 2 * LANES), "{audit}");
}

/// Nothing pays for the last letters: their lanes wait, it is said, and intake goes on for what comes later.
#[test]
fn letters_that_nobody_has_paid_for_wait_say_so_and_go_with_the_next_successes() {
    const POISON: usize = 4;
    let Some(stage) = Stage::new("unpaid", 1) else { return };
    let scene = &stage.scene;
    App::judges(scene, |id| if id.starts_with("poison") { 400 } else { 200 });
    let mut produced = scene.produce(&messages(&scene.topic, 0, names("poison", POISON).chain(names("good", 1))));
    let sidecar = stage.sidecar(&[("ONCE_DEAD_LETTER_BUDGET", "1")]);
    // One letter is the budget's, one was earned.
    let detail = await_told(&sidecar, "dead_letter_budget", Some(0));
    assert!(detail.contains("2 given up by the app"), "{detail}");
    let written = |metrics: &Metrics| count(metrics, "dead_letters_total", &[]) == 2;
    sidecar.await_metrics(PATIENCE, written).expect("two letters are acknowledged");
    assert_eq!((stage.count(), pauses(&status(&sidecar)).len()), (2, 1));
    produced.extend(scene.produce(&messages(&scene.topic, 0, names("later", POISON))));
    scene.await_applied(1 + POISON);
    scene.await_committed();
    await_untold(&sidecar, "dead_letter_budget");
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, POISON);
}

/// A spent budget goes with its partitions to another sidecar and comes back.
#[test]
fn partitions_that_move_while_the_budget_is_spent_wedge_nobody() {
    let Some(stage) = Stage::new("moves", 4) else { return };
    let scene = &stage.scene;
    let app = App::fails(scene, 400);
    let produced = load(scene, 4);
    let budget = budget();
    let settings = [("ONCE_DEAD_LETTER_BUDGET", budget.as_str()), QUICK_GROUP[0], QUICK_GROUP[1]];
    let first = stage.sidecar(&settings);
    await_closed(&first);
    let second = stage.sidecar(&settings);
    await_closed(&second);
    crate::told::stop(&second);
    await_owned(&first, 4);
    app.most_at_once(scene, 3);
    let third = stage.sidecar(&settings);
    await_closed(&third);
    first.sigkill();
    await_owned(&third, 4);
    let letters = stage.count();
    assert!(letters <= 3 * BUDGET, "{letters} letters for three budgets");
    app.heal();
    await_all(&stage, &produced, letters);
    await_untold(&third, "dead_letter_budget");
    stage.end(&produced, &[&third]);
}
