//! How far the demo has come: a bar on standard error, where a person looks and no log lines disturb it.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, or nothing.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar up to so many messages; hidden when nobody looks, or when logs go the same way.
    pub(super) fn new(messages: usize, logs: bool) -> Self {
        let shown = std::io::stderr().is_terminal() && !logs;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(messages as u64), target);
        let style = ProgressStyle::with_template("{elapsed:>4} {bar:30} {pos:>5}/{len} applied  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// What is being waited for.
    pub(super) fn phase(&self, words: &'static str) {
        self.0.set_message(words);
    }

    /// So many messages have had their effect.
    pub(super) fn applied(&self, messages: usize) {
        self.0.set_position(messages as u64);
        self.0.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
