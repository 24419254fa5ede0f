//! Sends letters back, in transactions of records and markers. Redis is only asked: a record that comes back says which
//! letter it was, and takes the mark of that one over by itself, so nothing can come between a mark and the commit.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::progress::{Progress, rate};
use super::doubts::Doubts;
use super::markers::{Markers, full};
use super::report::{Kept, Report};
use super::selection::Selection;
use super::targets::Targets;
use super::trouble::{Trouble, patiently};
use crate::adapters::claims::redis::RedisClaims;
use crate::adapters::kafka::{Outgoing, Seen, Span, TopicReader, TransactionError, Transactions, Wanted};
use crate::domain::claim::{Digest, IdHash};
use crate::domain::inspection::{Held, Sighting};
use crate::domain::letter::{Letter, Marker, SentBack};
use crate::domain::record::{Offset, Record};
use crate::domain::redrive::{Fate, fate};
use crate::pipeline::{Clock, digest, hash_128, id_hash};
use crate::ports::StoreError;
use crate::telemetry::rfc3339;

/// Letters and bytes of one transaction, at most (one letter may be larger).
const BATCH: usize = 100;
const BATCH_BYTES: u64 = 1024 * 1024;

/// How long a commit whose outcome is unknown is asked for again.
const COMMIT_PATIENCE: Duration = Duration::from_secs(120);

/// A letter that is asked for.
pub(super) struct Pending {
    record: Record,
    letter: Letter,
    digest: Digest,
    /// What Redis knows its message by, if it has an ID.
    id: Option<IdHash>,
    marker: Marker,
}

/// What is done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// It is sent back, and says where its message was given up: its own position, if nothing else is known.
    Send { source: (i32, Offset) },
    /// It stays, and no later run sends it either: a marker says so.
    Settle(Kept),
    /// It stays.
    Keep(Kept),
}

/// What became of letters that were sent together.
enum Sent {
    /// All that was planned.
    Done,
    /// Nothing: a source topic does not take one of them.
    Refused { why: String },
}

/// Everything that a run needs while it sends.
pub(super) struct Post<'a> {
    pub topic: &'a str,
    pub namespace: &'a str,
    pub max: Option<u64>,
    pub runtime: &'a tokio::runtime::Runtime,
    pub claims: &'a RedisClaims,
    /// `None`: nothing is changed.
    pub producer: Option<&'a Transactions>,
    pub selection: &'a Selection,
    pub targets: &'a Targets,
    pub markers: Markers,
    pub doubts: Doubts,
    pub batch: Vec<Pending>,
    pub batch_bytes: u64,
    pub report: Report,
    pub progress: Progress,
}

