//! Claims that stay open for long are kept from expiring: prolonged in the store when a third of their life has passed.

use super::Pipeline;
use super::desk::Asker;
use super::table::{Entry, Token};
use crate::domain::claim::Stored;
use crate::domain::time::Moment;
use crate::ports::{App, ClaimCommand, ClaimReply, Claims, DeadLetters};

/// A claim is prolonged when so many parts of its life have passed as one in these.
const PARTS: u32 = 3;

/// How often claims are looked through within such a part. Nothing is kept in order by age: most claims are gone before
/// anybody looks.
const LOOKS: u32 = 4;

/// Claims prolonged at one tick at most, so that they never stand long before others at the desk.
const AT_ONCE: usize = 1024;

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Prolongs claims that were written long ago and wait: for a retry, the app, a bound or an operator. Called at each
    /// tick; while the store is away it waits, and goes on at once when that is back.
    pub(super) fn keep_claims(&mut self) {
        let now = self.now.moment;
        if now < self.keep_at || !self.store_up || self.leases.live(now).is_none() {
            return;
        }
        let part = self.limits.dedup_window / PARTS;
        let old = |entry: &Entry| now.since(entry.written) >= part && entry.life.resting_claim().is_some();
        let due = self.table.tokens(old);
        self.keep_at = if due.len() > AT_ONCE { now } else { now.after(part / LOOKS) };
        for token in due.into_iter().take(AT_ONCE) {
            self.keep(token, now);
        }
    }

    /// Compare-and-set of the claim to itself: it lives on if it still stands there, and nothing changes if it does not.
    /// Carried out late or twice it does no harm, so its reply is not the record's business.
    fn keep(&mut self, token: Token, now: Moment) {
        let keep = self.limits.dedup_window;
        let Some(entry) = self.table.get_mut(token) else { return };
        let (Some((id, _)), Some(value)) = (&entry.id, entry.life.resting_claim()) else { return };
        entry.written = now;
        let (id, asker) = (*id, Asker::Keeping(token, entry.epoch));
        self.desk.push(asker, ClaimCommand::Replace { id, expected: value, value, keep });
    }

    /// A claim that had expired all the same (the store was away for too long) is made anew, if nobody has the message:
    /// whoever comes after us must know what was spent on it. Anything else that stands there is found by the record
    /// itself, before it sends again.
    pub(super) fn kept(&mut self, token: Token, epoch: u32, reply: ClaimReply) {
        let Some(entry) = self.table.get(token).filter(|entry| entry.epoch == epoch) else { return };
        let (Some((id, _)), Some(value)) = (&entry.id, entry.life.resting_claim()) else { return };
        if reply == ClaimReply::NotReplaced(Stored::Nothing) {
            let (id, keep) = (*id, self.limits.dedup_window);
            self.desk.push(Asker::Keeping(token, epoch), ClaimCommand::Claim { id, value, keep });
        }
    }
}
