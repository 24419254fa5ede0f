//! The session of this process, the sessions of others, and whether the store answers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::desk::Asker;
use super::table::Token;
use super::{Pipeline, Report, Stopped};
use crate::domain::claim::SessionId;
use crate::domain::history::History;
use crate::domain::life::Event;
use crate::domain::reasons::PauseReason;
use crate::domain::session::{Duty, Session};
use crate::domain::time::Moment;
use crate::ports::{App, ClaimCommand, Claims, DeadLetters, StoreError};

/// What came of a question about our own session or the store's history.
#[derive(Debug)]
pub(super) enum Outcome {
    Opened { id: SessionId, asked: Moment, history: Result<History, StoreError> },
    Renewed { id: SessionId, asked: Moment, alive: Result<(bool, History), StoreError> },
    History(Result<History, StoreError>),
}

/// Sessions, ours and others'.
#[derive(Debug)]
pub(super) struct Leases {
    own: Session,
    /// The session that claims are made for; while none lives, the last one that did.
    current: SessionId,
    others: HashMap<SessionId, Other>,
    pub(super) history: Option<History>,
    /// Pasts whose loss was counted, the newest last: commits and other partitions may tell of them again.
    pub(super) counted: VecDeque<History>,
    pub(super) asking_history: bool,
    /// A store that is away is not asked again before this.
    ask_again: Moment,
    lease: Duration,
}

#[derive(Debug)]
struct Other {
    askers: Vec<Token>,
    asking: bool,
    /// When it was last found alive; `Err`: it is dead, and sessions never come back.
    seen: Option<Result<Moment, ()>>,
}

impl Leases {
    pub(super) fn new(lease: Duration) -> Self {
        let current = SessionId([0; 16]);
        let own = Session::new(lease);
        Self {
            own,
            current,
            others: HashMap::new(),
            history: None,
            counted: VecDeque::new(),
            asking_history: false,
            ask_again: Moment(0),
            lease,
        }
    }

    pub(super) fn current(&self) -> SessionId {
        self.current
    }

    pub(super) fn live(&self, now: Moment) -> Option<SessionId> {
        self.own.live(now).filter(|_| self.history.is_some())
    }

    pub(super) fn wakes_at(&self) -> Moment {
        self.own.wakes_at()
    }
}

