//! Worlds that once broke a promise, or in which a fault is more likely than in a world drawn at random.

use std::time::Duration;

use kafka_once::domain::history::OnHistoryLoss;
use kafka_once::domain::lanes::Ordering;
use kafka_once::domain::life::InDoubt;

use super::driver::run;
use super::plan::{Faults, Plan};

/// A seed that was found, with what was wrong then.
#[test]
fn seeds_that_once_broke_a_promise_keep_it() {
    for (seed, _what) in [
        (1, "after POST /drain the end of the Kafka thread ended the process as failed"),
        (516, "commits after a loss of memory carried the new history, and a crash hid the doubt"),
        (583, "a partition assigned during a drain was never given back: the process did not end"),
        (1510, "a claim that was won in the batch that showed the loss of memory was sent as first"),
    ] {
        // As it was then: nobody waited for an operator, and nothing was numbered.
        let plan = Plan { on_history_loss: OnHistoryLoss::Continue, producers: 0, ..Plan::of(seed) };
        run(plan, false).assert_kept();
    }
}

/// The store forgets again and again while partitions move: whoever has one waits until an operator has looked.
#[test]
fn nothing_in_doubt_goes_on_before_an_operator_has_looked_wherever_a_partition_moves() {
    let faults = Faults { forget: true, rebalance: true, restart: true, app_fails: true, ..Faults::default() };
    for seed in 0..100 {
        let in_doubt = if seed % 2 == 0 { InDoubt::Repeat } else { InDoubt::DeadLetter };
        let plan = Plan { in_doubt, on_history_loss: OnHistoryLoss::Pause, ..Plan::of(seed) };
        run(plan.with(faults), false).assert_kept();
    }
}

#[test]
fn a_partition_is_given_back_in_time_while_the_app_is_away() {
    let faults = Faults { rebalance: true, ..Faults::default() };
    for seed in 0..30 {
        let plan = Plan { backlog: true, messages: 600, ordering: Ordering::None, max_in_flight: 2, ..Plan::of(seed) };
        let plan = Plan { max_open: 1000, max_held: 10_000_000, service: 300, in_doubt: InDoubt::Repeat, ..plan };
        let plan = Plan { outage: Duration::from_secs(9), trouble: Duration::from_secs(10), ..plan };
        run(plan.with(faults), false).assert_kept();
    }
}

/// The app is away for longer than a claim lives. Records come one after another, so that no mark waits for an earlier
/// record to be committed. Nobody dies or moves: what nobody holds is kept by nobody, and lives for the window.
#[test]
fn claims_that_wait_for_longer_than_the_window_are_kept() {
    let faults = Faults { store_flaky: true, app_unknown: true, ..Faults::default() };
    for seed in 0..60 {
        let plan = Plan { window: Duration::from_secs(12), duplicates: false, backlog: false, ..Plan::of(seed) };
        let plan = Plan { ordering: Ordering::Partition, in_doubt: InDoubt::Repeat, attempts: None, ..plan };
        let plan = Plan { outage: Duration::from_secs(40), trouble: Duration::from_secs(44), ..plan };
        run(plan.with(faults), false).assert_kept();
    }
}

/// The store is away for almost a lease while partitions move: claims are on their way all the time.
#[test]
fn no_claim_is_left_behind_by_a_session_that_lives() {
    let faults = Faults { rebalance: true, store_away: true, ..Faults::default() };
    for seed in 0..60 {
        let plan = Plan { backlog: true, messages: 600, max_in_flight: 8, max_open: 1000, ..Plan::of(seed) };
        let plan = Plan { max_held: 10_000_000, service: 100, in_doubt: InDoubt::Repeat, ..plan };
        let plan = Plan { outage: Duration::from_millis(2_500), trouble: Duration::from_secs(8), ..plan };
        run(plan.with(faults), false).assert_kept();
    }
}

/// A mark is lost that was written a moment before: the claim below it stands there again, under a session that lives.
#[test]
fn a_claim_that_a_fail_over_brings_back_holds_nobody_up() {
    let faults = Faults { rebalance: true, fail_over: true, ..Faults::default() };
    for seed in 0..40 {
        let plan = Plan { backlog: true, messages: 600, max_in_flight: 64, max_open: 1000, ..Plan::of(seed) };
        let plan = Plan { max_held: 10_000_000, service: 200, in_doubt: InDoubt::Repeat, ..plan };
        let plan = Plan { ordering: Ordering::None, trouble: Duration::from_secs(8), ..plan };
        run(plan.with(faults), false).assert_kept();
    }
}
