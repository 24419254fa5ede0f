//! Faults of every kind on real processes: our binary, real Kafka, real Redis, an app that keeps a ledger, an auditor.
//!
//! Each scenario runs a few thousand messages in `make test`; `make soak` runs them with many more.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "failpoints")]
mod crash;
#[cfg(feature = "failpoints")]
mod crashes;
mod trial;
