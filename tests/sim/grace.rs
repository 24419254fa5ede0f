//! Gaps while reading is held back, and a past that somebody else has taken, with scripts.

use std::time::Duration;

use kafka_once::domain::past_codec::{OWNED, Owner};
use kafka_once::domain::record::TopicPartition;
use kafka_once::ports::{Claims as _, StoredPast};
use tokio::time::{Instant, sleep};

use super::driver::on_paused_time;
use super::plan::{GAP_GRACE, Plan};
use super::producer::append;
use super::scripts::{LONG, SOME, Stage, quiet};
use super::sequences::{Stamp, Step};
use super::truth::Planted;

fn orders() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: 0 }
}

/// One record of the one producer.
fn produce(stage: &Stage, number: u64, step: Step) {
    let stamp = Stamp { producer: "maker".to_owned(), life: 0, number, step };
    let (id, payload) = (Some(format!("m{number}")), format!("p{number}"));
    let planted =
        Planted { offset: 0, id, by_position: false, key: None, payload, stamp: Some(stamp), produced: Instant::now() };
    append(&stage.world, &orders(), planted, 0);
}

/// Numbers 0 to 5 without 4, which comes late while the app is away for so many times the grace; what was told as lost
/// and what was recovered by then, and at the end.
fn late_while_the_app_is_away(graces: u32) -> [(u64, u64); 2] {
    on_paused_time(async move {
        let stage = Stage::set(Plan { producers: 1, ..quiet() });
        (0..4).for_each(|number| produce(&stage, number, Step::Next));
        stage.all_is_settled().await;
        stage.app_is_down(true);
        sleep(LONG).await; // and nothing is taken in any more
        produce(&stage, 5, Step::Over(4));
        stage.app_is_down(false);
        stage.until("a gap", |stage| stage.sidecar.gaps().len() == 1).await;
        stage.app_is_down(true);
        produce(&stage, 6, Step::Next);
        stage.until("a pause", |stage| stage.sidecar.is_paused()).await;
        produce(&stage, 4, Step::Late);
        sleep(GAP_GRACE * graces).await;
        let then = stage.sidecar.lost_and_recovered();
        stage.app_is_down(false);
        stage.all_is_settled().await;
        sleep(GAP_GRACE * 3).await;
        [then, stage.sidecar.lost_and_recovered()]
    })
}

#[test]
fn a_late_number_that_stands_in_the_log_is_no_loss_while_reading_is_held_back() {
    assert_eq!(late_while_the_app_is_away(5), [(0, 0), (0, 1)]);
}

#[test]
fn where_reading_is_held_back_for_very_long_a_gap_is_told_all_the_same() {
    assert_eq!(late_while_the_app_is_away(15), [(1, 0), (1, 1)]);
}

/// Whose the partition's past is, by what stands in the store.
async fn owner_of(stage: &Stage) -> Vec<u8> {
    let other = Owner([9; 16]);
    let taken = stage.world.memory.take_pasts(vec![(orders(), other)]).await.expect("the store answers");
    match &taken[..] {
        [StoredPast::Bytes(bytes)] => bytes[1..OWNED].to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_past_that_another_owner_has_taken_is_taken_back_by_whoever_the_group_lets_commit() {
    on_paused_time(async {
        let stage = Stage::set(Plan { producers: 1, ..quiet() });
        let some = SOME as u64;
        (0..some).for_each(|number| produce(&stage, number, Step::Next));
        stage.all_is_settled().await;
        sleep(Duration::from_secs(1)).await; // kept and committed
        let first = owner_of(&stage).await; // as after a fail-over that brings back an older owner
        (some..2 * some).for_each(|number| produce(&stage, number, Step::Next));
        let settled = |stage: &Stage| stage.world.truth().open_record().is_none() && stage.open() == 0;
        stage.until("the end of everything", settled).await;
        sleep(LONG).await; // refused, committed (ahead of what is kept), taken back, kept
        assert_eq!(owner_of(&stage).await, first);
    });
}
