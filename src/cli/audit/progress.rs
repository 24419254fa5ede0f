//! How far the audit has come: a bar on standard error, where a person looks and no log lines disturb it.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::{MIB, rate};

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

    /// So many offsets are passed, and the records among them had so many bytes.
    pub(super) fn reached(&self, offsets: u64, records: u64, bytes: u64) {
        let took = self.started.elapsed();
        let (records, bytes) = (rate(records, took), rate(bytes, took) / MIB);
        self.bar.set_position(offsets);
        self.bar.set_message(format!("{records:.0} records/s, {bytes:.1} MiB/s"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
