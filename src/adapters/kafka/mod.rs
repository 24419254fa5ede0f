//! Kafka: records in with [`KafkaLog`], dead letters out with [`KafkaDeadLetters`], facts for `check` with [`facts`],
//! a whole topic without a group with [`TopicReader`], records back to it with [`Transactions`].
//!
//! Walk a record: `consumer` polls, `record` copies it out of the client's memory, `handover` passes it on in a batch.
//! Walk a rebalance: `context` notes it, `consumer` answers it once the pipeline has, `lookup` asks where to start and `starts` decides.
//!
//! A rebalance is answered outside of its callback. librdkafka (2.12.1) queues the event, stops delivering from what is
//! assigned and waits in `WAIT_ASSIGN_CALL` or `WAIT_UNASSIGN_CALL` for as long as it takes (`rd_kafka_rebalance_op_incr`
//! and `rd_kafka_rebalance_op` in `rdkafka_cgrp.c`); heartbeats and commits go on meanwhile, and polling satisfies
//! `max.poll.interval.ms`. So the polling thread never waits for a drain.

mod backlog;
mod commit;
mod config;
mod consumer;
mod context;
mod dead_letters;
mod errors;
mod facts;
mod handover;
mod landmarks;
mod leaving;
mod lookup;
mod owned;
mod quiet;
mod rebalance;
mod record;
mod repair;
mod second_look;
mod spans;
mod starts;
mod statistics;
mod topic_reader;
mod transactions;

pub use backlog::{Backlog, backlog};
pub use config::{KafkaConfig, Start};
pub use consumer::{KafkaLog, StartError};
pub use dead_letters::{DeadLetterConfig, KafkaDeadLetters};
pub use facts::{Facts, FactsError, TopicFacts, facts};
pub use record::Wanted;
pub use spans::{Span, Window};
pub use topic_reader::{ReadError, Seen, TopicReader};
pub use transactions::{Outgoing, TransactionError, Transactions};
