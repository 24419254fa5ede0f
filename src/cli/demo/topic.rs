//! The demo's topic and group: made, filled, looked at from outside, and deleted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList};

use super::planting::{self, Message, PARTITIONS};

/// Bound of one answer of the brokers.
const ANSWER: Duration = Duration::from_secs(15);

/// Bound of sending everything.
const SENDING: Duration = Duration::from_secs(60);

/// Bound of waiting for the group to lose its members, above their session timeout; and between two looks.
const EMPTY: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(500);

/// The next offset of each partition.
pub(super) type Ends = BTreeMap<i32, i64>;

/// A topic, and the group that reads it.
pub(super) struct DemoTopic {
    pub brokers: String,
    pub name: String,
    pub group: String,
}

/// What the brokers said of the records: the ends of the partitions, or the first error.
#[derive(Default)]
struct Deliveries(Mutex<(Ends, usize, Option<String>)>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                let end = known.0.entry(message.partition()).or_default();
                *end = (message.offset() + 1).max(*end);
                known.1 += 1;
            }
            Err((error, _)) => known.2 = known.2.take().or_else(|| Some(error.to_string())),
        }
    }
}

impl DemoTopic {
    /// Names that no other run has; nothing is made yet.
    pub(super) fn new(brokers: String) -> Self {
        let name = format!("kafka-once-demo-{:08x}", rand::random::<u32>());
        Self { brokers, group: name.clone(), name }
    }

    /// Makes the topic, with as many replicas as the brokers think right.
    pub(super) fn create(&self) -> anyhow::Result<()> {
        let topic = NewTopic::new(&self.name, PARTITIONS, TopicReplication::Fixed(-1));
        let made = self.administer(async |admin, options| admin.create_topics([&topic], options).await)?;
        made.into_iter().try_for_each(|made| made.map(drop).map_err(|(_, code)| anyhow::anyhow!("{code}")))
    }

    /// Deletes the topic, and the group as soon as it has no members: those that were killed still count for a while.
    pub(super) fn delete(&self) -> anyhow::Result<()> {
        let topics = self.administer(async |admin, options| admin.delete_topics(&[&self.name], options).await)?;
        topics.into_iter().try_for_each(|gone| gone.map(drop).map_err(|(_, code)| anyhow::anyhow!("topic: {code}")))?;
        let deadline = Instant::now() + EMPTY;
        loop {
            let groups = self.administer(async |admin, options| admin.delete_groups(&[&self.group], options).await)?;
            match groups.into_iter().find_map(Result::err) {
                Some((_, RDKafkaErrorCode::NonEmptyGroup)) if Instant::now() < deadline => std::thread::sleep(LOOK),
                // A group that never had a member is no group.
                None | Some((_, RDKafkaErrorCode::GroupIdNotFound)) => return Ok(()),
                Some((_, code)) => anyhow::bail!("group: {code}"),
            }
        }
    }

    fn administer<T>(
        &self,
        call: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<T>,
    ) -> anyhow::Result<T> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(call(&admin, &options))?)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "kafka-once-demo");
        config
    }

    /// Sends messages in order; the brokers have all of them when it returns.
    pub(super) fn send(&self, messages: &[Message]) -> anyhow::Result<Ends> {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default())?;
        for message in messages {
            let id = Header { key: "message-id", value: Some(&message.id) };
            let mut headers = OwnedHeaders::new_with_capacity(3).insert(id);
            if let Some(number) = message.number {
                let (producer, number) = (planting::producer(message.partition), number.to_string());
                headers = headers.insert(Header { key: "producer-id", value: Some(&producer) });
                headers = headers.insert(Header { key: "sequence", value: Some(&number) });
            }
            let record = BaseRecord::to(&self.name)
                .partition(message.partition)
                .key(&message.key)
                .payload(&message.value)
                .headers(headers);
            producer.send(record).map_err(|(error, _)| error)?;
            producer.poll(Duration::ZERO);
        }
        producer.flush(SENDING).context("the brokers did not take all messages in time")?;
        let known = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &known.2 {
            anyhow::bail!("a message could not be sent: {error}");
        }
        ensure!(known.1 == messages.len(), "{} of {} messages were acknowledged", known.1, messages.len());
        Ok(known.0.clone())
    }

    /// What tells the group's committed offsets, again and again.
    pub(super) fn watcher(&self) -> anyhow::Result<Watcher> {
        let mut config = self.client();
        config.set("group.id", &self.group).set("enable.auto.commit", "false");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, PARTITIONS - 1);
        Ok(Watcher { consumer: config.create()?, list })
    }
}

/// Asks for the group's offsets without being its member.
pub(super) struct Watcher {
    consumer: BaseConsumer,
    list: TopicPartitionList,
}

impl Watcher {
    /// The committed offset of each partition that has one.
    pub(super) fn committed(&self) -> anyhow::Result<Ends> {
        let answer = self.consumer.committed_offsets(self.list.clone(), ANSWER)?;
        let known = answer.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => Some((element.partition(), next)),
            _ => None,
        });
        Ok(known.collect())
    }
}
