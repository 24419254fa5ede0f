//! What really happened, seen from outside of every sidecar, and the promises that can be checked at once.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use kafka_once::domain::reasons::DeadLetterReason;
use kafka_once::domain::record::TopicPartition;
use kafka_once::domain::verdict::Delivery;
use tokio::time::Instant;

use super::ledger::Ledger;
use super::plan::Faults;
use super::sequences::Stamp;

/// A message: its topic and ID.
pub type Message = (String, String);

/// A record as it was produced.
#[derive(Clone, Debug)]
pub struct Planted {
    pub offset: i64,
    pub id: Option<String>,
    /// The producer gave it none: the ID is made from where it stands.
    pub by_position: bool,
    pub key: Option<String>,
    pub payload: String,
    /// What its producer says of its place in a sequence.
    pub stamp: Option<Stamp>,
    pub produced: Instant,
}

/// One effect in the app's own records.
#[derive(Clone, Debug)]
pub struct Effect {
    pub at: Instant,
    /// When its request arrived.
    pub asked: Instant,
    /// When its record was produced.
    pub produced: Instant,
    /// Where its record stood.
    pub partition: TopicPartition,
    pub delivery: Delivery,
    pub attempt: u32,
    pub payload: String,
}

/// One request as the app saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub host: u32,
    pub delivery: Delivery,
    pub attempt: u32,
    /// Until when the app may be at work on it, or until its connection is closed.
    pub until: Instant,
    pub at: Instant,
}

/// A record for the dead-letter topic.
#[derive(Clone, Debug)]
pub struct Letter {
    pub message: Option<Message>,
    pub payload: String,
    pub reason: DeadLetterReason,
    /// Whether it says that an earlier request may have had its effect.
    pub in_doubt: bool,
}

/// Everything that happened.
pub struct Truth {
    faults: Faults,
    /// Whether sidecars must wait for an operator when the store forgot.
    waits: bool,
    /// When an operator last resumed each host.
    resumed: BTreeMap<u32, Instant>,
    dawn: Instant,
    pub log: BTreeMap<TopicPartition, Vec<Planted>>,
    pub effects: BTreeMap<Message, Vec<Effect>>,
    pub requests: BTreeMap<Message, Vec<Seen>>,
    pub letters: BTreeMap<(TopicPartition, i64), Letter>,
    lettered: BTreeSet<(Message, String)>,
    /// When the store forgot everything.
    pub forgotten: Vec<Instant>,
    /// Partitions with a committed offset then: beside it stands which past was forgotten.
    pub started: Vec<BTreeSet<TopicPartition>>,
    /// What producers left out, and what was told of it.
    pub ledger: Ledger,
    pub violations: Vec<String>,
    hash: DefaultHasher,
    loud: bool,
}

/// How long before its request a claim may have been made.
const CLAIM_AGE: Duration = Duration::from_secs(5);
/// Within this time a sidecar that talks to the store notices that it forgot.
const NOTICE: Duration = Duration::from_secs(3);
/// How old the log's end may be that a sidecar knows when it notices that the store forgot.
const STALE_END: Duration = Duration::from_secs(2);
/// The same for a process that may have been stopped meanwhile.
const STALE_END_IF_STOPPED: Duration = Duration::from_secs(15);

impl Truth {
    /// Nothing has happened yet. `loud`: every event is printed.
    pub fn new(faults: Faults, waits: bool, loud: bool) -> Self {
        Self {
            faults,
            waits,
            resumed: BTreeMap::new(),
            dawn: Instant::now(),
            log: BTreeMap::new(),
            effects: BTreeMap::new(),
            requests: BTreeMap::new(),
            letters: BTreeMap::new(),
            lettered: BTreeSet::new(),
            forgotten: Vec::new(),
            started: Vec::new(),
            ledger: Ledger::new(faults),
            violations: Vec::new(),
            hash: DefaultHasher::new(),
            loud,
        }
    }

