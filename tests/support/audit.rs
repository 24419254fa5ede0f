//! The auditor: compares what was produced with what the app applied, what was dead-lettered and what was committed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::ledger::{Effect, Records, Request};
use super::produce::{Position, Record};
use super::topics::{self, Read};

/// A record that was produced, by the name of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Topic.
    pub topic: String,
    /// Message ID as it stands on the wire (`Idempotency-Key`).
    pub id: String,
    /// Partition and offset.
    pub position: Position,
}

impl Produced {
    /// Pairs records (each with the header `message-id`, of bytes that need no encoding) with where they ended up.
    pub fn all(records: &[Record], positions: &[Position]) -> Vec<Self> {
        let id = |record: &Record| {
            let value = record.headers.iter().find(|(name, _)| name == "message-id")?.1.clone()?;
            String::from_utf8(value).ok()
        };
        let pairs = records.iter().zip(positions);
        let made = pairs
            .filter_map(|(record, &position)| Some(Self { topic: record.topic.clone(), id: id(record)?, position }));
        made.collect()
    }
}

/// What the auditor found. Every list is empty when all is well.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Produced, but neither applied nor dead-lettered.
    pub lost: Vec<Effect>,
    /// A request that said `first` came for an effect that was applied already.
    pub repeated: Vec<Effect>,
    /// A request that said `possible-repeat` came for an effect that was applied already.
    pub repeated_in_doubt: Vec<Effect>,
    /// Applied more than once.
    pub applied_twice: Vec<Effect>,
    /// More than one request was sent for it, whatever the answers were.
    pub forwarded_twice: Vec<Effect>,
    /// More than one request that said `first` was sent for it: right only when the app answered the earlier one badly.
    pub first_twice: Vec<Effect>,
    /// Applied, but never produced.
    pub foreign: Vec<Effect>,
    /// Both applied and dead-lettered.
    pub applied_and_dead: Vec<Effect>,
    /// First applications of one key and partition that ran against the order of offsets: the earlier offset, applied later.
    pub disorder: Vec<Effect>,
    /// Records below the committed offset that are neither applied nor dead-lettered.
    pub passed_open: Vec<Produced>,
    /// Partitions whose committed offset is not at the end of the log.
    pub behind: Vec<Behind>,
    /// How many effects were applied.
    pub effects: usize,
    /// How many effects are on the dead-letter topic.
    pub dead: usize,
}

/// A partition that is not committed to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Topic and partition.
    pub partition: (String, i32),
    /// Committed next offset, `None` when nothing was committed.
    pub committed: Option<i64>,
    /// The next offset to be written.
    pub end: i64,
}

impl Audit {
    /// Compares what was produced with the ledger, and with the records of the dead-letter topic (empty without one).
    pub fn new(produced: &[Produced], ledger: &Records, dead_letters: &[Read]) -> Self {
        let dead: HashSet<Effect> = dead_letters.iter().filter_map(dead_effect).collect();
        let known: HashSet<Effect> = produced.iter().map(|one| (one.topic.clone(), one.id.clone())).collect();
        let settled = |effect: &Effect| ledger.effects.contains_key(effect) || dead.contains(effect);
        let repeats = |in_doubt| effects(ledger.repeats.iter().filter(|request| request.in_doubt() == in_doubt));
        Self {
            lost: sorted(known.iter().filter(|effect| !settled(effect)).cloned()),
            repeated: repeats(false),
            repeated_in_doubt: repeats(true),
            applied_twice: sorted(ledger.effects.iter().filter(|(_, times)| **times > 1).map(|(e, _)| e.clone())),
            forwarded_twice: more_than_once(ledger.requests.iter()),
            first_twice: more_than_once(ledger.requests.iter().filter(|request| !request.in_doubt())),
            foreign: sorted(ledger.effects.keys().filter(|effect| !known.contains(*effect)).cloned()),
            applied_and_dead: sorted(ledger.effects.keys().filter(|effect| dead.contains(*effect)).cloned()),
            disorder: disorder(&ledger.applied),
            effects: ledger.effects.len(),
            dead: dead.len(),
            ..Self::default()
        }
    }

