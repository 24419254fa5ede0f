//! One process on one host: it may be killed or stopped at any moment, and its wall clock is its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kafka_once::domain::time::UnixMillis;
use tokio::time::Instant;

/// Wall-clock time at the beginning of every world.
pub const DAWN: u64 = 1_700_000_000_000;

/// A process, as its neighbours see it.
pub struct Host {
    /// Tells processes apart; never used again.
    pub number: u32,
    skew: i64,
    born: Instant,
    dead: AtomicBool,
    stopped: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Host {
    /// `skew`: how many milliseconds its wall clock is ahead. `dawn`: when the world began.
    pub fn new(number: u32, skew: i64, dawn: Instant) -> Self {
        let (dead, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { number, skew, born: dawn, dead, stopped, waiting: Mutex::default() }
    }

    /// What its wall clock shows.
    pub fn wall(&self) -> UnixMillis {
        let passed = u64::try_from(self.born.elapsed().as_millis()).expect("a short world");
        UnixMillis((DAWN + passed).checked_add_signed(self.skew).expect("a small skew"))
    }

    /// When its wall clock showed this.
    pub fn moment(&self, wall: UnixMillis) -> Instant {
        let shown = wall.0.checked_add_signed(-self.skew).expect("a small skew");
        self.born + Duration::from_millis(shown.saturating_sub(DAWN))
    }

    /// SIGKILL: nothing of it runs any more.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Whether it was killed or has ended.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// SIGSTOP.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.stopped.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Goes on while the process runs: every step of a neighbour's client begins and ends here.
    pub async fn gate(&self) {
        std::future::poll_fn(|context| if self.runs(context) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn runs(&self, context: &Context<'_>) -> bool {
        let runs = !self.is_dead() && !self.is_stopped();
        if !runs {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(context.waker().clone());
        }
        runs
    }
}

/// Polls of one task at one moment, at most: time stands still for as long as a task has something to do.
const MOST_POLLS: u32 = 20_000;

/// A task of a process: never polled while that is stopped or dead.
pub struct OnHost<F> {
    host: std::sync::Arc<Host>,
    task: Pin<Box<F>>,
    polls: (Instant, u32),
}

impl<F: Future> OnHost<F> {
    /// Lets a task run on a host.
    pub fn new(host: &std::sync::Arc<Host>, task: F) -> Self {
        Self { host: std::sync::Arc::clone(host), task: Box::pin(task), polls: (Instant::now(), 0) }
    }
}

impl<F: Future> Future for OnHost<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let now = Instant::now();
        self.polls = if self.polls.0 == now { (now, self.polls.1 + 1) } else { (now, 0) };
        assert!(self.polls.1 < MOST_POLLS, "a task spins: it wakes itself up for a time that has come already");
        if self.host.runs(context) { self.task.as_mut().poll(context) } else { Poll::Pending }
    }
}
