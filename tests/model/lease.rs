//! The lease of one process, with the domain's own `Session`: what the protocol's model takes for granted.
//!
//! As long as a process believes in its session, the session's key stands in the store: whatever is lost, late or
//! carried out twice, and however long the process was stopped before it looked at its clock again.

use std::time::{Duration, Instant};

use kafka_once::domain::claim::SessionId;
use kafka_once::domain::session::{Duty, Session};
use kafka_once::domain::time::Moment;
use stateright::{Checker, HasDiscoveries, Model, Property};

const LEASE: Duration = Duration::from_secs(10);
/// The clock goes on by so much at a time.
const PACE: Duration = Duration::from_secs(1);
/// Time enough for a session to begin, to be renewed, to end, and for another one.
const HORIZON: Moment = Moment(15_000_000);
/// Questions that may be open at once, those included that nobody waits for.
const QUESTIONS: usize = 2;
/// How often an answer may fail to come.
const FAILURES: u8 = 1;

const BELIEVED: &str = "a session that is believed in has its key in the store";
const OPENS: &str = "without faults there is a session in the end";
const RENEWED: &str = "a session lives longer than one lease";

/// A process and the keys of its sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: Moment,
    session: Session,
    /// Sessions and when their keys expire.
    keys: Vec<(SessionId, Moment)>,
    open: Vec<Question>,
    named: u8,
    failures: u8,
}

/// A question to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Question {
    duty: Duty,
    session: SessionId,
    asked: Moment,
    /// What the store said: whether the key stands there.
    said: Option<bool>,
    /// Nobody waits for the answer any more.
    given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Tick,
    Poll,
    Execute(usize),
    Answer(usize),
    /// No answer comes; the question may still be carried out.
    Fail(usize),
}

struct Lease {
    /// Broken on purpose: a lease counts from the answer instead of from before the question.
    counts_from_answer: bool,
}

impl Lease {
    fn after(&self, world: &World, action: Action) -> World {
        let mut world = world.clone();
        match action {
            Action::Tick => world.now = world.now.after(PACE),
            Action::Poll => world.poll(),
            Action::Execute(place) => world.execute(place),
            Action::Answer(place) => {
                let question = world.open.remove(place);
                let asked = if self.counts_from_answer { world.now } else { question.asked };
                world.answered(question, asked);
            }
            Action::Fail(place) => {
                world.failures -= 1;
                world.session.failed(world.now);
                world.open[place].given_up = true;
                if world.open[place].said.is_some() {
                    world.open.remove(place);
                }
            }
        }
        world.forget_what_is_over();
        world
    }
}

impl World {
    fn new() -> Self {
        let session = Session::new(LEASE);
        Self { now: Moment(0), session, keys: Vec::new(), open: Vec::new(), named: 0, failures: FAILURES }
    }

    fn poll(&mut self) {
        let Some(duty) = self.session.poll(self.now) else { return };
        let session = match duty {
            Duty::Fence(_) => return,
            Duty::Renew(session) => session,
            Duty::Open => {
                self.named += 1;
                SessionId([self.named; 16])
            }
        };
        self.open.push(Question { duty, session, asked: self.now, said: None, given_up: false });
    }

    fn execute(&mut self, place: usize) {
        let Question { duty, session, given_up, .. } = self.open[place];
        let expires = self.now.after(LEASE);
        self.keys.retain(|(_, until)| *until > self.now);
        let key = self.keys.iter_mut().find(|(one, _)| *one == session);
        let stands = key.is_some() || duty == Duty::Open;
        match key {
            Some((_, until)) => *until = expires,
            None if stands => self.keys.push((session, expires)),
            None => {}
        }
        self.open[place].said = Some(stands);
        if given_up {
            self.open.remove(place);
        }
    }

    /// As `session_answered` in `src/pipeline/leases.rs`.
    fn answered(&mut self, question: Question, asked: Moment) {
        match (question.duty, question.said) {
            (Duty::Open, _) => {
                self.session.opened(question.session, asked, self.now);
            }
            (_, Some(true)) => self.session.renewed(question.session, asked),
            _ => {
                self.session.gone(question.session, self.now);
            }
        }
    }

    /// Keys that nobody can ever believe in again make no difference.
    fn forget_what_is_over(&mut self) {
        let live = self.session.live(self.now);
        let open = std::mem::take(&mut self.open);
        let matters = |id| live == Some(id) || open.iter().any(|question| question.session == id);
        self.keys.retain(|(id, until)| *until > self.now && matters(*id));
        self.open = open;
    }

    fn believes_rightly(&self) -> bool {
        let stands = |id: SessionId| self.keys.iter().any(|(one, until)| *one == id && *until > self.now);
        self.session.live(self.now).is_none_or(stands)
    }
}

impl Model for Lease {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < HORIZON {
            actions.push(Action::Tick);
        }
        if world.open.len() < QUESTIONS {
            actions.push(Action::Poll);
        }
        for (place, question) in world.open.iter().enumerate() {
            if question.said.is_none() {
                actions.push(Action::Execute(place));
            } else {
                actions.push(Action::Answer(place));
            }
            if world.failures > 0 && !question.given_up {
                actions.push(Action::Fail(place));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(self.after(world, action)).filter(|next| next != world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BELIEVED, |_, world: &World| world.believes_rightly()),
            Property::always(OPENS, |model: &Self, world| model.opens(world)),
            Property::sometimes(RENEWED, |_, world: &World| {
                world.named == 1 && world.now.since(Moment(0)) > LEASE && world.session.live(world.now).is_some()
            }),
        ]
    }
}

impl Lease {
    /// Whether a session lives within a lease from here, if every question is answered at once.
    fn opens(&self, world: &World) -> bool {
        let mut world = world.clone();
        world.open.retain(|question| !question.given_up);
        for _ in 0..=LEASE.as_secs() {
            while !world.open.is_empty() {
                if world.open[0].said.is_none() {
                    world.execute(0);
                }
                world = self.after(&world, Action::Answer(0));
            }
            if world.session.live(world.now).is_some() {
                return true;
            }
            world.poll(); // the fence
            world.poll();
            if world.open.is_empty() {
                world = self.after(&world, Action::Tick);
            }
        }
        false
    }
}

#[test]
fn a_session_that_is_believed_in_has_its_key_whatever_is_late_or_lost() {
    let began = Instant::now();
    let checker = Lease { counts_from_answer: false }.checker().threads(1).spawn_bfs().join();
    println!("lease: {} states, {:.1} s", checker.unique_state_count(), began.elapsed().as_secs_f64());
    checker.assert_properties();
}

#[test]
fn a_lease_that_counts_from_the_answer_is_believed_in_too_long() {
    let only = HasDiscoveries::AllOf([BELIEVED].into());
    let checker = Lease { counts_from_answer: true }.checker().threads(1).finish_when(only).spawn_bfs().join();
    println!("    {:?}", checker.assert_any_discovery(BELIEVED).into_actions());
}
