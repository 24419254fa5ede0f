//! What the pipeline waits for: outcomes of work that took time, and what else may happen.

use super::Ending;
use super::couriers::Courier;
use super::desk::BatchPlace;
use super::leases;
use super::table::Token;
use crate::domain::record::TopicPartition;
use crate::domain::verdict::Answer;
use crate::ports::{Assignment, ClaimBatch, Commit, Intake, Keeping, Lookup, Operation, StoreError, StoredPast};

/// One outcome of work that took time. Bounded by the work that is open.
#[derive(Debug)]
pub(super) enum Report {
    Answered {
        token: Token,
        courier: Courier,
        answer: Answer,
    },
    Batch(BatchPlace, Result<ClaimBatch, StoreError>),
    Session(leases::Outcome),
    LookedUp {
        token: Token,
        epoch: u32,
        said: Lookup,
    },
    Letter {
        token: Token,
        epoch: u32,
        sent: Result<(), String>,
    },
    AppReady(Result<(), String>),
    Pasts {
        asked: Vec<(TopicPartition, Assignment)>,
        stored: Result<Vec<StoredPast>, StoreError>,
    },
    Kept {
        kept: Vec<(TopicPartition, Assignment)>,
        commits: Vec<(Commit, Assignment)>,
        outcome: Result<Vec<Keeping>, StoreError>,
    },
}

/// What [`Pipeline::wait`] waited for.
#[derive(Debug)]
pub(super) enum Action {
    Intake(Option<Intake>),
    Reports(Vec<Report>),
    Operation(Operation),
    Shutdown(Ending),
    Time,
}
