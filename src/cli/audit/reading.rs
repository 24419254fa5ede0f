//! Reads all partitions at once, on as many threads as there are cores, and hands each record to its partition's audit.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::progress::{Progress, rate};
use super::ids::{Known, SeenIds};
use super::report::MIB;
use crate::adapters::kafka::{ReadError, Seen, Span, TopicReader, Wanted};
use crate::domain::audit::{Found, Named, PartitionAudit};
use crate::domain::identity::{IdError, Source, identify};
use crate::domain::numbering::{SequenceSource, number};
use crate::domain::record::Record;
use crate::pipeline::{id_hash, json_at};

/// Between two looks at how far the readers are.
const LOOK: Duration = Duration::from_millis(200);
/// Records after which a reader tells how far it is.
const TELL: u64 = 1024;

/// Where IDs and numbers stand, and what must be read for that.
pub(super) struct What {
    ids: Vec<Source>,
    sequences: Vec<SequenceSource>,
    wanted: Wanted,
}

impl What {
    /// By `ONCE_MESSAGE_ID` and `ONCE_SEQUENCE`.
    pub(super) fn new(ids: &[Source], sequences: &[SequenceSource]) -> Self {
        let headers = ids.iter().flat_map(Source::headers).chain(sequences.iter().flat_map(SequenceSource::headers));
        let headers: BTreeSet<&str> = headers.collect();
        let wanted = Wanted {
            headers: headers.into_iter().map(str::to_owned).collect(),
            every_header: false,
            key: ids.contains(&Source::Key),
            value: ids.iter().any(|source| matches!(source, Source::JsonPointer(_)))
                || sequences.iter().any(|source| matches!(source, SequenceSource::Json { .. })),
        };
        Self { ids: ids.to_vec(), sequences: sequences.to_vec(), wanted }
    }
}

/// What was read.
pub(super) struct Read {
    /// What each partition was found to hold, by partition.
    pub parts: Vec<(Span, Found)>,
    /// Keys and values read, in bytes.
    pub bytes: u64,
    /// How many message IDs are remembered.
    pub remembered: u64,
    /// From the first fetch to the last record.
    pub took: Duration,
}

