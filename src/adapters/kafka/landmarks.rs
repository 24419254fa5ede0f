//! Whether a partition's log is still the one that we read: looks whether a record that we know stands where it stood.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Message, Timestamp};

use super::config::KafkaConfig;
use super::owned::Register;
use super::rebalance::positions;
use crate::domain::past::Landmark;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::ports::{Assignment, Looked, Standing};

/// Bound of one answer of the brokers.
const ANSWER: Duration = Duration::from_secs(5);
/// Bound of each further answer of a round in which a leader was silent: the others are not kept waiting for it.
const SHORT_ANSWER: Duration = Duration::from_millis(500);
/// Between two rounds while brokers do not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// What is looked for, and for which assignment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The newest assignment that its order knew.
    pub seen: Assignment,
    /// The partition.
    pub at: TopicPartition,
    /// The record.
    pub landmark: Landmark,
}

/// Looks under way, one after another on one thread of their own. Bounded by the partitions that are ours: what is not
/// ours any more is not looked for.
#[derive(Debug)]
pub(super) struct Looks {
    orders: Sender<Look>,
    answers: Receiver<Looked>,
}

impl Looks {
    /// Starts the thread; it ends once this is dropped, after the answer that it waits for.
    pub(super) fn start(config: &Arc<KafkaConfig>, register: Register) -> std::io::Result<Self> {
        let ((orders, asked), (sender, answers)) = (channel(), channel());
        let looker = Looker { config: Arc::clone(config), register, asked, sender };
        std::thread::Builder::new().name("kafka-look".into()).spawn(move || looker.run())?;
        Ok(Self { orders, answers })
    }

    /// Looks for a record, again and again until brokers answer.
    pub(super) fn look(&self, look: Look) {
        let _ = self.orders.send(look); // the thread lives as long as we do
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&self) -> Option<Looked> {
        self.answers.try_recv().ok()
    }
}

struct Looker {
    config: Arc<KafkaConfig>,
    register: Register,
    asked: Receiver<Look>,
    sender: Sender<Looked>,
}

impl Looker {
    fn run(self) {
        while let Ok(first) = self.asked.recv() {
            let mut open = vec![first];
            let mut client = None;
            while !open.is_empty() {
                if !self.hear_more(&mut open, Duration::ZERO) {
                    return;
                }
                round(&mut open, |look, wait| {
                    !self.register.holds(&look.at, look.seen) || self.look(look, &mut client, wait)
                });
                if !open.is_empty() && !self.hear_more(&mut open, AGAIN) {
                    return;
                }
            }
        }
    }

