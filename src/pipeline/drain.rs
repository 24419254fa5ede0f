//! Finishing what is open: a partition the group wants back, `/drain`, the end of the process. Each with a deadline.

use std::time::Duration;

use tokio::sync::oneshot;

use super::homes::Phase;
use super::table::Token;
use super::{Pipeline, Stopped};
use crate::domain::life::Event;
use crate::domain::reasons::PauseReason;
use crate::domain::record::TopicPartition;
use crate::domain::time::Moment;
use crate::ports::{App, Claims, DeadLetters, LogCommand};

/// How long the last steps of a drain may take: giving back claims, the last commit, leaving the group. Taken from the
/// end of `ONCE_DRAIN_TIMEOUT`, a quarter of it at most.
const LAST_STEPS: Duration = Duration::from_secs(4);

/// Between two looks at a store that does not answer, at the very end.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How far leaving has come.
#[derive(Debug, Default)]
pub(super) struct Drain {
    stage: Stage,
    /// What is open then is given back.
    until: Moment,
    /// Whether the process ends with it.
    ends: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Not,
    /// Partitions finish what is open, each until its own deadline.
    Finishing,
    /// The group is being left.
    Leaving { until: Moment },
    /// The group is left; what outlives its partition is finished.
    Outliving { until: Moment },
    /// Nothing is open.
    Left,
}

impl Drain {
    /// Whether nothing new is taken.
    pub(super) fn is_on(&self) -> bool {
        self.stage != Stage::Not
    }

