//! Faults of every kind on real processes: our binary, real Kafka, real Redis, an app that keeps a ledger, an auditor.
//!
//! Each scenario runs a few thousand messages in `make test`; `make soak` runs them with many more. Those that kill the
//! process at exact places need the feature `failpoints`, as `make test` has it.

#[path = "../support/mod.rs"]
mod support;

mod brokers;
mod checks;
#[cfg(feature = "failpoints")]
mod crash;
#[cfg(feature = "failpoints")]
mod crashes;
mod deadline;
#[path = "../sim/dice.rs"]
mod dice;
mod ends;
mod everything;
#[cfg(feature = "failpoints")]
mod fenced;
mod flow;
mod groups;
mod holes;
mod naive;
mod nemesis;
mod partitions;
mod redis;
mod redis_groups;
mod redis_refusals;
mod redis_stalls;
mod retries;
mod slow;
mod stalls;
mod store;
mod table;
mod trial;
