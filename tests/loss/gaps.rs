//! Numbers of producers that never arrived, or late: told once each, whoever holds the partition when.

use crate::support;
use crate::support::scene::{Ground, PATIENCE, Scene, assert_books};
use crate::support::sidecar::Metrics;
use crate::told::{
    QUICK, await_all, await_lost, gaps, lost, lost_ranges, numbered, range, run, said, stop, whole, with,
};

fn scene(name: &str) -> Option<Scene> {
    Scene::new(Ground::Real, name, 1)
}

#[test]
fn gaps_of_one_and_of_a_thousand_are_counted_named_and_listed_and_a_restart_is_none() {
    let Some(scene) = scene("gaps") else { return };
    let sidecar = scene.sidecar(&QUICK);
    let mut records = run(&scene.topic, "a", (0..10).chain(11..20));
    records.extend(run(&scene.topic, "b", (1..5).chain(1_005..1_010)));
    // Starts again, and once more from its first number; another one is first seen in mid-life.
    records.extend((0..3).map(|number| numbered(&scene.topic, "c", number)));
    records.extend((0..3).map(|number| numbered(&scene.topic, "c", number).header("again", "1")));
    records.extend(run(&scene.topic, "d", 77..80));
    let produced = scene.produce(&records);
    await_lost(&sidecar, 1 + 1_000);
    let metrics = sidecar.metrics().expect("a scrape");
    assert_eq!(lost(&metrics, "sequence"), 1_001);
    assert_eq!(lost_ranges(&[&sidecar]), [range("a", 10, 10), range("b", 5, 1_004)]);
    assert_eq!(gaps(&sidecar), [("a".into(), 10, 10, "lost".into()), ("b".into(), 5, 1_004, "lost".into())]);
    let line = &said(&[&sidecar], "records lost: these sequence numbers")[0];
    let at = |number: usize| produced[number].position.1;
    let around = (line["before_offset"].as_i64(), line["after_offset"].as_i64());
    assert!([(Some(at(9)), Some(at(10))), (Some(at(22)), Some(at(23)))].contains(&around), "{line}");
    await_all(&scene, 19 + 9 + 3 + 3);
    stop(&sidecar);
}

#[test]
fn a_late_one_is_recovered_before_its_grace_without_a_loss_and_after_it_the_loss_stays() {
    let Some(scene) = scene("late") else { return };
    let sidecar = scene.sidecar(&with(&[("ONCE_GAP_GRACE", "3s")]));
    scene.produce(&run(&scene.topic, "a", [0, 1, 5]));
    let suspected = |metrics: &Metrics| whole(metrics.sum("kafka_once_suspected_missing_records", &[])) == 3;
    sidecar.await_metrics(PATIENCE, suspected).expect("suspected at once");
    assert_eq!(gaps(&sidecar), [("a".into(), 2, 4, "suspected".into())]);
    scene.produce(&run(&scene.topic, "a", [3]));
    let recovered =
        |count: u64| move |metrics: &Metrics| whole(metrics.sum("kafka_once_recovered_records_total", &[])) == count;
    sidecar.await_metrics(PATIENCE, recovered(1)).expect("recovered");
    await_lost(&sidecar, 2);
    assert_eq!(lost_ranges(&[&sidecar]), [range("a", 2, 2), range("a", 4, 4)]);
    scene.produce(&run(&scene.topic, "a", [4]));
    let metrics = sidecar.await_metrics(PATIENCE, recovered(2)).expect("recovered");
    assert_eq!(lost(&metrics, "sequence"), 2, "what was counted as lost stays");
    let listed = |sidecar| gaps(sidecar) == [("a".into(), 2, 2, "lost".to_owned())];
    sidecar.await_metrics(PATIENCE, |_| listed(&sidecar)).expect("the page follows");
    assert_books(&metrics);
    stop(&sidecar);
}

