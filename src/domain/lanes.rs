//! Who goes after whom: records of one key (or one partition) one after another, all others side by side.

use std::collections::VecDeque;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};

use super::hashed::ByHash;

/// What keeps its order (`ONCE_ORDERING`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// Records with the same key and partition; records without a key have no order.
    #[default]
    Key,
    /// All records of a partition.
    Partition,
    /// Nothing.
    None,
}

/// The name of a lane: a hash of its topic, partition and key. Meant for this process only, never stored.
///
/// Two keys whose hashes collide share a lane: they wait for each other, and nothing worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey(u64);

/// The lane of a record; `None` for one that has no order. `topic_index` is whatever number the caller has for a topic.
pub fn lane_key(ordering: Ordering, topic_index: u32, partition: i32, key: Option<&[u8]>) -> Option<LaneKey> {
    let key = match ordering {
        Ordering::Key => Some(key?),
        Ordering::Partition => None,
        Ordering::None => return None,
    };
    let mut hasher = DefaultHasher::new();
    (topic_index, partition, key).hash(&mut hasher);
    Some(LaneKey(hasher.finish()))
}

/// Where a ticket stands that has just joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It may claim and be forwarded.
    Head,
    /// The head is accepted: it may claim, and must not be forwarded yet.
    Next,
    /// It waits for its turn.
    Waiting,
}

/// Whose turn it is, now that another ticket left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// It may claim and be forwarded.
    Head {
        /// The new head.
        ticket: T,
        /// Whether it was let through to claim before, as the next one of an accepted head.
        already_claiming: bool,
    },
    /// The head is still there and accepted: this one may claim, and must not be forwarded yet.
    Next(T),
}

/// All lanes of one process. Bounded by the open records: each stands in one lane at most, and empty lanes disappear.
#[derive(Clone, Debug)]
pub struct Lanes<T> {
    lanes: ByHash<LaneKey, Lane<T>>,
}

/// One lane. A lane of one, by far the most common, allocates nothing of its own.
#[derive(Clone, Debug)]
struct Lane<T> {
    head: T,
    /// The head's mark is on its way: the first of `rest` is let through to claim.
    head_accepted: bool,
    rest: VecDeque<T>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: ByHash::default() }
    }
}

impl<T: Copy + PartialEq> Lanes<T> {
    /// Puts a ticket at the end of its lane. Without a lane it is free at once, and nothing is remembered of it.
    pub fn join(&mut self, lane: Option<LaneKey>, ticket: T) -> Place {
        let Some(key) = lane else { return Place::Head };
        match self.lanes.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Lane { head: ticket, head_accepted: false, rest: VecDeque::new() });
                Place::Head
            }
            Entry::Occupied(mut occupied) => {
                let lane = occupied.get_mut();
                lane.rest.push_back(ticket);
                if lane.head_accepted && lane.rest.len() == 1 { Place::Next } else { Place::Waiting }
            }
        }
    }

    /// The head was accepted and its mark is on its way: its successor, if any, may claim already.
    ///
    /// Each ticket is let through once. `None` as well for a ticket that is not the head of this lane.
    pub fn accepted(&mut self, lane: Option<LaneKey>, ticket: T) -> Option<T> {
        let lane = self.lanes.get_mut(&lane?).filter(|lane| lane.head == ticket && !lane.head_accepted)?;
        lane.head_accepted = true;
        lane.rest.front().copied()
    }

    /// Takes a ticket out of its lane, settled or given back; returns whose turn comes by it.
    ///
    /// O(1) for the head, O(lane) for any other. A ticket that does not stand there changes nothing.
    pub fn leave(&mut self, lane: Option<LaneKey>, ticket: T) -> Option<Turn<T>> {
        let key = lane?;
        let Entry::Occupied(mut occupied) = self.lanes.entry(key) else { return None };
        let lane = occupied.get_mut();
        if lane.head != ticket {
            return lane.leave_from_behind(ticket);
        }
        if let Some(next) = lane.rest.pop_front() {
            lane.head = next;
            let already_claiming = std::mem::replace(&mut lane.head_accepted, false);
            Some(Turn::Head { ticket: next, already_claiming })
        } else {
            occupied.remove();
            None
        }
    }

    /// How many lanes hold a ticket.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether no lane holds a ticket.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How many tickets the longest lane holds. O(lanes): for `/status`.
    pub fn longest(&self) -> usize {
        self.lanes.values().map(|lane| 1 + lane.rest.len()).max().unwrap_or(0)
    }
}

