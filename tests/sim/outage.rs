//! An app that is away for ten minutes, on paused time.

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
