//! What must hold at the end of a scenario in which sidecars of one group come, go and stall.

use std::collections::{BTreeMap, HashSet};

use crate::support::ledger::{Effect, Records};
use crate::support::scene::Scene;
use crate::support::{Audit, Sidecar, commits};
use crate::trial::Trial;

/// How many effects the app has applied.
pub fn applied(scene: &Scene) -> usize {
    scene.ledger.with(|records| records.effects.len())
}

/// Ends a scenario, fails the test unless every message was forwarded exactly once, without doubt, in order and rightly
/// committed.
pub fn assert_forwarded_once(trial: &Trial, sidecars: &[&Sidecar]) {
    let audit = trial.end(sidecars);
    audit.assert_exactly_once();
    assert_eq!(audit.forwarded_twice, [], "{audit}");
    let doubted = trial.scene.ledger.with(|records| records.requests.iter().filter(|one| one.in_doubt()).count());
    assert_eq!(doubted, 0, "nothing was in doubt, and some requests said that it was");
    assert_commits(trial, &HashSet::new());
}

/// Ends a scenario, fails the test unless nothing is lost, whatever was repeated was marked, and commits were right.
pub fn assert_repeats_marked(trial: &Trial, sidecars: &[&Sidecar]) -> Audit {
    let audit = trial.end(sidecars);
    let wrong = [&audit.lost, &audit.applied_twice, &audit.foreign, &audit.disorder];
    assert!(wrong.iter().all(|list| list.is_empty()) && audit.passed_open.is_empty(), "{audit}");
    assert_eq!(trial.scene.ledger.with(unmarked), [], "{audit}");
    assert_commits(trial, &HashSet::new());
    audit
}

/// Fails the test unless commits never went back and never passed what the app had not seen and is not `dead`.
pub fn assert_commits(trial: &Trial, dead: &HashSet<Effect>) {
    let scene = &trial.scene;
    let made = commits::made(&scene.bootstrap, &scene.group, &scene.topic).expect("the topic of commits");
    commits::assert_never_back(&made);
    scene.ledger.with(|records| commits::assert_nothing_passed(&made, &trial.produced, records, dead));
}

/// Messages of which two requests came with one number, or one that was not the first did not say so. For apps that never
/// answer that an attempt has failed.
fn unmarked(records: &Records) -> Vec<Effect> {
    let mut attempts: BTreeMap<Effect, BTreeMap<u64, bool>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for request in &records.requests {
        let known = attempts.entry(request.effect()).or_default();
        if known.insert(request.attempt(), request.in_doubt()).is_some() {
            wrong.push(request.effect());
        }
    }
    let unsaid = |known: &BTreeMap<u64, bool>| known.values().skip(1).any(|marked| !marked);
    wrong.extend(attempts.into_iter().filter(|(_, known)| unsaid(known)).map(|(effect, _)| effect));
    wrong
}
