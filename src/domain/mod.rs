//! What is decided: identity, claims, verdicts, the life of a record. Pure: std only, no I/O, no clock, no randomness.
//!
//! Everything here is a value that can be tested without waiting; time and chance come in as arguments.

pub mod audit;
pub mod budget;
pub mod claim;
pub mod claim_codec;
pub mod concurrency;
pub mod doubt;
pub mod group_start;
pub mod hashed;
pub mod history;
pub mod horizon;
pub mod identity;
pub mod inspection;
pub mod lanes;
pub mod letter;
pub mod life;
pub mod low_water;
pub mod numbering;
pub mod past;
pub mod past_codec;
pub mod percent;
pub mod producers;
pub mod reasons;
pub mod record;
pub mod redrive;
pub mod repeats;
pub mod retry;
pub mod sequence;
pub mod session;
pub mod time;
pub mod verdict;
pub mod watchdog;
