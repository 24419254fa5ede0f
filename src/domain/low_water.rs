//! The offset below which every record of a partition is settled: the only thing ever committed.

use std::collections::VecDeque;

use super::record::{NextOffset, Offset};

/// The place of one taken-in record. Grows with every record, so a late settlement never hits another record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

/// One partition's records between low water and the last one taken in.
///
/// Its memory is bounded by the window, that is by `ONCE_MAX_OPEN_RECORDS`: the caller pauses the partition there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LowWater {
    /// Where the next record is expected at the earliest: behind the last one taken in, or at the start.
    next: NextOffset,
    /// The slot of the window's first record.
    first: u64,
    /// The window: the first one is never settled.
    window: VecDeque<Taken>,
    /// How many of the window are not settled.
    open: usize,
    /// The highest offset that a broker is known to hold.
    committed: NextOffset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Taken {
    offset: Offset,
    settled: bool,
}

impl LowWater {
    /// A partition that is read from `start` on. Whoever begins it sees to it that `start` itself is committed.
    pub fn starting_at(start: NextOffset) -> Self {
        Self { next: start, first: 0, window: VecDeque::new(), open: 0, committed: start }
    }

    /// Takes a record in. Offsets grow, with or without holes between them; `None` for one that does not: it stands
    /// below the start or was taken in before, and the caller drops it.
    pub fn take(&mut self, offset: Offset) -> Option<Slot> {
        if self.next.is_above(offset) {
            return None;
        }
        let slot = Slot(self.first + self.window.len() as u64);
        self.window.push_back(Taken { offset, settled: false });
        self.open += 1;
        self.next = offset.next();
        Some(slot)
    }

    /// Records below `to` that were not taken in are gone: nothing is expected before it.
    pub fn skip_to(&mut self, to: NextOffset) {
        self.next = self.next.max(to);
    }

    /// Settles a record; returns how many records low water passed by it. Settling one twice changes nothing.
    pub fn settle(&mut self, slot: Slot) -> u64 {
        let Some(taken) = self.place(slot).and_then(|place| self.window.get_mut(place)) else { return 0 };
        if !std::mem::replace(&mut taken.settled, true) {
            self.open -= 1;
        }
        let before = self.first;
        while self.window.front().is_some_and(|taken| taken.settled) {
            self.window.pop_front();
            self.first += 1;
        }
        self.first - before
    }

    /// Low water: the first record that is not settled, or what follows the last one taken in.
    pub fn position(&self) -> NextOffset {
        self.window.front().map_or(self.next, |taken| NextOffset(taken.offset.0))
    }

    /// What follows the last record taken in.
    pub fn taken_to(&self) -> NextOffset {
        self.next
    }

    /// How many records are taken in and not settled.
    pub fn open(&self) -> usize {
        self.open
    }

    /// How many records stand between low water and the last one taken in, settled or not.
    pub fn window(&self) -> usize {
        self.window.len()
    }

    /// What to commit: low water, when it is above everything acknowledged. The same until it is acknowledged, so a
    /// commit that failed is due again without being told.
    pub fn due(&self) -> Option<NextOffset> {
        Some(self.position()).filter(|position| *position > self.committed)
    }

    /// The broker acknowledged a commit. Late and reordered acknowledgements never take anything back.
    pub fn acknowledged(&mut self, committed: NextOffset) {
        self.committed = self.committed.max(committed);
    }

    /// The highest offset that is known to be committed; the start before that.
    pub fn committed(&self) -> NextOffset {
        self.committed
    }

