//! An app that is away for ten minutes, or says that it is there and is not, on paused time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::driver::on_paused_time;
use super::plan::Plan;
use super::scripts::{SOME, Stage, quiet};

/// So long after its return everything that waited is done: the longest wait between two looks at the app is far below.
const FULL_SPEED: Duration = Duration::from_secs(5);

#[test]
fn an_outage_of_ten_minutes_gives_nothing_up_and_a_few_seconds_after_it_everything_is_done() {
    on_paused_time(async {
        // Few retries: an outage spends none.
        let mut stage = Stage::set(Plan { attempts: Some(2), ..quiet() });
        stage.produce(SOME);
        stage.all_is_settled().await;
        stage.app_is_down(true);
        stage.produce(SOME);
        stage.until("an intake", |stage| stage.open() > 0).await;
        sleep(Duration::from_secs(600)).await;
        stage.produce(SOME);
        assert_eq!(stage.acts().1, 0, "dead letters");
        let back = Instant::now();
        stage.app_is_down(false);
        stage.all_is_settled().await;
        assert!(back.elapsed() < FULL_SPEED, "{:?}", back.elapsed());
        assert_eq!((stage.effects(), stage.acts().1), (3 * SOME, 0));
    });
}

/// Readiness may be asked on another port, or by a connection that is opened and nothing more.
#[test]
fn an_app_that_says_it_is_ready_and_takes_no_connection_is_tried_once_a_second_and_not_for_ever() {
    const REFUSED: Duration = Duration::from_secs(60);
    on_paused_time(async {
        let mut stage = Stage::set(Plan { attempts: Some(2), service: 1, ..quiet() });
        stage.produce(SOME);
        stage.all_is_settled().await;
        let refused = |stage: &Stage| stage.sidecar.count("kafka_once_attempts_total{verdict=\"unavailable\"}");
        stage.world.weather().app_refuses = true;
        stage.produce(1);
        sleep(REFUSED).await;
        let tries = refused(&stage);
        assert!((REFUSED.as_secs() / 2..2 * REFUSED.as_secs()).contains(&tries), "{tries} tries in {REFUSED:?}");
        stage.world.weather().app_refuses = false;
        let back = Instant::now();
        stage.produce(SOME);
        stage.all_is_settled().await;
        assert!(back.elapsed() < FULL_SPEED, "{:?}", back.elapsed());
        assert_eq!((stage.effects(), stage.acts().1), (2 * SOME + 1, 0));

        // A request got through: where the app is away for a moment, it is not waited for any longer than that.
        stage.app_is_down(true);
        stage.produce(1);
        let before = refused(&stage);
        stage.until("a refusal", |stage| refused(stage) > before).await;
        let away = Instant::now();
        stage.app_is_down(false);
        stage.all_is_settled().await;
        assert!(away.elapsed() < Duration::from_millis(500), "{:?}", away.elapsed());
    });
}
