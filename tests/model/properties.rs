//! What must hold in every state that can be reached.

use std::collections::HashSet;
use std::sync::Mutex;

use stateright::{Model, Property};

use super::actions::Action;
use super::enabled::all;
use super::happens::{after, warm};
use super::scope::{Faults, Scope};
use super::world::{Breach, World};

/// A question, as the checker asks it.
pub struct Protocol {
    pub scope: Scope,
    /// States from which everything settles, whatever faults are left.
    settles: Mutex<HashSet<u64>>,
}

pub const NEVER_LOST: &str = "nothing is committed that is neither applied nor dead-lettered";
pub const NO_HIDDEN_REPEAT: &str = "of all effects of a message at most one comes from a request that says first";
pub const NO_LIVE_CLAIM_TAKEN: &str = "the claim of a session that lives is never taken over";
pub const NO_SEND_WITHOUT_SESSION: &str = "nothing is sent under a session that is over";
pub const NUMBERS_GROW: &str = "no two requests for a message have the same number";
pub const SETTLES: &str = "every record settles when faults stop";
pub const ORDERLY: &str = "where nothing fails nothing is forwarded twice or in doubt";
pub const REACHED: &str = "everything settles after every fault has happened";

/// Without faults everything settles within so many steps, or it never does.
const STEPS: usize = 400;

impl Protocol {
    pub fn new(scope: Scope) -> Self {
        Self { scope, settles: Mutex::new(HashSet::new()) }
    }

    /// From this state on, without another fault, everything is settled sooner or later.
    ///
    /// This holds in every state that can be reached, so whatever happens a settled state stays within reach: no
    /// order of events leads into a part of the graph from which there is no way out. The checker's own `eventually`
    /// is not used: it is unsound where paths join or run in circles, as they do here.
    fn settles(&self, world: &World) -> bool {
        let mut path = vec![world.essence()];
        if self.known().contains(&path[0]) {
            return true;
        }
        let mut world = World { left: Faults::default(), ticks: 0, late: Vec::new(), ..world.clone() };
        let mut settles = false;
        for step in 0..STEPS {
            let here = world.essence();
            settles = world.is_settled(&self.scope) || self.known().contains(&here);
            path.push(here);
            let actions = all(&self.scope, &world);
            let next = actions.into_iter().find(|action| action.is_ordinary());
            let next = if self.scope.ticks.is_some() && step % 8 == 7 { Some(Action::Tick) } else { next };
            let Some(next) = next.filter(|_| !settles) else { break };
            world = after(&self.scope, &world, next);
        }
        if settles {
            self.known().extend(path);
        }
        settles
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.settles.lock().expect("no panic")
    }

    fn is_lost(&self, world: &World) -> bool {
        let scope = &self.scope;
        (0..scope.records.len()).any(|record| {
            let committed = &world.group[scope.records[record].partition].committed;
            let passed = committed.as_ref().is_some_and(|(next, _)| next.is_above(scope.position(record).offset));
            passed && !world.is_kept(scope, record)
        })
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![if self.scope.warm { warm(&self.scope) } else { World::new(&self.scope) }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(all(&self.scope, world));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let next = after(&self.scope, world, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NEVER_LOST, |model: &Self, world| !model.is_lost(world)),
            Property::always(NO_HIDDEN_REPEAT, |_, world: &World| world.truth.firsts.iter().all(|firsts| *firsts < 2)),
            Property::always(NO_LIVE_CLAIM_TAKEN, |_, world: &World| {
                !matches!(world.truth.breach, Some(Breach::LiveClaimTaken(_)))
            }),
            Property::always(NO_SEND_WITHOUT_SESSION, |_, world: &World| {
                !matches!(world.truth.breach, Some(Breach::SentWithoutSession(_)))
            }),
            Property::always(NUMBERS_GROW, |_, world: &World| {
                !matches!(world.truth.breach, Some(Breach::NumberUsedTwice(_)))
            }),
            Property::always(SETTLES, |model: &Self, world| model.settles(world)),
            Property::sometimes(REACHED, |model: &Self, world: &World| {
                world.left == Faults::default() && world.is_settled(&model.scope)
            }),
        ];
        if self.scope.orderly {
            properties.push(Property::always(ORDERLY, |_, world: &World| {
                !world.truth.doubted && world.truth.effects.iter().all(|effects| *effects < 2)
            }));
        }
        properties
    }
}
