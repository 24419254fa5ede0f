//! Producers' sequences as tables, and against a model that remembers everything.

use super::*;
use crate::domain::time::{Moment, UnixMillis};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Now {
    Now { moment: Moment(seconds * 1_000_000), wall: UnixMillis(seconds * 1_000) }
}

/// Feeds numbers at growing offsets; what each one says.
fn observed(numbers: &[u64]) -> (Tracker, Vec<Observation>) {
    let mut tracker = Tracker::begin(numbers[0], Offset(0));
    let said =
        (1..).zip(&numbers[1..]).map(|(offset, number)| tracker.observe(*number, Offset(offset), at(0)).what).collect();
    (tracker, said)
}

fn ranges(missing: &[Missing]) -> Vec<(u64, u64)> {
    missing.iter().map(|missing| (missing.first, missing.last)).collect()
}

#[test]
fn each_number_says_what_the_specification_says() {
    use Observation::{Duplicate, Gap, Late, Next, Restart};
    let late = Late { was_lost: false };
    let table: [(&str, &[u64], &[Observation]); 14] = [
        ("in order from 0", &[0, 1, 2], &[Next, Next]),
        ("in order from 1", &[1, 2], &[Next]),
        ("first seen in mid-life: no gap", &[57, 58], &[Next]),
        ("a hole", &[0, 3, 4], &[Gap { first: 1, last: 2 }, Next]),
        ("late", &[0, 3, 2, 1, 4], &[Gap { first: 1, last: 2 }, late, late, Next]),
        ("late twice", &[0, 2, 1, 1], &[Gap { first: 1, last: 1 }, late, Duplicate]),
        ("here before", &[0, 1, 2, 2, 1], &[Next, Next, Duplicate, Duplicate]),
        ("the first number again", &[0, 1, 0, 1, 1], &[Next, Restart, Next, Duplicate]),
        ("the first number again, from 1", &[1, 2, 1, 2], &[Next, Restart, Next]),
        ("started again after mid-life", &[57, 1, 2], &[Restart, Next]),
        ("a duplicate of the first one is no restart", &[0, 1, 2, 0, 3, 4], &[Next, Next, Restart, Next, Next]),
        (
            "nor are duplicates of the first ones",
            &[0, 1, 2, 3, 0, 2, 4],
            &[Next, Next, Next, Restart, Gap { first: 1, last: 1 }, Next],
        ),
        ("a new run as far as the old one", &[0, 1, 2, 0, 1, 2, 3], &[Next, Next, Restart, Next, Next, Next]),
        ("the largest number", &[0, u64::MAX, u64::MAX], &[Gap { first: 1, last: u64::MAX - 1 }, Duplicate]),
    ];
    for (what, numbers, expected) in table {
        assert_eq!(observed(numbers).1, expected, "{what}");
    }
}

#[test]
fn when_a_run_goes_on_after_duplicates_of_its_first_messages_its_gaps_are_as_they_were() {
    let (mut tracker, _) = observed(&[0, 3, 4, 0, 2]);
    assert_eq!(ranges(tracker.missing()), [(1, 2), (1, 1)], "as if it had started again");
    tracker.observe(5, Offset(9), at(0));
    assert_eq!(ranges(tracker.missing()), [(1, 2)]);
    assert_eq!(tracker.observe(1, Offset(10), at(0)).what, Observation::Late { was_lost: false });
}

#[test]
fn what_was_observed_before_says_nothing_again() {
    let (mut tracker, _) = observed(&[0, 3]);
    let before = tracker.clone();
    for (number, offset) in [(0, 0), (3, 1), (9, 1)] {
        assert_eq!(tracker.observe(number, Offset(offset), at(0)).what, Observation::Replayed);
    }
    assert_eq!(tracker, before);
}

#[test]
fn a_gap_is_lost_once_its_grace_has_ended_and_late_ones_are_still_recovered() {
    let (mut tracker, _) = observed(&[0, 4]);
    assert_eq!(tracker.expire(at(29).moment, GRACE), []);
    assert_eq!(ranges(&tracker.expire(at(30).moment, GRACE)), [(1, 3)]);
    assert_eq!(tracker.expire(at(99).moment, GRACE), [], "counted once");
    assert_eq!(tracker.observe(2, Offset(9), at(99)).what, Observation::Late { was_lost: true });
    assert_eq!(ranges(tracker.missing()), [(1, 1), (3, 3)]);
    assert_eq!(tracker.expire(at(199).moment, GRACE), [], "what is left of a lost range is lost already");
}

#[test]
fn a_gap_knows_its_neighbours() {
    let mut tracker = Tracker::begin(0, Offset(10));
    tracker.observe(3, Offset(17), at(5));
    let expected =
        Missing { first: 1, last: 2, before: Offset(10), after: Offset(17), since: at(5), lost: false, past: false };
    assert_eq!(tracker.missing(), [expected]);
    assert_eq!(expected.count(), 2);
}

#[test]
fn a_gap_of_an_earlier_life_is_lost_and_not_filled_by_the_next_life() {
    let (mut tracker, said) = observed(&[0, 5, 0, 1, 2, 3, 4, 5, 6, 3]);
    assert_eq!(said[1], Observation::Restart);
    assert_eq!(said[8], Observation::Duplicate);
    assert_eq!(ranges(&tracker.expire(at(30).moment, GRACE)), [(1, 4)]);
}

