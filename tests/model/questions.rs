//! The questions: each one a small world with its own faults, in which every promise must hold.

use std::time::Instant;

use kafka_once::domain::life::InDoubt;
use kafka_once::domain::retry::RetryPolicy;
use kafka_once::domain::verdict::Verdict;
use stateright::{Checker, Model};

use super::properties::Protocol;
use super::scope::{Faults, Planted, Scope};

const NONE: Faults =
    Faults { crash: 0, stall: 0, net: 0, app: 0, moves: 0, losses: 0, cuts: 0, forgets: 0, fail_overs: 0 };

/// One message.
const ONE: &[&[usize]] = &[&[0]];
/// One message, produced twice, into two partitions.
const TWINS: &[&[usize]] = &[&[0], &[0]];
/// Two messages in one partition.
const TWO: &[&[usize]] = &[&[0, 1]];
/// One message, produced twice, into one partition.
const AGAIN: &[&[usize]] = &[&[0, 0]];

/// Visits every state that can be reached and holds every promise in each.
fn ask(scope: Scope) {
    let (name, began) = (scope.name, Instant::now());
    let checker = Protocol::new(scope).checker().threads(1).spawn_bfs().join();
    println!("{name}: {} states, {:.1} s", checker.unique_state_count(), began.elapsed().as_secs_f64());
    checker.assert_properties();
}

/// Asks the same with more faults when `MODEL=deep`.
fn ask_deeper(scope: Scope, faults: Faults) {
    if std::env::var("MODEL").is_ok_and(|value| value == "deep") {
        ask(Scope { faults, late: 3, ..scope });
    }
}

pub fn crash() -> Scope {
    Scope { warm: false, ..Scope::new("crash", ONE, Faults { crash: 1, app: 1, ..NONE }) }
}

pub fn lost_replies() -> Scope {
    Scope::new("lost replies", ONE, Faults { net: 2, crash: 1, ..NONE })
}

pub fn late_commands() -> Scope {
    Scope::new("late commands", ONE, Faults { net: 1, moves: 2, app: 1, ..NONE })
}

pub fn stall() -> Scope {
    Scope::new("stall", ONE, Faults { stall: 1, losses: 1, app: 1, ..NONE })
}

pub fn twins() -> Scope {
    Scope::new("duplicates on two partitions", TWINS, Faults { crash: 1, ..NONE })
}

pub fn twins_together() -> Scope {
    let faults = Faults { app: 1, moves: 1, ..NONE };
    Scope { warm: false, ..Scope::new("duplicates in one process", TWINS, faults) }
}

pub fn order() -> Scope {
    Scope::new("two messages", TWO, Faults { crash: 1, ..NONE })
}

pub fn hand_over() -> Scope {
    Scope::new("hand-over", ONE, Faults { moves: 2, app: 1, cuts: 1, ..NONE })
}

pub fn amnesia() -> Scope {
    Scope::new("amnesia", ONE, Faults { forgets: 1, crash: 1, ..NONE })
}

pub fn amnesia_over_two() -> Scope {
    Scope { hosts: 1, late: 1, ..Scope::new("amnesia over two messages", TWO, Faults { forgets: 1, crash: 1, ..NONE }) }
}

pub fn amnesia_with_twins() -> Scope {
    Scope::new("amnesia with duplicates", TWINS, Faults { forgets: 1, ..NONE })
}

pub fn fail_over() -> Scope {
    Scope::new("fail-over with duplicates", TWINS, Faults { fail_overs: 1, ..NONE })
}

pub fn lookup() -> Scope {
    let mut scope = Scope::new("lookup", ONE, Faults { crash: 1, app: 1, ..NONE });
    scope.rules.in_doubt = InDoubt::Lookup;
    Scope { ticks: Some(3), verdicts: &[Verdict::Failed, Verdict::Unknown], ..scope }
}

pub fn letters() -> Scope {
    let mut scope = Scope::new("letters", ONE, Faults { app: 2, crash: 1, ..NONE });
    scope.rules.retry = RetryPolicy { attempts: Some(1), ..scope.rules.retry };
    Scope { verdicts: &[Verdict::Refused, Verdict::Failed], ..scope }
}

pub fn orderly_twins() -> Scope {
    let faults = Faults { moves: 2, ..NONE };
    Scope { orderly: true, ..Scope::new("orderly, with duplicates", TWINS, faults) }
}

pub fn orderly() -> Scope {
    let faults = Faults { moves: 2, net: 1, ..NONE };
    Scope { orderly: true, ..Scope::new("orderly", ONE, faults) }
}

