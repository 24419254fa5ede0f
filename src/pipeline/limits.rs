//! What the settings say of the pipeline, in its own words.

use std::time::Duration;

use crate::domain::history::OnHistoryLoss;
use crate::domain::lanes::Ordering;
use crate::domain::past::OnLoss;

/// What the pipeline may do and how much of it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How records wait for each other.
    pub ordering: Ordering,
    /// Requests open at once.
    pub max_in_flight: usize,
    /// Dead letters that the app's answers may cause without successes in between; `None`: unlimited.
    pub dead_letter_budget: Option<u32>,
    /// How long a mark, and a claim, lives.
    pub dedup_window: Duration,
    /// How long the mark of a position-made ID lives once its offset is committed.
    pub safe_mark_life: Duration,
    /// How long the session's key lives without a heartbeat.
    pub lease: Duration,
    /// What follows when the store forgot.
    pub on_history_loss: OnHistoryLoss,
    /// How long a missing sequence number is only suspected.
    pub gap_grace: Duration,
    /// What follows when records were lost.
    pub on_loss: OnLoss,
    /// Between two commits of a partition.
    pub commit_interval: Duration,
    /// From the wish to stop to the end, in all.
    pub drain_timeout: Duration,
}
