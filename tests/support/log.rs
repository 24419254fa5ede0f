//! Lines a child process wrote, kept in memory, with waiting that arrivals wake.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines of standard output and standard error, in the order of arrival.
#[derive(Default)]
pub struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    open_streams: usize,
}

impl Log {
    /// Reads `stream` to its end on a thread of its own.
    pub fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.lock().open_streams += 1;
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                log.lock().lines.push(text);
                log.changed.notify_all();
            }
            log.lock().open_streams -= 1;
            log.changed.notify_all();
        });
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Everything the child wrote, once its streams have ended (waited for at most ten seconds).
    pub fn all(&self) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        let mut state = self.lock();
        while state.open_streams > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.lines.join("\n")
    }

    /// How many lines there are: a place to wait from.
    pub fn len(&self) -> usize {
        self.lock().lines.len()
    }

    /// The first line that satisfies `wanted`, waiting for it at most `deadline`.
    pub fn wait_for(&self, deadline: Duration, wanted: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        self.wait_from(0, deadline, wanted)
    }

    /// Like [`Log::wait_for`], but looks only at line number `from` and later ones.
    pub fn wait_from(&self, from: usize, deadline: Duration, wanted: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let end = Instant::now() + deadline;
        let mut seen = from;
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.iter().skip(seen).find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            seen = seen.max(state.lines.len());
            let left = end.saturating_duration_since(Instant::now());
            let why = match (state.open_streams, left.is_zero()) {
                (0, _) => "it ended",
                (_, true) => "time is over",
                _ => {
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            };
            let tail = state.lines.len().saturating_sub(30);
            anyhow::bail!("the awaited line did not come, {why}; last lines:\n{}", state.lines[tail..].join("\n"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
