//! kafka-once: a sidecar that hands an application each Kafka message once, over plain HTTP.

pub mod adapters;
pub mod domain;
pub mod ports;
