//! A dedup window that is shorter than what may be read again: said by `check` and at the start, with the numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::process::Start;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{Answer, Record};
use crate::told::{await_all, stop, with};

const LAG: &str = "10 unread offsets older than ONCE_DEDUP_WINDOW 1h";
const RETENTION: &str = "retention 7d is above ONCE_DEDUP_WINDOW 1h";

#[test]
fn a_window_shorter_than_retention_or_lag_is_told_with_its_numbers() {
    let Some(scene) = Scene::new(Ground::Real, "window", 2) else { return };
    let short = with(&[("ONCE_DEDUP_WINDOW", "1h")]);
    let first = scene.sidecar(&short);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let old = i64::try_from(now.saturating_sub(Duration::from_secs(2 * 3_600)).as_millis()).expect("a time");
    let early = |partition| {
        Record::new(&scene.topic, "early").partition(partition).id(format!("early-{partition}")).timestamp(old)
    };
    scene.produce(&[early(0), early(1)]);
    await_all(&scene, 2);
    stop(&first);
    scene.ledger.behave(|_| async { Answer::status(200).held(std::future::pending()) });
    let late = |number: i32| {
        Record::new(&scene.topic, "late").partition(number % 2).id(format!("late-{number}")).timestamp(old)
    };
    scene.produce(&(0..10).map(late).collect::<Vec<_>>());
    let mut check = Start::new(env!("CARGO_BIN_EXE_kafka-once")).arg("check").clear_env();
    for (name, value) in scene.settings() {
        check = check.env(name, &value);
    }
    let check = check.env("ONCE_DEDUP_WINDOW", "1h").spawn().expect("it starts");
    assert_eq!(check.wait_exit(PATIENCE), Some(0), "{}", check.log().all());
    let said = check.log().all();
    assert!(said.contains(LAG) && said.contains(RETENTION), "{said}");
    let second = scene.sidecar(&short);
    for words in [LAG, RETENTION] {
        second.log().wait_for(PATIENCE, |line| line.contains(words)).expect("it is said at the start");
    }
    second.sigkill();
}
