//! What tests ask a broker for: topics, committed offsets, ends of logs, everything a topic holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

/// Bound of one answer of a broker.
const ANSWER: Duration = Duration::from_secs(30);

/// A client configuration that comes back quickly after an outage.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.max.ms", "200");
    config
}

/// A consumer that is in `group` for its offsets only: it never joins.
pub fn consumer(bootstrap: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = client(bootstrap);
    config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    Ok(config.create()?)
}

/// Waits until `count` brokers are known to the cluster.
pub fn await_brokers(bootstrap: &str, count: usize, deadline: Duration) -> anyhow::Result<()> {
    let consumer = consumer(bootstrap, "unused")?;
    let end = Instant::now() + deadline;
    loop {
        // The fetch itself waits for an answer, which paces this loop.
        let known = consumer.fetch_metadata(None, Duration::from_secs(1)).map(|metadata| metadata.brokers().len());
        if known.as_ref().is_ok_and(|known| *known >= count) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "not {count} brokers: {known:?}");
    }
}

/// Creates a topic and waits until each of its partitions has a leader.
pub fn create(
    bootstrap: &str,
    name: &str,
    partitions: i32,
    replicas: i32,
    configs: &[(&str, &str)],
) -> anyhow::Result<()> {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let made = admin(bootstrap, async |admin, options| admin.create_topics([&topic], options).await)?;
    for result in made {
        result.map_err(|(topic, code)| anyhow::anyhow!("creating {topic}: {code}"))?;
    }
    await_leaders(bootstrap, name, usize::try_from(partitions)?)
}

/// Sets a topic's configuration, in place of whatever was set for it before.
pub fn configure(bootstrap: &str, name: &str, configs: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut topic = AlterConfig::new(ResourceSpecifier::Topic(name));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let done = admin(bootstrap, async |admin, options| admin.alter_configs([&topic], options).await)?;
    for result in done {
        result.map_err(|(resource, code)| anyhow::anyhow!("configuring {resource:?}: {code}"))?;
    }
    Ok(())
}

/// Deletes a topic.
pub fn delete(bootstrap: &str, name: &str) -> anyhow::Result<()> {
    let gone = admin(bootstrap, async |admin, options| admin.delete_topics(&[name], options).await)?;
    for result in gone {
        result.map_err(|(topic, code)| anyhow::anyhow!("deleting {topic}: {code}"))?;
    }
    Ok(())
}

/// Waits until no broker knows a topic any more.
pub fn await_gone(bootstrap: &str, name: &str, deadline: Duration) -> anyhow::Result<()> {
    let consumer = consumer(bootstrap, "unused")?;
    let end = Instant::now() + deadline;
    loop {
        // The broker's answer paces this loop.
        let all = consumer.fetch_metadata(None, ANSWER)?;
        if all.topics().iter().all(|topic| topic.name() != name) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "{name} is still there");
    }
}

/// Deletes a group with its offsets, once the broker knows that it has no members.
pub fn delete_group(bootstrap: &str, group: &str) -> anyhow::Result<()> {
    let gone = admin(bootstrap, async |admin, options| admin.delete_groups(&[group], options).await)?;
    for result in gone {
        result.map_err(|(group, code)| anyhow::anyhow!("deleting {group}: {code}"))?;
    }
    Ok(())
}

/// Makes a topic have `partitions` partitions in all.
pub fn grow(bootstrap: &str, name: &str, partitions: usize) -> anyhow::Result<()> {
    let more = NewPartitions::new(name, partitions);
    let grown = admin(bootstrap, async |admin, options| admin.create_partitions([&more], options).await)?;
    for result in grown {
        result.map_err(|(topic, code)| anyhow::anyhow!("growing {topic}: {code}"))?;
    }
    await_leaders(bootstrap, name, partitions)
}

/// Deletes the records of a partition below `offset`, as retention would.
pub fn delete_records_before(bootstrap: &str, topic: &str, partition: i32, offset: i64) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    let done = admin(bootstrap, async |admin, options| admin.delete_records(&list, options).await)?;
    for element in done.elements() {
        element.error()?;
    }
    Ok(())
}

