//! The sequences of all producers of one partition: whose numbers are followed, and what is missing of them.

use std::collections::HashMap;
use std::time::Duration;

use super::record::Offset;
use super::sequence::{Missing, Observation, Observed, Tracker};
use super::time::{Moment, Now};

/// Producers followed in one partition at most. Beyond, those that were silent for longest are forgotten.
pub const MOST_PRODUCERS: usize = 1024;

/// Missing ranges kept for one partition at most, beside the bound of each producer's own.
pub const MOST_RANGES_IN_ALL: usize = 2048;

/// How many are forgotten at once: finding the most silent ones costs a look at all.
const FORGOTTEN_AT_ONCE: usize = MOST_PRODUCERS / 8;

/// A producer's name, as its records hold it.
pub type ProducerName = Box<[u8]>;

/// A range that a producer lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// Whose numbers they are.
    pub producer: ProducerName,
    /// Which.
    pub range: Missing,
}

/// What one record changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// A gap is suspected from now on.
    pub gap: bool,
    /// A number that was missing has arrived.
    pub recovered: bool,
    /// Ranges that count as lost before their grace has ended: there was no room for them.
    pub given_up: Vec<LostRange>,
    /// Producers that were forgotten for want of room.
    pub forgotten: u64,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Followed {
    tracker: Tracker,
    /// Grows with each of the partition's records: which producers were silent for longest.
    seen: u64,
    /// Records that nobody observed stand between its last one and the next.
    unseen: bool,
}

/// All producers of one partition. Bounded by [`MOST_PRODUCERS`] and [`MOST_RANGES_IN_ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    followed: HashMap<ProducerName, Followed>,
    seen: u64,
    /// Missing ranges of all, suspected and lost.
    ranges: usize,
    /// Numbers that are suspected to be missing.
    suspected: u128,
}

impl Producers {
    /// Takes in which of its producer's messages a record is.
    pub fn observe(&mut self, producer: &[u8], number: u64, offset: Offset, now: Now) -> Sighting {
        self.seen += 1;
        let Some(followed) = self.followed.get_mut(producer) else {
            return self.begin(producer, number, offset);
        };
        followed.seen = self.seen;
        let unseen = followed.unseen;
        // What stood among the unseen ones may be any number up to one that is higher than all before.
        followed.unseen &= number <= followed.tracker.run().highest;
        let before = open(&followed.tracker);
        let Observed { what, given_up } = if unseen {
            followed.tracker.observe_behind_unseen(number, offset, now)
        } else {
            followed.tracker.observe(number, offset, now)
        };
        let (gap, recovered) = (matches!(what, Observation::Gap { .. }), matches!(what, Observation::Late { .. }));
        if before.0 == 0 && !gap {
            return Sighting::default();
        }
        let mut given_up: Vec<LostRange> = given_up.map(|range| lost(producer, range)).into_iter().collect();
        let after = open(&followed.tracker);
        self.ranges = self.ranges + after.0 - before.0;
        self.suspected = self.suspected + after.1 - before.1;
        if self.ranges > MOST_RANGES_IN_ALL {
            given_up.extend(self.make_room(producer));
        }
        Sighting { gap, recovered, given_up, forgotten: 0 }
    }

    /// Declares every suspected range lost whose grace has ended by a moment; each one once.
    pub fn expire(&mut self, by: Moment, grace: Duration) -> Vec<LostRange> {
        if self.suspected == 0 {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (producer, followed) in &mut self.followed {
            all.extend(followed.tracker.expire(by, grace).into_iter().map(|range| lost(producer, range)));
        }
        self.suspected -= all.iter().map(|lost| u128::from(lost.range.count())).sum::<u128>();
        all
    }

    /// Numbers that are suspected to be missing.
    pub fn suspected(&self) -> u64 {
        u64::try_from(self.suspected).unwrap_or(u64::MAX)
    }

    /// Missing ranges, suspected and lost.
    pub fn ranges(&self) -> usize {
        self.ranges
    }

    /// Every producer with what is known of it, and whether records that nobody observed stand behind its last one; the one
    /// that was silent for longest first, which is the order in which they are restored.
    pub fn by_silence(&self) -> Vec<(&[u8], &Tracker, bool)> {
        let mut all: Vec<_> = self.followed.iter().collect();
        all.sort_unstable_by_key(|(_, followed)| followed.seen);
        all.into_iter().map(|(producer, followed)| (&**producer, &followed.tracker, followed.unseen)).collect()
    }

    /// Every producer with what is known of it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Tracker)> {
        self.followed.iter().map(|(producer, followed)| (&**producer, &followed.tracker))
    }

    /// Whether none is followed.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Takes over what another process knew of a producer; beyond the bounds nothing.
    pub fn restore(&mut self, producer: ProducerName, tracker: Tracker, unseen: bool) {
        let (ranges, suspected) = open(&tracker);
        let room = self.followed.len() < MOST_PRODUCERS && self.ranges + ranges <= MOST_RANGES_IN_ALL;
        if !room || self.followed.contains_key(&producer) {
            return;
        }
        self.seen += 1;
        self.ranges += ranges;
        self.suspected += suspected;
        self.followed.insert(producer, Followed { tracker, seen: self.seen, unseen });
    }

    /// Records stand in the log that nobody observed: whatever number a producer goes on with is no gap.
    pub fn passed_unseen(&mut self) {
        self.followed.values_mut().for_each(|followed| followed.unseen = true);
    }

    fn begin(&mut self, producer: &[u8], number: u64, offset: Offset) -> Sighting {
        let mut sighting = Sighting::default();
        if self.followed.len() >= MOST_PRODUCERS {
            (sighting.forgotten, sighting.given_up) = self.forget();
        }
        let followed = Followed { tracker: Tracker::begin(number, offset), seen: self.seen, unseen: false };
        self.followed.insert(producer.into(), followed);
        sighting
    }

    /// Forgets the producers that were silent for longest, and gives up what is suspected of them.
    fn forget(&mut self) -> (u64, Vec<LostRange>) {
        let mut seen: Vec<u64> = self.followed.values().map(|followed| followed.seen).collect();
        let (_, limit, _) = seen.select_nth_unstable(FORGOTTEN_AT_ONCE.min(self.followed.len() - 1));
        let limit = *limit;
        let (mut forgotten, mut given_up) = (0, Vec::new());
        self.followed.retain(|producer, followed| {
            if followed.seen >= limit {
                return true;
            }
            forgotten += 1;
            let missing = followed.tracker.missing();
            let suspected = missing.iter().filter(|missing| !missing.lost);
            given_up.extend(suspected.map(|range| lost(producer, Missing { lost: true, ..*range })));
            self.ranges -= missing.len();
            false
        });
        self.suspected -= given_up.iter().map(|lost| u128::from(lost.range.count())).sum::<u128>();
        (forgotten, given_up)
    }

    /// The one who brought a range too many gives one up.
    fn make_room(&mut self, producer: &[u8]) -> Option<LostRange> {
        let range = self.followed.get_mut(producer)?.tracker.give_up_one();
        self.ranges -= 1;
        let range = range?;
        self.suspected -= u128::from(range.count());
        Some(lost(producer, range))
    }
}

/// A tracker's ranges, and how many numbers are suspected in them.
fn open(tracker: &Tracker) -> (usize, u128) {
    let suspected = tracker.missing().iter().filter(|missing| !missing.lost);
    (tracker.missing().len(), suspected.map(|missing| u128::from(missing.count())).sum())
}

fn lost(producer: &[u8], range: Missing) -> LostRange {
    LostRange { producer: producer.into(), range }
}

#[cfg(test)]
mod tests;
