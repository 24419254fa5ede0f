//! A partition's past at a hand-over, with a script: a process that stood still must not write over what came after it.

use std::time::Duration;

use kafka_once::domain::record::TopicPartition;
use tokio::time::{Instant, sleep};

use super::driver::on_paused_time;
use super::plan::{Faults, Sabotage};
use super::producer::append;
use super::scripts::{LONG, SOME, Stage, quiet};
use super::sequences::{Stamp, Step};
use super::truth::Planted;

/// Records of one producer, numbered from its first one on.
fn produce_numbered(stage: &Stage, numbers: std::ops::Range<u64>) {
    let at = TopicPartition { topic: "orders".into(), partition: 0 };
    for number in numbers {
        let stamp = Stamp { producer: "maker".to_owned(), life: 0, number, step: Step::Next };
        let (id, payload) = (Some(format!("m{number}")), format!("p{number}"));
        let planted = Planted {
            offset: 0,
            id,
            by_position: false,
            key: None,
            payload,
            stamp: Some(stamp),
            produced: Instant::now(),
        };
        append(&stage.world, &at, planted, 0);
    }
}

/// What was broken when a process that stood still, with observations that it has not kept, goes on behind its successor,
/// and a third one takes the partition over.
fn broken_by_a_late_keeper(sabotage: Sabotage) -> Vec<String> {
    on_paused_time(async move {
        let plan = quiet().with(Faults { stall: true, ..Faults::default() }).sabotaged(sabotage);
        let some = SOME as u64;
        let mut stage = Stage::set(plan);
        produce_numbered(&stage, 0..some);
        stage.all_is_settled().await;
        sleep(Duration::from_secs(1)).await; // kept and committed
        produce_numbered(&stage, some..2 * some);
        stage.until("an intake", |stage| stage.open() == SOME).await;
        let mut stopped = stage.stop_and_start();
        stage.all_is_settled().await;
        produce_numbered(&stage, 2 * some..3 * some);
        stage.all_is_settled().await;
        sleep(LONG).await; // kept and committed
        stage.world.group().keep_stale_members = true;
        stopped.host.go_on();
        sleep(Duration::from_millis(100)).await; // whatever it keeps, before it has read on
        stopped.kill();
        stage.kill_and_start();
        sleep(LONG).await;
        stage.world.truth().violations.clone()
    })
}

#[test]
fn a_process_that_stood_still_does_not_write_over_the_past_that_its_successor_keeps() {
    assert_eq!(broken_by_a_late_keeper(Sabotage::None), Vec::<String>::new());
    let broken = broken_by_a_late_keeper(Sabotage::PastsAreNotFenced);
    assert!(broken.iter().any(|what| what.contains("and it was observed to")), "without a fence: {broken:?}");
}
