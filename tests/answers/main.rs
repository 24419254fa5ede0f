//! What an app answers, what producers send and what operators ask, on real Kafka and Redis with real processes.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod bombs;
mod budget;
mod cases;
mod input;
mod letters;
mod poison;
#[allow(dead_code)] // its commits are another binary's
#[path = "../kafka_mock/raw.rs"]
mod raw;
mod readiness;
mod refusing;
mod spent;
mod told;
mod verdicts;
