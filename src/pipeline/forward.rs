//! From a claimed record to the app's answer.

use std::sync::Arc;

use super::couriers::Courier;
use super::table::Token;
use super::{Pipeline, Report};
use crate::domain::life::Event;
use crate::domain::time::UnixMillis;
use crate::domain::verdict::{Answer, Delivery, Verdict, judge};
use crate::ports::{App, Claims, DeadLetters, Lookup, Request};
use crate::telemetry::labels::RetryReason;

impl<C: Claims, A: App, D: DeadLetters> Pipeline<C, A, D> {
    /// Wakes the records whose time has come.
    pub(super) fn wake_records(&mut self) {
        while let Some(token) = self.timers.due(self.now.moment) {
            self.live(token, Event::Timer);
        }
    }

    /// Sends claimed records while couriers are free, the app is there and our lease surely holds.
    pub(super) fn send_requests(&mut self) {
        let before = self.couriers.busy();
        while self.app_up && self.store_up && self.has_room() && self.leases.live(self.now.moment).is_some() {
            let Some(token) = self.to_send.pop_front() else { break };
            if self.may_send(token) {
                let open = self.open_requests();
                self.live(token, Event::Slot);
                // A turn that only renews a claim is no try, or old claims would use up all turns of a slow probe.
                if self.open_requests() > open {
                    self.parked.sent(&self.rules.retry, self.now.moment);
                }
            }
        }
        self.probe_parked();
        self.ahead.waiting(self.to_send.len());
        let room = self.app_up && self.couriers.busy() < self.limiter.limit();
        if room && self.to_send.is_empty() && !self.to_claim.is_empty() && self.desk.claims() >= self.ahead.bound() {
            self.ahead.starved();
        }
        self.at_limit = self.couriers.busy() >= self.limiter.limit();
        if self.couriers.busy() != before {
            self.metrics.in_flight(self.couriers.busy() as u64);
        }
    }

    /// Whether one more request may be open: while the budget of dead letters is spent, one at a time and now and then.
    fn has_room(&self) -> bool {
        let open = self.open_requests();
        open < self.limiter.limit() && self.parked.lets(open, self.now.moment)
    }

    /// Requests and lookups.
    pub(super) fn open_requests(&self) -> usize {
        self.couriers.busy() + self.lookups
    }

    /// What an answer says of how many requests the app can take.
    fn weigh(&mut self, verdict: Verdict) {
        let before = self.limiter.limit();
        match verdict {
            Verdict::Accepted | Verdict::Refused => self.limiter.worked(self.at_limit, self.now.moment),
            Verdict::Overloaded => self.limiter.overloaded(),
            // What comes from failing is no work, and one key that hangs says nothing of the others.
            Verdict::Failed | Verdict::Unknown | Verdict::Unavailable => {}
        }
        if self.couriers.busy() == 0 && self.to_send.is_empty() {
            self.limiter.idle();
        }
        if self.limiter.limit() != before {
            self.metrics.in_flight_limit(self.limiter.limit() as u64);
        }
    }

    pub(super) fn send(&mut self, token: Token, delivery: Delivery, attempt: u32, deadline: UnixMillis) {
        let Some(entry) = self.table.get_mut(token) else { return };
        let Some((_, id)) = &entry.id else { return };
        let request = Request {
            record: Arc::clone(&entry.record),
            id: id.clone(),
            delivery,
            attempt,
            deadline,
            timeout: self.rules.app_timeout,
        };
        entry.asked = self.now.moment;
        let home = entry.home;
        let courier = self.couriers.send(&*self.app, token, request, &self.reports.0);
        if let Some(entry) = self.table.get_mut(token) {
            entry.courier = Some(courier);
        }
        if let (Delivery::PossibleRepeat, Some(home)) = (delivery, home.and_then(|index| self.homes.get(index))) {
            self.metrics.possible_repeat(home.topic);
        }
    }

    pub(super) fn answered(&mut self, token: Token, courier: Courier, answer: &Answer) {
        if !self.couriers.back(courier) {
            return;
        }
        self.metrics.in_flight(self.couriers.busy() as u64);
        let judgement = judge(answer);
        self.weigh(judgement.verdict);
        self.metrics.attempt(judgement.verdict);
        let Some(entry) = self.table.get_mut(token).filter(|entry| entry.courier == Some(courier)) else { return };
        entry.courier = None;
        entry.status = judgement.status;
        self.metrics.forward_took(self.now.moment.since(entry.asked));
        if judgement.verdict != Verdict::Accepted {
            entry.detail = describe(answer);
            // An app that is away is told as that, once.
            if judgement.verdict != Verdict::Unavailable
                && let Some(unsaid) = self.repeats.may_say(("answer", judgement.verdict.as_str()), self.now.moment)
            {
                let position = entry.record.position();
                tracing::warn!(
                    topic = %entry.record.topic(),
                    partition = position.partition,
                    offset = position.offset.0,
                    verdict = judgement.verdict.as_str(),
                    answer = entry.detail,
                    unsaid,
                    "app did not accept a record"
                );
            }
            if let (Some(reason), Some(home)) =
                (RetryReason::of(judgement.verdict), entry.home.and_then(|index| self.homes.get(index)))
            {
                self.metrics.retry(home.topic, reason);
            }
        }
        if judgement.verdict == Verdict::Unavailable {
            self.app_is_away(&describe(answer));
        } else {
            self.app_was_reached();
        }
        if judgement.verdict == Verdict::Accepted {
            self.app_accepted();
        }
        self.live(token, Event::Answered(judgement));
    }

    pub(super) fn look_up(&mut self, token: Token) {
        let Some(entry) = self.table.get_mut(token) else { return };
        let Some((_, id)) = entry.id.clone() else { return };
        entry.asked = self.now.moment;
        let (app, reports) = (Arc::clone(&self.app), self.reports.0.clone());
        let (topic, epoch) = (Arc::clone(entry.record.topic()), entry.epoch);
        self.lookups += 1;
        tokio::spawn(async move {
            let said = app.look_up(&topic, &id).await;
            let _ = reports.send(Report::LookedUp { token, epoch, said }); // nobody listens: we are at the end
        });
    }

    pub(super) fn looked_up(&mut self, token: Token, epoch: u32, said: &Lookup) {
        self.lookups -= 1;
        let Some(entry) = self.table.get_mut(token).filter(|entry| entry.epoch == epoch) else { return };
        let event = match said {
            Lookup::Applied => Event::LookedUpApplied,
            Lookup::NotApplied => Event::LookedUpAbsent,
            Lookup::Unclear(why) => {
                entry.detail = format!("its lookup did not say whether it was applied: {why}");
                if let Some(unsaid) = self.repeats.may_say(("lookup", "unclear"), self.now.moment) {
                    tracing::warn!(answer = %why, unsaid, "lookup did not say whether a message was applied; asking again");
                }
                Event::LookedUpUnclear
            }
        };
        self.live(token, event);
    }
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Status { code, .. } => format!("the app answered {code}"),
        Answer::NotSent(why) | Answer::NoAnswer(why) => why.clone(),
    }
}
