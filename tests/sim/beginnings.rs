//! What is found when a partition comes: losses, other logs, looks without an answer. The test itself is the log.

use std::time::Duration;

use kafka_once::domain::life::InDoubt;
use kafka_once::domain::past::Landmark;
use kafka_once::domain::reasons::{CommitResult, LossCause};
use kafka_once::domain::record::{NextOffset, Offset};
use kafka_once::domain::verdict::Delivery;
use kafka_once::ports::{Assignment, Intake, Looked, Standing};
use tokio::time::sleep;

use super::by_hand::{ByHand, Facts, orders};
use super::driver::on_paused_time;
use super::host::DAWN;
use super::plan::{GAP_GRACE, Plan};
use super::scripts::{LONG, quiet};

/// Fifteen offsets were deleted before they were read.
const DELETED: Facts = Facts { committed: Some(5), start: 20, end: 30 };
/// The same once the start behind them is committed.
const PASSED: Facts = Facts { committed: Some(20), ..DELETED };

/// A sidecar that has found a loss, and whose commit of the start behind it is on its way.
async fn start_on_its_way() -> (ByHand, Assignment) {
    let mut log = ByHand::set(quiet()).await;
    let seen = log.assign(DELETED).await;
    assert_eq!(log.commit().await, NextOffset(20));
    assert_eq!(log.lost(LossCause::Retention).await, (0, 0), "the next owner may find it again");
    (log, seen)
}

#[test]
fn a_loss_whose_start_is_committed_while_the_group_wants_the_partition_back_is_told_once() {
    on_paused_time(async {
        let (mut log, seen) = start_on_its_way().await;
        log.say(Intake::Revoking(vec![orders()])).await;
        sleep(Duration::from_millis(100)).await;
        let counted = log.sidecar.metrics.lost_sum(LossCause::Retention);
        assert_eq!(counted, 0, "whether it was stored is not known yet");
        log.committed(seen, NextOffset(20), CommitResult::Ok).await;
        log.released().await;
        assert_eq!(log.lost(LossCause::Retention).await, (15, 1));
        log.assign(PASSED).await;
        assert_eq!(log.begins_within(LONG).await, Some(20));
        assert_eq!(log.lost(LossCause::Retention).await, (15, 1), "once");
    });
}

#[test]
fn a_loss_whose_start_is_refused_while_the_group_wants_the_partition_back_is_told_by_whoever_finds_it_next() {
    on_paused_time(async {
        let (mut log, seen) = start_on_its_way().await;
        log.say(Intake::Revoking(vec![orders()])).await;
        log.committed(seen, NextOffset(20), CommitResult::Rebalancing).await;
        log.released().await;
        assert_eq!(log.lost(LossCause::Retention).await, (0, 0));
        let seen = log.assign(DELETED).await;
        let next = log.commit().await;
        log.committed(seen, next, CommitResult::Ok).await;
        assert_eq!(log.begins_within(LONG).await, Some(20));
        assert_eq!(log.lost(LossCause::Retention).await, (15, 1));
    });
}

#[test]
fn a_loss_whose_start_may_have_been_committed_when_the_partition_goes_is_not_left_untold() {
    on_paused_time(async {
        let (mut log, _) = start_on_its_way().await;
        log.say(Intake::Lost(vec![orders()])).await;
        assert_eq!(log.lost(LossCause::Retention).await, (15, 1), "lost without a word of the commit");
        log.assign(PASSED).await;
        assert_eq!(log.begins_within(LONG).await, Some(20));
        assert_eq!(log.lost(LossCause::Retention).await, (15, 1));

        let (mut log, _) = start_on_its_way().await;
        log.say(Intake::Revoking(vec![orders()])).await;
        log.released().await; // at a deadline: nobody waits for ever for the answer
        assert_eq!(log.lost(LossCause::Retention).await, (15, 1));
    });
}

/// The last settled record of the one partition.
fn landmark(offset: i64) -> Landmark {
    Landmark { offset: Offset(offset), timestamp: i64::try_from(DAWN).expect("a time") }
}

