//! What strikes when: a mix of faults rotated in periods, a quarter of the time quiet, drawn from a seed so that it can
//! be replayed.

use std::time::Duration;

use crate::dice::Dice;

/// One fault. Sidecars are meant by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    KillSidecar(usize),
    FreezeSidecar(usize),
    RestartSidecar(usize),
    JoinAndLeave,
    KillBroker,
    FreezeBroker,
    FreezeRedis,
    RestartRedis,
    EmptyRedis,
    AppHangs,
    AppFails,
    AppResets,
}

/// Whom a fault strikes: nobody is struck twice at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Redis,
    Sidecar,
    Guest,
    Broker,
    App,
}

impl Strike {
    /// Whom it strikes.
    pub fn victim(self) -> Victim {
        match self {
            Self::KillSidecar(_) | Self::FreezeSidecar(_) | Self::RestartSidecar(_) => Victim::Sidecar,
            Self::JoinAndLeave => Victim::Guest,
            Self::KillBroker | Self::FreezeBroker => Victim::Broker,
            Self::FreezeRedis | Self::RestartRedis | Self::EmptyRedis => Victim::Redis,
            Self::AppHangs | Self::AppFails | Self::AppResets => Victim::App,
        }
    }

    /// Milliseconds that it lasts: a sidecar is frozen past its lease, at times past its session in the group.
    fn lasts(self) -> (u64, u64) {
        match self {
            Self::FreezeSidecar(_) => (3_500, 7_000),
            _ => (200, 2_500),
        }
    }
}

/// Faults that strike together and are healed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// At most one for each victim, Redis first.
    pub strikes: Vec<Strike>,
    pub hold: Duration,
}

/// A few kinds of faults that strike again and again, in changing company; then nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    pub beats: Vec<Beat>,
    pub quiet: Duration,
}

/// Kinds of faults in one mix.
const KINDS: usize = 4;

/// So many mixes, each of about one period. Every kind of fault has struck after three of them.
pub fn plan(seed: u64, mixes: usize, period: Duration, sidecars: usize) -> Vec<Mix> {
    let dice = Dice::new(seed, "nemesis");
    let mut bag = Vec::new();
    let mut kinds = || {
        if bag.len() < KINDS {
            bag = all(&dice, sidecars);
        }
        bag.split_off(bag.len() - KINDS)
    };
    (0..mixes).map(|_| mix(&dice, &kinds(), period)).collect()
}

/// Every kind of fault, shuffled.
fn all(dice: &Dice, sidecars: usize) -> Vec<Strike> {
    let numbers: Vec<usize> = (0..sidecars).collect();
    let sidecar = || dice.pick(&numbers);
    let mut rest = vec![
        Strike::KillSidecar(sidecar()),
        Strike::FreezeSidecar(sidecar()),
        Strike::RestartSidecar(sidecar()),
        Strike::JoinAndLeave,
        Strike::KillBroker,
        Strike::FreezeBroker,
        Strike::FreezeRedis,
        Strike::RestartRedis,
        Strike::EmptyRedis,
        Strike::AppHangs,
        Strike::AppFails,
        Strike::AppResets,
    ];
    let mut shuffled = Vec::new();
    while !rest.is_empty() {
        shuffled.push(rest.swap_remove(usize::try_from(dice.below(rest.len() as u64)).expect("a small number")));
    }
    shuffled
}

/// Beats for three quarters of a period, and more if need be until each kind has struck.
fn mix(dice: &Dice, kinds: &[Strike], period: Duration) -> Mix {
    let mut beats = Vec::new();
    let mut lasted = Duration::ZERO;
    while lasted < period * 3 / 4 || beats.len() < kinds.len() {
        let beat = beat(dice, kinds, kinds[beats.len() % kinds.len()]);
        lasted += beat.hold;
        beats.push(beat);
    }
    Mix { beats, quiet: period / 4 }
}

/// One kind for sure, and each other one two times out of five.
fn beat(dice: &Dice, kinds: &[Strike], sure: Strike) -> Beat {
    let mut strikes = vec![sure];
    for &other in kinds {
        if dice.percent(40) && strikes.iter().all(|strike| strike.victim() != other.victim()) {
            strikes.push(other);
        }
    }
    strikes.sort_by_key(|strike| strike.victim() as usize);
    let (from, to) = strikes.iter().map(|strike| strike.lasts()).max().unwrap_or_default();
    Beat { strikes, hold: dice.millis(from, to) }
}

#[test]
fn the_same_seed_strikes_the_same_and_every_kind_strikes_within_three_mixes() {
    let period = Duration::from_secs(8);
    for seed in 0..100 {
        let three = plan(seed, 3, period, 2);
        assert_eq!(three, plan(seed, 3, period, 2));
        let mut kinds = Vec::new();
        for strike in three.iter().flat_map(|mix| &mix.beats).flat_map(|beat| &beat.strikes) {
            if !kinds.contains(strike) {
                kinds.push(*strike);
            }
        }
        assert_eq!(kinds.len(), 12, "seed {seed}: {kinds:?}");
        for beat in three.iter().flat_map(|mix| &mix.beats) {
            let victims: Vec<_> = beat.strikes.iter().map(|strike| strike.victim()).collect();
            assert!(victims.is_sorted_by(|one, next| (*one as usize) < *next as usize), "{beat:?}");
        }
    }
    assert_ne!(plan(1, 3, period, 2), plan(2, 3, period, 2));
}
