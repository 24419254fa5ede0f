//! Faults of every kind on real processes: our binary, real Kafka, real Redis, an app that keeps a ledger, an auditor.
//!
//! Each scenario runs a few thousand messages in `make test`; `make soak` runs them with many more. Those that kill the
//! process at exact places need the feature `failpoints`, as `make test` has it.

#[path = "../support/mod.rs"]
mod support;

mod brokers;
#[cfg(feature = "failpoints")]
mod crash;
#[cfg(feature = "failpoints")]
mod crashes;
mod deadline;
#[path = "../sim/dice.rs"]
mod dice;
mod everything;
#[cfg(feature = "failpoints")]
mod fenced;
mod flow;
mod holes;
mod naive;
mod nemesis;
mod redis;
mod redis_groups;
mod redis_refusals;
mod redis_stalls;
mod store;
mod table;
mod trial;
