//! The lease of this process: one session key, renewed by heartbeat, given up before it can have ended.
//!
//! Everything is counted on our own monotonic clock from *before* a renewal was sent, so the store's key lives at least
//! as long as we believe. Nothing here asks the store; [`Session::poll`] says what to ask.

use std::time::Duration;

use super::claim::SessionId;
use super::time::Moment;

/// Heartbeats for each lease.
const BEATS: u32 = 3;

/// The part of a lease that is kept back, for cancelling what is open and for clocks that drift.
const MARGIN: u32 = 10;

/// Between two tries of a heartbeat that failed.
const RETRY: Duration = Duration::from_millis(250);

/// What to ask of the store, or to do, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Make the key of a new session; answer with [`Session::opened`] or [`Session::failed`].
    Open,
    /// Prolong the key; answer with [`Session::renewed`], [`Session::gone`] or [`Session::failed`].
    Renew(SessionId),
    /// The lease may be over: stop forwarding and cancel what is open. A new session is due at once.
    Fence(SessionId),
}

/// The session of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    lease: Duration,
    held: Option<Held>,
    asked: Option<Moment>,
    not_before: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    id: SessionId,
    since: Moment,
}

impl Session {
    /// No session yet; opening one is due at once.
    pub fn new(lease: Duration) -> Self {
        Self { lease, held: None, asked: None, not_before: Moment(0) }
    }

    /// The session, if its lease surely holds at `now`.
    pub fn live(&self, now: Moment) -> Option<SessionId> {
        self.held.filter(|held| now < self.fence_at(held)).map(|held| held.id)
    }

    /// When [`Session::poll`] has something to say next.
    pub fn wakes_at(&self) -> Moment {
        let ask = match (self.asked, self.held) {
            (Some(_), None) => Moment(u64::MAX),
            (Some(_), Some(held)) => return self.fence_at(&held),
            (None, None) => self.not_before,
            (None, Some(held)) => held.since.after(self.lease / BEATS).max(self.not_before),
        };
        self.held.map_or(ask, |held| ask.min(self.fence_at(&held)))
    }

    /// What is due at `now`; a question counts as asked once it is returned.
    pub fn poll(&mut self, now: Moment) -> Option<Duty> {
        if let Some(held) = self.held.filter(|held| now >= self.fence_at(held)) {
            *self = Self { held: None, asked: None, not_before: now, ..*self };
            return Some(Duty::Fence(held.id));
        }
        if self.asked.is_some() || now < self.wakes_at() {
            return None;
        }
        self.asked = Some(now);
        Some(self.held.map_or(Duty::Open, |held| Duty::Renew(held.id)))
    }

    /// The key of a new session was made; `asked` is when that was asked for. `false`: the answer came too late.
    pub fn opened(&mut self, id: SessionId, asked: Moment, now: Moment) -> bool {
        self.asked = None;
        let held = Held { id, since: asked };
        let in_time = self.held.is_none() && now < self.fence_at(&held);
        if in_time {
            self.held = Some(held);
        }
        in_time
    }

    /// The key was prolonged; `asked` is when that was asked for.
    pub fn renewed(&mut self, id: SessionId, asked: Moment) {
        if let Some(held) = self.held.as_mut().filter(|held| held.id == id) {
            held.since = held.since.max(asked);
            self.asked = None;
        }
    }

    /// The key is gone: whoever looked has found us dead. `true` when it was the session we held.
    pub fn gone(&mut self, id: SessionId, now: Moment) -> bool {
        let ours = self.held.is_some_and(|held| held.id == id);
        if ours {
            *self = Self { held: None, asked: None, not_before: now, ..*self };
        }
        ours
    }

    /// The question got no answer; it is due again soon.
    pub fn failed(&mut self, now: Moment) {
        self.asked = None;
        self.not_before = now.after(RETRY);
    }

    fn fence_at(&self, held: &Held) -> Moment {
        held.since.after(self.lease.saturating_sub(self.lease / MARGIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);
    const ONE: SessionId = SessionId([1; 16]);

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    fn opened_at(seconds: u64) -> Session {
        let mut session = Session::new(LEASE);
        assert_eq!(session.poll(at(seconds)), Some(Duty::Open));
        assert!(session.opened(ONE, at(seconds), at(seconds)));
        session
    }

    #[test]
    fn a_session_is_renewed_every_third_of_its_lease() {
        let mut session = opened_at(0);
        assert_eq!(session.wakes_at(), at(10));
        assert_eq!(session.poll(at(9)), None);
        assert_eq!(session.poll(at(10)), Some(Duty::Renew(ONE)));
        assert_eq!(session.poll(at(11)), None, "one question at a time");
        session.renewed(ONE, at(10));
        assert_eq!(session.wakes_at(), at(20));
    }

    #[test]
    fn a_lease_counts_from_before_the_renewal_was_sent() {
        let mut session = opened_at(0);
        session.poll(at(10));
        session.renewed(ONE, at(10)); // the answer may have come much later: it does not matter
        assert_eq!(session.live(at(36)), Some(ONE));
        assert_eq!(session.live(at(37)), None);
    }

    #[test]
    fn a_session_that_could_not_renew_is_fenced_before_its_lease_has_ended() {
        let mut session = opened_at(0);
        assert_eq!(session.poll(at(10)), Some(Duty::Renew(ONE)));
        session.failed(at(11));
        assert_eq!(session.poll(at(12)), Some(Duty::Renew(ONE)), "tried again");
        assert_eq!(session.wakes_at(), at(27), "waits for the answer, and for the fence");
        assert_eq!(session.poll(at(27)), Some(Duty::Fence(ONE)));
        assert_eq!(session.live(at(27)), None);
        assert_eq!(session.poll(at(27)), Some(Duty::Open), "a new session is due at once");
    }

    #[test]
    fn an_answer_that_comes_too_late_opens_nothing() {
        let mut session = Session::new(LEASE);
        session.poll(at(0));
        assert!(!session.opened(ONE, at(0), at(28)));
        assert_eq!(session.live(at(28)), None);
        assert_eq!(session.poll(at(28)), Some(Duty::Open));
    }

    #[test]
    fn a_late_renewal_of_an_earlier_session_prolongs_nothing() {
        let mut session = opened_at(0);
        assert!(session.gone(ONE, at(5)));
        assert!(!session.gone(ONE, at(5)));
        session.renewed(ONE, at(20));
        assert_eq!(session.live(at(5)), None);
        assert_eq!(session.poll(at(5)), Some(Duty::Open));
    }
}
