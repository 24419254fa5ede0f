//! The thread that polls Kafka.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::mpsc;

use super::headers::{Constants, Style};
use super::{BATCH, Job};

/// How long to wait for the first record of a batch.
const POLL: Duration = Duration::from_millis(100);

/// Says `assigned` on standard output.
struct Announce;

impl ClientContext for Announce {}

impl ConsumerContext for Announce {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            println!("assigned");
        }
    }
}

/// A consumer and what it makes of records.
pub(super) struct Consumption {
    consumer: BaseConsumer<Announce>,
    constants: Constants,
}

impl Consumption {
    pub(super) fn new(brokers: &str, topic: &str, group: &str, style: Style) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("auto.commit.interval.ms", "1000")
            // As the sidecar's, so that memory can be compared; the default of 64 MiB is no faster.
            .set("queued.max.messages.kbytes", "16384")
            // A full queue otherwise stops fetching for a whole second.
            .set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer<Announce> = config.create_with_context(Announce)?;
        consumer.subscribe(&[topic])?;
        Ok(Self { consumer, constants: Constants::new(topic, style)? })
    }

    /// Polls until nobody takes batches any more.
    pub(super) fn hand_over(&self, batches: &mpsc::Sender<Vec<Job>>) {
        loop {
            match self.batch() {
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => {
                    if batches.blocking_send(batch).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    eprintln!("{error:#}");
                    return;
                }
            }
        }
    }

    /// What is there now, waiting only for the first record.
    fn batch(&self) -> anyhow::Result<Vec<Job>> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut wait = POLL;
        while batch.len() < BATCH {
            let Some(message) = self.consumer.poll(wait) else { break };
            batch.push(self.job(&message?)?);
            wait = Duration::ZERO;
        }
        Ok(batch)
    }

    fn job(&self, message: &BorrowedMessage<'_>) -> anyhow::Result<Job> {
        let value = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        Ok(Job { headers: self.constants.headers(message)?, value })
    }
}