/// Between two questions for the history of a store that is away.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Other sessions remembered at most; beyond, those that nobody asks for are forgotten.
const OTHERS: usize = 1024;

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Renews our session in time, and fences when that could not be done in time.
    pub(super) fn keep_session(&mut self) {
        while let Some(duty) = self.leases.own.poll(self.now.moment) {
            match duty {
                Duty::Fence(id) => {
                    tracing::error!(session = %id, "lease could not be renewed in time; open requests are cancelled");
                    self.fence(id);
                }
                Duty::Open | Duty::Renew(_) if self.drain.is_over() => {}
                Duty::Open => self.open_session(),
                Duty::Renew(id) => self.renew_session(id),
            }
        }
    }

    fn open_session(&mut self) {
        let (id, asked, lease) = (self.clock.session_id(), self.now.moment, self.limits.lease);
        let (claims, reports) = (Arc::clone(&self.claims), self.reports.0.clone());
        tokio::spawn(async move {
            let history = match claims.open_session(id, lease).await {
                Ok(()) => claims.history().await,
                Err(error) => Err(error),
            };
            let _ = reports.send(Report::Session(Outcome::Opened { id, asked, history }));
        });
    }

    fn renew_session(&mut self, id: SessionId) {
        let (asked, lease) = (self.now.moment, self.limits.lease);
        let (claims, reports) = (Arc::clone(&self.claims), self.reports.0.clone());
        tokio::spawn(async move {
            let alive = match claims.renew_session(id, lease).await {
                Ok(alive) => claims.history().await.map(|history| (alive, history)),
                Err(error) => Err(error),
            };
            let _ = reports.send(Report::Session(Outcome::Renewed { id, asked, alive }));
        });
    }

    pub(super) fn session_answered(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Opened { id, asked, history: Ok(history) } => {
                self.history_seen(&history);
                if self.leases.own.opened(id, asked, self.now.moment) {
                    self.session_opened(id);
                }
            }
            Outcome::Renewed { id, asked, alive: Ok((true, history)) } => {
                self.leases.own.renewed(id, asked);
                self.history_seen(&history);
            }
            Outcome::Renewed { id, alive: Ok((false, history)), .. } => {
                if self.leases.own.gone(id, self.now.moment) {
                    tracing::error!(session = %id, "session is gone from redis; open requests are cancelled");
                    self.fence(id);
                }
                self.history_seen(&history);
            }
            Outcome::Opened { history: Err(error), .. } | Outcome::Renewed { alive: Err(error), .. } => {
                self.leases.own.failed(self.now.moment);
                self.store_failed(&error);
            }
            Outcome::History(history) => {
                self.leases.asking_history = false;
                match history {
                    Ok(history) => self.history_seen(&history),
                    Err(error) => {
                        self.leases.ask_again = self.now.moment.after(ASK_AGAIN);
                        self.store_failed(&error);
                    }
                }
            }
        }
    }

    /// A store that is away is asked for its history until it answers: what it may have forgotten must be known before
    /// any of its answers is believed.
    pub(super) fn probe_store(&mut self) {
        if self.store_probe_at().is_some_and(|at| self.now.moment >= at) {
            self.ask_history();
        }
    }

    pub(super) fn store_probe_at(&self) -> Option<Moment> {
        let waits = self.store_up || self.leases.history.is_none() || self.leases.asking_history;
        (!waits && !self.drain.is_over()).then_some(self.leases.ask_again)
    }

    fn session_opened(&mut self, id: SessionId) {
        tracing::info!(session = %id, "session opened");
        self.metrics.session_started();
        self.leases.current = id;
        let again = std::mem::take(&mut self.to_restart);
        self.to_claim.extend(again);
    }

    /// Our claims may be taken over from now on: whatever is open under them is cancelled and starts again.
    fn fence(&mut self, id: SessionId) {
        for token in self.table.tokens(|_| true) {
            self.live(token, Event::Fenced);
        }
        self.to_send.clear();
        self.forget_held_claims();
        self.desk.drop_unwanted(|asker| self.table.awaits(asker));
        self.metrics.in_flight(self.couriers.busy() as u64);
        let claims = Arc::clone(&self.claims);
        tokio::spawn(async move {
            // All its requests are cancelled: others, and we ourselves, need not wait for the lease to end.
            if let Err(error) = claims.close_session(id).await {
                tracing::debug!(session = %id, error = %error, "fenced session could not be closed; its lease will end");
            }
        });
    }

    /// Another primary answers. Where a mark is lost, the claim below it may stand there again, and as long as our session
    /// lives, others would wait for it although nobody works on it here: the session ends, and another one follows.
    pub(super) fn end_session(&mut self) {
        let session = self.leases.current;
        if self.leases.own.gone(session, self.now.moment) {
            tracing::warn!(session = %session, "session ends: claims of settled messages may stand under its name again");
            self.fence(session);
        }
    }

    /// A record found a claim of another session. One question for each session, however many records ask.
    pub(super) fn ask_alive(&mut self, token: Token, session: SessionId) {
        let fresh = self.leases.lease / 10;
        if self.leases.others.len() >= OTHERS {
            self.leases.others.retain(|_, other| !other.askers.is_empty());
        }
        let other =
            self.leases.others.entry(session).or_insert(Other { askers: Vec::new(), asking: false, seen: None });
        match other.seen {
            Some(Err(())) => return self.live(token, Event::Alive(session, false)),
            Some(Ok(seen)) if self.now.moment.since(seen) < fresh => {
                return self.live(token, Event::Alive(session, true));
            }
            Some(Ok(_)) | None => other.askers.push(token),
        }
        if !std::mem::replace(&mut other.asking, true) {
            self.desk.push(Asker::Session(session), ClaimCommand::IsAlive { session });
        }
    }

    pub(super) fn session_seen(&mut self, session: SessionId, alive: bool) {
        let Some(other) = self.leases.others.get_mut(&session) else { return };
        other.asking = false;
        other.seen = Some(if alive { Ok(self.now.moment) } else { Err(()) });
        for token in std::mem::take(&mut other.askers) {
            self.live(token, Event::Alive(session, alive));
        }
    }

    pub(super) fn store_failed(&mut self, error: &StoreError) {
        match error {
            StoreError::Away(why) => self.store_is_up(false, why),
            StoreError::Refused(_) if self.leases.history.is_none() => {
                self.stopped = Some(Stopped::Refused(error.to_string()));
            }
            StoreError::Refused(why) => self.store_is_up(false, why),
        }
    }

    pub(super) fn store_is_up(&mut self, up: bool, why: &str) {
        if up == self.store_up && (up || self.pauses.is_on(PauseReason::StoreUnavailable)) {
            return;
        }
        self.store_up = up;
        self.metrics.store_up(up);
        if up {
            tracing::info!("redis answers");
            self.unpause_all(PauseReason::StoreUnavailable);
        } else {
            tracing::warn!(error = %why, "redis is unavailable; intake pauses");
            self.pause_all(PauseReason::StoreUnavailable, why.to_owned());
        }
    }
}