impl Post<'_> {
    /// Reads the spans, and sends back what is asked for.
    pub(super) fn read(&mut self, reader: &TopicReader, spans: &[Span]) -> Result<(), Trouble> {
        let wanted = Wanted { every_header: true, key: true, value: true, ..Wanted::default() };
        let (stop, mut trouble) = (AtomicBool::new(false), None);
        let read = reader.read(spans, &wanted, &stop, &mut |seen| {
            if trouble.is_some() {
                return; // handed over before reading has stopped
            }
            trouble = self.see(seen).err();
            stop.store(trouble.is_some() || self.is_enough(), Ordering::Relaxed);
        });
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        read.map_err(|error| self.trouble(format!("{error}; run it again: it goes on where this one stopped")))?;
        self.post()
    }

    fn see(&mut self, seen: Seen) -> Result<(), Trouble> {
        match seen {
            Seen::Record { record, passed, .. } => {
                self.progress.passed(passed);
                if self.is_enough() { Ok(()) } else { self.take(record) }
            }
            Seen::Deleted { offsets: passed, .. } | Seen::End { passed, .. } => {
                self.progress.passed(passed);
                Ok(())
            }
        }
    }

    /// Whether as many letters are sent as were asked for.
    fn is_enough(&self) -> bool {
        self.max.is_some_and(|max| self.report.sent >= max)
    }

    fn take(&mut self, record: Record) -> Result<(), Trouble> {
        if Marker::read(&record).is_some() {
            return Ok(());
        }
        let Some(letter) = Letter::read(&record) else {
            self.report.keep(Kept::NotOurs);
            return Ok(());
        };
        if let Err(left) = self.selection.judge(&letter) {
            self.report.keep(Kept::Left(left));
            return Ok(());
        }
        let position = record.position();
        if self.markers.has_letter(position.partition, position.offset) {
            self.report.keep(Kept::SentBefore);
        } else if letter.value_left {
            self.report.value_elsewhere(&letter);
        } else if self.targets.has(&letter.topic) {
            self.batch_bytes += record.payload_bytes();
            self.batch.push(self.pending(record, letter));
        }
        let room = self.max.map_or(u64::MAX, |max| max.saturating_sub(self.report.sent));
        let full = self.batch.len() >= BATCH || self.batch.len() as u64 >= room || self.batch_bytes >= BATCH_BYTES;
        if full { self.post() } else { Ok(()) }
    }

    fn pending(&self, record: Record, letter: Letter) -> Pending {
        let digest = digest(&record);
        let id = letter.id.as_ref().map(|id| id_hash(self.namespace, &letter.topic, id));
        let position = record.position();
        let source = hash_128(&letter.record_input(digest));
        let marker = Marker { partition: position.partition, offset: position.offset, record: source };
        Pending { record, letter, digest, id, marker }
    }

    /// Sends the batch back. Where a record of it is refused, one by one: so that it stays alone.
    fn post(&mut self) -> Result<(), Trouble> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        if self.markers.is_full_with(batch.len()) {
            return Err(self.trouble(full().words));
        }
        if let Sent::Done = self.deliver(&batch)? {
            return Ok(());
        }
        for pending in &batch {
            // Planned anew: what was a copy of one that is refused is none of one that was sent.
            if let Sent::Refused { why } = self.deliver(std::slice::from_ref(pending))? {
                self.report.topic_refuses(&pending.letter, why);
            }
        }
        Ok(())
    }

    /// Sends these back, as a whole or not at all.
    fn deliver(&mut self, batch: &[Pending]) -> Result<Sent, Trouble> {
        let plans = self.plan(batch)?;
        let changes = plans.iter().any(|plan| !matches!(plan, Plan::Keep(_)));
        if let Some(producer) = self.producer.filter(|_| changes)
            && let Sent::Refused { why } = self.transact(producer, batch, &plans)?
        {
            return Ok(Sent::Refused { why });
        }
        self.count(batch, &plans);
        Ok(Sent::Done)
    }

    fn plan(&self, batch: &[Pending]) -> Result<Vec<Plan>, Trouble> {
        let ids: Vec<IdHash> = batch.iter().filter_map(|pending| pending.id).collect();
        let seen = self.runtime.block_on(patiently(async || self.claims.inspect(&ids).await));
        let mut seen = seen.map_err(|error| self.redis(&error))?.into_iter();
        let mut sent = HashSet::new();
        let plan = |pending: &Pending| {
            let nothing = Sighting { held: Held::Nothing, session_lives: None, keeps: None };
            let seen = pending.id.and_then(|_| seen.next()).unwrap_or(nothing);
            let source = pending.marker.record;
            if self.markers.has_record(source) || sent.contains(&source) {
                return Plan::Settle(Kept::Copy);
            }
            match fate(&seen, pending.digest) {
                Fate::Send { dead_at } => {
                    sent.insert(source);
                    Plan::Send { source: dead_at.unwrap_or((pending.letter.partition, pending.letter.offset)) }
                }
                Fate::DoneSince => Plan::Settle(Kept::DoneSince),
                Fate::InProgress => Plan::Keep(Kept::InProgress),
                Fate::Foreign => Plan::Keep(Kept::Foreign),
            }
        };
        Ok(batch.iter().map(plan).collect())
    }

    /// One transaction: all of it, or nothing.
    fn transact(&self, producer: &Transactions, batch: &[Pending], plans: &[Plan]) -> Result<Sent, Trouble> {
        let attempt = || {
            let sent = self.produce(producer, batch, plans).and_then(|()| producer.flush());
            sent.and_then(|()| producer.commit(COMMIT_PATIENCE)).inspect_err(|error| {
                if !matches!(error, TransactionError::Unknown(_)) {
                    producer.abort();
                }
            })
        };
        let done = match attempt() {
            Err(TransactionError::Hole(_)) => attempt(), // behind one that was refused
            done => done,
        };
        match done {
            Ok(()) => Ok(Sent::Done),
            Err(TransactionError::Record { topic, why }) if topic != self.topic => Ok(Sent::Refused { why }),
            Err(error) => Err(self.kafka(&error)), // also where the dead-letter topic does not take a marker
        }
    }

    fn produce(&self, producer: &Transactions, batch: &[Pending], plans: &[Plan]) -> Result<(), TransactionError> {
        let now = Clock::of_host().now().wall;
        producer.begin()?;
        for (pending, plan) in batch.iter().zip(plans) {
            let Pending { record, letter, marker, .. } = pending;
            if matches!(plan, Plan::Keep(_)) {
                continue;
            }
            if let Plan::Send { source } = *plan {
                let (attempts, in_doubt) = self.doubts.of(letter);
                let said = SentBack { source, attempts, in_doubt }.headers(self.namespace);
                let said = said.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
                let own = letter.headers(record);
                let headers = own.map(|(name, value)| (std::str::from_utf8(name).unwrap_or(""), value)).chain(said);
                producer.send(&Outgoing {
                    topic: &letter.topic,
                    partition: self.targets.partition(&letter.topic, letter.partition),
                    timestamp: self.targets.timestamp(&letter.topic, record.position().timestamp, now),
                    key: record.key(),
                    value: record.value(),
                    headers: headers.collect(),
                })?;
            }
            let headers = marker.headers(rfc3339(now));
            // Without a key: a topic that is compacted after all refuses it, and no letter vanishes behind it.
            producer.send(&Outgoing {
                topic: self.topic,
                partition: Some(marker.partition),
                timestamp: None,
                key: None,
                value: None,
                headers: headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect(),
            })?;
        }
        Ok(())
    }

    fn count(&mut self, batch: &[Pending], plans: &[Plan]) {
        for (pending, plan) in batch.iter().zip(plans) {
            match plan {
                Plan::Send { .. } => self.report.sent(&pending.letter),
                Plan::Settle(kept) | Plan::Keep(kept) => self.report.keep(*kept),
            }
            if !matches!(plan, Plan::Keep(_)) {
                self.markers.add(&pending.marker);
            }
        }
        let sent = self.report.sent;
        self.progress.say(|took| format!("{sent} sent back, {:.0} letters/s", rate(sent, took)));
    }

    fn redis(&self, error: &StoreError) -> Trouble {
        self.trouble(format!("{error}; run it again: it goes on where this one stopped"))
    }

    fn kafka(&self, error: &TransactionError) -> Trouble {
        let trouble = Trouble::of(error, &format!("once-redrive-{}", self.namespace), self.topic);
        let nothing_yet = self.report.sent == 0 && matches!(error, TransactionError::Refused(_));
        if nothing_yet { trouble.unchanged() } else { trouble }
    }

    fn trouble(&self, words: String) -> Trouble {
        Trouble { half_way: self.producer.is_some(), words }
    }
}