pub fn reuse() -> Scope {
    let mut scope = Scope::new("another payload", TWINS, Faults { app: 1, crash: 1, ..NONE });
    scope.records[1] = Planted { payload: 2, ..scope.records[1] };
    scope
}

pub fn again() -> Scope {
    Scope::new("duplicates in one partition", AGAIN, Faults { app: 1, crash: 1, ..NONE })
}

pub fn blocked() -> Scope {
    let mut scope = Scope::new("no dead-letter topic", ONE, Faults { app: 1, stall: 1, moves: 1, ..NONE });
    scope.rules.dead_letters = false;
    Scope { verdicts: &[Verdict::Refused], ..scope }
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_hides_no_repeat() {
    ask(crash());
    ask_deeper(crash(), Faults { crash: 2, app: 2, ..NONE });
}

#[test]
fn a_lost_reply_changes_nothing() {
    ask(lost_replies());
    ask_deeper(lost_replies(), Faults { net: 3, crash: 1, app: 1, ..NONE });
}

#[test]
fn a_command_carried_out_late_undoes_nothing() {
    ask(late_commands());
    ask_deeper(late_commands(), Faults { net: 2, moves: 2, app: 1, ..NONE });
}

#[test]
fn a_lease_that_ends_under_a_stopped_process_hides_no_repeat() {
    ask(stall());
    ask_deeper(stall(), Faults { stall: 2, losses: 1, app: 1, ..NONE });
}

#[test]
fn duplicates_on_two_partitions_are_never_both_forwarded_as_first() {
    ask(twins());
    ask_deeper(twins(), Faults { crash: 1, app: 1, moves: 1, ..NONE });
}

#[test]
fn duplicates_in_one_process_wait_for_the_first_one() {
    ask(twins_together());
    ask_deeper(twins_together(), Faults { app: 1, moves: 1, crash: 1, ..NONE });
}

#[test]
fn duplicates_in_one_partition_are_forwarded_once() {
    ask(again());
    ask_deeper(again(), Faults { app: 1, crash: 1, net: 1, ..NONE });
}

#[test]
fn the_same_id_with_another_payload_is_not_lost() {
    ask(reuse());
    ask_deeper(reuse(), Faults { app: 2, crash: 1, ..NONE });
}

#[test]
fn a_commit_never_passes_an_open_record() {
    ask(order());
    ask_deeper(order(), Faults { crash: 1, app: 1, ..NONE });
}

#[test]
fn a_hand_over_loses_nothing_and_hides_no_repeat() {
    ask(hand_over());
    ask_deeper(hand_over(), Faults { moves: 2, app: 1, cuts: 1, net: 1, ..NONE });
}

#[test]
fn an_orderly_hand_over_forwards_nothing_twice_whatever_replies_are_lost() {
    ask(orderly());
    ask_deeper(orderly(), Faults { moves: 3, net: 1, ..NONE });
}

#[test]
fn an_orderly_hand_over_forwards_no_duplicate() {
    ask(orderly_twins());
    ask_deeper(orderly_twins(), Faults { moves: 2, net: 1, ..NONE });
}

#[test]
fn a_store_that_forgets_everything_hides_no_repeat() {
    ask(amnesia());
    ask_deeper(amnesia(), Faults { forgets: 1, crash: 1, app: 1, ..NONE });
}

#[test]
fn a_crash_after_the_store_forgot_hides_no_repeat() {
    ask(amnesia_over_two());
    ask_deeper(amnesia_over_two(), Faults { forgets: 1, crash: 1, app: 1, ..NONE });
}

#[test]
fn a_store_that_forgets_hides_no_duplicate() {
    ask(amnesia_with_twins());
    ask_deeper(amnesia_with_twins(), Faults { forgets: 1, crash: 1, ..NONE });
}

#[test]
fn a_fail_over_hides_no_repeat_and_holds_nobody_up() {
    ask(fail_over());
    ask_deeper(fail_over(), Faults { fail_overs: 1, crash: 1, ..NONE });
}

#[test]
fn a_lookup_makes_first_true_again() {
    ask(lookup());
    ask_deeper(lookup(), Faults { crash: 1, app: 1, stall: 1, ..NONE });
}

#[test]
fn what_is_given_up_stands_on_the_dead_letter_topic() {
    ask(letters());
    ask_deeper(letters(), Faults { app: 3, crash: 1, stall: 1, ..NONE });
}

#[test]
fn a_blocked_record_is_settled_once_an_operator_acts() {
    ask(blocked());
    ask_deeper(blocked(), Faults { app: 2, stall: 1, moves: 1, crash: 1, ..NONE });
}
