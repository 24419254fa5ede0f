//! While the budget of dead letters is spent: whatever else happens then wedges nothing and loses nothing.

use crate::budget::{App, BUDGET, await_all, await_closed, budget, load};
use crate::support::scene::PATIENCE;
use crate::support::{self, Answer, Redis, Sidecar};
use crate::told::{Stage, await_untold, count, messages, names, stop};

/// A stage with a Redis of its own.
fn stage(name: &str) -> Option<(Redis, Stage)> {
    let mut stage = Stage::new(name, 3)?;
    let redis = support::redis_possible().then(|| Redis::start(&[]).expect("a redis-server"))?;
    stage.scene.redis_url = redis.url();
    Some((redis, stage))
}

fn tell(redis: &Redis, command: &[&str]) {
    redis.cli(command).expect("an answer");
}

/// Lets `strike` happen while the budget is spent; then the app heals, and everything must be applied.
fn survives(name: &str, settings: &[(&'static str, &str)], strike: impl FnOnce(&Redis, &Stage, &Sidecar)) {
    let Some((redis, stage)) = stage(name) else { return };
    let scene = &stage.scene;
    let app = App::fails(scene, 400);
    let produced = load(scene, 3);
    let budget = budget();
    let sidecar = stage.sidecar(&[&[("ONCE_DEAD_LETTER_BUDGET", budget.as_str())], settings].concat());
    await_closed(&sidecar);
    strike(&redis, &stage, &sidecar);
    assert_eq!(app.most_at_once(scene, 3), 1, "it is still tried, one at a time");
    app.heal();
    await_untold(&sidecar, "dead_letter_budget");
    await_all(&stage, &produced, BUDGET);
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, BUDGET);
}

fn sessions(sidecar: &Sidecar) -> u64 {
    count(&sidecar.metrics().expect("a scrape"), "sessions_started_total", &[])
}

#[test]
fn a_session_lost_while_the_budget_is_spent_wedges_nothing() {
    survives("spent-session", &[("ONCE_LEASE", "3s"), ("ONCE_APP_TIMEOUT", "2s")], |redis, stage, sidecar| {
        for _ in 0..2 {
            let before = sessions(sidecar);
            let pattern = format!("once:{}:s:*", stage.scene.group);
            let keys = redis.cli(&["--scan", "--pattern", &pattern]).expect("an answer");
            keys.lines().for_each(|key| tell(redis, &["DEL", key]));
            let another = |metrics: &support::sidecar::Metrics| count(metrics, "sessions_started_total", &[]) > before;
            sidecar.await_metrics(PATIENCE, another).expect("another session");
        }
    });
}

#[test]
fn a_redis_that_stalls_past_the_lease_while_the_budget_is_spent_wedges_nothing() {
    survives("spent-stall", &[("ONCE_LEASE", "3s"), ("ONCE_APP_TIMEOUT", "2s")], |redis, _, sidecar| {
        let before = sessions(sidecar);
        redis.pause();
        let lost = |line: &str| line.contains("lease could not be renewed in time");
        sidecar.log().wait_for(PATIENCE, lost).expect("the lease ends");
        redis.cont();
        let another = |metrics: &support::sidecar::Metrics| count(metrics, "sessions_started_total", &[]) > before;
        sidecar.await_metrics(PATIENCE, another).expect("another session");
    });
}

#[test]
fn a_redis_that_forgets_everything_while_the_budget_is_spent_wedges_nothing() {
    survives("spent-flush", &[], |redis, _, sidecar| {
        tell(redis, &["FLUSHALL"]);
        let lost = |metrics: &support::sidecar::Metrics| count(metrics, "dedup_history_lost_total", &[]) > 0;
        sidecar.await_metrics(PATIENCE, lost).expect("the loss is counted");
    });
}

/// With `pause` two reasons wait for an operator, and one `POST /resume` ends both.
#[test]
fn a_loss_of_memory_that_waits_for_an_operator_and_a_spent_budget_are_both_ended_by_resume() {
    let Some((redis, stage)) = stage("spent-loss") else { return };
    let app = App::fails(&stage.scene, 400);
    let produced = load(&stage.scene, 3);
    let settings = [("ONCE_DEAD_LETTER_BUDGET", "1"), ("ONCE_ON_HISTORY_LOSS", "pause")];
    let sidecar = stage.sidecar(&settings);
    await_closed(&sidecar);
    tell(&redis, &["FLUSHALL"]);
    sidecar.await_pause(PATIENCE, "history_lost").expect("it waits");
    app.heal();
    assert_eq!(sidecar.post("/resume").expect("an answer").status, 200);
    await_all(&stage, &produced, 1);
    await_untold(&sidecar, "history_lost");
    await_untold(&sidecar, "dead_letter_budget");
    assert_eq!(stage.end(&produced, &[&sidecar]).dead, 1);
}

/// Messages in doubt are asked about, one question at a time as well; each answer brings the end nearer.
#[test]
fn lookups_while_the_budget_is_spent_wedge_nothing() {
    const EACH: usize = 20;
    let Some((_redis, stage)) = stage("spent-lookups") else { return };
    let scene = &stage.scene;
    let healed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let heal = std::sync::Arc::clone(&healed);
    scene.ledger.behave(move |request| {
        let healed = heal.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            match request.id().split('-').next() {
                _ if healed => Answer::status(200),
                Some("lost") if request.attempt() == 1 => Answer::reset(),
                Some("done") if request.attempt() == 1 => Answer::reset().applied(true),
                _ => Answer::status(400),
            }
        }
    });
    let all = ["lost", "done", "refused"].into_iter().flat_map(|prefix| names(prefix, EACH));
    let produced = scene.produce(&messages(&scene.topic, 0, all));
    let url = scene.ledger.lookup_url();
    let settings = [
        ("ONCE_DEAD_LETTER_BUDGET", "1"),
        ("ONCE_IN_DOUBT", "lookup"),
        ("ONCE_APP_LOOKUP_URL", url.as_str()),
        ("ONCE_APP_TIMEOUT", "1s"),
    ];
    let sidecar = stage.sidecar(&settings);
    await_closed(&sidecar);
    let asked = |records: &support::ledger::Records| {
        records.asked.iter().filter(|one| one.path.starts_with("/applied/done-")).count() >= EACH
    };
    scene.ledger.wait_until(PATIENCE, asked).expect("they are asked for");
    healed.store(true, std::sync::atomic::Ordering::SeqCst);
    await_all(&stage, &produced, 1);
    await_untold(&sidecar, "dead_letter_budget");
    let audit = stage.end(&produced, &[&sidecar]);
    assert_eq!((audit.dead, audit.repeated_in_doubt.len()), (1, 0), "{audit}");
}

