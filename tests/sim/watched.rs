//! A partition that was assigned and does not begin: without a known reason the process ends, with one it waits.

use std::time::Duration;

use kafka_once::domain::past::Landmark;
use kafka_once::domain::reasons::CommitResult;
use kafka_once::domain::record::Offset;
use kafka_once::pipeline::Stopped;
use kafka_once::ports::Intake;
use tokio::time::{Instant, sleep, timeout};

use super::by_hand::{ByHand, Facts};
use super::driver::on_paused_time;
use super::scripts::quiet;

/// A group that has committed nothing: its start is committed first.
const NEW: Facts = Facts { committed: None, start: 0, end: 10 };
/// What a watchdog waits for.
const STANDSTILL: Duration = Duration::from_secs(300);
/// Almost as long.
const NOT_YET: Duration = Duration::from_secs(290);
/// Far longer.
const VERY_LONG: Duration = Duration::from_secs(1_500);

/// Whether the process lives through so much time.
async fn lives(log: &mut ByHand, time: Duration) -> bool {
    timeout(time, &mut log.sidecar.task).await.is_err()
}

async fn assert_it_ends(log: &mut ByHand) {
    assert!(lives(log, NOT_YET).await, "not before its time");
    let ended = timeout(Duration::from_secs(15), &mut log.sidecar.task).await.expect("it ends").expect("no panic");
    let Err(Stopped::StandsStill(why)) = ended else { panic!("{ended:?}") };
    assert!(why.starts_with("orders/0 has not begun for 300s without a known reason"), "{why}");
}

#[test]
fn a_partition_that_does_not_begin_ends_the_process() {
    on_paused_time(async {
        let mut log = ByHand::set(quiet()).await;
        log.assign(NEW).await;
        log.commit().await; // and no answer comes
        assert_it_ends(&mut log).await;
    });
}

#[test]
fn a_partition_whose_start_the_group_never_takes_from_us_ends_the_process() {
    on_paused_time(async {
        let mut log = ByHand::set(quiet()).await;
        let seen = log.assign(NEW).await;
        let end = Instant::now() + NOT_YET;
        while Instant::now() < end {
            let next = log.commit().await;
            log.committed(seen, next, CommitResult::NotOwner).await;
        }
        log.commit().await;
        assert!(!lives(&mut log, Duration::from_secs(15)).await, "it is not ours, and nobody has told us so");
    });
}

#[test]
fn a_partition_that_cannot_begin_while_the_store_is_away_is_no_standstill() {
    on_paused_time(async {
        let mut log = ByHand::set(quiet()).await;
        log.world.weather().store_away_until = Instant::now() + VERY_LONG;
        let seen = log.assign(NEW).await;
        assert!(lives(&mut log, VERY_LONG).await);
        let next = log.commit().await;
        log.world.weather().store_away_until = Instant::now() + VERY_LONG; // and again
        assert!(lives(&mut log, VERY_LONG).await);
        log.committed(seen, next, CommitResult::Ok).await;
        assert_eq!(log.begins_within(STANDSTILL).await, Some(0));
    });
}

#[test]
fn a_partition_that_cannot_begin_while_the_brokers_are_away_is_no_standstill() {
    on_paused_time(async {
        let mut log = ByHand::set(quiet()).await;
        let seen = log.assign(NEW).await;
        let next = log.commit().await;
        log.say(Intake::BrokerUp(false)).await;
        assert!(lives(&mut log, VERY_LONG).await);
        log.say(Intake::BrokerUp(true)).await;
        assert!(lives(&mut log, NOT_YET).await, "its time begins anew");
        log.committed(seen, next, CommitResult::Ok).await;
        assert_eq!(log.begins_within(STANDSTILL).await, Some(0));
        // Nor does what it waited for count once it has begun.
        log.ends(10, true, Duration::from_secs(20)).await;
        assert!(!log.sidecar.task.is_finished());
    });
}

#[test]
fn a_partition_whose_start_is_refused_again_and_again_is_no_standstill() {
    on_paused_time(async {
        let mut log = ByHand::set(quiet()).await;
        let seen = log.assign(NEW).await;
        let end = Instant::now() + VERY_LONG;
        while Instant::now() < end {
            let next = log.commit().await;
            sleep(Duration::from_secs(60)).await; // a coordinator that does not answer
            log.committed(seen, next, CommitResult::Failed).await;
        }
        assert!(!log.sidecar.task.is_finished());
    });
}

#[test]
fn a_partition_whose_log_is_looked_into_is_no_standstill() {
    on_paused_time(async {
        let mut log = ByHand::set(quiet()).await;
        log.settled_before(Landmark { offset: Offset(4), timestamp: 0 }).await;
        log.assign(NEW).await;
        log.look().await;
        assert!(lives(&mut log, VERY_LONG).await);
    });
}
