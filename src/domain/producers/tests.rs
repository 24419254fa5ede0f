//! Many producers at once: against what was really dropped, over restarts, and at the bounds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::past::Past;
use super::super::past_codec::{Owner, decode, encode};
use super::super::record::NextOffset;
use super::super::time::{Moment, UnixMillis};
use super::*;

const GRACE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Now {
    Now { moment: Moment(seconds * 1_000_000), wall: UnixMillis(seconds * 1_000) }
}

fn ranges(lost: &[LostRange]) -> Vec<(&[u8], u64, u64)> {
    lost.iter().map(|lost| (&*lost.producer, lost.range.first, lost.range.last)).collect()
}

#[test]
fn producers_are_told_apart_and_each_range_is_lost_once() {
    let mut producers = Producers::default();
    let feed: [(&[u8], u64); 6] = [(b"a", 0), (b"b", 1), (b"a", 3), (b"b", 2), (b"c", 50), (b"a", 2)];
    let said: Vec<Sighting> = (0..)
        .zip(feed)
        .map(|(offset, (producer, number))| producers.observe(producer, number, Offset(offset), at(0)))
        .collect();
    let gaps: Vec<bool> = said.iter().map(|sighting| sighting.gap).collect();
    assert_eq!(gaps, [false, false, true, false, false, false]);
    assert!(said[5].recovered);
    assert_eq!(producers.suspected(), 1);
    assert_eq!(producers.expire(at(29).moment, GRACE), []);
    assert_eq!(ranges(&producers.expire(at(30).moment, GRACE)), [(b"a".as_slice(), 1, 1)]);
    assert_eq!((producers.expire(at(99).moment, GRACE), producers.suspected(), producers.ranges()), (vec![], 0, 1));
    assert!(producers.observe(b"a", 1, Offset(9), at(99)).recovered, "late, after it was lost");
    assert_eq!(producers.ranges(), 0);
}

#[test]
fn behind_records_that_nobody_observed_a_number_ahead_is_no_gap() {
    let mut producers = Producers::default();
    for (offset, number) in [(0, 0), (1, 2)] {
        producers.observe(b"a", number, Offset(offset), at(0));
    }
    producers.passed_unseen();
    assert!(producers.observe(b"a", 1, Offset(7), at(0)).recovered, "what was missing may still arrive");
    producers.passed_unseen();
    let mut past = Past::none(NextOffset(8));
    past.producers = producers;
    let stored = encode(Owner([0; 16]), 1, &past);
    let mut producers = decode(&stored, at(0)).unwrap().unwrap().producers; // also over a restart
    assert_eq!(producers.observe(b"a", 9, Offset(8), at(0)), Sighting::default());
    assert!(producers.observe(b"a", 11, Offset(9), at(0)).gap, "once only");
}

#[test]
fn a_flood_of_producers_leaves_the_memory_bounded_and_what_is_forgotten_is_counted() {
    const EACH: u64 = 100_000;
    let mut producers = Producers::default();
    let (mut forgotten, mut given_up) = (0, 0);
    for number in 0..EACH {
        let name = number.to_be_bytes();
        for (offset, number) in [(0, 0), (1, 5)] {
            let sighting = producers.observe(&name, number, Offset(offset), at(0));
            forgotten += sighting.forgotten;
            given_up += sighting.given_up.iter().map(|lost| lost.range.count()).sum::<u64>();
        }
        assert!(producers.followed.len() <= MOST_PRODUCERS && producers.ranges() <= MOST_RANGES_IN_ALL);
    }
    assert_eq!(forgotten + producers.followed.len() as u64, EACH);
    assert_eq!(given_up + producers.suspected(), EACH * 4, "nothing that is missing is forgotten silently");
    let last = (EACH - 1).to_be_bytes();
    assert!(producers.followed.contains_key(last.as_slice()), "the most silent ones go first");
}

#[test]
fn ranges_of_all_producers_together_are_bounded_and_what_is_given_up_counts_as_lost() {
    let mut producers = Producers::default();
    let mut given_up = 0;
    for name in 0..100_u8 {
        for number in 0..60 {
            let sighting = producers.observe(&[name], number * 2, Offset(i64::try_from(number).unwrap()), at(0));
            given_up += sighting.given_up.len();
        }
    }
    assert_eq!(producers.ranges(), MOST_RANGES_IN_ALL);
    assert_eq!(given_up, 100 * 59 - MOST_RANGES_IN_ALL);
    assert_eq!(producers.suspected(), MOST_RANGES_IN_ALL as u64);
}

