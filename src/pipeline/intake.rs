//! What the log tells: partitions come and go, records are taken in.

use super::homes::Phase;
use super::table::{Entry, Token};
use super::{Pipeline, Stopped};
use crate::domain::claim::Digest;
use crate::domain::horizon::LogNews;
use crate::domain::lanes::{Place, lane_key};
use crate::domain::life::Life;
use crate::domain::past_codec::Owner;
use crate::domain::record::TopicPartition;
use crate::ports::{App, Assigned, Claims, DeadLetters, Intake, LogEnd, Taken};

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    pub(super) fn take_in(&mut self, intake: Intake) {
        match intake {
            Intake::Assigned(partitions) => partitions.into_iter().for_each(|assigned| self.assigned(assigned)),
            Intake::Records(records) => self.records(records),
            Intake::Revoking(partitions) => self.revoking(&partitions),
            Intake::Lost(partitions) => partitions.iter().for_each(|partition| self.lost(partition)),
            Intake::Committed { seen, offsets, result } => self.committed(seen, &offsets, result),
            Intake::Ends(ends) => {
                for end in ends {
                    self.log_ends_at(&end);
                }
            }
            Intake::Jumped { partition, from, to } => self.jumped(&partition, from, to),
            Intake::Looked(look) => self.looked(&look),
            Intake::Bound(partitions, bound) => partitions.iter().for_each(|partition| self.bound(partition, bound)),
            Intake::BrokerUp(up) => {
                self.broker_up = up;
                self.metrics.broker_up(up);
            }
            Intake::Fatal(why) => self.stopped = Some(Stopped::Log(why)),
            Intake::Refused(why) => self.stopped = Some(Stopped::Refused(why)),
            Intake::Left => {
                self.pulses.rest(crate::telemetry::Loop::Kafka);
                self.drain.left_group();
            }
        }
    }

    /// The log's thread has gone without a word.
    pub(super) fn log_closed(&mut self) {
        self.intake_open = false;
        if !self.drain.has_left_group() {
            self.stopped = Some(Stopped::Log("its thread ended".to_owned()));
        }
    }

    fn assigned(&mut self, assigned: Assigned) {
        let partition = &assigned.partition;
        if self.homes.index(partition).is_some() {
            self.lost(&partition.clone());
        }
        tracing::info!(
            topic = %assigned.partition.topic,
            partition = assigned.partition.partition,
            start = assigned.start.0,
            committed = assigned.committed.as_ref().map(|(next, _)| next.0),
            log_end = assigned.log_end.0,
            "partition assigned"
        );
        self.assignment_seen = self.assignment_seen.max(assigned.assignment);
        self.metrics.assigned(&assigned.partition);
        let topic = self.metrics.topic(&assigned.partition.topic);
        let owner = Owner(self.clock.session_id().0);
        let index = self.homes.add(assigned, topic, owner);
        self.gaps_changed = true;
        self.decline(index);
    }

    fn records(&mut self, records: Vec<Taken>) {
        let mut last: Option<(TopicPartition, Option<u32>)> = None;
        let mut received = 0;
        for taken in records {
            let record = &taken.record;
            let same = last.as_ref().is_some_and(|(partition, _)| {
                partition.partition == record.position().partition && partition.topic == *record.topic()
            });
            if !same {
                self.count_received(last.as_ref().and_then(|(_, home)| *home), received);
                received = 0;
                let partition = record.topic_partition();
                let home = self.homes.index(&partition).filter(|index| self.takes_from(*index));
                last = Some((partition, home));
            }
            let home = last.as_ref().and_then(|(_, home)| *home);
            received += u64::from(self.record(taken, home));
        }
        self.count_received(last.and_then(|(_, home)| home), received);
    }

    fn takes_from(&self, home: u32) -> bool {
        self.homes.get(home).is_some_and(|home| matches!(home.phase, Phase::Running))
    }

    fn count_received(&self, home: Option<u32>, count: u64) {
        if let Some(home) = home.and_then(|home| self.homes.get(home)).filter(|_| count > 0) {
            self.metrics.received(home.topic, count);
        }
    }

    /// Takes one record in. `false`: its partition takes nothing now, so its next owner receives it again.
    fn record(&mut self, named: Taken, home_index: Option<u32>) -> bool {
        let Taken { record, identity, numbered, sent_back } = named;
        let bytes = record.held_bytes();
        let Some((index, home)) = home_index.and_then(|index| Some((index, self.homes.get_mut(index)?))) else {
            self.held.freed(bytes);
            return false;
        };
        let offset = record.position().offset;
        let Some(slot) = home.low_water.take(offset) else {
            self.held.freed(bytes);
            home.window.passed(1);
            return false;
        };
        home.open += 1;
        home.moves += 1;
        home.chronicle.took(record.position());
        let lane = lane_key(self.limits.ordering, home.topic_index, record.position().partition, record.key());
        let forgotten = home.doubt.covers(offset);
        let position_made = identity.as_ref().is_ok_and(|known| known.position_made);
        let in_doubt = forgotten || self.may_be_stale(position_made);
        let (id, digest, unfit, detail) = match identity {
            Ok(known) => (Some((known.hash, known.wire)), known.digest, None, String::new()),
            Err(unfit) => (None, Digest([0; 16]), Some(unfit.reason), unfit.detail),
        };
        let mut life = Life::new(record.position(), digest, in_doubt);
        if let Some(letter) = sent_back {
            life = life.sent_back(letter, position_made);
        }
        let token = self.table.insert(Entry {
            record,
            id,
            position_made,
            life,
            unfit,
            detail,
            status: None,
            home: home_index,
            slot,
            lane,
            at_head: false,
            ready: false,
            asked: self.now.moment,
            written: self.now.moment,
            courier: None,
            epoch: 0,
        });
        self.observe(index, offset, &numbered);
        match self.lanes.join(lane, token) {
            Place::Head => self.turn(token, true),
            Place::Next => self.turn(token, false),
            Place::Waiting => {}
        }
        true
    }

    /// A record may ask for its claim, and be forwarded when it is the head of its lane.
    pub(super) fn turn(&mut self, token: Token, head: bool) {
        let Some(entry) = self.table.get_mut(token) else { return };
        entry.at_head |= head;
        self.to_claim.push_back(token);
    }

    fn log_ends_at(&mut self, log: &LogEnd) {
        let LogEnd { partition, end, unread, fresh } = log;
        // Before a partition begins, news may still be of what was there before it came.
        let Some(home) = self.homes.named(partition).filter(|home| home.phase != Phase::Starting) else {
            return;
        };
        home.doubt.ends_at(*end);
        home.unread = *unread && *end > home.low_water.taken_to();
        let reading = *fresh && home.phase == Phase::Running && !home.paused && !home.bound;
        let (observed_to, all_fetched) = (home.chronicle.past.observed_to, !unread && home.open == 0);
        home.horizon.hear(LogNews { end: *end, observed_to, reading, all_fetched }, self.now.moment);
        let lag = home.doubt.end().0.saturating_sub(home.low_water.position().0);
        self.metrics.lag(partition, u64::try_from(lag).unwrap_or(0));
    }
}
