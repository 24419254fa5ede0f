//! Whether the app is there: asked now and then, and told by requests that do not reach it.

use std::sync::Arc;
use std::time::Duration;

use super::{Pipeline, Report};
use crate::domain::reasons::PauseReason;
use crate::domain::time::Moment;
use crate::ports::{App, Claims, DeadLetters};

/// Between the first two looks at an app that is away; doubles up to [`LAST_PROBE`].
const FIRST_PROBE: Duration = Duration::from_millis(50);

/// Between two looks at an app that is away for long, or that is ready.
const LAST_PROBE: Duration = Duration::from_secs(1);

/// When the app is looked at.
#[derive(Debug)]
pub(super) struct Probe {
    /// A look is on its way.
    open: bool,
    at: Moment,
    /// After the next look in vain. Only a request that gets through makes it short again: an app may say that it is
    /// ready on one port and refuse everything on another.
    wait: Duration,
}

impl Probe {
    pub(super) fn new(now: Moment) -> Self {
        Self { open: false, at: now, wait: FIRST_PROBE }
    }

    /// When the next look is due.
    pub(super) fn wakes_at(&self) -> Option<Moment> {
        (!self.open).then_some(self.at)
    }

    fn in_vain(&mut self, now: Moment) {
        self.at = now.after(self.wait);
        self.wait = (self.wait * 2).min(LAST_PROBE);
    }
}

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Looks whether the app is ready: often while it is away, now and then while it is there.
    pub(super) fn probe_app(&mut self) {
        if self.probe.open || self.now.moment < self.probe.at || self.drain.is_over() {
            return;
        }
        self.probe.open = true;
        let (app, reports, watch) = (Arc::clone(&self.app), self.reports.0.clone(), self.app_up);
        tokio::spawn(async move {
            let ready = if watch { app.still_ready().await } else { app.ready().await };
            let _ = reports.send(Report::AppReady(ready)); // nobody listens: we are at the end
        });
    }

    pub(super) fn app_probed(&mut self, ready: Result<(), String>) {
        self.probe.open = false;
        match ready {
            Ok(()) => {
                self.probe.at = self.now.moment.after(LAST_PROBE);
                self.app_is_ready();
            }
            Err(why) => {
                self.probe.in_vain(self.now.moment);
                self.app_is_down(&why);
            }
        }
    }

    /// A request got through to the app.
    pub(super) fn app_was_reached(&mut self) {
        self.probe.wait = FIRST_PROBE;
    }

    /// A request did not get through. Others that were on their way with it say the same.
    pub(super) fn app_is_away(&mut self, why: &str) {
        if self.app_up {
            self.probe.in_vain(self.now.moment);
        }
        self.app_is_down(why);
    }

    fn app_is_ready(&mut self) {
        if std::mem::replace(&mut self.app_up, true) {
            return;
        }
        self.metrics.app_up(true);
        self.unpause_all(PauseReason::AppUnavailable);
        let unsaid = self.repeats.may_say(READY, self.now.moment);
        say_ready(unsaid);
    }

    fn app_is_down(&mut self, why: &str) {
        let was_up = std::mem::replace(&mut self.app_up, false);
        self.pause_all(PauseReason::AppUnavailable, why.to_owned());
        if was_up {
            self.metrics.app_up(false);
            let unsaid = self.repeats.may_say(AWAY, self.now.moment);
            say_away(unsaid, why);
        }
    }

    /// Where the last change was not told, since it came soon after another one, it is told now. Called at every tick.
    pub(super) fn tell_readiness(&mut self) {
        if self.app_up {
            say_ready(self.repeats.may_catch_up(READY, self.now.moment));
        } else {
            let unsaid = self.repeats.may_catch_up(AWAY, self.now.moment);
            say_away(unsaid, self.pauses.detail(PauseReason::AppUnavailable));
        }
    }
}

const READY: (&str, &str) = ("app", "ready");
const AWAY: (&str, &str) = ("app", "away");

fn say_ready(unsaid: Option<u64>) {
    if let Some(unsaid) = unsaid {
        tracing::info!(unsaid, "app is ready");
    }
}

fn say_away(unsaid: Option<u64>, why: &str) {
    if let Some(unsaid) = unsaid {
        tracing::warn!(error = %why, unsaid, "app is unavailable; intake pauses");
    }
}
