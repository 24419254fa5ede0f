//! What holds a partition is told as long as it does, by the record's offset, and never for longer; on paused time.

use kafka_once::domain::life::InDoubt;
use kafka_once::domain::reasons::PauseReason::{Bound, DeadLetterTopicUnset, RetryBlocked};
use tokio::time::{Instant, sleep};

use super::app::{POISON, STUBBORN};
use super::driver::on_paused_time;
use super::plan::{LEASE, Plan};
use super::scripts::{LONG, SOME, Stage, quiet};
use super::sidecar::SimSidecar;

/// A partition takes in so many records at most.
const BOUND: usize = 20;

fn narrow() -> Plan {
    Plan { max_open: BOUND as u64, service: 5, ..quiet() }
}

/// Waits until the partition is at its bound and it is said which record holds it; the words.
async fn held(stage: &Stage) -> String {
    let is_told = |stage: &Stage| stage.sidecar.told(Bound).is_some() && stage.sidecar.told(RetryBlocked).is_some();
    stage.until("a bound with its record", is_told).await;
    stage.sidecar.told(RetryBlocked).unwrap_or_default()
}

async fn nothing_is_told(stage: &Stage) {
    let quiet =
        |stage: &Stage| [Bound, RetryBlocked, DeadLetterTopicUnset].iter().all(|of| stage.sidecar.told(*of).is_none());
    stage.until("the end of all pauses", quiet).await;
}

#[test]
fn without_a_dead_letter_topic_a_record_holds_its_lane_and_the_others_go_on_until_the_bound() {
    on_paused_time(async {
        let mut stage = Stage::set(Plan { dead_letters: false, ..narrow() });
        stage.produce_one(POISON, 0);
        stage.until("a pause", |stage| stage.sidecar.told(DeadLetterTopicUnset).is_some()).await;
        stage.produce(SOME);
        stage.until("the others", |stage| stage.effects() == SOME).await;
        let words = stage.sidecar.told(DeadLetterTopicUnset).expect("still told");
        assert!(words.contains("offset 0 ") && words.contains("422") && words.contains("refused"), "{words}");
        assert_eq!(stage.sidecar.told(Bound), None);
        stage.produce(BOUND);
        let words = held(&stage).await;
        assert!(words.contains("offset 0 ") && words.contains("given up (refused)"), "{words}");
        sleep(LONG).await;
        assert_eq!(stage.effects(), BOUND - 1, "as many as the bound lets in beside it");
        assert!(stage.sidecar.told(DeadLetterTopicUnset).is_some());
    });
}

/// Its session ends, so it is claimed and sent anew, and the app takes it: nobody need ask for that.
#[test]
fn a_record_that_blocked_and_was_accepted_later_blocks_nothing_and_nobody_says_so_any_more() {
    on_paused_time(async {
        let mut stage = Stage::set(Plan { dead_letters: false, ..narrow() });
        stage.produce_one(POISON, 0);
        stage.produce(2 * BOUND);
        held(&stage).await;
        stage.world.weather().app_is_mended = true;
        stage.world.weather().store_away_until = Instant::now() + LEASE * 2;
        stage.all_is_settled().await;
        nothing_is_told(&stage).await;
        stage.produce(BOUND);
        stage.all_is_settled().await;
        assert_eq!(stage.effects(), 3 * BOUND + 1);
    });
}

#[test]
fn a_record_that_the_app_puts_off_for_ever_is_named_at_the_bound() {
    on_paused_time(async {
        let mut stage = Stage::set(narrow());
        stage.world.weather().app_is_busy = true;
        stage.produce(2 * BOUND);
        let words = held(&stage).await;
        assert!(words.starts_with("offset 0 was put off ") && words.contains("503"), "{words}");
        stage.world.weather().app_is_busy = false;
        stage.all_is_settled().await;
        nothing_is_told(&stage).await;
    });
}

#[test]
fn a_record_whose_lookup_stays_unclear_is_named_at_the_bound() {
    on_paused_time(async {
        let mut stage = Stage::set(Plan { in_doubt: InDoubt::Lookup, ..narrow() });
        stage.world.weather().app_dies = true;
        stage.produce(1);
        stage.until("an effect without an answer", |stage| stage.effects() == 1).await;
        stage.world.weather().app_is_busy = true;
        stage.world.weather().app_dies = false;
        stage.produce(2 * BOUND);
        let words = held(&stage).await;
        assert!(words.starts_with("offset 0 is in doubt and waits until its lookup says"), "{words}");
        stage
            .until("an answer", |stage| stage.sidecar.told(RetryBlocked).is_some_and(|words| words.contains("503")))
            .await;
        stage.world.weather().app_is_busy = false;
        stage.all_is_settled().await;
        nothing_is_told(&stage).await;
    });
}

/// One message in two partitions of two processes: one of them has its claim and tries it for ever.
#[test]
fn a_record_whose_claim_another_session_holds_is_named_at_the_bound() {
    on_paused_time(async {
        let mut stage = Stage::set(Plan { topics: vec![("orders", 2)], ..narrow() });
        let other = SimSidecar::start(&stage.world, 2);
        stage.until("a partition for each", |stage| stage.sidecar.owned() == 1 && other.owned() == 1).await;
        for partition in 0..2 {
            stage.produce_one(STUBBORN, partition);
            for number in 0..2 * BOUND {
                stage.produce_one(&format!("p{partition}-{number}"), partition);
            }
        }
        let mut words = vec![held(&stage).await];
        let first = std::mem::replace(&mut stage.sidecar, other);
        words.push(held(&stage).await);
        words.sort();
        assert!(words[0].starts_with("offset 0 has failed "), "{words:?}");
        assert!(words[1].starts_with("offset 0 waits for another session"), "{words:?}");
        drop(first);
    });
}

/// One message in two partitions of one process: one of them is tried for ever, the other one waits for its end.
#[test]
fn a_record_that_waits_for_another_one_with_its_id_is_named_at_the_bound() {
    on_paused_time(async {
        let stage = Stage::set(Plan { topics: vec![("orders", 2)], ..narrow() });
        stage.produce_twins().await;
        for number in 0..2 * BOUND {
            stage.produce_one(&format!("m{number}"), 1);
        }
        let words = held(&stage).await;
        assert!(words.starts_with("offset 0 waits for another record with its message id"), "{words}");
    });
}
