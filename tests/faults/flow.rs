//! A load that flows for as long as faults strike: the fault always finds records that are not written, not fetched,
//! not claimed and not answered yet.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::ledger::Records;
use crate::support::load::with_twin;
use crate::support::scene::{PATIENCE, Scene};
use crate::support::{Ledger, Produced, Producer};
use crate::trial::{Trial, messages, record_recovery};

/// Distinct messages sent at once: at least so many.
const CHUNK: usize = 30;
/// Distinct messages that the load may be ahead of the app: after an outage so many wait.
const LEAD: usize = 1_000;
/// A producer that finds another leader soon after its own has died or gone silent.
const IMPATIENT: [(&str, &str); 2] = [("socket.timeout.ms", "4000"), ("topic.metadata.refresh.interval.ms", "1000")];

/// A load under way.
pub struct Flow {
    pub scene: Scene,
    load: Load,
}

/// What the thread that produces needs to know.
struct Load {
    bootstrap: String,
    topic: String,
    partitions: usize,
    /// Distinct messages a second.
    rate: usize,
    /// Distinct messages handed to the producer so far.
    sent: AtomicUsize,
    /// Held while a chunk is sent.
    sending: Mutex<()>,
    over: AtomicBool,
}

impl Flow {
    /// A load that would send [`messages`] in ten seconds.
    pub fn new(scene: Scene, partitions: usize) -> Self {
        let load = Load {
            bootstrap: scene.bootstrap.clone(),
            topic: scene.topic.clone(),
            partitions,
            rate: messages() / 10,
            sent: AtomicUsize::default(),
            sending: Mutex::default(),
            over: AtomicBool::default(),
        };
        Self { scene, load }
    }

    /// The same with another rate: distinct messages a second.
    pub fn rate(mut self, rate: usize) -> Self {
        self.load.rate = rate;
        self
    }

    /// Produces while `strike` runs, and on until [`messages`] are produced; one in nine has a twin right behind it.
    pub fn during<T>(self, strike: impl FnOnce(&Self) -> T) -> (Trial, T) {
        let (produced, told) = std::thread::scope(|threads| {
            let (load, ledger) = (&self.load, &self.scene.ledger);
            let load = threads.spawn(|| load.produce(ledger));
            let end = End(&self.load.over); // also when the strike panics
            let told = strike(&self);
            drop(end);
            (load.join().expect("the load"), told)
        });
        let distinct = self.load.sent.load(Ordering::SeqCst);
        (Trial { scene: self.scene, produced, distinct }, told)
    }

    /// Runs `act` while no record is on its way to the broker.
    pub fn between_sends<T>(&self, act: impl FnOnce() -> T) -> T {
        let _still = self.load.still();
        act()
    }

    /// Waits until a message that is not yet sent now, in one of these partitions, is applied; records how long that took
    /// since `fault_ended`.
    pub fn recovered(&self, fault: &str, fault_ended: Instant, partitions: &[i32]) {
        let wanted: HashSet<i32> = partitions.iter().copied().collect();
        let within =
            |number: usize| wanted.contains(&i32::try_from(number % self.load.partitions).expect("a partition"));
        let next = self.load.sent.load(Ordering::SeqCst);
        let number = (next..next + self.load.partitions).find(|&number| within(number)).expect("one of the partitions");
        let effect = (self.scene.topic.clone(), format!("id-{number}"));
        let applied = self.scene.ledger.wait_until(PATIENCE, |records| records.effects.contains_key(&effect));
        applied.unwrap_or_else(|error| panic!("after {fault}, {effect:?}: {error}"));
        record_recovery(fault, fault_ended.elapsed());
    }

    /// The same for every partition: until all of them flow again.
    pub fn recovered_everywhere(&self, fault: &str, fault_ended: Instant) {
        let next = self.load.sent.load(Ordering::SeqCst);
        let applied = |records: &Records, number| {
            records.effects.contains_key(&(self.scene.topic.clone(), format!("id-{number}")))
        };
        let all = |records: &Records| (next..next + self.load.partitions).all(|number| applied(records, number));
        self.scene.ledger.wait_until(PATIENCE, all).unwrap_or_else(|error| panic!("after {fault}: {error}"));
        record_recovery(fault, fault_ended.elapsed());
    }

    /// The same for whichever partition comes next.
    pub fn recovered_anywhere(&self, fault: &str, fault_ended: Instant) {
        let all: Vec<i32> = (0..self.load.partitions).filter_map(|partition| i32::try_from(partition).ok()).collect();
        self.recovered(fault, fault_ended, &all);
    }
}

impl Load {
    fn produce(&self, ledger: &Ledger) -> Vec<Produced> {
        let client = Producer::with(&self.bootstrap, &IMPATIENT).expect("a producer");
        let mut produced = Vec::new();
        let chunk = CHUNK.max(self.rate / 50);
        let beat = Duration::from_secs(1) * u32::try_from(chunk).expect("a small chunk")
            / u32::try_from(self.rate.max(1)).expect("a rate");
        let mut due = Instant::now();
        while !self.over.load(Ordering::SeqCst) || self.sent.load(Ordering::SeqCst) < messages() {
            let first = self.sent.fetch_add(chunk, Ordering::SeqCst);
            let records: Vec<_> =
                (first..first + chunk).flat_map(|number| with_twin(&self.topic, number, self.partitions)).collect();
            let positions = {
                let _sending = self.still();
                client.send(records.clone()).expect("records are produced")
            };
            produced.extend(Produced::all(&records, &positions));
            ledger.await_applied((first + chunk).saturating_sub(LEAD), PATIENCE);
            due += beat;
            std::thread::sleep(due.saturating_duration_since(Instant::now())); // the rhythm of the load
        }
        produced
    }

    fn still(&self) -> MutexGuard<'_, ()> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says at its end that the strike is over.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
