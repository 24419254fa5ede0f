//! What every contender finds: one broker with a topic full of messages, and one Redis without persistence.

use crate::app::{HUNG, STAMP_DIGITS};
use crate::plan::{PARTITIONS, Plan, VALUE_BYTES};
use crate::store::Store;
use crate::support::{Kafka, Producer, Record, Redis};

/// The topic that is filled before anything is measured.
pub const FILLED: &str = "filled";

/// How many keys there are: some thousands, so that neighbours in the log seldom share one.
const KEYS: u32 = 10_007;

/// Broker, Redis and a full topic.
pub struct World {
    kafka: Kafka,
    redis: Redis,
    store: Store,
}

impl World {
    /// Starts both and fills the topic.
    pub fn build(plan: &Plan) -> anyhow::Result<Self> {
        eprintln!("bench: starting Kafka and Redis");
        let redis = Redis::start(&[])?;
        let store = Store::connect(&redis.url())?;
        let world = Self { kafka: Kafka::start(1)?, redis, store };
        eprintln!("bench: producing {} messages of {VALUE_BYTES} bytes", plan.messages);
        world.create_topic(FILLED)?;
        Producer::new(&world.brokers())?.send((0..plan.messages).map(|number| message(FILLED, number, 0)))?;
        Ok(world)
    }

    /// `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        self.kafka.bootstrap()
    }

    /// Redis' URL.
    pub fn redis_url(&self) -> String {
        self.redis.url()
    }

    /// What Redis says of itself.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Creates an empty topic.
    pub fn create_topic(&self, name: &str) -> anyhow::Result<()> {
        self.kafka.create_topic(name, PARTITIONS, &[])
    }
}

/// How many of the first messages are of the key that an app may hang on.
pub fn of_hung_key(messages: u32) -> u32 {
    let hung = (0..messages).filter(|number| format!("customer-{}", mixed(*number) % KEYS) == HUNG);
    u32::try_from(hung.count()).unwrap_or(u32::MAX)
}

fn mixed(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B1) // odd, so no two numbers meet
}

/// Message number `number` of a topic, with a key, an ID like a UUID, and the Unix microseconds of its sending in front.
pub fn message(topic: &str, number: u32, sent: u64) -> Record {
    let mut value = format!("{sent:0STAMP_DIGITS$} {number} ").into_bytes();
    value.resize(VALUE_BYTES, b'.');
    let mixed = mixed(number);
    let id = format!("{mixed:08x}-{:04x}-4000-8000-{number:012x}", mixed >> 16);
    Record::new(topic, value).key(format!("customer-{}", mixed % KEYS)).id(id)
}