/// How far all readers together are.
#[derive(Default)]
struct Tally {
    offsets: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

/// Reads the spans, each to its end. With `logs`, no progress bar.
pub(super) fn read(
    reader: &TopicReader,
    spans: Vec<Span>,
    what: &What,
    most_ids: u64,
    logs: bool,
) -> Result<Read, ReadError> {
    let started = Instant::now();
    let progress = Progress::new(spans.iter().map(Span::offsets).sum(), logs);
    let (ids, tally, stop) = (SeenIds::new(most_ids), Tally::default(), AtomicBool::new(false));
    let partitions = spans.len();
    let groups = groups(spans, thread::available_parallelism().map_or(1, usize::from));
    let mut parts = Vec::with_capacity(partitions);
    thread::scope(|scope| {
        let (done, results) = channel();
        for group in groups {
            let (done, ids, tally, stop) = (done.clone(), &ids, &tally, &stop);
            let work = move || {
                let mut worker = Worker::new(group.len(), partitions, what, ids, tally);
                let result = reader.read(&group, &what.wanted, stop, &mut |seen| worker.see(seen));
                // Nobody hears us any more only when another reader has failed.
                let _ = done.send(result.map(|()| group.into_iter().zip(worker.finish()).collect::<Vec<_>>()));
            };
            if let Err(error) = thread::Builder::new().name("audit".into()).spawn_scoped(scope, work) {
                stop.store(true, Ordering::Relaxed);
                return Err(ReadError::BrokenOff(format!("no thread: {error}")));
            }
        }
        drop(done);
        loop {
            match results.recv_timeout(LOOK) {
                Ok(Ok(read)) => parts.extend(read),
                Ok(Err(error)) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                Err(RecvTimeoutError::Timeout) => tally.show(&progress),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })?;
    if parts.len() < partitions {
        return Err(ReadError::BrokenOff("a reader ended before its time".to_owned()));
    }
    parts.sort_by_key(|(span, _)| span.partition);
    Ok(Read { parts, bytes: tally.bytes.into_inner(), remembered: ids.remembered(), took: started.elapsed() })
}

/// Deals the partitions out, the largest first, each to the group that has least: at most `most` groups.
fn groups(mut spans: Vec<Span>, most: usize) -> Vec<Vec<Span>> {
    spans.sort_by_key(|span| std::cmp::Reverse(span.offsets()));
    let mut groups: Vec<(u64, Vec<Span>)> = vec![(0, Vec::new()); spans.len().min(most.max(1))];
    for span in spans {
        if let Some((offsets, group)) = groups.iter_mut().min_by_key(|(offsets, group)| (*offsets, group.len())) {
            *offsets += span.offsets();
            group.push(span);
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

impl Tally {
    fn show(&self, progress: &Progress) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        progress.reached(read(&self.offsets));
        progress.say(|took| {
            let (records, mib) = (rate(read(&self.records), took), rate(read(&self.bytes), took) / MIB);
            format!("{records:.0} records/s, {mib:.1} MiB/s")
        });
    }
}

/// One thread's partitions.
struct Worker<'a> {
    what: &'a What,
    ids: &'a SeenIds,
    audits: Vec<PartitionAudit>,
    tally: &'a Tally,
    /// Not told yet.
    offsets: u64,
    records: u64,
    bytes: u64,
}

impl<'a> Worker<'a> {
    fn new(own: usize, all: usize, what: &'a What, ids: &'a SeenIds, tally: &'a Tally) -> Self {
        let audits = (0..own).map(|_| PartitionAudit::one_of(all)).collect();
        Self { what, ids, audits, tally, offsets: 0, records: 0, bytes: 0 }
    }

    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Record { place, record, bytes, passed } => {
                self.observe(place, &record);
                self.offsets += passed;
                self.bytes += bytes;
                self.records += 1;
                if self.records >= TELL {
                    self.tell();
                }
            }
            Seen::Deleted { place, offsets } => {
                self.audits[place].deleted(offsets);
                self.offsets += offsets;
            }
            Seen::End { passed, .. } => {
                self.offsets += passed;
                self.tell();
            }
        }
    }

    fn observe(&mut self, place: usize, record: &Record) {
        // Read at most once, however many pointers look into it.
        let value = OnceCell::new();
        let json = |bytes: &[u8], pointer: &str| {
            json_at(value.get_or_init(|| serde_json::from_slice(bytes).ok()).as_ref()?, pointer)
        };
        let id = identify(&self.what.ids, record, &json);
        let named = match &id {
            Ok(id) if id.is_position_made() => Named::Without,
            Ok(id) => match self.ids.see(id_hash("", record.topic(), id)) {
                Known::New => Named::New,
                Known::Seen => Named::Duplicate(id),
                Known::NoRoom => Named::Unremembered,
            },
            Err(IdError::Missing) => Named::Without,
            Err(IdError::Ambiguous { .. } | IdError::TooLong { .. }) => Named::Unusable,
        };
        let numbered = number(&self.what.sequences, record, &json);
        self.audits[place].observe(record.position().offset, named, numbered);
    }

    fn tell(&mut self) {
        let add = |counter: &AtomicU64, own: &mut u64| counter.fetch_add(std::mem::take(own), Ordering::Relaxed);
        add(&self.tally.offsets, &mut self.offsets);
        add(&self.tally.records, &mut self.records);
        add(&self.tally.bytes, &mut self.bytes);
    }

    fn finish(self) -> impl Iterator<Item = Found> {
        self.audits.into_iter().map(PartitionAudit::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::NextOffset;

    #[test]
    fn partitions_are_dealt_out_evenly_and_each_one_once() {
        let span = |(partition, offsets): (i32, i64)| Span {
            partition,
            log_start: NextOffset(0),
            start: NextOffset(100),
            end: NextOffset(100 + offsets),
        };
        let spans: Vec<Span> = [(0, 10), (1, 500), (2, 0), (3, 300), (4, 250)].map(span).to_vec();
        let dealt = groups(spans.clone(), 2);
        let numbers = |group: &Vec<Span>| group.iter().map(|span| span.partition).collect::<Vec<_>>();
        assert_eq!(dealt.iter().map(numbers).collect::<Vec<_>>(), [vec![1, 0, 2], vec![3, 4]]);
        assert_eq!(groups(spans.clone(), 64).len(), 5);
        assert_eq!(groups(spans, 0).len(), 1);
        assert!(groups(Vec::new(), 2).is_empty());
    }
}
