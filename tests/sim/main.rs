//! The simulation: the real domain and pipeline in a seeded world with paused time, under every fault that there is.
//!
//! A seed that breaks a promise prints the command that replays it. `make sim SEEDS=10000` runs many.

mod app;
mod beginnings;
mod bite;
mod by_hand;
mod checks;
mod commits;
mod dice;
mod driver;
mod grace;
mod group;
mod hand_over;
mod holding;
mod host;
mod ledger;
mod letters;
mod log;
mod outage;
mod plan;
mod producer;
mod records;
mod regressions;
mod scripts;
mod sequences;
mod sidecar;
mod store;
mod truth;
mod watched;
mod world;

use plan::Plan;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 1_000;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on as many threads as there are processors; the seeds that broke a promise.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<driver::Outcome> {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let broken = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = driver::run(Plan::of(seed), false);
                    if !outcome.violations.is_empty() {
                        broken.lock().expect("no panic").push(outcome);
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().expect("no panic");
    broken.sort_by_key(|outcome| outcome.seed);
    broken
}

#[test]
fn every_seed_keeps_every_promise() {
    let first = from_env("FIRST").unwrap_or(0);
    let count = from_env("SEEDS").unwrap_or(SEEDS);
    let broken = run_all(first..first + count);
    for outcome in &broken {
        println!("seed {}: {}", outcome.seed, outcome.violations[0]);
    }
    if let Some(outcome) = broken.first() {
        println!("{} of {count} seeds break promises", broken.len());
        outcome.assert_kept();
    }
}

#[test]
fn replay() {
    let Some(seed) = from_env("SEED") else { return };
    driver::run(Plan::of(seed), true).assert_kept();
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..20 {
        let [one, other] = [(), ()].map(|()| driver::run(Plan::of(seed), false));
        assert_eq!((one.hash, one.requests, one.effects), (other.hash, other.requests, other.effects), "seed {seed}");
        assert!(one.effects > 0, "seed {seed} does nothing");
    }
}
