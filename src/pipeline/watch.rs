//! The watchdog: a partition that has something to do, and does nothing without a known reason, ends the process.

use std::collections::BTreeSet;
use std::time::Duration;

use super::chronicle::Stage;
use super::homes::{Home, Phase};
use super::table::Entry;
use super::{Pipeline, Stopped};
use crate::domain::life::State;
use crate::ports::{App, Claims, DeadLetters};
use crate::telemetry::Loop;

/// How long a partition may stand still without a known reason: as long as Kafka lets a consumer be silent
/// (`max.poll.interval.ms`).
const STANDSTILL: Duration = Duration::from_secs(300);

/// How long the thread that polls Kafka may take for one turn.
const SILENCE: Duration = Duration::from_secs(60);

/// A request that is open for longer than its timeout and this is not waited for by anybody any more.
const MARGIN: Duration = Duration::from_secs(10);

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Called at every tick.
    pub(super) fn watch(&mut self) {
        let beats = self.pulses.beats(Loop::Kafka);
        if self.watchdog.look(beats.unwrap_or(0), beats.is_some(), self.now.moment) >= SILENCE {
            self.stand_still(format!("the thread that polls kafka has not turned for {SILENCE:?}"));
        }
        let all_go = self.store_up && self.app_up && self.broker_up && !self.drain.is_on();
        let all_go = all_go && self.leases.live(self.now.moment).is_some();
        let waiting = if all_go { self.waiting_in_order() } else { BTreeSet::new() };
        for index in self.homes.indices() {
            let Some(home) = self.homes.get(index) else { continue };
            let due = all_go && has_work(home) && !self.pauses.explains(&home.partition) && !waiting.contains(&index);
            let Some(home) = self.homes.get_mut(index) else { continue };
            if home.watchdog.look(home.moves, due, self.now.moment) >= STANDSTILL {
                let (partition, low_water) = (home.partition.clone(), home.low_water.position().0);
                let (open, end) = (home.open, home.doubt.end().0);
                let what = if home.phase == Phase::Starting { "begun" } else { "moved" };
                self.stand_still(format!(
                    "{partition} has not {what} for {STANDSTILL:?} without a known reason: low water {low_water}, log end {end}, \
                     {open} records open"
                ));
            }
        }
    }

    /// The partitions of which a record waits for something that is sure to come: a time, the end of its request, or a
    /// record with the same ID in another partition, which is looked at there. One walk for all of them.
    fn waiting_in_order(&self) -> BTreeSet<u32> {
        let waits = |entry: &Entry| match entry.life.state {
            State::HeldByOther { .. } | State::BackingOff { .. } => true,
            State::Sending { .. } | State::LookingUp { .. } => !self.is_overdue(entry),
            _ => false,
        };
        let own = self.table.tokens(waits);
        let all = own.into_iter().chain(self.table.behind_twins());
        all.filter_map(|token| self.table.get(token)?.home).collect()
    }

    /// Whether its request, or the question for it, has been open for longer than anybody waits for an answer.
    pub(super) fn is_overdue(&self, entry: &Entry) -> bool {
        matches!(entry.life.state, State::Sending { .. } | State::LookingUp { .. })
            && self.now.moment.since(entry.asked) >= self.rules.app_timeout + MARGIN
    }

    fn stand_still(&mut self, why: String) {
        tracing::error!(error = %why, "standing still; the process ends so that another one goes on");
        self.stopped = Some(Stopped::StandsStill(why));
    }
}

fn has_work(home: &Home) -> bool {
    match home.phase {
        // It is to begin. A look in its log goes on until brokers answer.
        Phase::Starting => !matches!(home.chronicle.stage, Stage::Looking(_)),
        Phase::Running => home.open > 0 || home.unread,
        Phase::Leaving { .. } | Phase::Committing { .. } => false, // until a deadline
    }
}
