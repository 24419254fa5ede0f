//! A pipeline that does what a test tells it: reads what the log says, answers when asked to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kafka_once::adapters::kafka::{KafkaConfig, KafkaLog};
use kafka_once::domain::numbering::Numbered;
use kafka_once::domain::reasons::{CommitResult, DeadLetterReason};
use kafka_once::domain::record::{NextOffset, Record, TopicPartition};
use kafka_once::ports::{Assigned, Assignment, Commit, HeldBytes, Intake, LogCommand, LogOrder, Taken, Unfit, Window};
use tokio::sync::mpsc::{Receiver, UnboundedSender, channel, unbounded_channel};

/// Nothing takes this long: a test that waits longer hangs.
const HANGS: Duration = Duration::from_secs(90);

pub struct Driver {
    intake: Receiver<Intake>,
    commands: UnboundedSender<LogOrder>,
    thread: JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
    pulses: Arc<AtomicU64>,
    pub held: Arc<HeldBytes>,
    pub windows: BTreeMap<TopicPartition, Arc<Window>>,
}

impl Driver {
    /// Starts a log with room for two messages between it and us.
    pub fn start(config: KafkaConfig) -> Self {
        // Shown where a test fails, or with --nocapture.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG).try_init();
        let (sender, intake) = channel(2);
        let (commands, orders) = unbounded_channel();
        let (held, pulses) = (Arc::new(HeldBytes::default()), Arc::new(AtomicU64::new(0)));
        let beat = Arc::clone(&pulses);
        let pulse = move || {
            beat.fetch_add(1, Ordering::Relaxed);
        };
        let unfit = || Unfit { reason: DeadLetterReason::MissingId, detail: String::new() };
        let naming = Box::new(move |record| Taken {
            record: Arc::new(record),
            identity: Err(unfit()),
            numbered: Numbered::Not,
            sent_back: None,
        });
        let thread = KafkaLog::start(config, sender, orders, Arc::clone(&held), naming, pulse).expect("a log");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { intake, commands, thread, runtime, pulses, held, windows: BTreeMap::new() }
    }

    /// The next thing the log says.
    pub fn next(&mut self) -> Intake {
        self.next_within(HANGS).expect("the log says something")
    }

