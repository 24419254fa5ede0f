//! Keeps one link to Redis open: whoever finds it broken says so, and a fresh one is made in the background.
//!
//! The crate's own manager stays on black-holed connections and demoted primaries, hence this one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::topology::{Finder, Link};
use crate::ports::StoreError;

/// An attempt to connect may take this long, or the store's timeout where that is longer.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Pauses between attempts grow from the first to the second: with an attempt's time they stay below 3 s.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A link that broke before this age was no good: the next attempt waits.
const YOUNG: Duration = Duration::from_secs(1);

/// The one link of a store.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    status: watch::Receiver<Status>,
}

struct Shared {
    finder: Finder,
    attempt: Duration,
    status: watch::Sender<Status>,
}

#[derive(Clone)]
enum Status {
    /// The first attempt, or the first after a loss, is under way.
    Connecting,
    Up(Arc<Link>),
    /// The last attempt failed; the next one is coming.
    Down(StoreError),
}

impl Keeper {
    /// Begins to connect in the background of the current runtime; ends when the keeper is dropped.
    pub(super) fn start(finder: Finder, store_timeout: Duration) -> Self {
        let (sender, status) = watch::channel(Status::Connecting);
        let shared = Arc::new(Shared { finder, attempt: ATTEMPT.max(store_timeout), status: sender });
        tokio::spawn(connect(Arc::downgrade(&shared), Duration::ZERO));
        Self { shared, status }
    }

    /// The link, waited for at most `patience`; a refusal is told at once.
    pub(super) async fn link(&self, patience: Duration) -> Result<Arc<Link>, StoreError> {
        let mut status = self.status.clone();
        let settled =
            status.wait_for(|status| !matches!(status, Status::Connecting | Status::Down(StoreError::Away(_))));
        if let Ok(Ok(status)) = timeout(patience, settled).await {
            return match &*status {
                Status::Up(link) => Ok(Arc::clone(link)),
                Status::Down(error) => Err(error.clone()),
                Status::Connecting => Err(self.not_yet()),
            };
        }
        match &*self.status.borrow() {
            Status::Down(error) => Err(error.clone()),
            Status::Connecting | Status::Up(_) => Err(self.not_yet()),
        }
    }

    fn not_yet(&self) -> StoreError {
        StoreError::Away(format!("{}: not connected yet", self.shared.finder.names()))
    }

    /// Says that `link` is broken. Only the first to say so of a link starts a search: never two at once.
    pub(super) fn broke(&self, link: &Arc<Link>, why: &StoreError) {
        let was_up = self.shared.status.send_if_modified(|status| {
            let current = matches!(status, Status::Up(up) if Arc::ptr_eq(up, link));
            if current {
                *status = Status::Connecting;
            }
            current
        });
        if was_up {
            tracing::warn!(nodes = link.addresses(), reason = %why, "redis connection given up");
            let pause = if link.since.elapsed() < YOUNG { LONGEST_PAUSE / 2 } else { Duration::ZERO };
            tokio::spawn(connect(Arc::downgrade(&self.shared), pause));
        }
    }
}

/// Tries until it succeeds or nobody wants the link any more.
async fn connect(store: Weak<Shared>, mut pause: Duration) {
    let mut said = None;
    loop {
        sleep(pause).await;
        let Some(shared) = store.upgrade() else { return };
        let found = timeout(shared.attempt, shared.finder.find()).await.map_or_else(
            |_| {
                let (names, within) = (shared.finder.names(), shared.attempt.as_millis());
                Err(StoreError::Away(format!("{names}: no connection within {within} ms")))
            },
            |found| found.map_err(|fault| fault.error),
        );
        match found {
            Ok(link) => {
                tracing::info!(nodes = link.addresses(), "redis connected");
                shared.status.send_replace(Status::Up(Arc::new(link)));
                return;
            }
            Err(error) => {
                if said.as_ref() != Some(&error) {
                    tracing::warn!(reason = %error, "redis cannot be reached");
                    said = Some(error.clone());
                }
                shared.status.send_replace(Status::Down(error));
            }
        }
        pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }
}