    /// Keeps what happened in the trace: its hash tells two runs apart.
    pub fn note(&mut self, what: &str) {
        let at = self.dawn.elapsed().as_micros();
        (at, what).hash(&mut self.hash);
        if self.loud {
            println!("{:>10.3} {what}", Duration::from_micros(u64::try_from(at).unwrap_or(0)).as_secs_f64());
        }
    }

    /// The hash of everything noted so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// A promise was broken.
    pub fn broken(&mut self, what: &str) {
        self.note(&format!("BROKEN {what}"));
        self.violations.push(format!("{:.3} {what}", self.dawn.elapsed().as_secs_f64()));
    }

    /// Promises that were broken, if any.
    pub fn all_broken(&mut self, what: impl IntoIterator<Item = String>) {
        what.into_iter().for_each(|what| self.broken(&what));
    }

    /// An operator looks at a host, and lets it go on.
    pub fn resumed(&mut self, host: u32) {
        self.note(&format!("an operator resumes {host}"));
        self.resumed.insert(host, Instant::now());
    }

    /// A host goes on with a record that is in doubt: after a loss of memory only when an operator has looked.
    pub fn goes_on_in_doubt(&mut self, host: u32, what: &str) {
        if !self.waits || !self.faults.only_forgetting_leaves_doubt() {
            return;
        }
        let now = Instant::now();
        let noticed = self.forgotten.iter().rfind(|forgot| **forgot + NOTICE <= now);
        let since = noticed.or(self.forgotten.first());
        let looked = |forgot: &Instant| self.resumed.get(&host).is_some_and(|resumed| resumed >= forgot);
        if !since.is_some_and(looked) {
            self.broken(&format!("{what} goes on in doubt at {host}, and no operator has looked"));
        }
    }

    /// A request reached the app; returns its place among those of its message.
    pub fn arrived(&mut self, message: &Message, host: u32, delivery: Delivery, attempt: u32, until: Instant) -> usize {
        self.note(&format!("request {message:?} from {host} attempt {attempt} {}", delivery.as_str()));
        if delivery == Delivery::PossibleRepeat {
            self.goes_on_in_doubt(host, &format!("{message:?}"));
        }
        let earlier = self.requests.entry(message.clone()).or_default().clone();
        let excused = earlier.first().is_some_and(|first| self.forgotten.iter().any(|at| *at + CLAIM_AGE >= first.at));
        if !excused && earlier.iter().any(|seen| seen.attempt == attempt) {
            self.broken(&format!("attempt {attempt} of {message:?} was sent twice"));
        }
        if !excused && !self.faults.stall && earlier.iter().any(|seen| seen.attempt > attempt) {
            self.broken(&format!("attempt {attempt} of {message:?} comes after a higher one"));
        }
        let now = Instant::now();
        let meets = |seen: &&Seen| seen.until > now && (seen.host != host || !self.faults.stall);
        let hidden = |seen: &Seen| delivery == Delivery::First && (!self.faults.stall || seen.delivery == delivery);
        if !excused && earlier.iter().filter(meets).any(hidden) {
            self.broken(&format!("{message:?} is sent as first while another request for it is open"));
        }
        let seen = Seen { host, delivery, attempt, until, at: now };
        let requests = self.requests.entry(message.clone()).or_default();
        requests.push(seen);
        requests.len() - 1
    }

    /// A request's connection is closed, answered or not.
    pub fn hung_up(&mut self, message: &Message, place: usize) {
        if let Some(seen) = self.requests.get_mut(message).and_then(|requests| requests.get_mut(place)) {
            seen.until = Instant::now();
        }
    }

    /// Whether the app's own records show an effect.
    pub fn is_applied(&self, message: &Message) -> bool {
        self.effects.contains_key(message)
    }

