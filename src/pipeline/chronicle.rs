//! What is kept of a partition beside its commits: read before its first record, kept before each commit that follows.
//!
//! What is kept is never older than what is committed: whoever comes next observes again what came after, and nothing
//! twice. Only its present owner may keep it; whoever has lost the partition without knowing is refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::homes::Home;
use super::{Pipeline, Report};
use crate::domain::past::{Fit, Landmark, Past, fit};
use crate::domain::past_codec::{Owner, decode, encode};
use crate::domain::record::{NextOffset, Position, TopicPartition};
use crate::domain::time::Moment;
use crate::ports::{App, Assignment, Claims, DeadLetters, LogCommand, Looked, Standing, StoreError, StoredPast};

/// So long the log is asked for the last settled record, where the group's offset says where to go on without it.
const LOOK: Duration = Duration::from_secs(30);

/// How far reading a past has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The store is to be asked.
    Unread,
    /// The store was asked.
    Asked,
    /// The log was asked whether it is still the one that this record stood in.
    Looking(Landmark),
    /// It is known, and kept.
    Known,
    /// It is known, and cannot be kept: what stands there is not ours.
    NotKept,
    /// It is known, and another owner has taken it: so it is while the partition goes to somebody else, or the store has
    /// come back with what it held before we took it. If the group accepts a commit of ours, it is ours.
    Outdone,
    /// The store was asked to make us its owner again.
    Retaking,
}

/// One partition's past, and what is under way with it.
#[derive(Debug)]
pub(super) struct Chronicle {
    pub(super) past: Past,
    owner: Owner,
    pub(super) stage: Stage,
    /// It has changed since it was kept.
    pub(super) changed: bool,
    /// It is on its way to the store.
    pub(super) keeping: bool,
    /// How often it was sent there.
    turn: u64,
    /// Since when the log is asked for the last settled record.
    looking_since: Moment,
    /// Records between low water and the last one taken in.
    standing: VecDeque<Landmark>,
}

impl Chronicle {
    pub(super) fn new(start: NextOffset, owner: Owner) -> Self {
        let past = Past::none(start);
        Self {
            past,
            owner,
            stage: Stage::Unread,
            changed: false,
            keeping: false,
            turn: 0,
            looking_since: Moment(0),
            standing: VecDeque::new(),
        }
    }

