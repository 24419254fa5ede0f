//! The checks bite: a neighbour that lies, or a pipeline that would behave as if it did, breaks a named promise.

use super::driver::{Outcome, run};
use super::plan::{AppModel, Faults, Plan, Sabotage};

/// Worlds that a lie may take to be found.
const WORLDS: u64 = 40;

fn worlds(faults: Faults, sabotage: Sabotage) -> impl Iterator<Item = Outcome> {
    (0..WORLDS).map(move |seed| {
        let plan = Plan { model: AppModel::Trusting, ..Plan::of(seed) };
        run(plan.with(faults).sabotaged(sabotage), false)
    })
}

fn is_caught(faults: Faults, sabotage: Sabotage, words: &str) {
    let found = worlds(faults, sabotage).flat_map(|world| world.violations).any(|what| what.contains(words));
    assert!(found, "{sabotage:?} went unnoticed in {WORLDS} worlds: nothing said {words:?}");
}

#[test]
fn every_lie_is_caught_by_the_check_that_is_meant_for_it() {
    let quiet = Faults::default();
    let crashes = Faults { crash: true, ..quiet };
    let moves = Faults { rebalance: true, restart: true, ..quiet };
    let forgets = Faults { forget: true, ..quiet };
    let unknown = Faults { app_unknown: true, ..quiet };
    for (faults, sabotage, words) in [
        (moves, Sabotage::EveryClaimIsNew, "sent as first although"),
        (quiet, Sabotage::MarksAreNotWritten, "was forwarded more than once"),
        (quiet, Sabotage::CommitsOneTooFar, "passes the open record"),
        (quiet, Sabotage::LogSkipsRecords, "passes the open record"),
        (quiet, Sabotage::LettersAreNotStored, "passes the open record"),
        (Faults { app_fails: true, ..unknown }, Sabotage::LettersHideDoubt, "says first although"),
        (crashes, Sabotage::SessionsLiveForEver, "not finished in time"),
        (moves, Sabotage::SessionsLookDead, "in doubt"),
        (unknown, Sabotage::DoubtIsHidden, "sent as first although"),
        (Faults { app_fails: true, ..quiet }, Sabotage::AttemptsStandStill, "was sent twice"),
        (quiet, Sabotage::HeldBytesLeak, "not finished in time"),
        (quiet, Sabotage::LogFallsSilent, "standing still"),
        (quiet, Sabotage::KeysAreLost, "was applied before"),
        (forgets, Sabotage::NobodyWaits, "no operator has looked"),
        (quiet, Sabotage::PastsComeAfterCommits, "is ahead of what is kept"),
        (crashes, Sabotage::PastsComeAfterCommits, "and it was observed to"),
        (moves, Sabotage::PastsAreNotWritten, "counted as recovered"),
        (moves, Sabotage::PastsAreNotRead, "was never told as lost"),
        (moves, Sabotage::LossesAreForgotten, "and that was told before"),
        (crashes, Sabotage::LossesAreForgotten, "and that was told before"),
        (quiet, Sabotage::LogSkipsRecords, "which was never left out"),
    ] {
        is_caught(faults, sabotage, words);
    }
}