    /// Where a slot stands in the window; `None` once low water has passed it.
    fn place(&self, slot: Slot) -> Option<usize> {
        usize::try_from(slot.0.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(start: i64, offsets: &[i64]) -> (LowWater, Vec<Slot>) {
        let mut low_water = LowWater::starting_at(NextOffset(start));
        let slots = offsets.iter().map(|offset| low_water.take(Offset(*offset)).expect("a growing offset")).collect();
        (low_water, slots)
    }

    #[test]
    fn low_water_never_passes_a_record_that_is_not_settled() {
        let (mut low_water, slots) = taken(5, &[5, 6, 9, 10]);
        let order = [(2, 0, 5), (1, 0, 5), (0, 3, 10), (3, 1, 11)];
        for (slot, passed, position) in order {
            assert_eq!(low_water.settle(slots[slot]), passed, "slot {slot}");
            assert_eq!(low_water.position(), NextOffset(position), "slot {slot}");
        }
        assert_eq!((low_water.open(), low_water.window()), (0, 0));
    }

    #[test]
    fn holes_in_offsets_hold_nothing_back() {
        let (mut low_water, slots) = taken(0, &[100]);
        assert_eq!(low_water.position(), NextOffset(100));
        assert_eq!(low_water.settle(slots[0]), 1);
        assert_eq!(low_water.position(), NextOffset(101));
    }

    #[test]
    fn what_is_gone_is_passed_once_all_below_it_is_settled() {
        let (mut low_water, slots) = taken(5, &[5]);
        low_water.skip_to(NextOffset(100));
        assert_eq!((low_water.position(), low_water.take(Offset(50))), (NextOffset(5), None));
        low_water.settle(slots[0]);
        assert_eq!(low_water.due(), Some(NextOffset(100)));
        low_water.skip_to(NextOffset(7));
        assert_eq!(low_water.taken_to(), NextOffset(100), "never back");
    }

    #[test]
    fn an_offset_that_was_taken_before_is_not_taken_again() {
        let (mut low_water, _) = taken(5, &[7]);
        for (offset, is_taken) in [(4, false), (5, false), (7, false), (8, true), (8, false), (20, true)] {
            assert_eq!(low_water.take(Offset(offset)).is_some(), is_taken, "offset {offset}");
        }
    }

    #[test]
    fn settling_twice_counts_once() {
        let (mut low_water, slots) = taken(0, &[0, 1, 2]);
        assert_eq!((low_water.settle(slots[1]), low_water.settle(slots[1]), low_water.open()), (0, 0, 2));
        assert_eq!((low_water.settle(slots[0]), low_water.settle(slots[0]), low_water.open()), (2, 0, 1));
    }

    #[test]
    fn a_commit_is_due_until_it_is_acknowledged() {
        let (mut low_water, slots) = taken(0, &[0, 1]);
        assert_eq!(low_water.due(), None);
        low_water.settle(slots[0]);
        assert_eq!((low_water.due(), low_water.due()), (Some(NextOffset(1)), Some(NextOffset(1))));
        low_water.settle(slots[1]);
        low_water.acknowledged(NextOffset(1));
        assert_eq!(low_water.due(), Some(NextOffset(2)));
        low_water.acknowledged(NextOffset(2));
        low_water.acknowledged(NextOffset(1));
        assert_eq!((low_water.due(), low_water.committed()), (None, NextOffset(2)));
    }

    /// The same, as slowly and plainly as it can be said.
    struct Naive {
        start: i64,
        records: Vec<(i64, bool)>,
    }

    impl Naive {
        fn position(&self) -> i64 {
            let open = self.records.iter().find(|(_, settled)| !settled).map(|(offset, _)| *offset);
            open.or(self.records.last().map(|(offset, _)| offset + 1)).unwrap_or(self.start)
        }

        fn passed(&self) -> usize {
            self.records.iter().take_while(|(_, settled)| *settled).count()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take { hole: i64 },
        Settle(prop::sample::Index),
        Acknowledge,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (-2_i64..4).prop_map(|hole| Step::Take { hole }),
            4 => any::<prop::sample::Index>().prop_map(Step::Settle),
            1 => Just(Step::Acknowledge),
        ]
    }

    proptest! {
        #[test]
        fn any_interleaving_agrees_with_the_naive_model(
            start in 0_i64..1000,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut low_water = LowWater::starting_at(NextOffset(start));
            let mut naive = Naive { start, records: Vec::new() };
            let (mut slots, mut committed) = (Vec::new(), start);
            for step in steps {
                match step {
                    Step::Take { hole } => {
                        let expected = naive.records.last().map_or(start, |(offset, _)| offset + 1);
                        let slot = low_water.take(Offset(expected + hole));
                        prop_assert_eq!(slot.is_some(), hole >= 0);
                        if let Some(slot) = slot {
                            slots.push(slot);
                            naive.records.push((expected + hole, false));
                        }
                    }
                    Step::Settle(index) if !slots.is_empty() => {
                        let (which, before) = (index.index(slots.len()), naive.passed());
                        naive.records[which].1 = true;
                        prop_assert_eq!(low_water.settle(slots[which]), (naive.passed() - before) as u64);
                    }
                    Step::Settle(_) => {}
                    Step::Acknowledge => {
                        let due = low_water.due();
                        prop_assert_eq!(due, Some(NextOffset(naive.position())).filter(|due| due.0 > committed));
                        if let Some(due) = due {
                            low_water.acknowledged(due);
                            committed = due.0;
                        }
                    }
                }
                prop_assert_eq!(low_water.position(), NextOffset(naive.position()));
                prop_assert_eq!(low_water.window(), naive.records.len() - naive.passed());
                prop_assert_eq!(low_water.open(), naive.records.iter().filter(|(_, settled)| !settled).count());
                prop_assert_eq!(low_water.committed(), NextOffset(committed));
            }
        }
    }
}
