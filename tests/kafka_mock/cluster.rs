//! The brokers under test: librdkafka's mock cluster, or a real Kafka where `TEST_KAFKA_BOOTSTRAP` names one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kafka_once::adapters::kafka::{KafkaConfig, Start};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

/// Brokers, and names that no other test uses.
pub struct Cluster {
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
    pub bootstrap: String,
    pub topic: String,
    pub group: String,
}

impl Cluster {
    /// A cluster with one topic.
    pub fn new(partitions: i32) -> Self {
        let cluster = Self::empty();
        cluster.create(&cluster.topic, partitions);
        cluster
    }

    /// A mock cluster whatever the environment says: for tests that need its errors or its small logs.
    pub fn mock(partitions: i32) -> Self {
        Self::mock_of(1, partitions)
    }

    /// The same with more than one broker.
    pub fn mock_of(brokers: i32, partitions: i32) -> Self {
        let cluster = Self::named(None, brokers);
        cluster.create(&cluster.topic, partitions);
        cluster
    }

    fn empty() -> Self {
        Self::named(std::env::var("TEST_KAFKA_BOOTSTRAP").ok(), 1)
    }

    fn named(real: Option<String>, brokers: i32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mock = real.is_none().then(|| MockCluster::new(brokers).expect("a mock cluster"));
        let bootstrap = real.or_else(|| mock.as_ref().map(MockCluster::bootstrap_servers)).expect("brokers");
        Self { mock, bootstrap, topic: format!("t-{name}"), group: format!("g-{name}") }
    }

    /// The mock cluster's controls.
    pub fn controls(&self) -> &MockCluster<'static, DefaultProducerContext> {
        self.mock.as_ref().expect("a mock cluster")
    }

    pub fn create(&self, topic: &str, partitions: i32) {
        if let Some(mock) = &self.mock {
            return mock.create_topic(topic, partitions, 1).expect("a topic");
        }
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let wait = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        runtime.block_on(admin.create_topics([&topic], &wait)).expect("a topic");
    }

    /// How the log is set up in all tests, unless they say otherwise.
    pub fn config(&self, properties: &[(&str, &str)]) -> KafkaConfig {
        let quick = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "200"), ("fetch.wait.max.ms", "50")];
        let all = quick.iter().chain(properties);
        let properties: BTreeMap<_, _> = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaConfig {
            brokers: self.bootstrap.clone(),
            topics: vec![self.topic.clone()],
            group: self.group.clone(),
            properties,
            start: Start::Earliest,
            max_open: 1_000_000,
            max_held: u64::MAX,
            revoke_deadline: Duration::from_secs(60),
        }
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Produces `count` records of `size` bytes to a partition; returns when the brokers have them.
    pub fn produce(&self, partition: i32, count: usize, size: usize) {
        let producer: BaseProducer = self.client().set("linger.ms", "5").create().expect("a producer");
        let value = vec![b'v'; size];
        for _ in 0..count {
            let mut record: BaseRecord<'_, [u8], [u8]> =
                BaseRecord::to(&self.topic).partition(partition).payload(&value);
            while let Err((_, back)) = producer.send(record) {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
        }
        producer.flush(Duration::from_secs(60)).expect("all records delivered");
    }
}
