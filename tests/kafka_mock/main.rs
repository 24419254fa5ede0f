//! The Kafka adapter against librdkafka's mock cluster; with `TEST_KAFKA_BOOTSTRAP=host:port` against a real Kafka.

mod cluster;
mod commits;
mod dead_letters;
mod driver;
mod groups;
mod raw;
mod reading;
mod starts;
mod transactions;
mod trouble;