    /// A request came to the point where its effect happens. `happens`: whether the app lets it.
    pub fn reaches_effect(&mut self, message: &Message, effect: Effect, happens: bool) {
        let before = self.effects.get(message).cloned().unwrap_or_default();
        // A stopped process may send late, and a store that forgot counts from 1 again: then numbers tell nothing.
        let numbered = !self.faults.stall && self.forgotten.is_empty();
        let repeats = |one: &&Effect| one.delivery == Delivery::First || (numbered && one.attempt < effect.attempt);
        if effect.delivery == Delivery::First
            && let Some(one) = before.iter().find(repeats)
            && !self.excused(one, &effect)
        {
            self.broken(&format!("{message:?} is sent as first although an earlier request had its effect"));
        }
        if happens {
            self.note(&format!("effect {message:?} attempt {}", effect.attempt));
            self.effects.entry(message.clone()).or_default().push(effect);
        }
    }

    /// The limits: a duplicate that was produced after the store forgot looks new, and so does one in a partition of
    /// which the group had not even committed its start by then.
    fn excused(&self, one: &Effect, other: &Effect) -> bool {
        let stale = if self.faults.stall { STALE_END_IF_STOPPED } else { STALE_END };
        self.forgotten.iter().zip(&self.started).any(|(forgot, started)| {
            let between = |old: &Effect, new: &Effect| {
                old.asked <= *forgot && (new.produced + stale >= *forgot || !started.contains(&new.partition))
            };
            between(one, other) || between(other, one)
        })
    }

    /// The dead-letter topic has a record.
    pub fn letter(&mut self, at: (TopicPartition, i64), letter: Letter) {
        self.note(&format!("letter {}/{} {}", at.0, at.1, letter.reason));
        if let Some(message) = &letter.message {
            self.lettered.insert((message.clone(), letter.payload.clone()));
            // After a loss of memory a duplicate looks new, and so does its letter. Another payload is another message.
            let tells = self.forgotten.is_empty() && letter.reason != DeadLetterReason::IdReuse;
            let effects = self.effects.get(message).map(Vec::as_slice).unwrap_or_default();
            if tells && !letter.in_doubt && effects.iter().any(|effect| effect.payload == letter.payload) {
                self.broken(&format!(
                    "the letter of {message:?} says first although an earlier request had its effect"
                ));
            }
        }
        self.letters.insert(at, letter);
    }

    /// The group stores a committed offset.
    pub fn commits(&mut self, partition: &TopicPartition, next: i64) {
        self.note(&format!("commit {partition} {next}"));
        let log = self.log.get(partition).map(Vec::as_slice).unwrap_or_default();
        let open = log.iter().take_while(|planted| planted.offset < next).find(|one| !self.is_settled(partition, one));
        if let Some(planted) = open {
            let what = format!("commit {next} of {partition} passes the open record {planted:?}");
            self.broken(&what);
        }
        let ahead = self.ledger.committed(partition, next);
        self.all_broken(ahead);
    }

    /// Whether nothing of a record can be lost any more.
    pub fn is_settled(&self, partition: &TopicPartition, planted: &Planted) -> bool {
        if self.letters.contains_key(&(partition.clone(), planted.offset)) {
            return true;
        }
        let Some(id) = &planted.id else { return false };
        let message = (partition.topic.to_string(), id.clone());
        let effects = self.effects.get(&message).map(Vec::as_slice).unwrap_or_default();
        // An app that knows the ID answers 2xx to another payload too; after a loss of memory nobody else can tell.
        let same = |effect: &Effect| effect.payload == planted.payload || !self.forgotten.is_empty();
        effects.iter().any(same) || self.lettered.contains(&(message, planted.payload.clone()))
    }

    /// The first record that is not settled.
    pub fn open_record(&self) -> Option<String> {
        self.log.iter().find_map(|(partition, log)| {
            let planted = log.iter().find(|planted| !self.is_settled(partition, planted))?;
            Some(format!("{partition} {planted:?}"))
        })
    }
}