/// Partitions of a topic, in order.
pub fn partitions(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<i32>> {
    let consumer = consumer(bootstrap, "unused")?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let found = metadata.topics().first().context("no such topic")?;
    let mut ids: Vec<i32> = found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Node ID of the broker that leads each partition of a topic; -1 for none.
pub fn leaders(bootstrap: &str, topic: &str) -> anyhow::Result<BTreeMap<i32, i32>> {
    let metadata = consumer(bootstrap, "unused")?.fetch_metadata(Some(topic), ANSWER)?;
    let found = metadata.topics().first().context("no such topic")?;
    Ok(found.partitions().iter().map(|partition| (partition.id(), partition.leader())).collect())
}

/// Waits until every partition of all topics, the group's own included, has so many replicas in sync.
pub fn await_in_sync(bootstrap: &str, replicas: usize, deadline: Duration) -> anyhow::Result<()> {
    let consumer = consumer(bootstrap, "unused")?;
    let end = Instant::now() + deadline;
    loop {
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(1));
        let in_sync = metadata.as_ref().is_ok_and(|metadata| {
            let mut partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
            partitions.all(|partition| partition.leader() >= 0 && partition.isr().len() >= replicas)
        });
        if in_sync {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "replicas are not in sync: {:?}", metadata.err());
        std::thread::sleep(Duration::from_millis(100)); // paces the questions
    }
}

/// First offset still in the log and the next one to be written, per partition.
pub fn watermarks(bootstrap: &str, topic: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
    let consumer = consumer(bootstrap, "unused")?;
    let ids = partitions(bootstrap, topic)?;
    ids.into_iter().map(|id| Ok((id, consumer.fetch_watermarks(topic, id, ANSWER)?))).collect()
}

/// What a group committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset the group would read.
    pub next: i64,
    /// Offset metadata, empty when there is none.
    pub metadata: String,
}

/// Committed offsets of `group` per partition; partitions without one are absent.
pub fn committed(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<BTreeMap<i32, Committed>> {
    let consumer = consumer(bootstrap, group)?;
    let mut list = TopicPartitionList::new();
    for id in partitions(bootstrap, topic)? {
        list.add_partition(topic, id);
    }
    let answer = consumer.committed_offsets(list, ANSWER)?;
    let known = answer.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(next) => {
            Some((element.partition(), Committed { next, metadata: element.metadata().to_owned() }))
        }
        _ => None,
    });
    Ok(known.collect())
}

/// Commits an offset in the name of `group`, which must have no members.
pub fn commit(bootstrap: &str, group: &str, topic: &str, partition: i32, to: &Committed) -> anyhow::Result<()> {
    let consumer = consumer(bootstrap, group)?;
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, partition);
    element.set_offset(Offset::Offset(to.next))?;
    element.set_metadata(&to.metadata);
    Ok(consumer.commit(&list, CommitMode::Sync)?)
}

/// A record read back from a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Partition it stood in.
    pub partition: i32,
    /// Offset in its partition.
    pub offset: i64,
    /// Unix milliseconds, when the record has a timestamp.
    pub timestamp: Option<i64>,
    /// Key, `None` for null.
    pub key: Option<Vec<u8>>,
    /// Value, `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order; `None` for a null value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Read {
    /// The first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned())
    }
}

/// Everything a topic holds now, by partition and offset. Header names must be UTF-8.
pub fn read_all(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<Read>> {
    let consumer: BaseConsumer = client(bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()?;
    let mut list = TopicPartitionList::new();
    let mut open = 0;
    for (id, (low, high)) in watermarks(bootstrap, topic)? {
        if low < high {
            list.add_partition_offset(topic, id, Offset::Offset(low))?;
            open += 1;
        }
    }
    consumer.assign(&list)?;
    let mut found = Vec::new();
    while open > 0 {
        match consumer.poll(ANSWER).context("the broker went silent")? {
            Ok(message) => found.push(read(&message)),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_by_key(|record| (record.partition, record.offset));
    Ok(found)
}

fn read(message: &impl Message) -> Read {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Read {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

fn await_leaders(bootstrap: &str, topic: &str, count: usize) -> anyhow::Result<()> {
    let consumer = consumer(bootstrap, "unused")?;
    let end = Instant::now() + ANSWER;
    loop {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
        let partitions =
            metadata.topics().first().map(rdkafka::metadata::MetadataTopic::partitions).unwrap_or_default();
        if partitions.len() == count && partitions.iter().all(|partition| partition.leader() >= 0) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "{topic} has no leaders for its {count} partitions");
    }
}

/// Runs one admin call to its end, also from inside an asynchronous test.
fn admin<T: Send>(
    bootstrap: &str,
    call: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> rdkafka::error::KafkaResult<T> + Send,
) -> anyhow::Result<T> {
    let client: AdminClient<DefaultClientContext> = client(bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
    std::thread::scope(|scope| {
        let run = || -> anyhow::Result<T> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(call(&client, &options))?)
        };
        scope.spawn(run).join().map_err(|_| anyhow::anyhow!("an admin call panicked"))?
    })
}