    /// Adds what a group has committed: partitions not at their end, and open records below a committed offset.
    pub fn with_commits(mut self, bootstrap: &str, group: &str, produced: &[Produced]) -> anyhow::Result<Self> {
        let lost: HashSet<Effect> = self.lost.iter().cloned().collect();
        let topics: BTreeSet<&str> = produced.iter().map(|one| one.topic.as_str()).collect();
        for topic in topics {
            let committed = topics::committed(bootstrap, group, topic)?;
            let next = |partition: i32| committed.get(&partition).map(|committed| committed.next);
            for (partition, (low, end)) in topics::watermarks(bootstrap, topic)? {
                if next(partition).unwrap_or(low) != end {
                    let partition_name = (topic.to_owned(), partition);
                    self.behind.push(Behind { partition: partition_name, committed: next(partition), end });
                }
            }
            let open = produced.iter().filter(|one| {
                let (partition, offset) = one.position;
                one.topic == topic
                    && next(partition).is_some_and(|next| offset < next)
                    && lost.contains(&(one.topic.clone(), one.id.clone()))
            });
            self.passed_open.extend(open.cloned());
        }
        Ok(self)
    }

    /// Fails the test unless every effect happened once, in order, nothing was forwarded twice without need,
    /// and (when commits were added) everything is committed.
    pub fn assert_exactly_once(&self) {
        self.assert_promise();
        assert!(self.repeated_in_doubt.is_empty() && self.behind.is_empty(), "{self}");
    }

    /// Fails the test unless nothing is lost, nothing was repeated outside doubt, and the order was kept;
    /// repeats in doubt and open commits are allowed.
    pub fn assert_promise(&self) {
        let wrong = [
            self.lost.len(),
            self.repeated.len(),
            self.applied_twice.len(),
            self.foreign.len(),
            self.disorder.len(),
            self.passed_open.len(),
        ];
        assert!(wrong.iter().all(|&count| count == 0), "{self}");
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} effects applied, {} dead-lettered", self.effects, self.dead)?;
        let lists = [
            ("lost", &self.lost),
            ("repeated outside doubt", &self.repeated),
            ("repeated in doubt", &self.repeated_in_doubt),
            ("applied twice", &self.applied_twice),
            ("forwarded twice", &self.forwarded_twice),
            ("forwarded twice as first", &self.first_twice),
            ("never produced", &self.foreign),
            ("applied and dead", &self.applied_and_dead),
            ("out of order", &self.disorder),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            writeln!(f, "{name}: {}, e.g. {:?}", list.len(), &list[..list.len().min(5)])?;
        }
        if !self.passed_open.is_empty() {
            let few = &self.passed_open[..self.passed_open.len().min(5)];
            writeln!(f, "committed past open records: {}, e.g. {few:?}", self.passed_open.len())?;
        }
        if !self.behind.is_empty() {
            writeln!(f, "not committed to the end: {:?}", self.behind)?;
        }
        Ok(())
    }
}

fn dead_effect(record: &Read) -> Option<Effect> {
    Some((record.header("once-source-topic")?, record.header("once-message-id")?))
}

fn sorted(effects: impl Iterator<Item = Effect>) -> Vec<Effect> {
    effects.collect::<BTreeSet<_>>().into_iter().collect()
}

fn effects<'a>(requests: impl Iterator<Item = &'a Arc<Request>>) -> Vec<Effect> {
    sorted(requests.map(|request| request.effect()))
}

fn more_than_once<'a>(requests: impl Iterator<Item = &'a Arc<Request>>) -> Vec<Effect> {
    let mut times: HashMap<Effect, u32> = HashMap::new();
    for request in requests {
        *times.entry(request.effect()).or_default() += 1;
    }
    sorted(times.into_iter().filter(|(_, times)| *times > 1).map(|(effect, _)| effect))
}

/// First applications whose offset is below one applied before in the same lane (topic, partition and key).
fn disorder(applied: &[Arc<Request>]) -> Vec<Effect> {
    let mut seen: HashSet<Effect> = HashSet::new();
    let mut highest: BTreeMap<(&str, i32, &str), i64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for request in applied {
        let (Some(key), Some((partition, offset))) = (request.key(), request.position()) else {
            continue;
        };
        if !seen.insert(request.effect()) {
            continue;
        }
        let last = highest.entry((request.topic(), partition, key)).or_insert(-1);
        if offset < *last {
            wrong.push(request.effect());
        }
        *last = offset.max(*last);
    }
    wrong
}
