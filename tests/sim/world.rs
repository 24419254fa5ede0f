//! Everything around the sidecars of one seed, and the weather: what goes wrong at the moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_once::adapters::claims::memory::Memory;
use kafka_once::domain::record::TopicPartition;
use kafka_once::domain::time::Moment;
use tokio::time::Instant;

use super::dice::Dice;
use super::group::Group;
use super::plan::{Faults, OUTAGE_FROM, Plan};
use super::truth::Truth;

/// What goes wrong at the moment. Faults of single requests happen while it is not calm.
#[allow(clippy::struct_excessive_bools)] // each fault comes and goes by itself
#[derive(Debug)]
pub struct Weather {
    pub calm: bool,
    pub store_away_until: Instant,
    /// Hosts whose app refuses connections, until when.
    pub app_down_until: BTreeMap<u32, Instant>,
    pub letters_away_until: Instant,
    /// How often another primary has taken over.
    pub fail_overs: u64,
    /// Commits are refused.
    pub commits_away: bool,
    /// Apps die behind the effect of each request.
    pub app_dies: bool,
    /// Apps say that they are ready, and refuse connections.
    pub app_refuses: bool,
    /// Apps say 503 to the first message of each partition, and to every question.
    pub app_is_busy: bool,
    /// Apps take what they have refused before.
    pub app_is_mended: bool,
}

/// Throws for each neighbour.
pub struct AllDice {
    pub store: Dice,
    pub app: Dice,
    pub log: Dice,
    pub letters: Dice,
    pub driver: Dice,
    pub operator: Dice,
}

/// The world that all sidecars of one seed share.
pub struct World {
    pub plan: Plan,
    pub dice: AllDice,
    pub dawn: Instant,
    pub memory: Memory,
    truth: Mutex<Truth>,
    weather: Mutex<Weather>,
    group: Mutex<Group>,
}

impl World {
    /// A world at its beginning. `loud`: every event is printed.
    pub fn new(plan: Plan, loud: bool) -> Arc<Self> {
        let dawn = Instant::now();
        let now = move || Moment(u64::try_from(dawn.elapsed().as_micros()).expect("a short world"));
        let seed = plan.seed;
        let dice = |name| Dice::new(seed, name);
        let partitions = plan.topics.iter().flat_map(|(topic, count)| {
            (0..*count).map(|partition| TopicPartition { topic: Arc::from(*topic), partition })
        });
        Arc::new(Self {
            dice: AllDice {
                store: dice("store"),
                app: dice("app"),
                log: dice("log"),
                letters: dice("letters"),
                driver: dice("driver"),
                operator: dice("operator"),
            },
            dawn,
            memory: Memory::new(Arc::new(now), seed),
            truth: Mutex::new(Truth::new(plan.faults, plan.waits_for_operator(), loud)),
            weather: Mutex::new(Weather {
                calm: false,
                store_away_until: dawn,
                app_down_until: BTreeMap::new(),
                letters_away_until: dawn,
                fail_overs: 0,
                commits_away: false,
                app_dies: false,
                app_refuses: false,
                app_is_busy: false,
                app_is_mended: false,
            }),
            group: Mutex::new(Group::new(partitions.collect())),
            plan,
        })
    }

    /// The store has just forgotten something.
    pub fn forgot(&self) {
        let started = self.group().committed.keys().cloned().collect();
        let mut truth = self.truth();
        truth.forgotten.push(Instant::now());
        truth.started.push(started);
    }

    /// The long outage that was planned.
    pub fn outage(&self) -> std::ops::Range<Instant> {
        let from = self.dawn + OUTAGE_FROM;
        from..from + self.plan.outage
    }

    /// What really happened.
    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        lock(&self.truth)
    }

    /// What goes wrong.
    pub fn weather(&self) -> MutexGuard<'_, Weather> {
        lock(&self.weather)
    }

    /// The consumer group.
    pub fn group(&self) -> MutexGuard<'_, Group> {
        lock(&self.group)
    }

    /// Whether a fault of this kind may happen now.
    pub fn may(&self, fault: impl Fn(&Faults) -> bool) -> bool {
        fault(&self.plan.faults) && !self.weather().calm
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
