//! What every fault has in common: a load under way, a time of recovery to measure, and what must hold at the end.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::support::ledger::Records;
use crate::support::load::{stop, with_duplicates, works_for};
use crate::support::scene::{PATIENCE, Scene, assert_books};
use crate::support::topics::Read;
use crate::support::{Audit, Produced, Request, Sidecar};

/// A lease and a group session as short as is allowed, so that a crash is seen soon.
pub const QUICK: [(&str, &str); 4] = [
    ("ONCE_LEASE", "3s"),
    ("ONCE_APP_TIMEOUT", "2s"),
    ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "6000"),
    ("ONCE_KAFKA_PROPERTY_HEARTBEAT_INTERVAL_MS", "500"),
];

/// Distinct messages of a scenario: `FAULT_MESSAGES`, else 3,000.
pub fn messages() -> usize {
    number("FAULT_MESSAGES", 3_000)
}

/// A number from the environment, else the one given.
pub fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A scene under load.
pub struct Trial {
    pub scene: Scene,
    pub produced: Vec<Produced>,
    pub distinct: usize,
}

impl Trial {
    /// Produces distinct messages with one duplicate for every nine, for an app that takes 5 ms for each.
    pub fn begin(scene: Scene, partitions: usize) -> Self {
        works_for(&scene, 5);
        let distinct = messages();
        let produced = scene.produce(&with_duplicates(&scene.topic, distinct, partitions));
        Self { scene, produced, distinct }
    }

    /// Waits until the app has applied this part of the distinct messages: the fault strikes under load.
    pub fn await_part(&self, part: usize, of: usize) {
        self.scene.await_applied(self.distinct * part / of);
    }

    /// How many effects the app has applied.
    pub fn applied(&self) -> usize {
        self.scene.ledger.with(|records| records.effects.len())
    }

    /// Waits for the first effect after `applied`, and records how long that took since `fault_ended`.
    pub fn recovered(&self, fault: &str, fault_ended: Instant, applied: usize) {
        self.recovered_when(fault, fault_ended, |records| records.effects.len() > applied);
    }

    /// The same where something else shows the recovery.
    pub fn recovered_when(&self, fault: &str, fault_ended: Instant, wanted: impl FnMut(&Records) -> bool) {
        self.scene.ledger.wait_until(PATIENCE, wanted).unwrap_or_else(|error| panic!("no recovery: {error}"));
        record_recovery(fault, fault_ended.elapsed());
    }

    /// Waits until everything is applied and committed, checks the books of every sidecar, ends them in order,
    /// and gives back what the auditor found.
    pub fn end(&self, sidecars: &[&Sidecar]) -> Audit {
        self.scene.await_applied(self.distinct);
        self.scene.await_committed();
        for sidecar in sidecars {
            assert_books(&sidecar.metrics().expect("a scrape"));
            stop(sidecar);
        }
        self.audit()
    }

    /// What the auditor finds now, on record for the table of `make soak`: once, at the end of a scenario.
    pub fn audit(&self) -> Audit {
        self.audit_with(&[])
    }

    /// The same where some may have been dead-lettered.
    pub fn audit_with(&self, dead_letters: &[Read]) -> Audit {
        let audit = self.scene.audit_with(&self.produced, dead_letters);
        record_audit(&audit, if self.scene.looks_up() { "lookup" } else { "repeat" });
        audit
    }
}

/// Nobody was asked whether a message was applied while an earlier attempt might still be at work.
pub fn assert_lookups_wait(records: &Records) {
    let mut sent: HashMap<&str, Vec<&Arc<Request>>> = HashMap::new();
    for request in &records.requests {
        sent.entry(request.id()).or_default().push(request);
    }
    for asked in &records.asked {
        let Some(id) = asked.path.strip_prefix("/applied/") else { continue };
        let at = asked.wall.duration_since(UNIX_EPOCH).expect("a time after 1970").as_millis();
        for earlier in sent.get(id).into_iter().flatten().filter(|request| request.at < asked.at) {
            let deadline = earlier.header("Once-Deadline").and_then(|text| text.parse::<u128>().ok());
            let deadline = deadline.expect("a deadline");
            assert!(at >= deadline, "{id} was asked for at {at}, and its attempt had until {deadline}");
        }
    }
}

/// Adds a line to the file named by `RECOVERIES`: scenario, fault, seconds.
pub fn record_recovery(fault: &str, took: Duration) {
    eprintln!("recovered from {fault} in {:.1} s", took.as_secs_f64());
    record("RECOVERIES", &format!("{fault}\t{:.3}", took.as_secs_f64()));
}

/// Adds a line to the file named by `AUDITS`: scenario, mode, effects, lost, repeated outside doubt, repeated in doubt,
/// out of order, committed past open records.
fn record_audit(audit: &Audit, mode: &str) {
    let counts = [
        audit.effects,
        audit.lost.len(),
        audit.repeated.len(),
        audit.repeated_in_doubt.len(),
        audit.disorder.len(),
        audit.passed_open.len(),
    ];
    record("AUDITS", &format!("{mode}\t{}", counts.map(|count| count.to_string()).join("\t")));
}

/// Adds a line, after the running scenario's name, to the file that a variable names: `make soak` sums them up.
fn record(variable: &str, line: &str) {
    let Some(path) = std::env::var_os(variable) else { return };
    let scenario = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{scenario}\t{line}\n").as_bytes()));
    written.unwrap_or_else(|error| panic!("{variable}: {error}"));
}
