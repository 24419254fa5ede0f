//! Which numbers of a producer's sequence never arrived.

use super::record::Offset;
use super::time::{Moment, Now};

/// How many missing ranges are kept for one producer, suspected and lost together, unless it is given more room.
pub const MOST_RANGES: usize = 64;

/// Numbers that did not arrive, and where: one line of `/gaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Missing {
    /// The first missing number.
    pub first: u64,
    /// The last missing number, itself included.
    pub last: u64,
    /// The producer's last record before the gap.
    pub before: Offset,
    /// The record that showed the gap.
    pub after: Offset,
    /// When it was seen. After a restart the grace begins anew: set the moment to the present there.
    pub since: Now,
    /// Its grace has ended without late arrival (`lost`); `suspected` before.
    pub lost: bool,
    /// The producer has started again since. Its numbers mean other messages now: none of these can arrive late.
    pub past: bool,
}

impl Missing {
    /// How many numbers are missing.
    pub fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    fn holds(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// What one number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The one after the last one.
    Next,
    /// All between the last one and this one are missing.
    Gap {
        /// The first missing number.
        first: u64,
        /// The last missing number.
        last: u64,
    },
    /// It was missing and is here now: recovered.
    Late {
        /// It had been counted as lost; that stays counted.
        was_lost: bool,
    },
    /// It was here before.
    Duplicate,
    /// The producer started again at its first number.
    Restart,
    /// The record stands at or below the last one observed: it was observed before, and says nothing.
    Replayed,
}

/// An observation, and what had to be given up for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What the number says.
    pub what: Observation,
    /// A suspected range that counts as lost from now on, before its grace: the bound was reached.
    pub given_up: Option<Missing>,
}

/// One run of a producer: from its first number on, until it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first number; `None` when the producer was first seen in mid-life.
    pub base: Option<u64>,
    /// Where its first record stood.
    pub began: Offset,
    /// The highest number.
    pub highest: u64,
    /// The offset where the highest number stood.
    pub highest_at: Offset,
}

/// The sequence of one producer in one partition. Its memory is bounded by [`MOST_RANGES`], or by [`Tracker::set_room`].
///
/// The first number is 0 or 1. A producer that is first seen in mid-life starts there, without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    run: Run,
    /// The run before this one, while what looks like a new one may be just duplicates of its first messages.
    former: Option<Run>,
    /// The last record observed: all this is true as of here.
    as_of: Offset,
    /// The ranges, in the order in which they were seen: those of past lives first, within a life by their numbers.
    missing: Vec<Missing>,
    /// How many ranges are kept at most.
    room: usize,
}

impl Tracker {
    /// Begins to follow a producer with the first of its records that is seen: that one is neither next nor late.
    pub fn begin(number: u64, offset: Offset) -> Self {
        let base = Some(number).filter(|number| *number <= 1);
        let run = Run { base, began: offset, highest: number, highest_at: offset };
        Self { run, former: None, as_of: offset, missing: Vec::new(), room: MOST_RANGES }
    }

    /// Takes the state of another process over, as it was read from the store. Ranges that end before they begin
    /// and those above the bound are dropped.
    pub fn restore(run: Run, former: Option<Run>, as_of: Offset, mut missing: Vec<Missing>) -> Self {
        missing.retain(|missing| missing.first <= missing.last);
        missing.truncate(MOST_RANGES);
        Self { run, former, as_of, missing, room: MOST_RANGES }
    }

    /// Keeps at most so many missing ranges from the next one on; at least 1.
    pub fn set_room(&mut self, ranges: usize) {
        self.room = ranges.max(1);
    }

    /// Takes one record in.
    pub fn observe(&mut self, number: u64, offset: Offset, now: Now) -> Observed {
        if offset <= self.as_of {
            return Observed { what: Observation::Replayed, given_up: None };
        }
        self.as_of = offset;
        self.take_up_former(number);
        let (what, given_up) = match number.checked_sub(self.run.highest) {
            Some(1) => {
                self.advance(number, offset);
                (Observation::Next, None)
            }
            Some(ahead) if ahead > 1 => {
                let (first, last) = (self.run.highest + 1, number - 1);
                let gap = Missing {
                    first,
                    last,
                    before: self.run.highest_at,
                    after: offset,
                    since: now,
                    lost: false,
                    past: false,
                };
                self.advance(number, offset);
                (Observation::Gap { first, last }, self.keep(self.missing.len(), gap))
            }
            _ => self.observe_below(number, offset),
        };
        Observed { what, given_up }
    }

