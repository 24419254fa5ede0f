//! Partitions come, are read, committed and go: `src/pipeline/intake.rs`, `commits.rs` and `drain.rs`.

use kafka_once::domain::doubt::Doubt;
use kafka_once::domain::history::History;
use kafka_once::domain::life::{Event, Life};
use kafka_once::domain::low_water::LowWater;
use kafka_once::domain::record::NextOffset;

use super::broken::Variant;
use super::host::{Entry, Home, Host, Pending, Phase};
use super::turn::Turn;

impl Turn<'_> {
    /// The group gives us a partition.
    pub fn assigned(&mut self, partition: usize) {
        let seat = &mut self.world.group[partition];
        seat.owner = Some(self.at);
        let committed = seat.committed.clone();
        let end = i64::try_from(self.scope.log(partition).count()).expect("few");
        self.host().homes.push(Home {
            partition,
            phase: Phase::Starting,
            low_water: LowWater::starting_at(committed.as_ref().map_or(NextOffset(0), |(next, _)| *next)),
            start_due: committed.is_none(),
            committed_at_start: committed.map(|(_, metadata)| metadata),
            committing: None,
            doubt: Doubt::none(NextOffset(end)),
            lost: false,
        });
        self.host().homes.sort_by_key(|home| home.partition);
    }

    /// Begins a partition once there is a session: its committed history is judged, then its start is committed where
    /// nothing was.
    pub fn begin(&mut self, partition: usize) {
        let judged = self.scope.variant != Variant::CommittedPastIgnored;
        let Some(now) = self.host().history.map(super::store::Past::history) else { return };
        let Some(home) = self.home(partition) else { return };
        let before = home.committed_at_start.take().and_then(|metadata| History::from_metadata(&metadata));
        if let Some(before) = before.filter(|before| judged && now.forgotten_since(before).is_some()) {
            home.doubt.spread(&before, home.low_water.taken_to());
        }
        if home.start_due {
            let next = home.low_water.position();
            home.committing = Some((next, home.doubt.metadata(&now, next)));
        } else {
            home.phase = Phase::Running;
        }
    }

    /// Takes the next record in.
    pub fn take(&mut self, partition: usize) {
        let (scope, token) = (self.scope, self.host().free_token());
        let Some(home) = self.home(partition) else { return };
        let next = usize::try_from(home.low_water.taken_to().0).expect("small");
        let Some(record) = scope.log(partition).nth(next) else { return };
        let position = scope.position(record);
        let Some(slot) = home.low_water.take(position.offset) else { return };
        let life = Life::new(position, scope.digest(record), home.doubt.covers(position.offset));
        let entry = Entry { token, record, life, at_home: true, slot, pending: Pending::Nothing, polls: 0 };
        let id = scope.records[record].id;
        let has_twin = self.host().entries.iter().any(|other| scope.records[other.record].id == id);
        if has_twin && scope.variant == Variant::TwinSettledAtOnce {
            return self.settle(&entry);
        }
        self.host().entries.push(entry);
    }

    /// A commit of low water goes out.
    pub fn commit(&mut self, partition: usize) {
        let variant = self.scope.variant;
        let Some(now) = self.host().history.map(super::store::Past::history) else { return };
        let Some(home) = self.home(partition) else { return };
        let next = variant.commits(&home.low_water);
        let metadata = home.doubt.metadata(&now, home.low_water.position());
        home.committing = next.map(|next| (next, variant.beside(metadata, &now)));
    }

    /// The group stores a commit, and its answer arrives.
    pub fn committed(&mut self, partition: usize) {
        let Some(home) = self.home(partition) else { return };
        let Some((next, metadata)) = home.committing.take() else { return };
        if home.phase == Phase::Starting {
            home.start_due = false;
        } else {
            home.low_water.acknowledged(next);
        }
        self.world.group[partition].committed = Some((next, metadata));
    }

    /// The group wants a partition back, or we are asked to end: begin nothing more, finish what has begun.
    pub fn leave(&mut self, partition: usize) {
        let Some(home) = self.home(partition) else { return };
        if matches!(home.phase, Phase::Leaving | Phase::Committing) {
            return;
        }
        if home.phase == Phase::Starting {
            home.committing = None; // the start's commit says nothing that the next owner does not find out
        }
        home.phase = Phase::Leaving;
        self.tell_all_of(partition, Event::Leave);
    }

    /// The partition is gone: nothing may be committed, and whoever has it now receives what was open.
    pub fn heard_lost(&mut self, partition: usize) {
        self.tell_all_of(partition, Event::Leave);
        self.part_with(partition);
    }

    /// The deadline of a revoked partition has passed: what is open goes on without it.
    pub fn deadline(&mut self, partition: usize) {
        for token in self.tokens_of(partition) {
            if self.scope.variant == Variant::OpenForgottenAtDeadline {
                self.host().entries.retain(|entry| entry.token != token);
                continue;
            }
            let Some(entry) = self.entry(token).copied() else { continue };
            if entry.life.decided().is_some() {
                self.settle(&entry);
                if let Some(entry) = self.entry(token) {
                    entry.at_home = false;
                }
            }
        }
        if let Some(home) = self.home(partition) {
            home.phase = Phase::Committing;
        }
    }

    /// The deadline of the end has passed: everything open is cut off.
    pub fn cut_off(&mut self) {
        for token in self.tokens(|_| true) {
            self.live(token, Event::CutOff);
        }
    }

    /// Moves partitions on their way out as far as they can go, and the end of the process.
    pub fn progress_drains(&mut self) {
        for partition in 0..self.scope.partitions() {
            let open = !self.tokens_of(partition).is_empty();
            let Some(home) = self.home(partition) else { continue };
            if home.phase == Phase::Leaving && !open {
                home.phase = Phase::Committing;
            }
            let done = home.committing.is_none() && (home.low_water.due().is_none() || home.lost);
            if home.phase == Phase::Committing && done {
                self.part_with(partition);
            }
        }
        let host = self.host();
        if host.drains && host.homes.is_empty() && host.entries.is_empty() {
            self.end();
        }
    }

    /// The process ends. A session whose claims could not all be given back must run out.
    fn end(&mut self) {
        let host = self.host();
        let (session, owes) = (host.session(), host.owes);
        *host = Host::new(host.named);
        if let Some(session) = session.filter(|_| !owes) {
            self.world.store.close(session);
        }
    }

    /// What is still open outlives the partition.
    fn part_with(&mut self, partition: usize) {
        for token in self.tokens_of(partition) {
            if let Some(entry) = self.entry(token) {
                entry.at_home = false;
            }
        }
        let at = self.at;
        if self.home(partition).is_some_and(|home| !home.lost) {
            self.world.group[partition].owner = None;
        }
        debug_assert_ne!(self.world.group[partition].owner, Some(at), "it is not ours any more");
        self.host().homes.retain(|home| home.partition != partition);
    }

    fn tell_all_of(&mut self, partition: usize, event: Event) {
        for token in self.tokens_of(partition) {
            self.live(token, event);
        }
    }

    fn tokens_of(&mut self, partition: usize) -> Vec<u8> {
        let entries = self.world.hosts[self.at].entries.clone();
        entries.iter().filter(|entry| self.is_of(entry, partition)).map(|entry| entry.token).collect()
    }
}
