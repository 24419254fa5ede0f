//! One turn of one process: what an event means for a record, carried out as `src/pipeline/effects.rs` does it.

use kafka_once::domain::claim::SessionId;
use kafka_once::domain::life::{Effect, End, Event, Scene, State};
use kafka_once::domain::time::{Moment, Now, UnixMillis};
use kafka_once::domain::verdict::{Delivery, Judgement, Verdict};

use super::broken::Variant;
use super::host::{Answer, Entry, Home, Host, Lease, Link, Pending};
use super::scope::Scope;
use super::store::holder;
use super::world::{Breach, Late, World};

/// A process at work.
pub struct Turn<'a> {
    pub scope: &'a Scope,
    pub world: &'a mut World,
    pub at: usize,
}

impl Turn<'_> {
    pub fn host(&mut self) -> &mut Host {
        &mut self.world.hosts[self.at]
    }

    pub fn entry(&mut self, token: u8) -> Option<&mut Entry> {
        self.host().entries.iter_mut().find(|entry| entry.token == token)
    }

    pub fn home(&mut self, partition: usize) -> Option<&mut Home> {
        self.host().homes.iter_mut().find(|home| home.partition == partition)
    }

    /// The tokens of all open records for which `wanted` holds.
    pub fn tokens(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<u8> {
        self.host().entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.token).collect()
    }

    /// Whether a record comes from a partition that is still ours.
    pub fn is_of(&self, entry: &Entry, partition: usize) -> bool {
        entry.at_home && self.scope.records[entry.record].partition == partition
    }

    /// The one place where a record's life changes.
    pub fn live(&mut self, token: u8, event: Event) {
        let (scope, now) = (self.scope, Now { moment: Moment(0), wall: UnixMillis(self.world.wall) });
        let session = self.host().current;
        let scene = Scene { rules: &scope.rules, session, now, chance: 0.5, affords: true };
        let Some(life) = self.entry(token).map(|entry| entry.life) else { return };
        for event in scope.variant.hears(&life, session, event) {
            let Some(entry) = self.entry(token) else { return };
            let before = *entry;
            let (life, effects) = scope.variant.step(before.life, event, &scene);
            entry.life = life;
            if life.state != before.life.state && before.pending != Pending::Nothing {
                self.give_up(token);
            }
            for effect in effects {
                self.carry_out(token, scope.variant.does(&before.life, effect));
            }
        }
    }

    fn carry_out(&mut self, token: u8, effect: Effect) {
        match effect {
            Effect::Claim(_) | Effect::Replace { .. } | Effect::Mark(_) => {
                self.wait_for(token, Pending::Command(effect, None));
            }
            Effect::AskAlive(session) => {
                if self.scope.variant == Variant::TakeOverUnasked {
                    return self.live(token, Event::Alive(session, false));
                }
                self.wait_for(token, Pending::Command(effect, None));
            }
            Effect::AwaitTwin => self.live(token, Event::NoTwin),
            Effect::Send { delivery, attempt, deadline } => self.send(token, delivery, attempt, deadline),
            Effect::LookUp => self.wait_for(token, Pending::LookUp(None)),
            Effect::Wake(_) => self.wait_for(token, Pending::Timer),
            Effect::DeadLetter { .. } => self.wait_for(token, Pending::Letter),
            Effect::End(end) => self.finish(token, end),
            // Without lanes, with room for every request, and with an operator who is always there.
            Effect::Ready | Effect::Accepted | Effect::Blocked(_) | Effect::Draw | Effect::Restart => {}
        }
    }

    fn wait_for(&mut self, token: u8, pending: Pending) {
        if let Some(entry) = self.entry(token) {
            entry.pending = pending;
        }
    }

    /// `src/pipeline/forward.rs`, and what the app's side knows of it.
    fn send(&mut self, token: u8, delivery: Delivery, attempt: u32, deadline: UnixMillis) {
        let session = self.host().current;
        let Some(record) = self.entry(token).map(|entry| entry.record) else { return };
        let message = self.scope.message(record);
        let first = delivery == Delivery::First;
        let deadline = if self.scope.ticks.is_some() { deadline.0 } else { 0 };
        self.wait_for(token, Pending::Request { first, deadline });
        let forgot = self.world.store.has_forgotten();
        if !self.world.store.lives(session) && !forgot {
            self.world.breach(Breach::SentWithoutSession(session));
        }
        let truth = &mut self.world.truth;
        truth.doubted |= !first;
        let bit = 1_u16.checked_shl(attempt).unwrap_or(0);
        let again = truth.numbers[message] & bit != 0;
        if !forgot {
            truth.numbers[message] |= bit;
        }
        if again && !forgot {
            self.world.breach(Breach::NumberUsedTwice(attempt));
        }
    }

    /// The app has applied a message.
    pub fn apply(scope: &Scope, world: &mut World, message: usize, first: bool) {
        let most = if scope.orderly { 2 } else { 1 };
        let truth = &mut world.truth;
        truth.effects[message] = (truth.effects[message] + 1).min(most);
        truth.firsts[message] = (truth.firsts[message] + u8::from(first)).min(2);
    }

    /// The app's answer to an open request.
    pub fn answered(&mut self, token: u8, verdict: Verdict) {
        let Some(entry) = self.entry(token) else { return };
        let (record, pending) = (entry.record, std::mem::replace(&mut entry.pending, Pending::Nothing));
        let Pending::Request { first, deadline } = pending else { return };
        let message = self.scope.message(record);
        match verdict {
            Verdict::Accepted => Self::apply(self.scope, self.world, message, first),
            Verdict::Unknown if first => self.world.add_late(self.scope, Late::Request(message, deadline)),
            Verdict::Unavailable => self.unsend(message),
            _ => {}
        }
        self.live(token, Event::Answered(Judgement { verdict, retry_after: None, status: None }));
    }

    /// Nothing was sent: the number is free again. It is the highest one of this message.
    fn unsend(&mut self, message: usize) {
        let numbers = &mut self.world.truth.numbers[message];
        if let Some(highest) = numbers.checked_ilog2() {
            *numbers &= !(1 << highest);
        }
    }

    /// The store carries out what a record asks of it.
    pub fn execute(&mut self, token: u8) -> Option<Answer> {
        let Some(Pending::Command(command, None)) = self.entry(token).map(|entry| entry.pending) else { return None };
        let record = self.entry(token)?.record;
        let event = execute(self.scope, self.world, self.scope.records[record].id, &command);
        Some(Answer { event, sentinel: self.world.store.sentinel })
    }

    /// An answer of the store arrives: first what it says of the store's memory, then what it says of the record.
    pub fn hear(&mut self, token: u8, answer: Answer) {
        self.sentinel_seen(answer.sentinel);
        if let Some(entry) = self.entry(token) {
            entry.pending = Pending::Nothing;
            self.live(token, answer.event);
        }
    }

    /// A record waits no more for what it waited for. What it asked for may still happen.
    pub fn give_up(&mut self, token: u8) {
        let drains = self.host().drains;
        let Some(entry) = self.entry(token) else { return };
        let (record, pending) = (entry.record, std::mem::replace(&mut entry.pending, Pending::Nothing));
        match pending {
            Pending::Command(command, None) if !matches!(command, Effect::AskAlive(_)) => {
                self.host().owes |= drains;
                self.world.add_late(self.scope, Late::Command(self.scope.records[record].id, command));
            }
            Pending::Request { first: true, deadline } => {
                self.world.add_late(self.scope, Late::Request(self.scope.message(record), deadline));
            }
            _ => {}
        }
    }

    fn finish(&mut self, token: u8, end: End) {
        let entries = &mut self.world.hosts[self.at].entries;
        let Some(place) = entries.iter().position(|entry| entry.token == token) else { return };
        let entry = entries.remove(place);
        let settled = end != End::Released || self.scope.variant == Variant::ReleasedCountsAsSettled;
        if entry.at_home && settled {
            self.settle(&entry);
        }
        let id = self.scope.records[entry.record].id;
        let same = |other: &Entry, scope: &Scope| scope.records[other.record].id == id;
        let scope = self.scope;
        let next = self.host().entries.iter().position(|other| same(other, scope));
        if let Some(next) = next.filter(|next| *next >= place) {
            let token = self.host().entries[next].token;
            self.live(token, Event::TwinEnded);
        }
    }

    /// Low water moves as far as it can.
    pub fn settle(&mut self, entry: &Entry) {
        let partition = self.scope.records[entry.record].partition;
        if let Some(home) = self.home(partition) {
            home.low_water.settle(entry.slot);
        }
    }

    /// `start_claims`: the first record of each ID asks, as soon as a session lives.
    pub fn start_waiting(&mut self) {
        while self.host().lease == Lease::Holds {
            let scope = self.scope;
            let entries = &self.world.hosts[self.at].entries;
            let id = |entry: &Entry| scope.records[entry.record].id;
            let is_first = |place: usize| !entries[..place].iter().any(|other| id(other) == id(&entries[place]));
            let waits = |place: &usize| entries[*place].life.state == State::Waiting && is_first(*place);
            let Some(place) = (0..entries.len()).find(waits) else { return };
            let token = entries[place].token;
            self.live(token, Event::Start);
        }
    }

    /// Whether a claimed record may be sent now.
    pub fn may_send(host: &Host) -> bool {
        host.lease == Lease::Holds && host.link != Link::Away
    }
}

/// The store carries out a command, whoever sent it.
pub fn execute(scope: &Scope, world: &mut World, id: usize, command: &Effect) -> Event {
    let before = world.store.values[id];
    let event = world.store.execute(id, &scope.variant.asks(command, before));
    let (old, new) = (holder(&before), holder(&world.store.values[id]));
    if let (Some(old), Some(new)) = (old, new)
        && taken_from(old, new, world)
    {
        world.breach(Breach::LiveClaimTaken(old));
    }
    event
}

fn taken_from(old: SessionId, new: SessionId, world: &World) -> bool {
    old != new && world.store.lives(old)
}