    /// Takes one record in behind records that nobody observed: a number ahead of the next one may have stood there, so
    /// it is no gap.
    pub fn observe_behind_unseen(&mut self, number: u64, offset: Offset, now: Now) -> Observed {
        if number <= self.run.highest || offset <= self.as_of {
            return self.observe(number, offset, now);
        }
        self.as_of = offset;
        self.advance(number, offset);
        Observed { what: Observation::Next, given_up: None }
    }

    /// Gives up the oldest range for want of room: a lost one, else one that counts as lost from now on and is returned.
    pub fn give_up_one(&mut self) -> Option<Missing> {
        let oldest = self.missing.iter().position(|missing| missing.lost).unwrap_or(0);
        let dropped = (oldest < self.missing.len()).then(|| self.missing.remove(oldest))?;
        (!dropped.lost).then_some(Missing { lost: true, ..dropped })
    }

    /// Declares every suspected range lost whose grace has ended by a moment; returns those, each one once.
    pub fn expire(&mut self, by: Moment, grace: std::time::Duration) -> Vec<Missing> {
        let ended = |missing: &&mut Missing| !missing.lost && by.since(missing.since.moment) >= grace;
        self.missing
            .iter_mut()
            .filter(ended)
            .map(|missing| {
                missing.lost = true;
                *missing
            })
            .collect()
    }

    /// The missing ranges, suspected and lost, in the order in which they were seen.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The run that goes on.
    pub fn run(&self) -> Run {
        self.run
    }

    /// The run before it, while what looks like a new one may be just duplicates of its first messages.
    pub fn former(&self) -> Option<Run> {
        self.former
    }

    /// The last record observed.
    pub fn as_of(&self) -> Offset {
        self.as_of
    }

    fn advance(&mut self, number: u64, offset: Offset) {
        (self.run.highest, self.run.highest_at) = (number, offset);
    }

    /// The number that follows the run before this one: that run goes on, and what looked like a new one were duplicates
    /// of its first messages. Else a duplicate of a producer's first message would invent a gap.
    fn take_up_former(&mut self, number: u64) {
        let Some(former) = self.former.filter(|former| former.highest.checked_add(1) == Some(number)) else { return };
        self.former = None;
        if self.run.highest >= former.highest {
            return; // a new run has come as far
        }
        self.run = former;
        self.missing.retain(|missing| missing.after <= former.highest_at);
        for missing in self.missing.iter_mut().filter(|missing| missing.after >= former.began) {
            missing.past = false;
        }
    }

    /// A number at or below the highest: late, or the first again, or a duplicate.
    fn observe_below(&mut self, number: u64, offset: Offset) -> (Observation, Option<Missing>) {
        let past = self.missing.partition_point(|missing| missing.past);
        let place = past + self.missing[past..].partition_point(|missing| missing.last < number);
        if self.missing.get(place).is_some_and(|missing| missing.holds(number)) {
            return self.arrive(place, number);
        }
        if number > self.run.base.unwrap_or(1) {
            return (Observation::Duplicate, None);
        }
        for missing in &mut self.missing[past..] {
            missing.past = true;
        }
        self.former = Some(self.run);
        self.run = Run { base: Some(number), began: offset, highest: number, highest_at: offset };
        (Observation::Restart, None)
    }

    /// Takes a number out of the range that holds it; what is left and right of it stays.
    fn arrive(&mut self, place: usize, number: u64) -> (Observation, Option<Missing>) {
        let whole = self.missing.remove(place);
        let left = (whole.first < number).then(|| Missing { last: number - 1, ..whole });
        let right = (number < whole.last).then(|| Missing { first: number + 1, ..whole });
        let mut given_up = None;
        // There is room for one of them: the whole has just left.
        for part in [right, left].into_iter().flatten() {
            given_up = given_up.or(self.keep(place, part));
        }
        (Observation::Late { was_lost: whole.lost }, given_up)
    }

    /// Keeps a range at its place; at the bound the oldest lost one is forgotten for it, else the oldest of all is
    /// given up.
    fn keep(&mut self, place: usize, range: Missing) -> Option<Missing> {
        self.missing.insert(place, range);
        if self.missing.len() <= self.room {
            return None;
        }
        self.give_up_one()
    }
}

#[cfg(test)]
mod tests;
