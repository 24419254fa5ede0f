//! Leaving the group: commits answered, partitions given back, the client gone; every step bounded.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::consumer::{BUSY, Polling};
use crate::ports::Intake;

/// Bound of a step of leaving: commits answered; group left and client gone (twice as long); last message taken.
const LEAVE_STEP: Duration = Duration::from_secs(5);
/// How often the watchdog hears of us meanwhile.
const PULSE: Duration = Duration::from_millis(200);

impl<P: Fn() + Send> Polling<P> {
    /// Waits for open commits, gives everything back and leaves the group at once, each step bounded.
    pub(super) fn leave(mut self) {
        self.await_commits();
        self.consumer.context().close();
        self.answer_at_once();
        let Self { consumer, committer, group, gone, mut handover, pulse, .. } = self;
        drop((committer, group));
        // Dropping the client leaves the group, polling for its own callbacks; then it joins its threads, which may
        // wait for a broker that has gone silent.
        let dropper = std::thread::Builder::new().name("kafka-drop".into()).spawn(move || drop(consumer));
        let left = dropper.is_ok() && is_gone(&gone, &pulse);
        if left {
            tracing::info!(target: "kafka", "group left");
        } else {
            tracing::warn!(target: "kafka", "group not left in time, its session will run out");
        }
        handover.push(Intake::Left);
        // Nobody listening is as good as everything taken.
        let _ = handover.flush_within(LEAVE_STEP);
    }

    /// Polls for callbacks only, until all commits are answered, bounded.
    fn await_commits(&mut self) {
        let deadline = Instant::now() + LEAVE_STEP;
        self.pause(&self.partitions.all());
        while self.committer.open() > 0 && Instant::now() < deadline {
            (self.pulse)();
            // Records handed out now are not taken in: their offsets are not committed, their next owner reads them.
            drop(self.consumer.poll(BUSY));
            self.heed_events();
            let _ = self.handover.flush();
        }
    }
}

/// Waits until the client is gone, bounded.
fn is_gone(gone: &Receiver<Infallible>, pulse: &impl Fn()) -> bool {
    let deadline = Instant::now() + 2 * LEAVE_STEP;
    while Instant::now() < deadline {
        pulse();
        if gone.recv_timeout(PULSE) == Err(RecvTimeoutError::Disconnected) {
            return true;
        }
    }
    false
}