/// One producer's life: how many it sent, which of those never arrived, which arrived twice, and how far each was late.
#[derive(Clone, Debug)]
struct Life {
    dropped: BTreeSet<u64>,
    sent: Vec<u64>,
}

fn life() -> impl Strategy<Value = Life> {
    // For each number: dropped, twice, places late.
    prop::collection::vec((prop::bool::weighted(0.2), prop::bool::weighted(0.2), 0..6_u64), 2..40).prop_map(|fates| {
        let last = fates.len() as u64 - 1;
        let mut dropped = BTreeSet::new();
        let mut places = Vec::new();
        for (number, (is_dropped, twice, late)) in (0..).zip(fates) {
            // The first and the last one arrive in their order: a producer is known from its first, a hole from what follows.
            let edge = number == 0 || number == last;
            if is_dropped && !edge {
                dropped.insert(number);
                continue;
            }
            let place = if edge { number * 10 } else { number * 10 + late * 10 + 5 };
            places.push((if number == last { u64::MAX - 1 } else { place }, number));
            // A duplicate of the first one, before duplicates of others, cannot be told from a producer that started again.
            if twice && number > 0 {
                places.push((u64::MAX, number));
            }
        }
        places.sort_by_key(|(place, _)| *place);
        Life { dropped, sent: places.into_iter().map(|(_, number)| number).collect() }
    })
}

proptest! {
    /// Drops, duplicates, delays, producers that start anew under another name, and processes that die and read the
    /// log again from anywhere below: what is named as lost is what was dropped.
    #[test]
    fn named_ranges_are_dropped_ranges(
        lives in prop::collection::vec(life(), 1..5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 200),
        deaths in prop::collection::btree_map(0..150_usize, 0..20_usize, 0..4),
    ) {
        let mut queues: Vec<(u8, std::vec::IntoIter<u64>)> =
            (0..).zip(&lives).map(|(name, life)| (name, life.sent.clone().into_iter())).collect();
        let mut log = Vec::new();
        let mut order = order.iter().cycle();
        while !queues.is_empty() {
            let at = order.next().expect("a cycle").index(queues.len());
            match queues[at].1.next() {
                Some(number) => log.push((queues[at].0, number)),
                None => { queues.remove(at); }
            }
        }
        let mut past = Past::none(NextOffset(0));
        let (mut next, mut deaths) = (0, deaths);
        while let Some((name, number)) = log.get(next) {
            let offset = Offset(i64::try_from(next).unwrap());
            if !past.observed_to.is_above(offset) {
                past.observed_to = offset.next();
                past.producers.observe(&[*name], *number, offset, at(1));
            }
            next += 1;
            if let Some(back) = deaths.remove(&next) {
                past = decode(&encode(Owner([0; 16]), 1, &past), at(2)).unwrap().unwrap();
                next = next.saturating_sub(back);
            }
        }
        let mut named: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
        for lost in past.producers.expire(at(60).moment, GRACE) {
            for number in lost.range.first..=lost.range.last {
                prop_assert!(named.entry(lost.producer[0]).or_default().insert(number), "{number} twice");
            }
        }
        for (name, life) in (0..).zip(&lives) {
            prop_assert_eq!(named.remove(&name).unwrap_or_default(), life.dropped.clone(), "producer {}", name);
        }
    }
}

#[test]
fn a_late_number_says_nothing_of_what_was_passed_unseen() {
    let mut producers = Producers::default();
    producers.observe(b"a", 49, Offset(0), at(0));
    producers.observe(b"a", 51, Offset(1), at(0));
    producers.passed_unseen();
    assert!(producers.observe(b"a", 50, Offset(5), at(0)).recovered);
    assert!(!producers.observe(b"a", 55, Offset(6), at(0)).gap, "52 to 54 may have stood there");
    assert!(producers.observe(b"a", 57, Offset(7), at(0)).gap);
}

#[test]
fn who_was_silent_for_longest_is_known_after_a_restart_too() {
    let mut past = Past::none(NextOffset(9));
    for (offset, producer) in [b"a", b"b", b"c", b"a"].into_iter().enumerate() {
        past.producers.observe(producer, offset as u64, Offset(i64::try_from(offset).unwrap()), at(0));
    }
    let stored = encode(Owner([0; 16]), 1, &past);
    let read = decode(&stored, at(0)).unwrap().unwrap();
    let names: Vec<&[u8]> = read.producers.by_silence().into_iter().map(|(producer, ..)| producer).collect();
    assert_eq!(names, [b"b", b"c", b"a"]);
    assert_eq!(encode(Owner([0; 16]), 1, &read), stored);
}