#[test]
fn at_the_bound_the_oldest_suspect_is_named_lost_and_nothing_is_hidden() {
    let mut tracker = Tracker::begin(0, Offset(0));
    let mut named = Vec::new();
    let gaps = MOST_RANGES + 3;
    for gap in (1..).take(gaps) {
        let number = 2 * gap;
        let offset = Offset(i64::try_from(gap).expect("small"));
        named.extend(tracker.observe(number, offset, at(0)).given_up);
        assert!(tracker.missing().len() <= MOST_RANGES);
    }
    assert_eq!(ranges(&named), [(1, 1), (3, 3), (5, 5)]);
    named.extend(tracker.expire(at(30).moment, GRACE));
    assert_eq!(named.len(), gaps);
    let next = tracker.observe(1_000, Offset(1_000), at(31));
    assert_eq!(next.given_up, None, "a range that is lost already is forgotten in silence");
}

#[test]
fn with_more_room_every_gap_of_one_producer_is_kept_and_can_still_be_filled() {
    let mut tracker = Tracker::begin(0, Offset(0));
    let gaps = 10 * MOST_RANGES as u64;
    tracker.set_room(10 * MOST_RANGES);
    for gap in 1..=gaps {
        let offset = Offset(i64::try_from(gap).expect("small"));
        assert_eq!(tracker.observe(2 * gap, offset, at(0)).given_up, None);
    }
    let odd: Vec<_> = (0..gaps).map(|gap| (2 * gap + 1, 2 * gap + 1)).collect();
    assert_eq!(ranges(tracker.missing()), odd);
    for (place, number) in [(0, 1), (gaps / 2, gaps + 1), (gaps - 1, 2 * gaps - 1)] {
        let offset = Offset(i64::try_from(gaps + place + 1).expect("small"));
        assert_eq!(tracker.observe(number, offset, at(0)).what, Observation::Late { was_lost: false });
    }
    assert_eq!(tracker.missing().len(), odd.len() - 3);
}

#[test]
fn what_is_restored_goes_on_as_if_nothing_had_happened() {
    let (mut tracker, _) = observed(&[0, 3, 7]);
    let mut restored = Tracker::restore(tracker.run(), tracker.former(), tracker.as_of(), tracker.missing().to_vec());
    assert_eq!(restored, tracker);
    let backwards = tracker.missing().iter().map(|missing| Missing { first: 9, last: 8, ..*missing }).collect();
    assert_eq!(Tracker::restore(tracker.run(), None, Offset(1), backwards).missing(), []);
    for (number, offset) in [(8, 2), (5, 3), (8, 4), (10, 5), (0, 6)] {
        let offset = Offset(offset);
        assert_eq!(restored.observe(number, offset, at(1)), tracker.observe(number, offset, at(1)));
    }
}

/// One life of a producer: its numbers from 0, each one kept or dropped, in any order and some of them twice. The first
/// comes first, for without it a life has not begun.
fn life() -> impl Strategy<Value = (BTreeSet<u64>, Vec<u64>)> {
    let fates = prop::collection::vec(prop_oneof![Just(0_usize), Just(1), Just(1), Just(2)], 0..40);
    fates.prop_flat_map(|fates| {
        let arrivals: Vec<u64> =
            (1..).zip(&fates).flat_map(|(number, times)| std::iter::repeat_n(number, *times)).collect();
        let seen: BTreeSet<u64> = arrivals.iter().copied().collect();
        let last = arrivals.iter().max().copied().unwrap_or(0);
        let dropped = (1..=last).filter(|number| !seen.contains(number)).collect();
        (Just(dropped), Just(arrivals).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn in_any_order_the_numbers_named_lost_are_those_that_were_dropped(
        lives in prop::collection::vec(life(), 1..4),
    ) {
        // Each run is no longer than the one before: a number that follows the one before is that one going on.
        let mut lives = lives;
        lives.sort_by_key(|(_, arrivals)| std::cmp::Reverse(arrivals.iter().max().copied()));
        let mut offset = 0;
        let mut tracker = Tracker::begin(0, Offset(offset));
        for (life, (dropped, arrivals)) in lives.into_iter().enumerate() {
            if life > 0 {
                offset += 1;
                prop_assert_eq!(tracker.observe(0, Offset(offset), at(0)).what, Observation::Restart);
            }
            for number in arrivals {
                offset += 2;
                prop_assert_eq!(tracker.observe(number, Offset(offset), at(0)).given_up, None);
            }
            let named = tracker.expire(at(30).moment, GRACE);
            let numbers: Vec<u64> = named.iter().flat_map(|missing| missing.first..=missing.last).collect();
            prop_assert_eq!(numbers.len(), dropped.len(), "nothing is named twice");
            prop_assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), dropped);
        }
    }

    #[test]
    fn whatever_numbers_come_the_ranges_stay_bounded_apart_and_below_the_highest(
        numbers in prop::collection::vec(prop_oneof![0..400_u64, any::<u64>()], 1..300),
    ) {
        let mut tracker = Tracker::begin(numbers[0], Offset(0));
        for (offset, number) in (1..).zip(&numbers[1..]) {
            tracker.observe(*number, Offset(offset), at(0));
            let mut present: Vec<_> = tracker.missing().iter().filter(|missing| !missing.past).collect();
            present.sort_by_key(|missing| missing.first);
            prop_assert!(tracker.missing().len() <= MOST_RANGES);
            prop_assert!(present.iter().all(|missing| missing.first <= missing.last));
            prop_assert!(present.iter().all(|missing| missing.last < tracker.run().highest));
            prop_assert!(present.windows(2).all(|pair| pair[0].last < pair[1].first));
        }
    }
}
