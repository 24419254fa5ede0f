//! The claim protocol, model-checked: every interleaving of two processes, a store, a group and an app, within bounds.
//!
//! What decides is the domain's own code (`life::step`, low water, doubt, history, session). What stands around it here
//! is the least that the pipeline does, and each piece says which file it mirrors. Faults have a budget in each
//! question; `MODEL=deep` asks the same questions with more. The checker is the crate `stateright`: breadth first, so a
//! counterexample is a short one.
//!
//! Left out: lanes (each record is free at once), bounds, a log that grows (all records stand in it from the start), and
//! clocks that differ between hosts.

mod actions;
mod broken;
mod enabled;
mod happens;
mod host;
mod lease;
mod partitions;
mod properties;
mod questions;
mod refuted;
mod scope;
mod sessions;
mod store;
mod turn;
mod world;
