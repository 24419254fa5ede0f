//! Sends letters back, in transactions of records and markers. Redis is only asked: a record that comes back says which
//! letter it was, and takes the mark of that one over by itself, so nothing can come between a mark and the commit.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::progress::{Progress, rate};
use super::markers::{Markers, full};
use super::report::{Kept, Report};
use super::selection::Selection;
use super::targets::Targets;
use super::trouble::{Trouble, patiently};
use crate::adapters::claims::redis::RedisClaims;
use crate::adapters::kafka::{Outgoing, Seen, Span, TopicReader, TransactionError, Transactions, Wanted};
use crate::domain::claim::{Digest, IdHash, Stored};
use crate::domain::letter::{Letter, Marker};
use crate::domain::record::Record;
use crate::domain::redrive::{Fate, fate};
use crate::pipeline::{Clock, digest, id_hash};
use crate::ports::{ClaimCommand, ClaimReply, Claims, StoreError};
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
    /// It is sent back.
    Send,
    /// It stays, and no later run sends it either: a marker says so.
    Settle(Kept),
    /// It stays.
    Keep(Kept),
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
        let hash = blake3::hash(&letter.record_input(digest));
        let mut source = [0; 16];
        source.copy_from_slice(&hash.as_bytes()[..16]);
        let position = record.position();
        let marker = Marker { partition: position.partition, offset: position.offset, record: source };
        Pending { record, letter, digest, id, marker }
    }

    /// Sends the batch back, as a whole or not at all.
    fn post(&mut self) -> Result<(), Trouble> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        if self.markers.is_full_with(batch.len()) {
            return Err(self.trouble(full().words));
        }
        let plans = self.plan(&batch)?;
        let changes = plans.iter().any(|plan| !matches!(plan, Plan::Keep(_)));
        if let Some(producer) = self.producer.filter(|_| changes) {
            self.transact(producer, &batch, &plans)?;
        }
        self.count(&batch, &plans);
        Ok(())
    }

    fn plan(&self, batch: &[Pending]) -> Result<Vec<Plan>, Trouble> {
        let ids: Vec<IdHash> = batch.iter().filter_map(|pending| pending.id).collect();
        let look = || ids.iter().map(|id| ClaimCommand::Look { id: *id }).collect();
        let replies = self.runtime.block_on(patiently(async || self.claims.batch(look()).await));
        let mut replies = replies.map_err(|error| self.redis(&error))?.replies.into_iter();
        let mut sent = HashSet::new();
        let plan = |pending: &Pending| {
            let stored = match pending.id.and_then(|_| replies.next()) {
                Some(ClaimReply::Was(stored)) => stored,
                _ => Stored::Nothing,
            };
            let source = pending.marker.record;
            if self.markers.has_record(source) || sent.contains(&source) {
                return Plan::Settle(Kept::Copy);
            }
            match fate(stored, pending.digest) {
                Fate::Send => {
                    sent.insert(source);
                    Plan::Send
                }
                Fate::DoneSince => Plan::Settle(Kept::DoneSince),
                Fate::InProgress => Plan::Keep(Kept::InProgress),
                Fate::Foreign => Plan::Keep(Kept::Foreign),
            }
        };
        Ok(batch.iter().map(plan).collect())
    }

    /// One transaction: all of it, or nothing.
    fn transact(&self, producer: &Transactions, batch: &[Pending], plans: &[Plan]) -> Result<(), Trouble> {
        let sent = self.produce(producer, batch, plans).and_then(|()| producer.flush());
        sent.and_then(|()| producer.commit(COMMIT_PATIENCE)).map_err(|error| {
            if !matches!(error, TransactionError::Unknown(_)) {
                producer.abort();
            }
            self.kafka(&error)
        })
    }

    fn produce(&self, producer: &Transactions, batch: &[Pending], plans: &[Plan]) -> Result<(), TransactionError> {
        let now = Clock::of_host().now().wall;
        producer.begin()?;
        for (pending, plan) in batch.iter().zip(plans) {
            let Pending { record, letter, marker, .. } = pending;
            if matches!(plan, Plan::Keep(_)) {
                continue;
            }
            if matches!(plan, Plan::Send) {
                let said = letter.sent_back(self.namespace);
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
                Plan::Send => self.report.sent(&pending.letter),
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
