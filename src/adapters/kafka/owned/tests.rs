//! Which partitions are ours, what holds each, and what of it is told.

use super::*;
use crate::domain::record::Offset;

const HELD: u64 = 100;

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}

fn stood(partition: i32, offset: i64) -> Position {
    Position { partition, offset: Offset(offset), timestamp: 0 }
}

fn begin(partitions: &mut Partitions, starts: &[(TopicPartition, NextOffset)]) {
    let newest = partitions.newest;
    partitions.begin(starts, newest);
}

fn two() -> (Partitions, Arc<Window>) {
    let mut partitions = Partitions::new(4, HELD);
    let window = Arc::new(Window::default());
    partitions.insert(&at(0), NextOffset(0), Arc::clone(&window));
    partitions.insert(&at(1), NextOffset(0), Arc::default());
    begin(&mut partitions, &[(at(0), NextOffset(0)), (at(1), NextOffset(0))]);
    partitions.pause_changes();
    (partitions, window)
}

fn on(partitions: &[TopicPartition]) -> Changes {
    Changes { on: partitions.to_vec(), off: Vec::new() }
}

fn off(partitions: &[TopicPartition]) -> Changes {
    Changes { on: Vec::new(), off: partitions.to_vec() }
}

#[test]
fn a_full_window_holds_its_partition_until_half() {
    let (mut partitions, window) = two();
    let full: Vec<_> = (0..4).map(|offset| partitions.taken("t", stood(0, offset), 0)).collect();
    assert_eq!(full, [false, false, false, true]);
    assert_eq!(partitions.pause_changes(), on(&[at(0)]));
    assert_eq!(partitions.bound_changes(), on(&[at(0)]));
    assert_eq!(partitions.pause_changes(), Changes::default(), "told once");
    window.passed(1);
    partitions.relax(0);
    assert_eq!(partitions.pause_changes(), Changes::default(), "above half");
    window.passed(1);
    partitions.relax(0);
    assert_eq!(partitions.pause_changes(), off(&[at(0)]));
    assert_eq!(partitions.bound_changes(), off(&[at(0)]));
    assert_eq!(partitions.next(&at(0)), Some(NextOffset(4)));
}

#[test]
fn one_that_starts_elsewhere_does_not_begin_before_the_client_has_been_told() {
    let (mut partitions, _) = two();
    let seen = partitions.insert(&at(2), NextOffset(9), Arc::default());
    let moves = partitions.begin(&[(at(2), NextOffset(12)), (at(7), NextOffset(0))], seen);
    assert_eq!(moves, [Move { seen, at: at(2), to: NextOffset(12) }]);
    assert_eq!((partitions.has_begun(&at(2)), partitions.pause_changes()), (false, Changes::default()));
    partitions.jump(&at(2), NextOffset(12));
    assert_eq!(partitions.next(&at(2)), Some(NextOffset(12)), "where it is told to");
    assert_eq!(partitions.pause_changes(), off(&[at(2)]));
}

#[test]
fn held_bytes_hold_all_until_half() {
    let (mut partitions, _) = two();
    assert!(partitions.taken("t", stood(1, 0), HELD));
    assert_eq!(partitions.pause_changes(), on(&[at(0), at(1)]));
    assert_eq!(partitions.bound_changes(), on(&[at(0), at(1)]));
    partitions.relax(HELD / 2 + 1);
    assert_eq!(partitions.pause_changes(), Changes::default());
    partitions.relax(HELD / 2);
    assert_eq!(partitions.pause_changes(), off(&[at(0), at(1)]));
}

#[test]
fn each_reason_alone_pauses_and_a_stall_is_no_bound() {
    let (mut partitions, _) = two();
    partitions.tell(&[at(0)], true);
    assert_eq!(partitions.pause_changes(), on(&[at(0)]));
    partitions.stall(true);
    assert_eq!(partitions.pause_changes(), on(&[at(1)]));
    assert_eq!(partitions.bound_changes(), Changes::default());
    partitions.tell(&[at(0)], false);
    assert_eq!(partitions.pause_changes(), Changes::default());
    partitions.stall(false);
    assert_eq!(partitions.pause_changes(), off(&[at(0), at(1)]));
}

#[test]
fn an_order_that_is_older_than_an_assignment_says_nothing_of_it() {
    let (mut partitions, _) = two();
    let register = partitions.register();
    assert_eq!(partitions.known(vec![at(0), at(1), at(7)], Assignment(2)), [at(0), at(1)]);
    partitions.remove(&[at(0)]);
    assert!(!register.holds(&at(0), Assignment(2)), "it is gone");
    assert_eq!(partitions.insert(&at(0), NextOffset(5), Arc::default()), Assignment(3));
    assert_eq!(partitions.known(vec![at(0), at(1)], Assignment(2)), [at(1)], "it came back");
    assert!(!register.holds(&at(0), Assignment(2)) && register.holds(&at(0), Assignment(3)));
}

#[test]
fn a_new_partition_waits_for_its_beginning_and_a_removed_one_is_unknown() {
    let (mut partitions, _) = two();
    partitions.insert(&at(2), NextOffset(9), Arc::default());
    assert_eq!(partitions.pause_changes(), Changes::default(), "paused already");
    begin(&mut partitions, &[(at(2), NextOffset(9))]);
    assert_eq!(partitions.pause_changes(), off(&[at(2)]));
    assert_eq!(partitions.remove(&[at(2), at(7)]), [at(2)]);
    assert!(partitions.topic("t", 2).is_none() && partitions.topic("t", 1).is_some());
}
