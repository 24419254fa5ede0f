//! What operators see: metrics, logs, `/status`, `/gaps`, and whether the loops still turn.
//!
//! Nothing here decides anything; whoever does something says so by a verb, and the admin server reads.

mod books;
pub mod catalog;
mod exposition;
pub mod inspection;
pub mod labels;
pub mod logging;
mod metrics;
mod pulse;
mod rfc3339;
pub mod status;

pub use metrics::{METRICS_CONTENT_TYPE, Metrics, TopicId};
pub use pulse::{Loop, Pulses};
pub use rfc3339::rfc3339;
pub use status::StatusBoard;
