//! Everything at once: a nemesis that strikes sidecars, brokers, Redis and the app together, heals them, and strikes again.
//!
//! `FAULT_SEED` replays the faults of a run, `FAULT_PERIOD` says how many seconds a mix lasts, `FAULT_SECONDS` all of them.
//! The app is the one of the contract: it refuses attempts below the highest one it has seen, and gives up what it could
//! not apply by `Once-Deadline`. Without that a request of a frozen sidecar may arrive after its successor's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::flow::Flow;
use crate::nemesis::{Beat, Mix, Strike, plan};
use crate::support::load::stop;
use crate::support::redis::Data;
use crate::support::scene::{PATIENCE, Scene, assert_books};
use crate::support::{Answer, Audit, Kafka, Ledger, Model, Redis, Request, Sidecar, kafka_possible, redis_possible};
use crate::trial::{QUICK, messages};

const PARTITIONS: usize = 6;
const SIDECARS: usize = 2;
/// Mixes of a run without `FAULT_SECONDS`: each kind of fault strikes.
const MIXES: usize = 3;

/// Beside the lease: the app's failures are tried again for ever and soon, a drain is short, a silent broker given up soon.
const SETTINGS: [(&str, &str); 8] = [
    QUICK[0],
    QUICK[1],
    QUICK[2],
    QUICK[3],
    ("ONCE_KAFKA_PROPERTY_SOCKET_TIMEOUT_MS", "5000"),
    ("ONCE_RETRY_ATTEMPTS", "0"),
    ("ONCE_RETRY_BACKOFF_MAX", "1s"),
    ("ONCE_DRAIN_TIMEOUT", "5s"),
];

#[test]
fn everything_at_once_loses_nothing_and_repeats_only_in_doubt() {
    let Some(audit) = run("everything", 1, false) else { return };
    audit.assert_promise();
}

#[test]
fn everything_at_once_repeats_nothing_when_the_app_answers_lookups() {
    let Some(audit) = run("everything-lookup", 2, true) else { return };
    audit.assert_promise();
    assert_eq!(audit.repeated_in_doubt, [], "{audit}");
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Strikes as planned, heals everything, waits for the end of the load, and says what the auditor found.
fn run(name: &str, seed: u64, looks_up: bool) -> Option<Audit> {
    if !(kafka_possible() && redis_possible()) {
        return None;
    }
    let seed = from_env("FAULT_SEED").unwrap_or(seed);
    let period = from_env("FAULT_PERIOD").unwrap_or(8).max(1);
    let length = from_env("FAULT_SECONDS").map(Duration::from_secs);
    let mixes = length.map_or(MIXES, |length| usize::try_from(length.as_secs() / period).expect("mixes") + 1);
    let kafka = Kafka::start(1).expect("a broker");
    let redis = Redis::start(&["--appendonly", "yes"]).expect("a Redis that keeps what it wrote");
    let mut scene = Scene::on(&kafka, &redis, name, i32::try_from(PARTITIONS).expect("partitions"));
    scene.ledger = Ledger::start_as(Model::Fencing).expect("an app");
    let lookup_url = scene.ledger.lookup_url();
    let mut settings = SETTINGS.to_vec();
    if looks_up {
        settings.extend([("ONCE_IN_DOUBT", "lookup"), ("ONCE_APP_LOOKUP_URL", lookup_url.as_str())]);
    }
    let mood = Mood::of(&scene.ledger);
    let seconds = length.map_or(24, |length| length.as_secs().max(1));
    let rate = 300.max(messages() / usize::try_from(seconds).expect("seconds"));
    let (trial, sidecars) = Flow::new(scene, PARTITIONS).rate(rate).during(|flow| {
        let start = || flow.scene.sidecar(&settings);
        let mut world = World {
            flow,
            kafka: &kafka,
            redis: &redis,
            mood: &mood,
            settings: &settings,
            sidecars: std::array::from_fn(|_| start()),
            guest: None,
        };
        let began = Instant::now();
        for (number, mix) in plan(seed, mixes, Duration::from_secs(period), SIDECARS).iter().enumerate() {
            if length.is_some_and(|length| began.elapsed() > length) {
                break;
            }
            eprintln!("{name}: mix {} of {mixes}, FAULT_SEED={seed}", number + 1);
            world.suffer(mix);
        }
        world.sidecars
    });
    let audit = trial.end(&sidecars.each_ref());
    let (doubtful, looked_up) = trial.scene.ledger.with(|records| {
        let doubtful = records.requests.iter().filter(|request| request.in_doubt()).count();
        (doubtful, records.asked.iter().filter(|request| request.path.starts_with("/applied/")).count())
    });
    eprintln!("{name}: {} effects, {doubtful} possible repeats sent, {looked_up} lookups\n{audit}", audit.effects);
    assert!(if looks_up { looked_up } else { doubtful } > 0, "nothing was in doubt: nothing is proved");
    Some(audit)
}

/// Everything that is struck.
struct World<'a> {
    flow: &'a Flow,
    kafka: &'a Kafka,
    redis: &'a Redis,
    mood: &'a Mood,
    settings: &'a [(&'static str, &'a str)],
    sidecars: [Sidecar; SIDECARS],
    guest: Option<Sidecar>,
}

