//! Each broken variant with the question whose answer it changes: what keeps the promise is really needed for it.

use stateright::{Checker, HasDiscoveries, Model};

use super::broken::Variant;
use super::properties::{NEVER_LOST, NO_HIDDEN_REPEAT, NO_LIVE_CLAIM_TAKEN, NO_SEND_WITHOUT_SESSION, ORDERLY};
use super::properties::{Protocol, SETTLES};
use super::questions;
use super::scope::Scope;

/// Finds a way to this promise's breach. Without the variant the same question has none: see `questions.rs`.
fn refute(variant: Variant, scope: Scope, promise: &'static str) {
    let scope = Scope { variant, ..scope };
    let only = HasDiscoveries::AllOf([promise].into());
    let checker = Protocol::new(scope).checker().threads(1).finish_when(only).spawn_bfs().join();
    let steps = checker.assert_any_discovery(promise).into_actions();
    println!("{variant:?}: refuted after {} states, in {} steps:", checker.unique_state_count(), steps.len());
    println!("    {steps:?}");
}

#[test]
fn a_claim_taken_for_a_mark_loses_a_message() {
    refute(Variant::ClaimTakenForMark, questions::crash(), NEVER_LOST);
}

#[test]
fn an_own_claim_taken_for_a_mark_after_a_lost_reply_loses_a_message() {
    refute(Variant::OwnClaimTakenForMark, questions::lost_replies(), NEVER_LOST);
}

#[test]
fn a_take_over_without_asking_for_liveness_takes_a_live_claim() {
    refute(Variant::TakeOverUnasked, questions::twins(), NO_LIVE_CLAIM_TAKEN);
}

#[test]
fn a_take_over_that_says_first_hides_a_repeat() {
    refute(Variant::TakeOverSaysFirst, questions::crash(), NO_HIDDEN_REPEAT);
}

#[test]
fn an_in_flight_duplicate_settled_at_once_loses_a_message() {
    refute(Variant::TwinSettledAtOnce, questions::twins_together(), NEVER_LOST);
}

#[test]
fn a_commit_past_an_open_record_loses_a_message() {
    refute(Variant::CommitPassesOpenRecords, questions::order(), NEVER_LOST);
}

#[test]
fn a_released_record_that_counts_as_settled_is_lost() {
    refute(Variant::ReleasedCountsAsSettled, questions::hand_over(), NEVER_LOST);
}

#[test]
fn an_unknown_outcome_that_counts_as_failed_hides_a_repeat() {
    refute(Variant::UnknownCountsAsFailed, questions::crash(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_cancelled_request_that_counts_as_failed_hides_a_repeat() {
    refute(Variant::CancelledCountsAsFailed, questions::hand_over(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_release_that_forgets_doubt_hides_a_repeat() {
    refute(Variant::ReleaseForgetsDoubt, questions::hand_over(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_release_without_compare_and_set_hides_a_repeat() {
    refute(Variant::ReleaseWithoutCompare, questions::late_commands(), NO_HIDDEN_REPEAT);
}

#[test]
fn an_unsent_number_that_comes_again_holds_its_message_for_ever() {
    refute(Variant::UnsentNumberComesAgain, questions::late_commands(), SETTLES);
}

#[test]
fn a_lease_that_nobody_watches_sends_under_a_session_that_is_over() {
    refute(Variant::LeaseNotWatched, questions::stall(), NO_SEND_WITHOUT_SESSION);
}

#[test]
fn what_is_open_and_forgotten_at_a_deadline_holds_its_message_for_ever() {
    refute(Variant::OpenForgottenAtDeadline, questions::hand_over(), SETTLES);
}

#[test]
fn a_loss_of_memory_that_only_heartbeats_tell_of_hides_a_repeat() {
    refute(Variant::SentinelNotRead, questions::amnesia_with_twins(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_loss_of_memory_that_leaves_open_records_untouched_hides_a_repeat() {
    refute(Variant::OpenNotDoubted, questions::amnesia_with_twins(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_loss_of_memory_that_commits_do_not_carry_hides_a_repeat() {
    refute(Variant::LossNotCarried, questions::amnesia_over_two(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_committed_history_that_nobody_reads_hides_a_repeat() {
    refute(Variant::CommittedPastIgnored, questions::amnesia(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_session_that_survives_a_fail_over_may_hold_a_message_for_ever() {
    refute(Variant::SessionSurvivesFailOver, questions::fail_over(), SETTLES);
}

#[test]
fn a_lookup_before_the_earlier_deadline_hides_a_repeat() {
    refute(Variant::LooksUpTooEarly, questions::lookup(), NO_HIDDEN_REPEAT);
}

#[test]
fn a_mark_before_the_letter_is_acknowledged_loses_a_message() {
    refute(Variant::LetterNotAwaited, questions::letters(), NEVER_LOST);
}

#[test]
fn a_take_over_without_asking_is_no_orderly_hand_over() {
    refute(Variant::TakeOverUnasked, questions::orderly_twins(), ORDERLY);
}