    /// Whether records may be taken in.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.stage, Stage::Known | Stage::NotKept | Stage::Outdone | Stage::Retaking)
    }

    /// Whether it is on its way to the store.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.keeping
    }

    /// Whether something is to be kept.
    pub(super) fn is_due(&self) -> bool {
        self.changed && self.stage == Stage::Known
    }

    /// What goes to the store now.
    pub(super) fn send(&mut self) -> Vec<u8> {
        (self.keeping, self.changed) = (true, false);
        self.turn += 1;
        encode(self.owner, self.turn, &self.past)
    }

    /// A record was taken in.
    pub(super) fn took(&mut self, position: Position) {
        self.standing.push_back(Landmark { offset: position.offset, timestamp: position.timestamp });
    }

    /// Low water passed so many records.
    pub(super) fn passed(&mut self, records: u64) {
        for _ in 0..records {
            self.past.settled = self.standing.pop_front().or(self.past.settled);
        }
        self.changed |= records > 0;
    }
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    // ---- reading it ------------------------------------------------------------------------------------------------

    /// Asks for the pasts of partitions that have just come.
    pub(super) fn read_pasts(&mut self) {
        if !self.store_up {
            return;
        }
        let mut asked = Vec::new();
        for home in self.homes.iter_mut().filter(|home| home.chronicle.stage == Stage::Unread) {
            home.chronicle.stage = Stage::Asked;
            asked.push((home.partition.clone(), home.assignment, home.chronicle.owner));
        }
        self.take_pasts(asked);
    }

    /// The group has accepted a commit, so the partition is ours, whoever has taken its past.
    pub(super) fn retake_past(&mut self, index: u32) {
        let outdone = |home: &&mut Home| home.chronicle.stage == Stage::Outdone;
        let Some(home) = self.homes.get_mut(index).filter(outdone) else { return };
        home.chronicle.stage = Stage::Retaking;
        let asked = (home.partition.clone(), home.assignment, home.chronicle.owner);
        self.take_pasts(vec![asked]);
    }

    fn take_pasts(&self, asked: Vec<(TopicPartition, Assignment, Owner)>) {
        if asked.is_empty() {
            return;
        }
        let (claims, reports) = (Arc::clone(&self.claims), self.reports.0.clone());
        tokio::spawn(async move {
            let wanted = asked.iter().map(|(partition, _, owner)| (partition.clone(), *owner)).collect();
            let stored = claims.take_pasts(wanted).await;
            let asked = asked.into_iter().map(|(partition, assignment, _)| (partition, assignment)).collect();
            let _ = reports.send(Report::Pasts { asked, stored }); // nobody listens: we are at the end
        });
    }

    pub(super) fn pasts_read(
        &mut self,
        asked: Vec<(TopicPartition, Assignment)>,
        stored: Result<Vec<StoredPast>, StoreError>,
    ) {
        let answers = match stored {
            Ok(stored) => stored.into_iter().map(Some).collect(),
            Err(error) => {
                self.store_failed(&error);
                vec![None; asked.len()]
            }
        };
        for ((partition, assignment), stored) in asked.into_iter().zip(answers) {
            let Some(index) = self.homes.index(&partition) else { continue };
            let Some(home) = self.homes.get_mut(index).filter(|home| home.assignment == assignment) else { continue };
            match (home.chronicle.stage, stored) {
                (Stage::Asked, None) => home.chronicle.stage = Stage::Unread,
                (Stage::Asked, Some(stored)) => self.past_read(index, &stored),
                (Stage::Retaking, None) => home.chronicle.stage = Stage::Outdone,
                (Stage::Retaking, Some(StoredPast::Foreign)) => home.chronicle.stage = Stage::NotKept,
                (Stage::Retaking, Some(_)) => (home.chronicle.stage, home.chronicle.changed) = (Stage::Known, true),
                _ => {}
            }
        }
    }

    fn past_read(&mut self, index: u32, stored: &StoredPast) {
        let now = self.now;
        let Some(home) = self.homes.get_mut(index) else { return };
        home.chronicle.stage = Stage::Known;
        let mut known = None;
        let why = match stored {
            StoredPast::Nothing => "nothing is stored".to_owned(),
            StoredPast::Foreign => {
                home.chronicle.stage = Stage::NotKept;
                "a value that is not ours stands under its key in redis".to_owned()
            }
            StoredPast::Bytes(bytes) => match decode(bytes, now) {
                Ok(Some(past)) => {
                    known = Some(past);
                    String::new()
                }
                Ok(None) => "nothing is stored".to_owned(),
                Err(bad) => bad.to_string(),
            },
        };
        let is_new = home.committed_at_start.is_none() && matches!(stored, StoredPast::Nothing);
        match known {
            Some(past) => home.chronicle.past = past,
            None if is_new => {}
            None => tracing::warn!(
                topic = %home.partition.topic,
                partition = home.partition.partition,
                start = home.low_water.position().0,
                why,
                "no past of the partition is known: producers' sequences are followed from here on"
            ),
        }
        self.judge(index);
    }

    /// Asks whether the log is still the one that the last settled record stood in, if that can be: a group's offsets may
    /// be gone while its log is there, and may be there while another log has come under the same name.
    fn judge(&mut self, index: u32) {
        let now = self.now.moment;
        let Some(home) = self.homes.get_mut(index) else { return };
        match home.chronicle.past.settled {
            Some(landmark) if !home.another && home.log_start <= NextOffset(landmark.offset.0) => {
                (home.chronicle.stage, home.chronicle.looking_since) = (Stage::Looking(landmark), now);
                let partition = home.partition.clone();
                self.tell_log(LogCommand::Look(partition, landmark));
            }
            _ => self.begin_knowing(index, None),
        }
    }

    /// The log has said whether the last settled record still stands in it.
    pub(super) fn looked(&mut self, look: &Looked) {
        let Looked { seen, partition, standing, log } = look;
        let (seen, standing) = (*seen, *standing);
        let Some(index) = self.homes.index(partition) else { return };
        let Some(home) = self.homes.get_mut(index).filter(|home| home.assignment <= seen) else { return };
        let Stage::Looking(_) = home.chronicle.stage else { return };
        home.chronicle.stage = Stage::Known;
        if standing == Standing::Other {
            // The log that was asked for its edges at the assignment may have been the one before this one.
            home.log_start = log.0;
            home.doubt.another_ends_at(log.1);
        }
        self.begin_knowing(index, Some(standing));
    }

    /// Called at every tick: where the group has an offset, a record that cannot be read is not waited for for ever.
    pub(super) fn give_up_looks(&mut self) {
        let now = self.now.moment;
        for index in self.homes.indices() {
            let Some(home) = self.homes.get_mut(index) else { continue };
            let chronicle = &mut home.chronicle;
            let waits = matches!(chronicle.stage, Stage::Looking(_)) && home.committed_at_start.is_some();
            if waits && now.since(chronicle.looking_since) >= LOOK {
                chronicle.stage = Stage::Known;
                self.begin_knowing(index, None);
            }
        }
    }

    /// Compares what is known with what the log holds: where to start, and what is gone. `standing`: of the last settled
    /// record; `None` when it was not looked for.
    fn begin_knowing(&mut self, index: u32, standing: Option<Standing>) {
        let Some(home) = self.homes.get_mut(index) else { return };
        let committed = home.committed_at_start.as_ref().map(|(next, _)| *next);
        let behind = home.chronicle.past.settled.map(|landmark| landmark.offset.next());
        let known = committed.max(behind);
        let (log_start, log_end) = (home.log_start, home.doubt.end());
        // What a former owner settled since the end was asked for is no truncation: it stands there.
        let stands = standing.is_some_and(|standing| standing != Standing::Other);
        let log_end = behind.filter(|_| stands).map_or(log_end, |behind| log_end.max(behind));
        let found = fit(known, log_start, log_end);
        let is_another = home.another || standing == Some(Standing::Other);
        match (committed, behind, standing) {
            // The group's offsets go with a topic: where they are still there, it may be the same log, cut off, or the
            // records of the other one were handled already.
            _ if is_another => {
                self.begin_from(index, log_start, Fit::Truncation(above(known, log_end)), committed.is_some());
            }
            (None, Some(behind), Some(Standing::Same)) => {
                tracing::warn!(
                    topic = %home.partition.topic,
                    partition = home.partition.partition,
                    start = behind.0,
                    "the group's offset is gone (expired or deleted): going on behind the last settled record"
                );
                self.begin_from(index, behind, Fit::Whole, false);
            }
            (None, Some(_), Some(_)) => {
                // Which of the two is not known, and going on behind it could pass over what was never read.
                tracing::warn!(
                    topic = %home.partition.topic,
                    partition = home.partition.partition,
                    start = log_start.0,
                    "the last settled record is gone: compaction has taken it, or the log is another one"
                );
                self.begin_from(index, log_start, Fit::Truncation(0), true);
            }
            (None, Some(_), None) => self.begin_from(index, log_start, found, false),
            (Some(_), ..) | (_, None, _) => {
                let start = home.low_water.position();
                self.begin_from(index, start, found, true);
            }
        }
    }

    /// It is settled where the partition starts. `doubtful`: after a truncation it may still be the same log, whose
    /// records were handled before.
    fn begin_from(&mut self, index: u32, start: NextOffset, found: Fit, doubtful: bool) {
        let Some(home) = self.homes.get_mut(index) else { return };
        let committed = home.committed_at_start.as_ref().map(|(next, _)| *next);
        home.starts_at(start, committed != Some(start));
        let past = &mut home.chronicle.past;
        let lost = match found {
            Fit::Truncation(_) => {
                *past = Past::none(start);
                true
            }
            Fit::Retention(_) => true,
            Fit::Whole => {
                if past.observed_to < start && !past.producers.is_empty() {
                    tracing::warn!(
                        topic = %home.partition.topic,
                        partition = home.partition.partition,
                        observed_to = past.observed_to.0,
                        start = start.0,
                        "records were passed unobserved: gaps in producers' sequences among them go unseen"
                    );
                    past.producers.passed_unseen();
                }
                past.observed_to = past.observed_to.max(start);
                false
            }
        };
        self.gaps_changed = true;
        if lost {
            home.chronicle.changed = true;
            let doubtful = doubtful && matches!(found, Fit::Truncation(_));
            self.lost_below(index, committed, start, found, doubtful);
        }
    }
}

/// How many offsets stand above the log's end.
fn above(known: Option<NextOffset>, log_end: NextOffset) -> u64 {
    known.map_or(0, |next| u64::try_from(next.0.saturating_sub(log_end.0)).unwrap_or(0))
}
