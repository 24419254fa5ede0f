//! kafka-once: a sidecar that hands an application each Kafka message once, over plain HTTP.

pub mod adapters;
pub mod cli;
pub mod domain;
pub mod failpoints;
pub mod pipeline;
pub mod ports;
pub mod settings;
pub mod sidecar;
pub mod telemetry;
