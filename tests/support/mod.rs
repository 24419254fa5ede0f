//! What tests and benches share: real Kafka and Redis, an app that keeps a ledger, our own binary, and an auditor.
//!
//! Included by each binary with `#[path = "../support/mod.rs"] mod support;`.
#![allow(dead_code, unused_imports)] // every binary uses another part of it

pub mod audit;
pub mod available;
pub mod claims;
pub mod commits;
pub mod fence;
pub mod kafka;
pub mod ledger;
pub mod letters;
pub mod load;
pub mod log;
pub mod monitor;
pub mod ports;
pub mod process;
pub mod produce;
pub mod proxy;
pub mod redis;
pub mod redis_groups;
pub mod scene;
pub mod sidecar;
pub mod sqlite;
pub mod topics;
pub mod wire;

pub use audit::{Audit, Produced};
pub use available::{kafka, kafka_possible, redis, redis_possible};
pub use kafka::Kafka;
pub use ledger::{Answer, Ledger, Model, Request};
pub use monitor::Monitor;
pub use process::Process;
pub use produce::{Producer, Record};
pub use proxy::Proxy;
pub use redis::Redis;
pub use rustix::process::Signal;
pub use sidecar::Sidecar;
