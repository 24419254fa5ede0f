//! The real-process ring: our binary, real Kafka, real Redis, and an app that keeps a ledger.

#[path = "../support/mod.rs"]
mod support;

mod components;
mod ledger_app;
mod main_job;
mod scene;
