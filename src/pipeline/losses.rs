//! What never arrived: seen in producers' sequences and at the edges of logs, counted by its cause, and named.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::Pipeline;
use super::homes::Home;
use crate::domain::numbering::Numbered;
use crate::domain::past::{Fit, OnLoss};
use crate::domain::percent::{is_visible, percent_encode};
use crate::domain::producers::{LostRange, Sighting};
use crate::domain::reasons::{LossCause, PauseReason};
use crate::domain::record::{NextOffset, Offset, TopicPartition};
use crate::ports::{App, Claims, DeadLetters};
use crate::telemetry::status::{Gap, GapState, Gaps, Incident, MOST_GAPS, MOST_INCIDENTS};

/// A gap is told as lost after so many times its grace in any case, also where a backlog is never read to its end.
const LONGEST_GRACE: u32 = 10;

/// Losses and other things that operators should look at, the newest last.
#[derive(Debug, Default)]
pub(super) struct Incidents(VecDeque<Incident>);

impl Incidents {
    pub(super) fn push(&mut self, incident: Incident) {
        if self.0.len() >= MOST_INCIDENTS {
            self.0.pop_front();
        }
        self.0.push_back(incident);
    }

    pub(super) fn list(&self) -> Vec<Incident> {
        self.0.iter().cloned().collect()
    }
}

