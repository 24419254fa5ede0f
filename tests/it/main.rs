//! The real-process ring: our binary, real Kafka, real Redis, and an app that keeps a ledger.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod audit_edges;
mod audit_speed;
mod bad_settings;
mod components;
mod contract;
mod inspect;
mod ledger_app;
mod main_job;
mod operators;
mod redrive;
mod redrive_copies;
mod redrive_refusals;
mod redrive_refused;
mod refusals;
mod restarts;
mod shared_namespace;
mod tracing;
mod tracing_ends;
mod tracing_troubles;
