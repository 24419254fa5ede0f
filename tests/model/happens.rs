//! What follows when something happens.

use kafka_once::domain::life::{Event, State};
use kafka_once::domain::verdict::Verdict;

use super::actions::Action;
use super::host::{Host, Lease, Link, Pending};
use super::scope::{APP_TIMEOUT, Scope};
use super::turn::{Turn, execute};
use super::world::{Late, World};

/// A world in which all sessions are open and every partition has begun.
pub fn warm(scope: &Scope) -> World {
    let mut world = World::new(scope);
    let mut go = |action| world = after(scope, &world, action);
    (0..scope.hosts).for_each(|at| go(Action::OpenSession(at)));
    for partition in 0..scope.partitions() {
        let at = partition % scope.hosts;
        go(Action::Assign(at, partition));
        go(Action::Begin(at, partition));
        go(Action::Committed(at, partition));
        go(Action::Begin(at, partition));
    }
    world
}

/// The world after it.
pub fn after(scope: &Scope, world: &World, action: Action) -> World {
    let mut world = world.clone();
    action.spends(&mut world.left);
    match action.host() {
        Some(at) => {
            let mut turn = Turn { scope, world: &mut world, at };
            turn.act(action);
            turn.start_waiting();
            turn.progress_drains();
        }
        None => around(scope, &mut world, action),
    }
    world
}

fn around(scope: &Scope, world: &mut World, action: Action) {
    match action {
        Action::Expire(session) => world.store.close(session),
        Action::Forget => world.store.forget(),
        Action::FailOver(lag) => {
            world.store.fail_over(lag);
            world.hosts.iter_mut().for_each(|host| host.link = Link::Dead);
        }
        Action::Late(place) => match world.late.remove(place) {
            Late::Command(id, command) => {
                execute(scope, world, id, &command);
            }
            Late::Request(message, _) => Turn::apply(scope, world, message, true),
        },
        Action::Tick => {
            world.ticks = world.ticks.saturating_sub(1);
            world.wall += u64::try_from(APP_TIMEOUT.as_millis()).expect("short");
        }
        _ => {}
    }
}

impl Turn<'_> {
    fn act(&mut self, action: Action) {
        match action {
            Action::OpenSession(_) => self.open_session(false),
            Action::OpenSessionAndForget(_) => self.open_session(true),
            Action::Beat(_) => self.beat(),
            Action::Probe(_) => self.history_seen(),
            Action::Fence(_) => self.fence(),
            Action::LeaseOver(_) => self.host().lease = Lease::Over,
            Action::Crash(_) => self.crash(),
            Action::Terminate(_) => self.terminate(),
            Action::CutOff(_) => self.cut_off(),
            Action::HearLost(_, partition) => self.heard_lost(partition),
            Action::Committed(_, partition) => self.committed(partition),
            Action::Commit(_, partition) => self.commit(partition),
            Action::Begin(_, partition) => self.begin(partition),
            Action::Take(_, partition) => self.take(partition),
            Action::Assign(_, partition) => self.assigned(partition),
            Action::Revoke(_, partition) => self.leave(partition),
            Action::Deadline(_, partition) => self.deadline(partition),
            Action::Lose(_, partition) => {
                self.world.group[partition].owner = None;
                if let Some(home) = self.home(partition) {
                    home.lost = true;
                }
            }
            _ => self.act_on_record(action),
        }
    }

    fn act_on_record(&mut self, action: Action) {
        match action {
            Action::Ask(_, token) => {
                if let Some(answer) = self.execute(token) {
                    self.hear(token, answer);
                }
            }
            Action::AskSlowly(_, token) => {
                let answer = self.execute(token);
                self.change(token, |pending| match pending {
                    Pending::Command(command, _) => Pending::Command(command, answer),
                    other => other,
                });
            }
            Action::Hear(_, token) => {
                if let Some(Pending::Command(_, Some(answer))) = self.entry(token).map(|entry| entry.pending) {
                    self.hear(token, answer);
                }
            }
            Action::LoseAnswer(_, token) => {
                self.host().link = Link::Away;
                self.change(token, |pending| match pending {
                    Pending::Command(command, _) => Pending::Command(command, None),
                    other => other,
                });
            }
            Action::AskTooLate(_, token) => {
                self.host().link = Link::Away;
                let entry = self.entry(token).copied();
                if let Some(Pending::Command(command, None)) = entry.map(|entry| entry.pending) {
                    let record = entry.map_or(0, |entry| entry.record);
                    self.world.add_late(self.scope, Late::Command(self.scope.records[record].id, command));
                }
            }
            _ => self.act_on_life(action),
        }
    }

    fn act_on_life(&mut self, action: Action) {
        match action {
            Action::Timer(_, token) => {
                self.change(token, |_| Pending::Nothing);
                if let Some(entry) = self.entry(token) {
                    entry.polls = u8::from(matches!(entry.life.state, State::HeldByOther { .. }));
                }
                self.live(token, Event::Timer);
            }
            Action::Slot(_, token) => self.live(token, Event::Slot),
            Action::Unblock(_, token) => self.live(token, Event::Unblock),
            Action::Answer(_, token, verdict) => self.answered(token, verdict),
            Action::TimeOut(_, token) => self.answered(token, Verdict::Unknown),
            Action::LookUp(_, token) => self.look_up(token),
            Action::LookUpSlowly(_, token) => {
                let applied = self.is_applied(token);
                self.change(token, |_| Pending::LookUp(Some(applied)));
            }
            Action::Letter(_, token) => self.letter(token, true, Event::LetterSent),
            Action::LetterInDoubt(_, token) => self.letter(token, true, Event::LetterFailed),
            Action::LetterRefused(_, token) => self.letter(token, false, Event::LetterFailed),
            _ => {}
        }
    }

    fn change(&mut self, token: u8, to: impl FnOnce(Pending) -> Pending) {
        if let Some(entry) = self.entry(token) {
            entry.pending = to(entry.pending);
        }
    }

    fn is_applied(&mut self, token: u8) -> bool {
        let message = self.entry(token).map_or(0, |entry| entry.record);
        self.world.truth.effects[self.scope.message(message)] > 0
    }

    fn look_up(&mut self, token: u8) {
        let said = match self.entry(token).map(|entry| entry.pending) {
            Some(Pending::LookUp(Some(said))) => said,
            _ => self.is_applied(token),
        };
        self.change(token, |_| Pending::Nothing);
        self.live(token, if said { Event::LookedUpApplied } else { Event::LookedUpAbsent });
    }

    fn letter(&mut self, token: u8, stored: bool, event: Event) {
        let Some(record) = self.entry(token).map(|entry| entry.record) else { return };
        self.world.truth.letters[self.scope.message(record)] |= stored;
        self.change(token, |_| Pending::Nothing);
        self.live(token, event);
    }

    /// The process is gone; the group gives its partitions to others, and a new one starts in its place.
    fn crash(&mut self) {
        for token in self.tokens(|_| true) {
            self.give_up(token);
        }
        let at = self.at;
        for seat in self.world.group.iter_mut().filter(|seat| seat.owner == Some(at)) {
            seat.owner = None;
        }
        *self.host() = Host::new(self.host().named);
    }

    fn terminate(&mut self) {
        self.host().drains = true;
        for partition in 0..self.scope.partitions() {
            self.leave(partition);
        }
    }
}
