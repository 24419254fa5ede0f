//! Faults of every kind on real processes: our binary, real Kafka, real Redis, an app that keeps a ledger, an auditor.
//!
//! Each scenario runs a few thousand messages in `make test`; `make soak` runs them with many more.

#[path = "../support/mod.rs"]
mod support;

mod redis;
mod redis_groups;
mod redis_refusals;
mod redis_stalls;
mod store;
mod trial;
