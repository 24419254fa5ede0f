//! What one partition holds, told while it is read from one end to the other: gaps, duplicates, disorder.
//!
//! Its memory is bounded whatever the partition holds; what a bound cuts off is counted.

use std::collections::HashMap;
use std::ops::AddAssign;

use super::identity::{MessageId, WireId};
use super::numbering::Numbered;
use super::record::Offset;
use super::sequence::{Missing, Observation, Tracker};
use super::time::Now;

/// How many producers are followed at once, in all partitions together; each partition has an equal share. Beyond it
/// those that have been silent longest are forgotten: their gaps are final.
pub const MOST_PRODUCERS: usize = 100_000;

/// How many missing ranges a late arrival can still fill, in all partitions together (equal shares), besides the first
/// [`FIRST_ROOM`] of each producer. Beyond it a producer's oldest one is final.
pub const MOST_OPEN_RANGES: usize = 500_000;

/// Missing ranges that every producer has room for.
pub const FIRST_ROOM: usize = 4;

/// How many missing ranges, and how many duplicates, are listed; the others are counted.
pub const MOST_LISTED: usize = 1_000;

/// How many producers are listed, those that miss most first; the others are counted.
pub const MOST_LISTED_PRODUCERS: usize = 100;

/// What is known of a record's message ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// Nobody had it before.
    New,
    /// A record before had it, here or in another partition.
    Duplicate(&'a MessageId),
    /// No remembered one is the same, and it is not remembered either: the bound is reached.
    Unremembered,
    /// It has none from its producer.
    Without,
    /// It has two, or one that is too long.
    Unusable,
}

/// Everything that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub records: u64,
    /// Missing ranges.
    pub gaps: u64,
    /// Missing numbers.
    pub missing: u64,
    /// Records whose message ID a record before had.
    pub duplicates: u64,
    /// Records whose message ID was not remembered: duplicates of these were not seen.
    pub unremembered: u64,
    /// Records without a message ID from their producer.
    pub without_id: u64,
    /// Records whose message ID is ambiguous or too long.
    pub unusable_id: u64,
    /// Records without a number.
    pub unnumbered: u64,
    /// Records with a number that cannot be read, or is nobody's.
    pub unreadable: u64,
    /// Records that came behind a higher number of their producer.
    pub out_of_order: u64,
    /// Records whose number their producer had used before.
    pub repeated: u64,
    /// Times that a producer began again at its first number.
    pub restarts: u64,
    /// Producers; one that was forgotten and came back counts twice.
    pub producers: u64,
    /// Producers forgotten for want of room.
    pub forgotten: u64,
    /// Ranges that became final for want of room: a late arrival would not have been recognised.
    pub given_up: u64,
    /// Offsets that retention deleted while we were on our way to them: no gaps.
    pub deleted: u64,
}

impl Counts {
    /// Whether every number here is exact, duplicates aside.
    pub fn is_exact(&self) -> bool {
        (self.forgotten, self.given_up, self.deleted) == (0, 0, 0)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.gaps += other.gaps;
        self.missing = self.missing.saturating_add(other.missing);
        self.duplicates += other.duplicates;
        self.unremembered += other.unremembered;
        self.without_id += other.without_id;
        self.unusable_id += other.unusable_id;
        self.unnumbered += other.unnumbered;
        self.unreadable += other.unreadable;
        self.out_of_order += other.out_of_order;
        self.repeated += other.repeated;
        self.restarts += other.restarts;
        self.producers += other.producers;
        self.forgotten += other.forgotten;
        self.given_up += other.given_up;
        self.deleted += other.deleted;
    }
}

/// A missing range and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The producer's name.
    pub producer: Box<[u8]>,
    /// The numbers, and the offsets of their neighbours.
    pub missing: Missing,
}

/// A record whose message ID a record before had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The message ID.
    pub id: WireId,
    /// Where the record stands; the one before may stand in another partition.
    pub offset: Offset,
}

/// A producer of whom there is something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its name.
    pub name: Box<[u8]>,
    /// What it did.
    pub tally: Tally,
}

/// What one producer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Its records with a number.
    pub records: u64,
    /// Missing ranges.
    pub gaps: u64,
    /// Missing numbers.
    pub missing: u64,
    /// See [`Counts::out_of_order`].
    pub out_of_order: u64,
    /// See [`Counts::repeated`].
    pub repeated: u64,
    /// See [`Counts::restarts`].
    pub restarts: u64,
}