#[test]
fn each_gap_is_told_once_over_restarts_rebalances_and_kills() {
    let Some(scene) = scene("told-once") else { return };
    let first = scene.sidecar(&QUICK);
    scene.produce(&run(&scene.topic, "a", [0, 2]));
    await_lost(&first, 1);
    await_all(&scene, 2);
    stop(&first);
    // Suspected by one and told by the next; over an orderly end.
    let second = scene.sidecar(&with(&[("ONCE_GAP_GRACE", "1h")]));
    scene.produce(&run(&scene.topic, "a", [3, 5]));
    await_all(&scene, 4);
    stop(&second);
    // The number after the hole comes to the next one; which dies without a word.
    let third = scene.sidecar(&with(&[("ONCE_GAP_GRACE", "1h")]));
    scene.produce(&run(&scene.topic, "a", [6, 9]));
    await_all(&scene, 6);
    third.sigkill();
    let fourth = scene.sidecar(&QUICK);
    await_lost(&fourth, 1 + 2);
    // Another one takes the partition over.
    let fifth = scene.sidecar(&QUICK);
    scene.produce(&run(&scene.topic, "a", [10, 12]));
    await_all(&scene, 8);
    stop(&fourth);
    scene.produce(&run(&scene.topic, "a", [13]));
    await_all(&scene, 9);
    let told = |sidecars: &[&support::Sidecar]| lost_ranges(sidecars).len();
    fifth.await_metrics(PATIENCE, |_| told(&[&fourth, &fifth]) == 3).expect("the last one is told");
    let listed: Vec<(u64, u64)> = gaps(&fifth).into_iter().map(|(_, first, last, _)| (first, last)).collect();
    assert_eq!(listed, [(1, 1), (4, 4), (7, 8), (11, 11)], "all are still known");
    stop(&fifth);
    let all = [range("a", 1, 1), range("a", 4, 4), range("a", 7, 8), range("a", 11, 11)];
    assert_eq!(lost_ranges(&[&first, &second, &third, &fourth, &fifth]), all, "each once");
}

#[test]
fn what_is_no_number_is_counted_and_nothing_is_guessed() {
    let Some(scene) = scene("unreadable") else { return };
    let sidecar = scene.sidecar(&QUICK);
    let mut records = run(&scene.topic, "a", [0, 1]);
    for text in ["-1", "2.5", "18446744073709551616", "two"] {
        let record = support::Record::new(&scene.topic, text).id(format!("odd{text}"));
        records.push(record.header("producer-id", "a").header("sequence", text));
    }
    records.push(numbered(&scene.topic, "a", 2).header("sequence", "3"));
    records.extend(run(&scene.topic, "a", [2, 3]));
    // The largest number there is: a gap that is named, and numbers go on to be recovered from it.
    records.extend(run(&scene.topic, "b", [0, u64::MAX]));
    scene.produce(&records);
    await_all(&scene, 2 + 4 + 1 + 1 + 2);
    let unreadable = |metrics: &Metrics| whole(metrics.sum("kafka_once_sequence_unreadable_total", &[])) == 5;
    sidecar.await_metrics(PATIENCE, unreadable).expect("counted");
    let named = |sidecar| lost_ranges(&[sidecar]) == [range("b", 1, u64::MAX - 1)];
    sidecar.await_metrics(PATIENCE, |_| named(&sidecar)).expect("named");
    stop(&sidecar);
}

#[test]
fn a_stored_past_that_cannot_be_read_is_begun_afresh_and_said() {
    let Some(scene) = scene("bad-past") else { return };
    let first = scene.sidecar(&QUICK);
    scene.produce(&run(&scene.topic, "a", [0, 2]));
    await_lost(&first, 1);
    await_all(&scene, 2);
    stop(&first);
    let key = format!("once:{}:p:{}/0", scene.group, scene.topic);
    let other_build = format!("\u{9}{}", "of a build to come".repeat(3));
    let broken = format!("\u{1}{}", "x".repeat(40));
    for (bytes, words) in [(&broken, "is broken"), (&other_build, "is of version 9")] {
        support::redis().expect("a redis").cli(&["SET", &key, bytes]).expect("planted");
        let next = scene.sidecar(&QUICK);
        let told = next.log().wait_for(PATIENCE, |line| line.contains("no past of the partition is known"));
        assert!(told.as_ref().is_ok_and(|line| line.contains(words)), "{told:?}");
        stop(&next);
    }
    let last = scene.sidecar(&QUICK);
    scene.produce(&run(&scene.topic, "a", [7, 9]));
    await_lost(&last, 1);
    assert_eq!(lost_ranges(&[&last]), [range("a", 8, 8)], "followed from there on");
    stop(&last);
}
