//! The process is killed at each boundary of a record's life, under load, and an heir takes over.
//!
//! What holds for every one of them is checked by [`Crash::inherit`]; each scenario adds what shows that the process was
//! where it says.

use std::time::Duration;

use kafka_once::domain::claim::ClaimValue;
use kafka_once::failpoints::Failpoint;

use crate::crash::{Crash, Doubt, Estate, Heritage, is_claim, is_mark, is_release};
use crate::support::scene::PATIENCE;
use crate::support::{Answer, Model};

crate::in_both_modes!(
    a_kill_before_the_claim_loses_nothing_and_repeats_nothing_that_was_not_under_way,
    a_kill_after_the_claim_loses_nothing_and_the_claim_is_taken_over,
    a_kill_before_the_request_loses_nothing_and_the_claim_is_taken_over,
    a_kill_while_the_app_works_repeats_only_as_possible_repeat,
    a_kill_after_the_2xx_repeats_only_as_possible_repeat,
    a_kill_after_the_mark_before_its_reply_is_heard_repeats_nothing_that_is_marked,
    a_kill_after_the_mark_before_the_commit_repeats_nothing_that_is_marked,
    a_kill_after_the_commit_repeats_nothing_that_is_marked,
    a_kill_before_or_after_a_release_loses_nothing,
    a_kill_before_or_after_a_take_over_loses_nothing,
    a_kill_between_two_attempts_loses_nothing_and_attempts_go_on_growing,
    a_kill_after_a_dead_letter_before_its_mark_leaves_two_copies_and_no_effect,
    a_task_that_panics_ends_the_process_and_loses_nothing,
);

/// Kills at a passing of a failpoint, lets an heir finish.
fn crash(crash: &Crash, point: Failpoint, passing: usize) -> (Estate, Heritage) {
    let estate = crash.await_death(&crash.doomed(point, passing));
    let heritage = crash.inherit(point.as_str(), &estate);
    (estate, heritage)
}

fn a_kill_before_the_claim_loses_nothing_and_repeats_nothing_that_was_not_under_way(doubt: Doubt) {
    let Some(case) = Crash::new("before-claim", doubt) else { return };
    let (estate, heritage) = crash(&case, Failpoint::ClaimDue, case.part(1, 3));
    let untouched = case.trial.distinct - estate.standing.len();
    assert!(untouched > 0, "some had no claim yet");
    assert!(heritage.sent_before().len() <= estate.standing.len(), "nothing is sent unclaimed");
}

fn a_kill_after_the_claim_loses_nothing_and_the_claim_is_taken_over(doubt: Doubt) {
    let Some(case) = Crash::new("after-claim", doubt) else { return };
    let (estate, heritage) = crash(&case, Failpoint::ClaimAnswered, case.part(1, 3));
    assert!(!estate.ids(is_claim).is_subset(&heritage.sent_before()), "some were claimed and not sent");
}

fn a_kill_before_the_request_loses_nothing_and_the_claim_is_taken_over(doubt: Doubt) {
    let Some(case) = Crash::new("before-request", doubt) else { return };
    let (estate, heritage) = crash(&case, Failpoint::RequestDue, case.part(1, 3));
    assert!(!estate.ids(is_claim).is_subset(&heritage.sent_before()), "some were claimed and not sent");
}

fn a_kill_while_the_app_works_repeats_only_as_possible_repeat(doubt: Doubt) {
    let Some(case) = Crash::new("app-works", doubt) else { return };
    let (estate, heritage) = crash(&case, Failpoint::RequestSent, case.part(1, 3));
    assert_applied_unmarked(doubt, &estate, &heritage);
}

fn a_task_that_panics_ends_the_process_and_loses_nothing(doubt: Doubt) {
    let Some(case) = Crash::new("panics", doubt) else { return };
    let panicking = case.panicking(Failpoint::RequestSent, case.part(1, 3));
    assert_eq!(panicking.wait_exit(PATIENCE), Some(1), "it ended by itself; {}", panicking.tail());
    assert!(panicking.log().lines().iter().any(|line| line.contains("panicked; the process ends")));
    case.inherit("panic", &case.estate());
}

fn a_kill_after_the_2xx_repeats_only_as_possible_repeat(doubt: Doubt) {
    let Some(case) = Crash::new("after-2xx", doubt) else { return };
    let (estate, heritage) = crash(&case, Failpoint::MarkDue, case.part(1, 3));
    assert_applied_unmarked(doubt, &estate, &heritage);
}

/// The app had applied what was only claimed in Redis: this is the doubt that repeats, or is resolved.
fn assert_applied_unmarked(doubt: Doubt, estate: &Estate, heritage: &Heritage) {
    let applied_before = heritage.applied_before();
    let claimed = estate.ids(is_claim);
    let repeatable = claimed.intersection(&applied_before).count();
    assert!(repeatable > 0, "some were applied and not marked");
    let repeated = if doubt == Doubt::Repeat { repeatable } else { 0 };
    assert_eq!(heritage.audit.repeated_in_doubt.len(), repeated, "{}", heritage.audit);
}

fn a_kill_after_the_mark_before_its_reply_is_heard_repeats_nothing_that_is_marked(doubt: Doubt) {
    let Some(case) = Crash::new("mark-unheard", doubt) else { return };
    let (estate, heritage) = crash(&case, Failpoint::MarkAnswered, case.part(1, 3));
    assert!(!estate.ids(is_mark).is_empty() && heritage.redelivered > 0.5, "some were marked and not committed");
}