impl Tally {
    fn says_something(&self) -> bool {
        (self.gaps, self.out_of_order, self.repeated, self.restarts) != (0, 0, 0, 0)
    }
}

/// A list with a bound, and how many there are besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The first ones.
    pub items: Vec<T>,
    /// Those that are not listed.
    pub more: u64,
}

impl<T> Listed<T> {
    /// Keeps the first `most` and counts the others.
    pub fn cut(&mut self, most: usize) {
        self.more += self.items.len().saturating_sub(most) as u64;
        self.items.truncate(most);
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), more: 0 }
    }
}

/// What a partition was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Everything that is counted.
    pub counts: Counts,
    /// Missing ranges, by the offset that showed them; at most [`MOST_LISTED`].
    pub gaps: Listed<Gap>,
    /// Duplicates, by offset; at most [`MOST_LISTED`].
    pub duplicates: Listed<Duplicate>,
    /// Producers of whom there is something to say; at most [`MOST_LISTED_PRODUCERS`].
    pub producers: Listed<Producer>,
}

/// A partition that is being read.
#[derive(Debug)]
pub struct PartitionAudit {
    producers: HashMap<Box<[u8]>, Followed>,
    /// How many producers are followed at most.
    most_producers: usize,
    /// How many more ranges may be kept open.
    spare_ranges: usize,
    found: Found,
}

#[derive(Debug)]
struct Followed {
    tracker: Tracker,
    room: usize,
    tally: Tally,
}

impl PartitionAudit {
    /// One of so many partitions that are read: its bounds are its share.
    pub fn one_of(partitions: usize) -> Self {
        let share = |most: usize| (most / partitions.max(1)).max(1);
        Self::bounded(share(MOST_PRODUCERS), share(MOST_OPEN_RANGES))
    }

    fn bounded(most_producers: usize, spare_ranges: usize) -> Self {
        Self { producers: HashMap::new(), most_producers, spare_ranges, found: Found::default() }
    }

    /// Takes one record in, in the order of offsets.
    pub fn observe(&mut self, offset: Offset, named: Named<'_>, numbered: Numbered) {
        let counts = &mut self.found.counts;
        counts.records += 1;
        match named {
            Named::New => {}
            Named::Duplicate(id) => {
                counts.duplicates += 1;
                if self.found.duplicates.items.len() < MOST_LISTED {
                    self.found.duplicates.items.push(Duplicate { id: WireId::of(id), offset });
                } else {
                    self.found.duplicates.more += 1;
                }
            }
            Named::Unremembered => counts.unremembered += 1,
            Named::Without => counts.without_id += 1,
            Named::Unusable => counts.unusable_id += 1,
        }
        match numbered {
            Numbered::Not => counts.unnumbered += 1,
            Numbered::Unreadable(_) => counts.unreadable += 1,
            Numbered::As { producer, number } => {
                self.follow(producer, number, offset, matches!(named, Named::Duplicate(_)));
            }
        }
    }

    /// Retention has deleted so many offsets that were still to be read. What comes behind them is seen in mid-life.
    pub fn deleted(&mut self, offsets: u64) {
        self.found.counts.deleted += offsets;
        for (name, followed) in std::mem::take(&mut self.producers) {
            self.close(name, &followed);
        }
    }

    /// The end is reached: whatever is missing now is missing.
    pub fn finish(mut self) -> Found {
        for (name, followed) in std::mem::take(&mut self.producers) {
            self.close(name, &followed);
        }
        let Found { gaps, producers, .. } = &mut self.found;
        gaps.items.sort_by_key(|gap| (gap.missing.after, gap.missing.first));
        gaps.cut(MOST_LISTED);
        worst_first(producers, MOST_LISTED_PRODUCERS, |producer| producer);
        self.found
    }

    fn follow(&mut self, producer: Box<[u8]>, number: u64, offset: Offset, again: bool) {
        if let Some(followed) = self.producers.get_mut(&producer) {
            if let Some(given_up) = followed.observe(number, offset, again, &mut self.spare_ranges) {
                self.found.counts.given_up += 1;
                followed.tally.gaps += 1;
                followed.tally.missing = followed.tally.missing.saturating_add(given_up.count());
                self.found.lost(Gap { producer, missing: given_up });
            }
            return;
        }
        if self.producers.len() >= self.most_producers {
            self.forget();
        }
        self.found.counts.producers += 1;
        self.producers.insert(producer, Followed::begin(number, offset));
    }