impl World<'_> {
    /// The beats of a mix; then, all healed, the load must go on, and the rest of the quiet time passes.
    fn suffer(&mut self, mix: &Mix) {
        for Beat { strikes, hold } in &mix.beats {
            eprintln!("  {strikes:?} for {hold:?}");
            for &strike in strikes {
                self.strike(strike);
            }
            std::thread::sleep(*hold); // how long they last
            for &strike in strikes {
                self.heal(strike);
            }
        }
        let healed = Instant::now();
        self.flow.recovered_anywhere("everything at once", healed);
        for sidecar in &self.sidecars {
            assert_books(&sidecar.metrics().unwrap_or_else(|error| panic!("{error}: {}", sidecar.tail())));
        }
        std::thread::sleep(mix.quiet.saturating_sub(healed.elapsed())); // the quiet quarter
    }

    fn strike(&mut self, strike: Strike) {
        match strike {
            Strike::KillSidecar(victim) => self.sidecars[victim].sigkill(),
            Strike::FreezeSidecar(victim) => self.sidecars[victim].sigstop(),
            Strike::RestartSidecar(victim) => self.sidecars[victim].sigterm(),
            Strike::JoinAndLeave => self.guest = Some(self.another()),
            Strike::KillBroker => self.kafka.kill(0),
            Strike::FreezeBroker => self.kafka.pause(0),
            Strike::FreezeRedis => self.redis.pause(),
            // A message and its twin are both in the log before the loss, or neither is: the promise has one limit, a
            // producer's duplicate that is sent after the loss.
            Strike::RestartRedis | Strike::EmptyRedis => self.flow.between_sends(|| self.redis.kill()),
            Strike::AppHangs => self.mood.set(Mood::HANGS),
            Strike::AppFails => self.mood.set(Mood::FAILS),
            Strike::AppResets => self.mood.set(Mood::RESETS),
        }
    }

    fn heal(&mut self, strike: Strike) {
        match strike {
            Strike::KillSidecar(victim) => self.sidecars[victim] = self.another(),
            Strike::FreezeSidecar(victim) => self.sidecars[victim].sigcont(),
            Strike::RestartSidecar(victim) => {
                let ended = &self.sidecars[victim];
                assert_eq!(ended.wait_exit(PATIENCE), Some(0), "{}", ended.tail());
                self.sidecars[victim] = self.another();
            }
            Strike::JoinAndLeave => self.guest.take().iter().for_each(stop),
            Strike::KillBroker => self.kafka.restart(0).expect("a broker"),
            Strike::FreezeBroker => self.kafka.cont(0),
            Strike::FreezeRedis => self.redis.cont(),
            Strike::RestartRedis => self.redis.restart(Data::Kept).expect("a Redis"),
            Strike::EmptyRedis => self.redis.restart(Data::Empty).expect("a Redis"),
            Strike::AppHangs | Strike::AppFails | Strike::AppResets => self.mood.set(Mood::WELL),
        }
    }

    /// One that runs: it hears SIGTERM before its admin port answers.
    fn another(&self) -> Sidecar {
        let sidecar = self.flow.scene.sidecar(self.settings);
        sidecar.await_metrics(PATIENCE, |_| true).expect("a sidecar that runs");
        sidecar
    }
}

/// How the app is.
struct Mood(Arc<AtomicU8>);

impl Mood {
    const WELL: u8 = 0;
    const HANGS: u8 = 1;
    const FAILS: u8 = 2;
    const RESETS: u8 = 3;

    /// An app that works for 20 ms and then answers as its mood is. Whether it applies what it leaves without an answer
    /// is for the offset to say.
    fn of(ledger: &Ledger) -> Self {
        let mood = Arc::new(AtomicU8::new(Self::WELL));
        let now = Arc::clone(&mood);
        ledger.behave(move |request| {
            let now = Arc::clone(&now);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await; // the app's work
                let applies = request.position().is_some_and(|(_, offset)| offset % 2 == 0);
                match now.load(Ordering::SeqCst) {
                    _ if is_late(&request) => Answer::status(409),
                    Self::HANGS => Answer::never().applied(applies),
                    Self::FAILS => Answer::status(500),
                    Self::RESETS => Answer::reset().applied(applies),
                    _ => Answer::status(200),
                }
            }
        });
        Self(mood)
    }

    fn set(&self, mood: u8) {
        self.0.store(mood, Ordering::SeqCst);
    }
}

/// Whether nobody waits for the answer any more, or almost: what is applied now may be applied after the deadline.
fn is_late(request: &Request) -> bool {
    let deadline = request.header("Once-Deadline").and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let soon = SystemTime::now() + Duration::from_millis(100);
    deadline.is_none_or(|deadline| SystemTime::UNIX_EPOCH + deadline < soon)
}