#[test]
fn a_look_that_gets_no_answer_ends_where_the_group_has_an_offset_and_only_there() {
    on_paused_time(async {
        let facts = Facts { committed: Some(5), start: 0, end: 10 };
        let mut log = ByHand::set(quiet()).await;
        log.settled_before(landmark(4)).await;
        log.assign(facts).await;
        assert_eq!(log.look().await, landmark(4));
        assert_eq!(log.begins_within(Duration::from_secs(29)).await, None, "brokers may still answer");
        assert_eq!(log.begins_within(Duration::from_secs(2)).await, Some(5));
        assert_eq!(log.lost(LossCause::Truncation).await, (0, 0));

        let mut log = ByHand::set(quiet()).await;
        log.settled_before(landmark(4)).await;
        log.assign(Facts { committed: None, ..facts }).await;
        log.look().await;
        let anything = log.asked_within(LONG * 60, Some).await;
        assert_eq!(anything, None, "nobody else knows where to go on");
    });
}

#[test]
fn another_log_is_read_from_its_own_start_and_what_stands_above_its_own_end_is_counted() {
    on_paused_time(async {
        let mut log = ByHand::set(quiet()).await;
        log.settled_before(landmark(7)).await;
        // At the assignment the brokers still spoke of the log that was deleted.
        let seen = log.assign(Facts { committed: Some(8), start: 0, end: 10 }).await;
        log.look().await;
        let edges = (NextOffset(3), NextOffset(5));
        log.say(Intake::Looked(Looked { seen, partition: orders(), standing: Standing::Other, log: edges })).await;
        assert_eq!(log.commit().await, NextOffset(3));
        log.committed(seen, NextOffset(3), CommitResult::Ok).await;
        assert_eq!(log.begins_within(LONG).await, Some(3));
        assert_eq!(log.lost(LossCause::Truncation).await, (3, 1));
        for (offset, said) in [(4, Delivery::PossibleRepeat), (5, Delivery::First)] {
            let id = format!("m{offset}");
            log.hand(offset, &[(b"message-id", Some(id.as_bytes()))]).await;
            assert_eq!(log.delivery(&id).await, said, "offset {offset}");
        }
    });
}

/// A partition that is read from its beginning on.
async fn begun(plan: Plan) -> ByHand {
    let mut log = ByHand::set(plan).await;
    log.assign(Facts { committed: Some(0), start: 0, end: 0 }).await;
    assert_eq!(log.begins_within(LONG).await, Some(0));
    log
}

#[test]
fn stale_news_of_a_logs_end_do_not_end_the_grace_of_a_gap() {
    on_paused_time(async {
        let log = begun(quiet()).await;
        for (offset, number) in [(0, "0"), (1, "2")] {
            let id = format!("m{number}");
            let own = (&b"message-id"[..], Some(id.as_bytes()));
            let numbered = [own, (b"producer-id", Some(b"maker")), (b"sequence", Some(number.as_bytes()))];
            log.hand(offset, &numbered).await;
        }
        log.ends(2, false, GAP_GRACE * 5).await;
        assert_eq!(log.sidecar.gaps().len(), 1, "a gap is suspected");
        assert_eq!(log.lost(LossCause::Sequence).await, (0, 0), "the missing one may stand in the log by now");
        log.ends(2, true, GAP_GRACE * 2).await;
        assert_eq!(log.lost(LossCause::Sequence).await, (1, 1));
    });
}

#[test]
fn a_record_sent_back_in_doubt_is_looked_up_by_its_own_id_and_never_by_one_that_its_new_position_makes() {
    on_paused_time(async {
        let log = begun(Plan { in_doubt: InDoubt::Lookup, positions: true, ..quiet() }).await;
        let said = ["once-namespace", "once-source-partition", "once-source-offset", "once-attempts", "once-delivery"];
        let values = ["sim", "0", "1000", "3", "possible-repeat"];
        let sent_back = said.into_iter().zip(values).map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let sent_back: Vec<(&[u8], Option<&[u8]>)> = sent_back.collect();
        log.hand(0, &[&[(&b"message-id"[..], Some(&b"own"[..]))], &sent_back[..]].concat()).await;
        assert_eq!(log.delivery("own").await, Delivery::First, "the app was asked, and has not applied it");
        log.hand(1, &sent_back).await;
        let id = format!("position:orders/0/1/{DAWN}");
        assert_eq!(log.delivery(&id).await, Delivery::PossibleRepeat, "nobody can know it by an ID that is new");
    });
}