    /// Reads on until `wanted` is found; drops everything else.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(Intake) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next()) {
                return found;
            }
        }
    }

    pub fn say(&self, command: LogCommand) {
        self.commands.send(LogOrder { seen: Assignment(u64::MAX), command }).expect("the log listens");
    }

    /// Waits for `count` partitions, sorted.
    pub fn assigned(&mut self, count: usize) -> Vec<Assigned> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.until(|said| match said {
                Intake::Assigned(assigned) => Some(assigned),
                _ => None,
            }));
        }
        all.sort_by(|a, b| a.partition.cmp(&b.partition));
        assert_eq!(all.len(), count, "no more than asked for");
        all
    }

    /// Waits for `count` partitions and begins to read them.
    pub fn begun(&mut self, count: usize) -> Vec<Assigned> {
        let assigned = self.assigned(count);
        self.say(LogCommand::Begin(assigned.iter().map(|one| (one.partition.clone(), one.start)).collect()));
        assigned
    }

    /// What the log says within `patience`, if anything.
    fn next_within(&mut self, patience: Duration) -> Option<Intake> {
        let next = async { tokio::time::timeout(patience, self.intake.recv()).await };
        let said = self.runtime.block_on(next).ok()?.expect("the log runs");
        if let Intake::Assigned(assigned) = &said {
            self.windows.extend(assigned.iter().map(|one| (one.partition.clone(), Arc::clone(&one.window))));
        }
        Some(said)
    }

    pub fn revoking(&mut self) -> Vec<TopicPartition> {
        self.until(|said| match said {
            Intake::Revoking(partitions) => Some(partitions),
            _ => None,
        })
    }

    pub fn lost(&mut self) -> Vec<TopicPartition> {
        self.until(|said| match said {
            Intake::Lost(partitions) => Some(partitions),
            _ => None,
        })
    }

    /// The next batch.
    pub fn batch(&mut self) -> Vec<Record> {
        self.until(|said| match said {
            Intake::Records(taken) => Some(records(taken)),
            _ => None,
        })
    }

    /// Waits for at least `count` records; settles each at once.
    pub fn records(&mut self, count: usize) -> Vec<Record> {
        let mut all = Vec::new();
        while all.len() < count {
            let batch = self.batch();
            self.settle(&batch);
            all.extend(batch);
        }
        all
    }

    pub fn settle(&self, records: &[Record]) {
        for record in records {
            self.windows[&record.topic_partition()].passed(1);
            self.held.freed(record.held_bytes());
        }
    }

    /// Commits and waits for the answer.
    pub fn commit(&mut self, partition: &TopicPartition, next: i64, metadata: &str) -> CommitResult {
        let commit = Commit { partition: partition.clone(), next: NextOffset(next), metadata: metadata.to_owned() };
        self.say(LogCommand::Commit(vec![commit]));
        let (offsets, result) = self.until(|said| match said {
            Intake::Committed { offsets, result, .. } => Some((offsets, result)),
            _ => None,
        });
        assert_eq!(offsets, [(partition.clone(), NextOffset(next))]);
        result
    }

    /// Waits until the polling loop has turned `turns` times more.
    pub fn turns(&self, turns: u64) {
        let goal = self.pulses.load(Ordering::Relaxed) + turns;
        while self.pulses.load(Ordering::Relaxed) < goal {
            assert!(!self.thread.is_finished(), "the loop turns");
            std::thread::yield_now();
        }
    }

    /// Drops both ends of the pipeline and waits for the end of the thread.
    pub fn abandon(self) {
        drop((self.intake, self.commands));
        self.thread.join().expect("the thread ends in order");
    }

    /// Leaves the group and waits for the end of the thread.
    pub fn leave(mut self) {
        self.say(LogCommand::Leave);
        self.until(|said| matches!(said, Intake::Left).then_some(()));
        self.thread.join().expect("the thread ends in order");
    }
}

/// Lets the members of a group rebalance, as often as the brokers like, until each has as many partitions as `shares`
/// says: whatever is wanted back is released at once, whatever comes is begun. Says what each has, sorted.
///
/// `had` is what each has at the beginning.
pub fn share(members: &mut [&mut Driver], had: Vec<Vec<Assigned>>, shares: &[usize]) -> Vec<Vec<Assigned>> {
    let mut owned = had;
    let end = std::time::Instant::now() + HANGS;
    while owned.iter().map(Vec::len).ne(shares.iter().copied()) {
        assert!(std::time::Instant::now() < end, "the group never came to rest: {owned:?}");
        for (member, owned) in members.iter_mut().zip(&mut owned) {
            match member.next_within(Duration::from_millis(50)) {
                Some(Intake::Assigned(assigned)) => {
                    member.say(LogCommand::Begin(
                        assigned.iter().map(|one| (one.partition.clone(), one.start)).collect(),
                    ));
                    owned.extend(assigned);
                }
                Some(Intake::Revoking(partitions)) => {
                    owned.retain(|one| !partitions.contains(&one.partition));
                    member.say(LogCommand::Release(partitions));
                }
                Some(Intake::Lost(partitions)) => owned.retain(|one| !partitions.contains(&one.partition)),
                Some(_) | None => {}
            }
        }
    }
    for owned in &mut owned {
        owned.sort_by(|a, b| a.partition.cmp(&b.partition));
    }
    owned
}

/// The offsets of one partition's records, in the order they came.
pub fn offsets(records: &[Record], partition: i32) -> Vec<i64> {
    let of = records.iter().map(Record::position).filter(|position| position.partition == partition);
    of.map(|position| position.offset.0).collect()
}

/// The records of a batch.
pub fn records(taken: Vec<Taken>) -> Vec<Record> {
    taken.into_iter().map(|taken| Arc::unwrap_or_clone(taken.record)).collect()
}
