//! Loss upstream, on real Kafka and Redis with real processes: what is gone is counted exactly and named, each once.

#[path = "../support/mod.rs"]
mod support;

mod edges;
mod gaps;
mod logs;
mod told;
mod window;