/// What waits for the budget is given back by a drain; the next sidecar begins with a full one.
#[test]
fn a_drain_while_the_budget_is_spent_gives_everything_back_and_nothing_is_sent_as_a_repeat() {
    let Some((_redis, stage)) = stage("spent-drain") else { return };
    let app = App::fails(&stage.scene, 400);
    let produced = load(&stage.scene, 3);
    let budget = budget();
    let settings = [("ONCE_DEAD_LETTER_BUDGET", budget.as_str())];
    let first = stage.sidecar(&settings);
    await_closed(&first);
    app.most_at_once(&stage.scene, 3);
    assert_eq!(first.post_within("/drain", PATIENCE).expect("an answer").status, 200);
    let metrics = first.metrics().expect("a scrape");
    assert_eq!(count(&metrics, "open_records", &[]), 0);
    support::scene::assert_books(&metrics);
    stop(&first);
    assert!(!first.log().lines().iter().any(|line| line.contains("drain deadline passed")), "given back at once");
    assert_eq!(stage.count(), BUDGET);
    let second = stage.sidecar(&settings);
    await_closed(&second);
    second.sigterm();
    assert_eq!(second.wait_exit(PATIENCE), Some(0), "{}", second.tail());
    app.heal();
    let third = stage.sidecar(&settings);
    let letters = stage.count();
    assert!(letters <= 2 * BUDGET, "{letters} letters for two budgets");
    await_all(&stage, &produced, letters);
    stage.end(&produced, &[&third]);
    let doubted = stage.scene.ledger.with(|records| records.requests.iter().filter(|one| one.in_doubt()).count());
    assert_eq!(doubted, 0, "every answer was certain");
}

/// The app goes away while the budget is spent: two reasons, and each ends by itself.
#[test]
fn an_app_that_goes_away_while_the_budget_is_spent_wedges_nothing() {
    survives("spent-away", &[], |_, stage, sidecar| {
        stage.scene.ledger.close();
        sidecar.await_pause(PATIENCE, "app_unavailable").expect("it is away");
        stage.scene.ledger.open().expect("its port");
        await_untold(sidecar, "app_unavailable");
    });
}