    /// Waits for one more order, and takes all there are; `false`: nobody asks any more.
    fn hear_more(&self, open: &mut Vec<Look>, patience: Duration) -> bool {
        match self.asked.recv_timeout(patience) {
            Ok(look) => open.push(look),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        loop {
            match self.asked.try_recv() {
                Ok(look) => open.push(look),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Looks once; whether there was an answer. The next look goes on with the same client.
    fn look(&self, look: &Look, client: &mut Option<BaseConsumer>, wait: Duration) -> bool {
        let mut ask = || {
            let client = match client {
                Some(client) => client,
                None => client.insert(reader(&self.config)?),
            };
            standing_of(client, &look.at, look.landmark, wait)
        };
        match ask() {
            Ok((standing, log)) => {
                let looked = Looked { seen: look.seen, partition: look.at.clone(), standing, log };
                let _ = self.sender.send(looked); // nobody asks any more
                true
            }
            Err(error) => {
                tracing::warn!(target: "kafka", %error, at = %look.at, "the last settled record cannot be read");
                false
            }
        }
    }
}

/// One round: each is asked once, and forgotten when it is done. The next round begins with another one, so that each has
/// its turn of being waited for.
fn round<T>(open: &mut Vec<T>, mut is_done: impl FnMut(&T, Duration) -> bool) {
    let mut wait = ANSWER;
    open.retain(|one| {
        let stays = !is_done(one, wait);
        if stays {
            wait = SHORT_ANSWER;
        }
        stays
    });
    if !open.is_empty() {
        open.rotate_left(1);
    }
}

fn reader(config: &KafkaConfig) -> KafkaResult<BaseConsumer> {
    let mut reader = config.watermark_reader();
    // The client wants a group's name of everybody who reads; it neither joins nor commits.
    reader.set("group.id", &config.group).set("enable.auto.commit", "false");
    // One small batch is enough.
    reader.set("enable.partition.eof", "true").set("fetch.message.max.bytes", "1024").set("fetch.wait.max.ms", "10");
    reader.create()
}

/// Whether the record stands where it stood.
pub(super) fn standing(config: &KafkaConfig, at: &TopicPartition, landmark: Landmark) -> KafkaResult<Standing> {
    standing_of(&reader(config)?, at, landmark, ANSWER).map(|(standing, _)| standing)
}

/// Whether it stands there, and where the log begins and ends. `wait`: for the leader's first answer.
fn standing_of(
    reader: &BaseConsumer,
    at: &TopicPartition,
    landmark: Landmark,
    wait: Duration,
) -> KafkaResult<(Standing, (NextOffset, NextOffset))> {
    let (low, high) = reader.fetch_watermarks(&at.topic, at.partition, wait)?;
    let standing = standing_between(reader, at, landmark, (low, high))?;
    Ok((standing, (NextOffset(low), NextOffset(high))))
}

fn standing_between(
    reader: &BaseConsumer,
    at: &TopicPartition,
    landmark: Landmark,
    (low, high): (i64, i64),
) -> KafkaResult<Standing> {
    let offset = landmark.offset.0;
    if offset >= high {
        return Ok(Standing::Other);
    }
    if offset < low {
        return Ok(Standing::Unclear);
    }
    match first_from(reader, at, offset)? {
        // Only transaction markers stand from there on, or what compaction has left.
        None => Ok(Standing::Unclear),
        Some(there) if there.offset == offset => {
            let same = there.timestamp.to_millis().unwrap_or(-1) == landmark.timestamp;
            Ok(if same { Standing::Same } else { Standing::Other })
        }
        Some(behind) => {
            let before = first_from(reader, at, low)?;
            let same = before.is_some_and(|before| goes_around(&before, landmark, &behind));
            Ok(if same { Standing::Same } else { Standing::Unclear })
        }
    }
}

/// What is known of a record that was read.
#[derive(Debug)]
struct Seen {
    offset: i64,
    timestamp: Timestamp,
}

/// The first record at an offset or behind it; `None`: none stands there.
fn first_from(reader: &BaseConsumer, at: &TopicPartition, offset: i64) -> KafkaResult<Option<Seen>> {
    reader.assign(&positions(&[(at.clone(), NextOffset(offset))])?)?;
    let end = Instant::now() + ANSWER;
    while let Some(wait) = end.checked_duration_since(Instant::now()) {
        match reader.poll(wait) {
            // Of a partition, or a place, that was looked at before.
            Some(Ok(message)) if message.topic() != &*at.topic || message.partition() != at.partition => {}
            Some(Ok(message)) if message.offset() < offset => {}
            Some(Ok(message)) => {
                return Ok(Some(Seen { offset: message.offset(), timestamp: message.timestamp() }));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => tracing::debug!(target: "kafka", %error, "look"),
            None => break,
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}

/// Whether a log without the record is the same one all the same, and compaction has taken it: records from before it
/// and from after it stand around its place, by the broker's own clock. A log that was made anew holds none from before.
/// What producers say of the time proves nothing: whoever fills a new log from a copy keeps the old times.
fn goes_around(before: &Seen, landmark: Landmark, behind: &Seen) -> bool {
    let (Timestamp::LogAppendTime(then), Timestamp::LogAppendTime(later)) = (before.timestamp, behind.timestamp) else {
        return false;
    };
    before.offset < landmark.offset.0 && then <= landmark.timestamp && landmark.timestamp <= later
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::Offset;

    #[test]
    fn one_silent_leader_in_a_round_is_waited_for_and_each_in_its_turn() {
        let mut open = vec!["well", "silent", "also silent", "well too", "silent as well"];
        let mut asked = Vec::new();
        let mut look_around = |open: &mut Vec<&'static str>| {
            round(open, |one, wait| {
                asked.push((*one, wait));
                !one.contains("silent")
            });
            std::mem::take(&mut asked)
        };
        let first = [
            ("well", ANSWER),
            ("silent", ANSWER),
            ("also silent", SHORT_ANSWER),
            ("well too", SHORT_ANSWER),
            ("silent as well", SHORT_ANSWER),
        ];
        assert_eq!(look_around(&mut open), first);
        for order in [["also silent", "silent as well", "silent"], ["silent as well", "silent", "also silent"]] {
            let waits = [ANSWER, SHORT_ANSWER, SHORT_ANSWER];
            assert_eq!(look_around(&mut open), order.into_iter().zip(waits).collect::<Vec<_>>());
        }
        open.clear();
        assert_eq!(look_around(&mut open), []);
    }

    #[test]
    fn only_the_brokers_own_clock_says_that_a_log_goes_around_a_record_that_is_gone() {
        let landmark = Landmark { offset: Offset(50), timestamp: 1_000 };
        let (append, create) = (Timestamp::LogAppendTime, Timestamp::CreateTime);
        for (first, then, later, same) in [
            (3, append(900), append(1_100), true),
            (49, append(1_000), append(1_000), true), // of one batch
            (3, append(1_001), append(1_100), false), // made anew since
            (60, append(900), append(1_100), false),  // all that stood before it is gone
            (3, append(900), append(999), false),     // another clock, or it was no time of a broker
            (3, create(900), create(1_100), false),
            (3, create(900), append(1_100), false),
            (3, append(900), create(1_100), false),
            (3, Timestamp::NotAvailable, Timestamp::NotAvailable, false),
        ] {
            let (before, behind) = (Seen { offset: first, timestamp: then }, Seen { offset: 60, timestamp: later });
            assert_eq!(goes_around(&before, landmark, &behind), same, "{before:?} {behind:?}");
        }
    }
}
