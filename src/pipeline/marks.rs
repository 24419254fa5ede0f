//! Marks of position-made IDs: needed only until their offset is safely committed, so they are shortened then.
//!
//! A mark is written for the whole window, because nobody prolongs it when this process dies. It is shortened when a
//! broker has acknowledged a commit above it *to the assignment that settled it*: whoever has the partition next starts
//! at that offset or above, so the record cannot come again, unless somebody resets the group's offsets.

use std::time::Duration;

use super::Pipeline;
use super::homes::Home;
use super::table::Entry;
use crate::domain::claim::IdHash;
use crate::domain::record::{NextOffset, Offset};
use crate::domain::time::{Moment, Now};
use crate::ports::{App, Claims, DeadLetters};

/// Marks remembered at most, of all partitions: a commit interval's worth at a pace that no app keeps. Those beyond
/// (the group refuses our commits) live for the whole window.
const MOST: usize = 262_144;

/// After a standstill of the whole process: time in which its Kafka client surely finds out what it has lost meanwhile.
const SETTLING: Duration = Duration::from_secs(10);

/// Marks of one partition whose offset is not committed.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<(Offset, IdHash)>);

impl Marks {
    fn remember(&mut self, offset: Offset, id: IdHash) {
        self.0.push((offset, id));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those below a committed offset; they are not remembered any more.
    fn below(&mut self, committed: NextOffset) -> Vec<IdHash> {
        let mut safe = Vec::new();
        self.0.retain(|(offset, id)| {
            let is_safe = committed.is_above(*offset);
            if is_safe {
                safe.push(*id);
            }
            !is_safe
        });
        safe
    }
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// A record is settled, and what it was settled by stands in the store.
    pub(super) fn remember_mark(&mut self, entry: &Entry) {
        let worth = entry.position_made && self.limits.safe_mark_life < self.limits.dedup_window;
        if !worth || self.homes.marks() >= MOST {
            return;
        }
        if let (Some(home), Some((id, _))) = (entry.home.and_then(|index| self.homes.get_mut(index)), &entry.id) {
            home.marks.remember(entry.record.position().offset, *id);
            self.homes.mark_added();
        }
    }

    /// A broker holds this offset for the partition's present assignment.
    pub(super) fn shorten_marks(&mut self, index: u32, committed: NextOffset) {
        let Some(safe) = self.homes.get_mut(index).map(|home: &mut Home| home.marks.below(committed)) else { return };
        self.homes.marks_gone(safe.len());
        self.desk.shorten(safe, self.limits.safe_mark_life);
    }

    /// The whole process stood still (stopped, or its host was) for so long that a mark may have expired which another
    /// session wrote and committed meanwhile. What this one has in memory, and what its Kafka client still hands out
    /// before it knows, may be settled: whatever only a short mark could tell of is in doubt.
    pub(super) fn look_for_standstill(&mut self, before: Now) {
        let wall = Duration::from_millis(self.now.wall.0.saturating_sub(before.wall.0));
        let stood = self.now.moment.since(before.moment).max(wall);
        if stood < self.limits.safe_mark_life / 2 {
            return;
        }
        tracing::warn!(?stood, "this process stood still; records without an id of their own are in doubt");
        self.unsure_until = self.now.moment.after(SETTLING);
        for token in self.table.tokens(|entry| entry.position_made) {
            if let Some(entry) = self.table.get_mut(token) {
                entry.life.doubt();
            }
        }
    }

    /// Whether a record that is just taken in may have been settled while this process stood still.
    pub(super) fn may_be_stale(&self, position_made: bool) -> bool {
        position_made && self.now.moment < self.unsure_until
    }
}

/// No standstill so far.
pub(super) const SURE: Moment = Moment(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_safe_once_an_offset_above_it_is_committed() {
        let mut marks = Marks::default();
        let id = |number| IdHash([number; 16]);
        for (offset, number) in [(7, 1), (5, 2), (6, 3)] {
            marks.remember(Offset(offset), id(number));
        }
        assert_eq!(marks.below(NextOffset(5)), []);
        assert_eq!(marks.below(NextOffset(7)), [id(2), id(3)]);
        assert_eq!((marks.below(NextOffset(7)).len(), marks.len()), (0, 1), "each once");
        assert_eq!(marks.below(NextOffset(8)), [id(1)]);
    }
}