    /// Whether the group is left and nothing is open.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Left
    }

    /// Whether the group is left.
    pub(super) fn has_left_group(&self) -> bool {
        matches!(self.stage, Stage::Outliving { .. } | Stage::Left)
    }

    /// Whether the process may end.
    pub(super) fn has_left(&self) -> bool {
        self.ends && self.is_over()
    }

    /// The log says that the group is left.
    pub(super) fn left_group(&mut self) {
        if !self.has_left_group() {
            self.stage = Stage::Outliving { until: self.until };
        }
    }

    /// Nothing is open any more.
    fn over(&mut self) {
        self.stage = Stage::Left;
        for reply in self.waiting.drain(..) {
            let _ = reply.send(()); // who asked may have gone
        }
    }

    /// The next deadline that is our own: while partitions finish, each has one itself.
    pub(super) fn wakes_at(&self) -> Option<Moment> {
        match self.stage {
            Stage::Leaving { until } | Stage::Outliving { until } => Some(until),
            // While finishing, each partition has its own deadline.
            Stage::Not | Stage::Finishing | Stage::Left => None,
        }
    }
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// SIGTERM.
    pub(super) fn shut_down(&mut self) {
        self.drain.ends = true;
        self.start_drain();
    }

    /// `POST /drain`.
    pub(super) fn drain_for(&mut self, reply: oneshot::Sender<()>) {
        self.drain.waiting.push(reply);
        self.start_drain();
        if self.drain.is_over() {
            self.drain.over();
        }
    }

    fn start_drain(&mut self) {
        if self.drain.is_on() {
            return;
        }
        tracing::info!(open = self.table.len(), "draining");
        let until = self.now.moment.after(self.finishing_time());
        self.drain.stage = Stage::Finishing;
        self.drain.until = until;
        self.pause_all(PauseReason::Draining, "finishing what is open".to_owned());
        for index in self.homes.indices() {
            self.leave(index, until);
        }
        self.publish();
    }

    fn finishing_time(&self) -> Duration {
        self.limits.drain_timeout.saturating_sub(self.last_steps())
    }

    /// What is kept back for the last steps.
    fn last_steps(&self) -> Duration {
        LAST_STEPS.min(self.limits.drain_timeout / 4)
    }

    /// The group wants partitions back.
    pub(super) fn revoking(&mut self, partitions: &[TopicPartition]) {
        let until = self.now.moment.after(self.finishing_time());
        for partition in partitions {
            tracing::info!(topic = %partition.topic, partition = partition.partition, "partition is wanted back");
            match self.homes.index(partition) {
                Some(index) => self.leave(index, until),
                None => self.tell_log(LogCommand::Release(vec![partition.clone()])),
            }
        }
    }

    /// A partition came while we are on our way out: it goes back at once, or the drain would wait for it for ever.
    pub(super) fn decline(&mut self, index: u32) {
        if self.drain.is_on() {
            self.leave(index, self.now.moment);
        }
    }

    /// Begins nothing more for a partition and finishes what has begun.
    fn leave(&mut self, index: u32, until: Moment) {
        let Some(home) = self.homes.get_mut(index) else { return };
        if matches!(home.phase, Phase::Leaving { .. } | Phase::Committing { .. }) {
            return;
        }
        home.phase = Phase::Leaving { until };
        for token in self.table.tokens(|entry| entry.home == Some(index)) {
            self.live(token, Event::Leave);
        }
    }

    /// The partition is gone: nothing may be committed, and whoever has it now receives what was open.
    pub(super) fn lost(&mut self, partition: &TopicPartition) {
        let Some(index) = self.homes.index(partition) else { return };
        tracing::warn!(topic = %partition.topic, partition = partition.partition, "partition lost");
        for token in self.table.tokens(|entry| entry.home == Some(index)) {
            self.live(token, Event::Leave);
        }
        self.part_with(index);
    }

    /// What is still open outlives the partition: it was given back, though its request or its mark goes on.
    fn part_with(&mut self, index: u32) {
        if self.homes.get(index).is_some_and(|home| home.start_sent) {
            self.start_committed(index); // perhaps: what was lost before it is told twice rather than never
        }
        let Some(home) = self.homes.remove(index) else { return };
        let open = self.table.tokens(|entry| entry.home == Some(index));
        for token in &open {
            if let Some(entry) = self.table.get_mut(*token) {
                entry.home = None;
            }
        }
        if !open.is_empty() {
            self.metrics.released(home.topic, open.len() as u64);
        }
        self.metrics.unassigned(&home.partition);
        self.gaps_changed = true;
        self.forget_pauses(&home.partition);
        self.forget_gone_records();
        tracing::info!(
            topic = %home.partition.topic,
            partition = home.partition.partition,
            low_water = home.low_water.position().0,
            committed = home.low_water.committed().0,
            outliving = open.len(),
            "partition given back"
        );
    }

    /// Moves partitions on their way out, and the drain as a whole, as far as they can go now.
    pub(super) fn progress_drains(&mut self) {
        if !self.homes.all_run() {
            for index in self.homes.indices() {
                self.progress_home(index);
            }
        }
        self.progress_leaving();
    }

    fn progress_home(&mut self, index: u32) {
        let Some((phase, open)) = self.homes.get(index).map(|home| (home.phase, home.open > 0)) else { return };
        match phase {
            Phase::Leaving { until } => {
                let late = self.now.moment >= until;
                if open && late {
                    self.cut_off(index);
                }
                if !open || late {
                    self.commit_last(index);
                }
            }
            Phase::Committing { until } => {
                let Some(home) = self.homes.get(index) else { return };
                let kept = !home.chronicle.is_on_its_way() && (!home.keeps() || !self.store_up);
                let done = home.committing.is_none() && !home.start_sent && home.due().is_none() && kept;
                if done || self.now.moment >= until {
                    let partition = home.partition.clone();
                    self.part_with(index);
                    self.tell_log(LogCommand::Release(vec![partition]));
                } else {
                    self.commit_homes(|phase| phase == Phase::Committing { until });
                }
            }
            Phase::Starting | Phase::Running => {}
        }
    }

    /// The deadline has passed. At the end of the process everything open is cut off. Else it goes on without its
    /// partition, and ends by itself: our session lives, so a claim that we forgot would hold its message for ever.
    fn cut_off(&mut self, index: u32) {
        let ends = self.drain.is_on();
        let open = self.table.tokens(|entry| entry.home == Some(index));
        tracing::warn!(open = open.len(), "drain deadline passed; what is open is given back");
        for token in open {
            if ends {
                self.cut(token);
            } else {
                self.settle_unmarked(token);
            }
        }
    }

    /// Cuts off everything that is open, wherever it belongs.
    fn cut_off_all(&mut self) {
        for token in self.table.tokens(|_| true) {
            self.cut(token);
        }
        self.desk.drop_gone_claims(|asker| self.table.awaits(asker));
    }

    /// Ends a record, and its request if one is open: an answer would come too late to be heard.
    fn cut(&mut self, token: Token) {
        self.live(token, Event::CutOff);
        if let Some(courier) = self.table.get_mut(token).and_then(|entry| entry.courier.take()) {
            self.couriers.cancel(&*self.app, courier, &self.reports.0);
        }
    }

    fn commit_last(&mut self, index: u32) {
        let until = self.now.moment.after(self.last_steps() / 2);
        let Some(home) = self.homes.get_mut(index) else { return };
        home.phase = Phase::Committing { until };
        self.commit_homes(|phase| phase == Phase::Committing { until });
        self.progress_home(index);
    }

    fn progress_leaving(&mut self) {
        match self.drain.stage {
            Stage::Finishing if self.homes.is_empty() => {
                let until = self.now.moment.after(self.last_steps() / 2);
                self.drain.stage = Stage::Leaving { until };
                self.tell_log(LogCommand::Leave);
            }
            Stage::Leaving { until } if self.now.moment >= until => {
                tracing::warn!("leaving the group took too long; the group will find out by itself");
                self.drain.left_group();
                self.progress_leaving();
            }
            Stage::Outliving { until } => {
                if self.now.moment >= until {
                    self.cut_off_all();
                }
                if self.now.moment >= until || self.table.is_empty() {
                    self.drain.over();
                }
            }
            _ => {}
        }
    }

    /// Gives back the last claims, closes the session and says why the process ends.
    pub(super) async fn close(mut self) -> Result<(), Stopped> {
        let deadline = self.now.moment.after(self.last_steps() / 2);
        self.cut_off_all();
        while !self.desk.is_empty() && self.store_up && self.now.moment < deadline {
            self.now = self.clock.now();
            if self.desk.wakes_at().is_some_and(|at| at > self.now.moment) {
                tokio::time::sleep(LAST_LOOK).await;
                continue;
            }
            self.send_batch();
            let limit = self.clock.instant(deadline);
            match tokio::time::timeout_at(limit, self.reports.1.recv()).await {
                Ok(Some(report)) => self.hear(report),
                Ok(None) | Err(_) => break,
            }
        }
        self.close_session(deadline).await;
        self.publish();
        self.stopped.map_or(Ok(()), Err)
    }

    async fn close_session(&mut self, deadline: Moment) {
        // A session whose claims could not all be given back must run out, so that they are taken over in doubt.
        let Some(id) = self.leases.live(self.now.moment).filter(|_| self.store_up && self.desk.is_empty()) else {
            return;
        };
        let limit = self.clock.instant(deadline);
        match tokio::time::timeout_at(limit, self.claims.close_session(id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "session could not be closed; its lease will end"),
            Err(_) => tracing::debug!("session could not be closed in time; its lease will end"),
        }
    }
}