impl<T: Copy + PartialEq> Lane<T> {
    /// Takes out one that is not the head. When it had been let through to claim, the one behind it is let through now.
    fn leave_from_behind(&mut self, ticket: T) -> Option<Turn<T>> {
        let place = self.rest.iter().position(|other| *other == ticket)?;
        self.rest.remove(place);
        (place == 0 && self.head_accepted).then(|| self.rest.front().copied().map(Turn::Next))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LANE: Option<LaneKey> = Some(LaneKey(7));

    fn lane_of(tickets: &[u32]) -> Lanes<u32> {
        let mut lanes = Lanes::default();
        for ticket in tickets {
            lanes.join(LANE, *ticket);
        }
        lanes
    }

    #[test]
    fn an_order_keeps_apart_what_it_should_and_nothing_else() {
        use Ordering::{Key, None as Off, Partition};
        let [a, b, empty] = [b"a".as_slice(), b"b", b""].map(Some);
        let same = [
            (Key, (0, 0, a), (0, 0, a), true),
            (Key, (0, 0, a), (0, 0, b), false),
            (Key, (0, 0, a), (0, 1, a), false),
            (Key, (0, 0, a), (1, 0, a), false),
            (Key, (0, 0, empty), (0, 0, empty), true),
            (Partition, (0, 0, a), (0, 0, b), true),
            (Partition, (0, 0, None), (0, 0, b), true),
            (Partition, (0, 0, a), (0, 1, a), false),
            (Partition, (0, 0, a), (1, 0, a), false),
        ];
        for (ordering, one, other, expected) in same {
            let key = |(topic, partition, key)| lane_key(ordering, topic, partition, key).expect("an order");
            assert_eq!(key(one) == key(other), expected, "{ordering:?} {one:?} {other:?}");
        }
        assert_eq!(lane_key(Key, 0, 0, None), None, "a record without a key has no order");
        assert_eq!(lane_key(Off, 0, 0, a), None);
    }

    #[test]
    fn the_next_one_becomes_head_when_the_head_leaves() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.join(LANE, 1), Place::Head);
        assert_eq!(lanes.join(LANE, 2), Place::Waiting);
        assert_eq!(lanes.join(Some(LaneKey(8)), 3), Place::Head, "another key waits for nobody");
        assert_eq!((lanes.len(), lanes.longest()), (2, 2));
        assert_eq!(lanes.leave(LANE, 1), Some(Turn::Head { ticket: 2, already_claiming: false }));
        assert_eq!(lanes.leave(LANE, 2), None);
        assert_eq!(lanes.leave(Some(LaneKey(8)), 3), None);
        assert!(lanes.is_empty());
    }

    #[test]
    fn the_successor_of_an_accepted_head_is_let_through_to_claim_once() {
        let mut lanes = lane_of(&[1, 2, 3]);
        assert_eq!(lanes.accepted(LANE, 2), None, "only the head can be accepted");
        assert_eq!(lanes.accepted(LANE, 1), Some(2));
        assert_eq!(lanes.accepted(LANE, 1), None);
        assert_eq!(lanes.leave(LANE, 1), Some(Turn::Head { ticket: 2, already_claiming: true }));
        assert_eq!(lanes.leave(LANE, 2), Some(Turn::Head { ticket: 3, already_claiming: false }));
    }

    #[test]
    fn one_that_joins_behind_an_accepted_head_may_claim_at_once() {
        let mut lanes = lane_of(&[1]);
        assert_eq!(lanes.accepted(LANE, 1), None);
        assert_eq!((lanes.join(LANE, 2), lanes.join(LANE, 3)), (Place::Next, Place::Waiting));
        assert_eq!(lanes.leave(LANE, 1), Some(Turn::Head { ticket: 2, already_claiming: true }));
    }

    #[test]
    fn when_a_claiming_successor_leaves_the_one_behind_it_may_claim() {
        let mut lanes = lane_of(&[1, 2, 3]);
        lanes.accepted(LANE, 1);
        assert_eq!(lanes.leave(LANE, 2), Some(Turn::Next(3)));
        assert_eq!(lanes.leave(LANE, 3), None);
        assert_eq!(lanes.join(LANE, 4), Place::Next);
        assert_eq!(lanes.leave(LANE, 1), Some(Turn::Head { ticket: 4, already_claiming: true }));
    }

    #[test]
    fn one_in_the_middle_can_leave_and_a_stranger_changes_nothing() {
        let mut lanes = lane_of(&[1, 2, 3]);
        assert_eq!((lanes.leave(LANE, 9), lanes.leave(Some(LaneKey(8)), 1), lanes.leave(LANE, 2)), (None, None, None));
        assert_eq!(lanes.leave(LANE, 1), Some(Turn::Head { ticket: 3, already_claiming: false }));
    }

    #[test]
    fn a_ticket_without_a_lane_is_free_and_not_remembered() {
        let mut lanes = Lanes::default();
        assert_eq!((lanes.join(None, 1), lanes.join(None, 1)), (Place::Head, Place::Head));
        assert_eq!((lanes.accepted(None, 1), lanes.leave(None, 1), lanes.is_empty()), (None, None, true));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Join(u64),
        Accept(u64),
        Leave(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u64).prop_map(Step::Join),
            2 => (0..4_u64).prop_map(Step::Accept),
            3 => any::<prop::sample::Index>().prop_map(Step::Leave),
        ]
    }

    /// The same, as slowly and plainly as it can be said: what each ticket has been told, in the order of joining.
    #[derive(Default)]
    struct Naive {
        tickets: Vec<(u64, u32, Told)>,
        accepted: Vec<u32>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Told {
        Nothing,
        Claim,
        Forward,
    }

    impl Naive {
        /// Tells each ticket of a lane what it may do now; returns those that are told something new.
        fn tell(&mut self, lane: u64) -> Vec<(u32, Told, Told)> {
            let (mut news, mut before) = (Vec::new(), Vec::new());
            for (_, ticket, told) in self.tickets.iter_mut().filter(|(other, ..)| *other == lane) {
                let may = match before.as_slice() {
                    [] => Told::Forward,
                    [head] if self.accepted.contains(head) => Told::Claim,
                    _ => Told::Nothing,
                };
                if may != *told {
                    news.push((*ticket, *told, may));
                    *told = may;
                }
                before.push(*ticket);
            }
            news
        }
    }

    fn news(turn: Option<Turn<u32>>) -> Vec<(u32, Told, Told)> {
        match turn {
            Some(Turn::Head { ticket, already_claiming: false }) => vec![(ticket, Told::Nothing, Told::Forward)],
            Some(Turn::Head { ticket, already_claiming: true }) => vec![(ticket, Told::Claim, Told::Forward)],
            Some(Turn::Next(ticket)) => vec![(ticket, Told::Nothing, Told::Claim)],
            None => Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn in_any_interleaving_each_lane_goes_in_order_and_nobody_is_lost_or_told_twice(
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let (mut lanes, mut naive) = (Lanes::default(), Naive::default());
            for (ticket, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Join(lane) => {
                        let told = match lanes.join(Some(LaneKey(lane)), ticket) {
                            Place::Head => vec![(ticket, Told::Nothing, Told::Forward)],
                            Place::Next => vec![(ticket, Told::Nothing, Told::Claim)],
                            Place::Waiting => Vec::new(),
                        };
                        naive.tickets.push((lane, ticket, Told::Nothing));
                        prop_assert_eq!(told, naive.tell(lane));
                    }
                    Step::Accept(lane) => {
                        let head = naive.tickets.iter().find(|(other, ..)| *other == lane).map(|(_, head, _)| *head);
                        let Some(head) = head else { continue };
                        naive.accepted.push(head);
                        let let_through = lanes.accepted(Some(LaneKey(lane)), head).map(Turn::Next);
                        prop_assert_eq!(news(let_through), naive.tell(lane));
                    }
                    Step::Leave(index) if !naive.tickets.is_empty() => {
                        let (lane, ticket, _) = naive.tickets.remove(index.index(naive.tickets.len()));
                        let turn = lanes.leave(Some(LaneKey(lane)), ticket);
                        prop_assert_eq!(news(turn), naive.tell(lane));
                    }
                    Step::Leave(_) => {}
                }
                let lengths: Vec<usize> = (0..4)
                    .map(|lane| naive.tickets.iter().filter(|(other, ..)| *other == lane).count())
                    .collect();
                prop_assert_eq!(lanes.len(), lengths.iter().filter(|length| **length > 0).count());
                prop_assert_eq!(lanes.longest(), lengths.into_iter().max().unwrap_or(0));
            }
        }
    }
}
