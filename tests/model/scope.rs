//! One question to the checker: which records there are, what may go wrong how often, and which rules hold.

use std::time::Duration;

use kafka_once::domain::claim::Digest;
use kafka_once::domain::life::{IdReuse, InDoubt, Rules};
use kafka_once::domain::record::{Offset, Position};
use kafka_once::domain::retry::RetryPolicy;
use kafka_once::domain::verdict::Verdict;

use super::broken::Variant;

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    pub partition: usize,
    pub id: usize,
    pub payload: u8,
}

/// How often each kind of fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A process dies; its partitions are given to others.
    pub crash: u8,
    /// A process' lease is over; stopped for long enough, it does not know it yet.
    pub stall: u8,
    /// A reply of the store is slow or lost, or a command is carried out late.
    pub net: u8,
    /// The app answers otherwise than by 2xx, or a letter's acknowledgement is lost.
    pub app: u8,
    /// A partition is wanted back, or a process is asked to end.
    pub moves: u8,
    /// A partition is lost without having been given back.
    pub losses: u8,
    /// The deadline of a drain passes.
    pub cuts: u8,
    /// The store forgets everything.
    pub forgets: u8,
    /// The store forgets its last moments.
    pub fail_overs: u8,
}

/// One question.
#[derive(Clone, Debug)]
pub struct Scope {
    pub name: &'static str,
    pub records: Vec<Planted>,
    pub rules: Rules,
    pub faults: Faults,
    /// What the app may answer at the cost of a fault.
    pub verdicts: &'static [Verdict],
    /// How often the wall clock may advance by one timeout of the app, which then gives up at `Once-Deadline`.
    /// `None`: time stands still, and a request that was given up may have its effect at any time.
    pub ticks: Option<u8>,
    /// How many commands and requests may be on their way that nobody waits for.
    pub late: usize,
    /// Processes.
    pub hosts: usize,
    /// Begins with all sessions open and the partitions shared out; otherwise with nothing at all.
    pub warm: bool,
    /// Whether nothing happens that may repeat an effect: then nothing is forwarded twice.
    pub orderly: bool,
    /// What is broken on purpose.
    pub variant: Variant,
}

/// One request may take one second, and the wall clock advances by as much.
pub const APP_TIMEOUT: Duration = Duration::from_secs(1);

/// Topics' records have one timestamp here.
const TIMESTAMP: i64 = 7;

impl Scope {
    /// A question about records with these IDs, one list for each partition.
    pub fn new(name: &'static str, partitions: &[&[usize]], faults: Faults) -> Self {
        let planted = |(partition, ids): (usize, &&[usize])| -> Vec<Planted> {
            ids.iter().map(|id| Planted { partition, id: *id, payload: 1 }).collect()
        };
        Self {
            name,
            records: partitions.iter().enumerate().flat_map(planted).collect(),
            rules: rules(),
            faults,
            verdicts: &[Verdict::Failed, Verdict::Unknown],
            ticks: None,
            late: 2,
            hosts: 2,
            warm: true,
            orderly: false,
            variant: Variant::Whole,
        }
    }

    /// The number of partitions.
    pub fn partitions(&self) -> usize {
        self.records.iter().map(|planted| planted.partition + 1).max().unwrap_or(0)
    }

    /// The number of message IDs.
    pub fn ids(&self) -> usize {
        self.records.iter().map(|planted| planted.id + 1).max().unwrap_or(0)
    }

    /// A partition's records in the order of their offsets.
    pub fn log(&self, partition: usize) -> impl Iterator<Item = usize> {
        (0..self.records.len()).filter(move |record| self.records[*record].partition == partition)
    }

    /// Where a record stands.
    pub fn position(&self, record: usize) -> Position {
        let partition = self.records[record].partition;
        let offset = self.log(partition).position(|one| one == record).expect("it stands in its own partition");
        Position {
            partition: i32::try_from(partition).expect("few"),
            offset: Offset(i64::try_from(offset).expect("few")),
            timestamp: TIMESTAMP,
        }
    }

    /// A record's payload digest.
    pub fn digest(&self, record: usize) -> Digest {
        Digest([self.records[record].payload; 16])
    }

    /// The message of a record: the first record with the same ID and payload stands for it.
    pub fn message(&self, record: usize) -> usize {
        let Planted { id, payload, .. } = self.records[record];
        self.records.iter().position(|one| one.id == id && one.payload == payload).unwrap_or(record)
    }
}

fn rules() -> Rules {
    let backoff = Duration::from_millis(100);
    Rules {
        app_timeout: APP_TIMEOUT,
        retry: RetryPolicy { attempts: None, backoff, backoff_max: backoff },
        in_doubt: InDoubt::Repeat,
        id_reuse: IdReuse::DeadLetter,
        dead_letters: true,
        longest_wait: backoff,
    }
}