    /// Forgets the eighth of the producers that has been silent longest: so rarely enough to look at all of them.
    fn forget(&mut self) {
        let mut silent_since: Vec<Offset> = self.producers.values().map(|followed| followed.tracker.as_of()).collect();
        let eighth = silent_since.len() / 8;
        let last = *silent_since.select_nth_unstable(eighth).1;
        let gone: Vec<_> = self.producers.extract_if(|_, followed| followed.tracker.as_of() <= last).collect();
        self.found.counts.forgotten += gone.len() as u64;
        for (name, followed) in gone {
            self.close(name, &followed);
        }
    }

    /// Nothing more will come of this producer: what it misses is missing.
    fn close(&mut self, name: Box<[u8]>, followed: &Followed) {
        self.spare_ranges += followed.room - FIRST_ROOM;
        let mut tally = followed.tally;
        for missing in followed.tracker.missing() {
            tally.gaps += 1;
            tally.missing = tally.missing.saturating_add(missing.count());
            self.found.lost(Gap { producer: name.clone(), missing: *missing });
        }
        let counts = &mut self.found.counts;
        counts.out_of_order += tally.out_of_order;
        counts.repeated += tally.repeated;
        counts.restarts += tally.restarts;
        if tally.says_something() {
            self.found.producers.items.push(Producer { name, tally });
            if self.found.producers.items.len() >= 2 * MOST_LISTED_PRODUCERS {
                worst_first(&mut self.found.producers, MOST_LISTED_PRODUCERS, |producer| producer);
            }
        }
    }
}

impl Found {
    fn lost(&mut self, gap: Gap) {
        self.counts.gaps += 1;
        self.counts.missing = self.counts.missing.saturating_add(gap.missing.count());
        self.gaps.items.push(gap);
        // Those of one producer come in their order, those of many do not: the first of all are kept.
        if self.gaps.items.len() >= 2 * MOST_LISTED {
            self.gaps.items.sort_by_key(|gap| (gap.missing.after, gap.missing.first));
            self.gaps.cut(MOST_LISTED);
        }
    }
}

/// Keeps the producers that miss most; among equals by name, so that two audits say the same.
pub fn worst_first<T>(producers: &mut Listed<T>, most: usize, producer: impl Fn(&T) -> &Producer) {
    producers.items.sort_by(|one, other| {
        let (one, other) = (producer(one), producer(other));
        let rank = |tally: &Tally| (tally.missing, tally.out_of_order, tally.repeated, tally.restarts);
        rank(&other.tally).cmp(&rank(&one.tally)).then_with(|| one.name.cmp(&other.name))
    });
    producers.cut(most);
}

impl Followed {
    fn begin(number: u64, offset: Offset) -> Self {
        let mut tracker = Tracker::begin(number, offset);
        tracker.set_room(FIRST_ROOM);
        Self { tracker, room: FIRST_ROOM, tally: Tally { records: 1, ..Tally::default() } }
    }

    /// Takes a record in; what had to be given up for want of room. `again`: its message ID was here before.
    fn observe(&mut self, number: u64, offset: Offset, again: bool, spare: &mut usize) -> Option<Missing> {
        self.tally.records += 1;
        // The first number again would be a restart; sent again, it is only a duplicate.
        if again && number <= self.tracker.run().base.unwrap_or(1) {
            self.tally.repeated += 1;
            return None;
        }
        if self.tracker.missing().len() >= self.room {
            let more = self.room.min(*spare);
            *spare -= more;
            self.room += more;
            self.tracker.set_room(self.room);
        }
        let observed = self.tracker.observe(number, offset, Now::default());
        match observed.what {
            Observation::Next | Observation::Gap { .. } | Observation::Replayed => {}
            Observation::Late { .. } => self.tally.out_of_order += 1,
            Observation::Duplicate => self.tally.repeated += 1,
            Observation::Restart => self.tally.restarts += 1,
        }
        observed.given_up
    }
}

#[cfg(test)]
mod tests;
