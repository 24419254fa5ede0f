//! How far a command has come: a bar on standard error, where a person looks and no log lines disturb it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over offsets, or nothing. It goes with its owner.
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// A bar over so many offsets; hidden when nobody looks, or when logs go the same way.
    pub(super) fn new(offsets: u64, logs: bool) -> Self {
        let shown = std::io::stderr().is_terminal() && !logs;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(offsets), target);
        let style = ProgressStyle::with_template("{elapsed:>4} {bar:30} {percent:>3}%  {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, started: Instant::now() }
    }

    /// So many offsets are passed since it was told last.
    pub(super) fn passed(&self, offsets: u64) {
        self.bar.inc(offsets);
    }

    /// So many offsets are passed in all.
    pub(super) fn reached(&self, offsets: u64) {
        self.bar.set_position(offsets);
    }

    /// What stands beside the bar; `words` is told how long it has taken so far.
    pub(super) fn say(&self, words: impl FnOnce(Duration) -> String) {
        self.bar.set_message(words(self.started.elapsed()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// So many a second.
#[allow(clippy::cast_precision_loss)] // shown with few digits
pub(super) fn rate(number: u64, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64().max(1e-6)
}
