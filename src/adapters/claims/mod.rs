//! The store of claims and sessions: in Redis, or in this process' memory for the demo and the simulation.

mod inspector;
pub mod memory;
pub mod redis;
mod store;

pub use inspector::Inspector;
pub use store::Store;

#[cfg(test)]
use crate as once;
#[cfg(test)]
#[path = "../../../tests/support/claims_conformance.rs"]
mod conformance;
