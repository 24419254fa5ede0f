//! What operators read: the status page and the gauges, brought up to date at every tick.

use std::sync::Arc;

use super::Pipeline;
use super::homes::Home;
use crate::domain::history::History;
use crate::domain::life::State as LifeState;
use crate::domain::reasons::PauseReason;
use crate::ports::{App, Claims, DeadLetters};
use crate::telemetry::status::{Lanes, PartitionStatus, Pause, State, Status};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Makes what is known at the start visible before anything happens.
    pub(super) fn start(&mut self) {
        self.pulses.beat(crate::telemetry::Loop::Pipeline, self.now.moment);
        self.metrics.in_flight_limit(self.limiter.limit() as u64);
        self.pause_all(PauseReason::StoreUnavailable, "not connected yet".to_owned());
        self.pause_all(PauseReason::AppUnavailable, "not asked yet".to_owned());
        self.publish();
        self.advance();
    }

    pub(super) fn publish(&mut self) {
        self.publish_gaps();
        self.metrics.held_bytes(self.held.sum());
        let partitions: Vec<PartitionStatus> =
            self.homes.indices().into_iter().filter_map(|index| self.homes.get(index)).map(partition).collect();
        self.homes.iter().for_each(|home| self.metrics.lag(&home.partition, lag(home)));
        self.board.publish(Status {
            session: self.leases.live(self.now.moment).map(|id| id.to_string()),
            history_id: self.leases.history.as_ref().map(History::to_metadata),
            state: self.state(),
            pauses: self.pauses.iter().map(pause).collect(),
            partitions,
            lanes: self.lanes_summary(),
            incidents: self.incidents.list(),
            ..Status::default()
        });
    }

    fn state(&self) -> State {
        if self.drain.is_on() {
            State::Draining
        } else if self.leases.history.is_none() {
            State::Starting
        } else if self.pauses.iter().any(|(_, partition, _, _)| partition.is_none()) {
            State::Paused
        } else {
            State::Running
        }
    }

    fn lanes_summary(&self) -> Lanes {
        let retrying = self.table.tokens(|entry| matches!(entry.life.state, LifeState::BackingOff { .. })).len();
        let waiting = self.table.tokens(|entry| !entry.at_head).len();
        Lanes { busy: self.lanes.len() as u64, waiting: waiting as u64, retrying: retrying as u64 }
    }
}

fn lag(home: &Home) -> u64 {
    u64::try_from(home.doubt.end().0.saturating_sub(home.low_water.position().0)).unwrap_or(0)
}

fn partition(home: &Home) -> PartitionStatus {
    PartitionStatus {
        topic: Arc::clone(&home.partition.topic),
        partition: home.partition.partition,
        committed: Some(home.low_water.committed().0),
        low_water: home.low_water.position().0,
        end: Some(home.doubt.end().0),
        lag: Some(lag(home)),
        open: home.low_water.open() as u64,
    }
}

fn pause(
    (reason, partition, since, detail): (
        PauseReason,
        Option<&crate::domain::record::TopicPartition>,
        crate::domain::time::UnixMillis,
        &str,
    ),
) -> Pause {
    Pause {
        reason,
        topic: partition.map(|partition| Arc::clone(&partition.topic)),
        partition: partition.map(|partition| partition.partition),
        since,
        detail: detail.to_owned(),
    }
}
