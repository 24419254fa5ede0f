//! What may happen next in a world.

use kafka_once::domain::claim::Stored;
use kafka_once::domain::life::State;
use kafka_once::domain::verdict::Verdict;

use super::actions::Action;
use super::host::{Entry, Host, Lease, Link, Pending, Phase};
use super::scope::{Faults, Scope};
use super::store::{Lag, holder};
use super::world::{Late, World};

/// Everything that may happen next, without faults first: in this order a world without faults goes on.
pub fn all(scope: &Scope, world: &World) -> Vec<Action> {
    let mut actions = Vec::new();
    for (at, host) in world.hosts.iter().enumerate() {
        of_session(world, at, host, &mut actions);
    }
    for session in &world.store.sessions {
        let believed = |host: &Host| host.lease == Lease::Holds && host.current == *session;
        if !world.hosts.iter().any(believed) {
            actions.push(Action::Expire(*session));
        }
    }
    for (at, host) in world.hosts.iter().enumerate() {
        host.entries.iter().for_each(|entry| of_record(scope, world, (at, host), entry, &mut actions));
        of_partitions(scope, world, at, host, &mut actions);
    }
    of_faults(scope, world, &mut actions);
    actions
}

fn of_session(world: &World, at: usize, host: &Host, actions: &mut Vec<Action>) {
    let changed = host.history != world.store.known_history();
    match host.lease {
        Lease::None => actions.push(Action::OpenSession(at)),
        Lease::Over => actions.push(Action::Fence(at)),
        Lease::Holds if changed || !world.store.lives(host.current) => actions.push(Action::Beat(at)),
        Lease::Holds => {}
    }
    if host.lease != Lease::None && (host.link != Link::Up || host.asks_history) {
        actions.push(Action::Probe(at));
    }
}

fn of_record(scope: &Scope, world: &World, at: (usize, &Host), entry: &Entry, actions: &mut Vec<Action>) {
    let ((at, host), token, left) = (at, entry.token, &world.left);
    let mut add = |action, may: bool| {
        if may {
            actions.push(action);
        }
    };
    match entry.pending {
        Pending::Command(_, Some(_)) => {
            add(Action::Hear(at, token), true);
            add(Action::LoseAnswer(at, token), true);
        }
        Pending::Command(_, None) => {
            let up = host.link == Link::Up;
            add(Action::Ask(at, token), up);
            add(Action::AskSlowly(at, token), up && left.net > 0);
            add(Action::AskTooLate(at, token), up && left.net > 0 && scope.late > 0);
        }
        Pending::Timer => add(Action::Timer(at, token), may_look(world, entry)),
        Pending::Request { deadline, .. } => {
            let open = scope.ticks.is_none() || world.wall < deadline;
            add(Action::Answer(at, token, Verdict::Accepted), open);
            add(Action::TimeOut(at, token), !open);
            for verdict in scope.verdicts.iter().filter(|_| open && left.app > 0) {
                add(Action::Answer(at, token, *verdict), true);
            }
        }
        Pending::LookUp(None) => {
            add(Action::LookUp(at, token), true);
            add(Action::LookUpSlowly(at, token), left.app > 0);
        }
        Pending::LookUp(Some(_)) => add(Action::LookUp(at, token), true),
        Pending::Letter => {
            add(Action::Letter(at, token), true);
            add(Action::LetterInDoubt(at, token), left.app > 0);
            add(Action::LetterRefused(at, token), left.app > 0);
        }
        Pending::Nothing => {
            let claimed = matches!(entry.life.state, State::Claimed { .. });
            add(Action::Slot(at, token), claimed && scope.variant.may_send(host));
            add(Action::Unblock(at, token), matches!(entry.life.state, State::Blocked { .. }));
        }
    }
}

/// Looking again where nothing has changed changes nothing: once is enough.
fn may_look(world: &World, entry: &Entry) -> bool {
    let State::HeldByOther { found } = entry.life.state else { return true };
    let alive = holder(&Stored::Value(found)).is_some_and(|session| world.store.lives(session));
    let same = world.store.values.contains(&Stored::Value(found));
    entry.polls == 0 || !alive || !same
}

fn of_partitions(scope: &Scope, world: &World, at: usize, host: &Host, actions: &mut Vec<Action>) {
    for home in &host.homes {
        let partition = home.partition;
        let mut add = |action, may: bool| {
            if may {
                actions.push(action);
            }
        };
        let (holds, idle) = (host.lease == Lease::Holds, home.committing.is_none());
        let due = scope.variant.commits(&home.low_water).is_some();
        let taken = usize::try_from(home.low_water.taken_to().0).expect("small");
        let more = taken < scope.log(partition).count();
        add(Action::HearLost(at, partition), home.lost);
        add(Action::Committed(at, partition), !idle && !home.lost);
        add(Action::Commit(at, partition), home.phase != Phase::Starting && idle && due && !home.lost);
        add(Action::Begin(at, partition), home.phase == Phase::Starting && idle && holds);
        add(Action::Take(at, partition), home.phase == Phase::Running && more && holds);
        let moves = world.left.moves > 0 && matches!(home.phase, Phase::Starting | Phase::Running);
        add(Action::Revoke(at, partition), moves && !home.lost);
        add(Action::Lose(at, partition), world.left.losses > 0 && !home.lost);
        add(Action::Deadline(at, partition), world.left.cuts > 0 && home.phase == Phase::Leaving && !host.drains);
    }
    for (partition, seat) in world.group.iter().enumerate() {
        if seat.owner.is_none() && !host.drains && host.home(partition).is_none() {
            actions.push(Action::Assign(at, partition));
        }
    }
}

fn of_faults(scope: &Scope, world: &World, actions: &mut Vec<Action>) {
    let Faults { crash, stall, moves, cuts, forgets, fail_overs, .. } = world.left;
    for (at, host) in world.hosts.iter().enumerate() {
        let has_begun = host.lease != Lease::None || !host.homes.is_empty();
        let faults = [
            (Action::Crash(at), crash > 0 && has_begun),
            (Action::LeaseOver(at), stall > 0 && host.lease == Lease::Holds),
            (Action::Terminate(at), moves > 0 && has_begun && !host.drains),
            (Action::CutOff(at), cuts > 0 && host.drains && !host.entries.is_empty()),
            (Action::OpenSessionAndForget(at), forgets > 0 && host.lease == Lease::None && started(world)),
        ];
        actions.extend(faults.into_iter().filter(|(_, may)| *may).map(|(action, _)| action));
    }
    if forgets > 0 && started(world) {
        actions.push(Action::Forget);
    }
    if fail_overs > 0 && started(world) {
        actions.extend([Lag::None, Lag::One, Lag::All].map(Action::FailOver));
    }
    for place in 0..world.late.len() {
        let may = match world.late[place] {
            Late::Command(..) => true,
            Late::Request(_, deadline) => scope.ticks.is_none() || world.wall < deadline,
        };
        if may {
            actions.push(Action::Late(place));
        }
    }
    if world.ticks > 0 {
        actions.push(Action::Tick);
    }
}

/// The limit that is known: of a partition whose start was not even committed nothing says which past was forgotten.
fn started(world: &World) -> bool {
    world.group.iter().all(|seat| seat.committed.is_some())
}
