//! How far the run has come: a bar on standard error, where a person looks and no log lines disturb it.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, or nothing.
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

    /// So many offsets are passed since it was asked last.
    pub(super) fn passed(&self, offsets: u64) {
        self.bar.inc(offsets);
    }

    /// So many letters are sent back in all.
    #[allow(clippy::cast_precision_loss)] // shown with few digits
    pub(super) fn sent(&self, letters: u64) {
        let rate = letters as f64 / self.started.elapsed().as_secs_f64().max(1e-6);
        self.bar.set_message(format!("{letters} sent back, {rate:.0} letters/s"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
