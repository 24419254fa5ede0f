//! What is said of a partition, as tables; and what each bound cuts off is counted.

use super::*;
use crate::domain::numbering::Numbered;

fn numbered(producer: &str, number: u64) -> Numbered {
    Numbered::As { producer: producer.as_bytes().into(), number }
}

/// What is found in numbers of one producer, at offsets 10, 20, 30, ...
fn found(numbers: &[u64]) -> Found {
    read(PartitionAudit::one_of(1), numbers.iter().map(|number| ("p", *number)))
}

fn read<'a>(mut audit: PartitionAudit, records: impl IntoIterator<Item = (&'a str, u64)>) -> Found {
    for (offset, (producer, number)) in (1..).zip(records) {
        audit.observe(Offset(10 * offset), Named::New, numbered(producer, number));
    }
    audit.finish()
}

fn ranges(found: &Found) -> Vec<(u64, u64, i64, i64)> {
    let gaps = found.gaps.items.iter().map(|gap| gap.missing);
    gaps.map(|gap| (gap.first, gap.last, gap.before.0, gap.after.0)).collect()
}

#[test]
fn whatever_is_missing_at_the_end_is_missing_and_nothing_else() {
    type Row = (&'static str, &'static [u64], &'static [(u64, u64, i64, i64)], [u64; 3]);
    let table: [Row; 8] = [
        ("in order", &[0, 1, 2], &[], [0, 0, 0]),
        ("first seen in mid-life", &[70, 71], &[], [0, 0, 0]),
        ("a gap of one", &[0, 2], &[(1, 1, 10, 20)], [0, 0, 0]),
        ("a gap of a thousand", &[1, 1_002], &[(2, 1_001, 10, 20)], [0, 0, 0]),
        ("a late one fills it", &[0, 2, 1], &[], [1, 0, 0]),
        ("a late one fills a part", &[0, 4, 2], &[(1, 1, 10, 20), (3, 3, 10, 20)], [1, 0, 0]),
        ("a number again", &[0, 1, 2, 1], &[], [0, 1, 0]),
        ("a restart is no gap", &[1, 2, 3, 1, 2], &[], [0, 0, 1]),
    ];
    for (what, numbers, gaps, [out_of_order, repeated, restarts]) in table {
        let found = found(numbers);
        assert_eq!(ranges(&found), gaps, "{what}");
        let counts = found.counts;
        assert_eq!(counts.gaps, gaps.len() as u64, "{what}");
        assert_eq!(counts.missing, gaps.iter().map(|gap| gap.1 - gap.0 + 1).sum::<u64>(), "{what}");
        assert_eq!(
            [counts.out_of_order, counts.repeated, counts.restarts],
            [out_of_order, repeated, restarts],
            "{what}"
        );
        let quiet = gaps.is_empty() && [out_of_order, repeated, restarts] == [0; 3];
        assert_eq!(found.producers.items.is_empty(), quiet, "{what}");
        assert!(counts.is_exact() && counts.producers == 1, "{what}");
    }
}

#[test]
fn ids_and_numbers_that_are_not_there_are_counted_by_what_they_lack() {
    let mut audit = PartitionAudit::one_of(1);
    let id = MessageId::Plain(b"a b".as_slice().into());
    let records = [
        (Named::New, numbered("p", 0)),
        (Named::Duplicate(&id), Numbered::Not),
        (Named::Without, Numbered::Unreadable("")),
        (Named::Unusable, Numbered::Not),
        (Named::Unremembered, Numbered::Not),
    ];
    for (offset, (named, numbered)) in (0..).zip(records) {
        audit.observe(Offset(offset), named, numbered);
    }
    let found = audit.finish();
    let expected = Counts {
        records: 5,
        duplicates: 1,
        without_id: 1,
        unusable_id: 1,
        unremembered: 1,
        unnumbered: 3,
        unreadable: 1,
        producers: 1,
        ..Counts::default()
    };
    assert_eq!(found.counts, expected);
    assert_eq!(found.duplicates.items, [Duplicate { id: WireId("a%20b".into()), offset: Offset(1) }]);
}

#[test]
fn the_first_message_sent_again_is_a_duplicate_and_no_restart() {
    let id = MessageId::Plain(b"first".as_slice().into());
    let mut audit = PartitionAudit::one_of(1);
    for (offset, number) in (0..).zip(0..5) {
        audit.observe(Offset(offset), Named::New, numbered("p", number));
    }
    audit.observe(Offset(5), Named::Duplicate(&id), numbered("p", 0));
    audit.observe(Offset(6), Named::New, numbered("p", 5));
    let counts = audit.finish().counts;
    assert_eq!((counts.gaps, counts.restarts, counts.repeated, counts.duplicates), (0, 0, 1, 1));
}

#[test]
fn ten_thousand_gaps_of_one_producer_are_counted_exactly_and_the_first_of_them_listed() {
    let found = found(&(0..=10_000).map(|place| 2 * place).collect::<Vec<_>>());
    assert_eq!((found.counts.gaps, found.counts.missing), (10_000, 10_000));
    assert!(found.counts.is_exact());
    assert_eq!((found.gaps.items.len(), found.gaps.more), (MOST_LISTED, 10_000 - MOST_LISTED as u64));
    assert_eq!(ranges(&found)[..2], [(1, 1, 10, 20), (3, 3, 20, 30)]);
}

#[test]
fn without_room_the_oldest_range_is_final_still_counted_and_the_answer_says_so() {
    let gaps = FIRST_ROOM as u64 + 3;
    let numbers: Vec<_> = (0..=gaps).map(|place| ("p", 2 * place)).collect();
    let found = read(PartitionAudit::bounded(1, 0), numbers.iter().copied());
    assert_eq!((found.counts.gaps, found.counts.missing, found.counts.given_up), (gaps, gaps, 3));
    assert!(!found.counts.is_exact());
    assert_eq!(found.producers.items[0].tally.gaps, gaps);
}

#[test]
fn beyond_the_bound_those_that_were_silent_longest_are_forgotten_with_their_gaps_named() {
    let most = 16;
    let names: Vec<String> = (0..=most).map(|place| format!("p{place:02}")).collect();
    let records = names.iter().flat_map(|name| [(name.as_str(), 0), (name.as_str(), 2)]);
    let found = read(PartitionAudit::bounded(most, 10), records);
    assert_eq!(found.counts.forgotten, 3);
    assert_eq!((found.counts.producers, found.counts.gaps), (17, 17));
    assert!(!found.counts.is_exact());
    let missed: Vec<_> = found.gaps.items.iter().map(|gap| String::from_utf8_lossy(&gap.producer)).collect();
    assert_eq!(missed, names);
}

#[test]
fn what_retention_deletes_on_the_way_is_no_gap() {
    let mut audit = PartitionAudit::one_of(1);
    audit.observe(Offset(0), Named::New, numbered("p", 0));
    audit.observe(Offset(1), Named::New, numbered("p", 2));
    audit.deleted(100);
    audit.observe(Offset(102), Named::New, numbered("p", 103));
    let found = audit.finish();
    assert_eq!((ranges(&found), found.counts.deleted), (vec![(1, 1, 0, 1)], 100));
    assert!(!found.counts.is_exact());
}

#[test]
fn the_producers_that_miss_most_are_listed_and_the_others_counted() {
    let names: Vec<String> = (0..500_u64).map(|place| format!("p{place:03}")).collect();
    let records = (0..).zip(&names).flat_map(|(place, name)| [(name.as_str(), 0), (name.as_str(), place + 2)]);
    let found = read(PartitionAudit::one_of(1), records);
    assert_eq!((found.producers.items.len(), found.producers.more), (100, 400));
    let first = &found.producers.items[0];
    assert_eq!((&*first.name, first.tally.missing), (b"p499".as_slice(), 500));
    assert!(found.producers.items.iter().all(|producer| producer.tally.missing > 400));
}