/// Records that are gone from a log.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    cause: LossCause,
    count: u64,
    detail: String,
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    // ---- sequences -------------------------------------------------------------------------------------------------

    /// Takes in which of its producer's messages a record is; one that was observed before says nothing.
    pub(super) fn observe(&mut self, index: u32, offset: Offset, numbered: &Numbered) {
        let now = self.now;
        let Some(home) = self.homes.get_mut(index) else { return };
        let past = &mut home.chronicle.past;
        if past.observed_to.is_above(offset) {
            return;
        }
        past.observed_to = offset.next();
        home.chronicle.changed = true;
        match numbered {
            Numbered::Not => {}
            Numbered::Unreadable(why) => {
                let (topic, partition) = (&home.partition.topic, home.partition.partition);
                tracing::debug!(%topic, partition, offset = offset.0, why, "unreadable sequence number");
                self.metrics.sequence_unreadable(home.topic);
            }
            Numbered::As { producer, number } => {
                let sighting = past.producers.observe(producer, *number, offset, now);
                if sighting != Sighting::default() {
                    self.sighted(index, &sighting);
                }
            }
        }
    }

    fn sighted(&mut self, index: u32, sighting: &Sighting) {
        self.gaps_changed = true;
        let Some(home) = self.homes.get(index) else { return };
        if sighting.recovered {
            self.metrics.recovered(home.topic, 1);
        }
        if sighting.forgotten > 0 {
            let (topic, partition, forgotten) = (&home.partition.topic, home.partition.partition, sighting.forgotten);
            tracing::warn!(%topic, partition, forgotten, "too many producers: the longest silent ones are forgotten");
            self.metrics.producers_forgotten(home.topic, sighting.forgotten);
        }
        for lost in &sighting.given_up {
            self.lost_range(index, lost);
        }
    }

    /// Counts and names what has been missing for longer than the grace; and lets it be kept at once, so that a process
    /// that dies now is not followed by one that tells it again. What stands in the log unread may hold a late one: the
    /// grace ends once the log is read to where it ended then, within limits.
    pub(super) fn expire_gaps(&mut self) {
        if !self.store_up {
            return; // it could not be kept
        }
        let (now, grace) = (self.now.moment, self.limits.gap_grace);
        for index in self.homes.indices() {
            let Some(home) = self.homes.get_mut(index).filter(|home| home.may_keep()) else { continue };
            let read = home.horizon.read_as_of(home.chronicle.past.observed_to);
            let producers = &mut home.chronicle.past.producers;
            let mut lost = read.map(|read| producers.expire(read, grace)).unwrap_or_default();
            lost.extend(producers.expire(now, grace.saturating_mul(LONGEST_GRACE)));
            if lost.is_empty() {
                continue;
            }
            home.chronicle.changed = true;
            self.commit_at = self.now.moment;
            self.gaps_changed = true;
            for range in &lost {
                self.lost_range(index, range);
            }
        }
    }

    fn lost_range(&mut self, index: u32, lost: &LostRange) {
        let Some(home) = self.homes.get(index) else { return };
        let (producer, range) = (percent_encode(&lost.producer, is_visible), &lost.range);
        tracing::error!(
            topic = %home.partition.topic,
            partition = home.partition.partition,
            cause = LossCause::Sequence.as_str(),
            producer,
            first = range.first,
            last = range.last,
            missing = range.count(),
            before_offset = range.before.0,
            after_offset = range.after.0,
            "records lost: these sequence numbers of a producer never arrived"
        );
        self.metrics.lost(home.topic, LossCause::Sequence, range.count());
        let detail = format!("producer {producer}: numbers {}-{}, {} missing", range.first, range.last, range.count());
        self.incident(LossCause::Sequence.as_str(), index, detail);
    }

    // ---- edges of logs ---------------------------------------------------------------------------------------------

    /// At an assignment records turned out to be gone.
    pub(super) fn lost_below(
        &mut self,
        index: u32,
        committed: Option<NextOffset>,
        start: NextOffset,
        found: Fit,
        doubtful: bool,
    ) {
        let Some(home) = self.homes.get(index) else { return };
        let (log_start, log_end) = (home.log_start.0, home.doubt.end().0);
        let committed = committed.map_or_else(|| "nothing".to_owned(), |next| next.0.to_string());
        let (cause, count, words) = match found {
            Fit::Whole => return,
            Fit::Retention(count) => (LossCause::Retention, count, "records were deleted before they were read"),
            Fit::Truncation(count) => {
                (LossCause::Truncation, count, "the log ends below what was handled, or it is another one")
            }
        };
        let detail =
            format!("{words}: committed {committed}, log {log_start}-{log_end}, {count} lost, going on at {}", start.0);
        if doubtful
            && let Some(history) = &self.leases.history
            && let Some(home) = self.homes.get_mut(index)
        {
            home.doubt_all(history);
        }
        let loss = Loss { cause, count, detail };
        match self.homes.get_mut(index) {
            Some(home) if home.start_due && self.limits.on_loss == OnLoss::Continue => home.untold = Some(loss),
            _ => self.lost_records(index, &loss),
        }
    }

    /// The start of a partition is committed.
    pub(super) fn start_committed(&mut self, index: u32) {
        if let Some(loss) = self.homes.get_mut(index).and_then(|home| home.untold.take()) {
            self.lost_records(index, &loss);
        }
    }

    /// While running, records were deleted before they were read; what was read before goes on.
    pub(super) fn jumped(&mut self, partition: &TopicPartition, from: NextOffset, to: NextOffset) {
        let Some(index) = self.homes.index(partition) else { return };
        let count = u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
        if let Some(home) = self.homes.get_mut(index) {
            home.low_water.skip_to(to);
        }
        let detail = format!(
            "records were deleted before they were read: offsets {}-{}, {count} lost, going on at {}",
            from.0,
            to.0.saturating_sub(1),
            to.0
        );
        self.lost_records(index, &Loss { cause: LossCause::Retention, count, detail });
    }

    fn lost_records(&mut self, index: u32, loss: &Loss) {
        let Loss { cause, count, detail } = loss;
        let stops = self.limits.on_loss == OnLoss::Stop;
        let Some(home) = self.homes.get_mut(index) else { return };
        home.holds_commits |= stops;
        let partition = home.partition.clone();
        tracing::error!(
            topic = %partition.topic,
            partition = partition.partition,
            cause = cause.as_str(),
            count,
            detail,
            "records lost"
        );
        self.metrics.lost(home.topic, *cause, *count);
        self.incident(cause.as_str(), index, detail.clone());
        if stops {
            self.pause(&partition, PauseReason::Loss, format!("{detail}; waits for POST /resume"));
        }
    }

    /// An operator has seen what was lost.
    pub(super) fn loss_accepted(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(home) = self.homes.named(partition) {
                home.holds_commits = false;
            }
        }
    }

    fn incident(&mut self, what: &'static str, index: u32, detail: String) {
        let Some(home) = self.homes.get(index) else { return };
        let (topic, partition) = (Some(Arc::clone(&home.partition.topic)), Some(home.partition.partition));
        self.incidents.push(Incident { what, topic, partition, at: self.now.wall, detail });
    }

    // ---- telling ---------------------------------------------------------------------------------------------------

    /// Brings the gauge and `/gaps` up to date.
    pub(super) fn publish_gaps(&mut self) {
        if !std::mem::take(&mut self.gaps_changed) {
            return;
        }
        let mut suspected = HashMap::new();
        let (mut gaps, mut all) = (Vec::new(), 0);
        let in_order: BTreeMap<&TopicPartition, &Home> =
            self.homes.iter().map(|home| (&home.partition, home)).collect();
        for home in in_order.values() {
            let producers = &home.chronicle.past.producers;
            let sum: &mut u64 = suspected.entry(home.topic).or_default();
            *sum = sum.saturating_add(producers.suspected());
            all += producers.ranges();
            if gaps.len() < MOST_GAPS {
                gaps.extend(gaps_of(home));
            }
        }
        gaps.truncate(MOST_GAPS);
        self.metrics.suspected_missing(&suspected);
        self.board.publish_gaps(Gaps { more: (all - gaps.len()) as u64, gaps });
    }
}

/// The gaps of one partition, by producer and number.
fn gaps_of(home: &Home) -> Vec<Gap> {
    let mut producers: Vec<_> = home.chronicle.past.producers.iter().collect();
    producers.sort_unstable_by_key(|(producer, _)| *producer);
    let gaps = producers.into_iter().flat_map(|(producer, tracker)| {
        tracker.missing().iter().map(move |missing| Gap {
            topic: Arc::clone(&home.partition.topic),
            partition: home.partition.partition,
            producer: percent_encode(producer, is_visible),
            first: missing.first,
            last: missing.last,
            missing: missing.count(),
            state: if missing.lost { GapState::Lost } else { GapState::Suspected },
            before_offset: Some(missing.before.0),
            after_offset: Some(missing.after.0),
            since: missing.since.wall,
        })
    });
    gaps.collect()
}