fn a_kill_after_the_mark_before_the_commit_repeats_nothing_that_is_marked(doubt: Doubt) {
    let Some(case) = Crash::new("before-commit", doubt) else { return };
    let (estate, heritage) = crash(&case, Failpoint::CommitDue, 3);
    assert!(!estate.ids(is_mark).is_empty() && heritage.redelivered > 0.5, "some were marked and not committed");
}

fn a_kill_after_the_commit_repeats_nothing_that_is_marked(doubt: Doubt) {
    let Some(case) = Crash::new("after-commit", doubt) else { return };
    let (estate, _) = crash(&case, Failpoint::Committed, 4);
    assert!(!estate.ids(is_mark).is_empty(), "some were marked");
}

fn a_kill_before_or_after_a_release_loses_nothing(doubt: Doubt) {
    let Some(case) = Crash::new("release", doubt) else { return };
    let first = case.doomed(Failpoint::ReleaseDue, 1);
    case.trial.await_part(1, 6);
    first.sigterm();
    case.await_death(&first);
    let second = case.doomed(Failpoint::ReleaseAnswered, 1);
    case.trial.await_part(1, 2);
    second.sigterm();
    let estate = case.await_death(&second);
    assert!(!estate.ids(is_release).is_empty(), "some were given back");
    case.inherit("a kill in a release", &estate);
}

fn a_kill_before_or_after_a_take_over_loses_nothing(doubt: Doubt) {
    let Some(case) = Crash::new("take-over", doubt) else { return };
    let first = case.mortal();
    case.trial.await_part(1, 3);
    first.sigkill();
    let before = case.estate();
    case.await_death(&case.doomed(Failpoint::TakeOverDue, 3));
    let estate = case.await_death(&case.doomed(Failpoint::TakeOverAnswered, 3));
    let taken_over = estate.ids(|value| attempt(value) > 1);
    assert!(!taken_over.is_empty(), "some were taken over");
    assert!(taken_over.is_subset(&before.ids(is_claim)), "and they were claimed by whoever died first");
    case.inherit("a kill in a take-over", &estate);
}

fn a_kill_between_two_attempts_loses_nothing_and_attempts_go_on_growing(doubt: Doubt) {
    let Some(case) = Crash::new("attempts", doubt) else { return };
    case.trial.scene.ledger.behave(|request| async move {
        tokio::time::sleep(Duration::from_millis(5)).await; // the app's work
        Answer::status(if request.attempt() == 1 && ends_with(request.id(), &['3', '7']) { 500 } else { 200 })
    });
    case.await_death(&case.doomed(Failpoint::AttemptDue, case.part(1, 30)));
    let estate = case.await_death(&case.doomed(Failpoint::AttemptAnswered, case.part(1, 30)));
    let heritage = case.inherit("a kill between two attempts", &estate);
    let unsent = estate.standing.iter().filter(|(id, value)| attempt(value) > heritage.last_attempt_before(id).max(1));
    assert!(unsent.count() > 0, "some had written their next attempt and not sent it");
}

fn a_kill_after_a_dead_letter_before_its_mark_leaves_two_copies_and_no_effect(doubt: Doubt) {
    let Some(case) = Crash::new("letter", doubt) else { return };
    let refused = (0..case.trial.distinct).filter(|number| refuses(&format!("id-{number}"))).count();
    let case = case.with_dead_letters(refused);
    case.trial.scene.ledger.behave(|request| async move {
        tokio::time::sleep(Duration::from_millis(5)).await; // the app's work
        Answer::status(if refuses(request.id()) { 400 } else { 200 })
    });
    let (estate, heritage) = crash(&case, Failpoint::DeadMarkDue, case.part(1, 30));
    assert_eq!(heritage.audit.dead, refused, "every one that the app refused, and no other");
    let mut copies = std::collections::HashMap::new();
    for letter in &heritage.letters {
        *copies.entry(letter.header("once-message-id").expect("an ID")).or_insert(0) += 1;
    }
    let twice: Vec<&String> = copies.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id).collect();
    assert!(!twice.is_empty(), "one was acknowledged and not marked");
    let claimed = estate.ids(is_claim);
    assert!(twice.iter().all(|id| claimed.contains(id.as_str())), "only those are there twice: {twice:?}");
}

fn refuses(id: &str) -> bool {
    ends_with(id, &['4'])
}

fn ends_with(id: &str, digits: &[char]) -> bool {
    id.ends_with(digits)
}

/// The attempt that a claim names; 0 for anything else.
fn attempt(value: &ClaimValue) -> u64 {
    match value {
        ClaimValue::Claimed { spent, .. } => u64::from(spent.attempt),
        ClaimValue::Released { .. } | ClaimValue::Done { .. } | ClaimValue::Dead { .. } => 0,
    }
}

#[test]
fn an_app_that_stores_topic_and_id_in_its_transaction_sees_no_effect_twice_whoever_dies() {
    for point in [Failpoint::RequestSent, Failpoint::MarkDue] {
        let Some(case) = Crash::with_app("transactional", Doubt::Repeat, Model::Transactional) else { return };
        let (estate, heritage) = crash(&case, point, case.part(1, 3));
        assert_applied_unmarked(Doubt::Repeat, &estate, &heritage);
        assert_eq!(heritage.records.applied.len(), case.trial.distinct, "each effect once");
    }
}
