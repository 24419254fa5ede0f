//! The promises that can be checked only when everything is over.

use std::collections::{BTreeMap, BTreeSet};

use kafka_once::domain::lanes::Ordering;
use kafka_once::domain::record::TopicPartition;
use kafka_once::domain::verdict::Delivery;

use super::plan::{AppModel, Faults};
use super::truth::{Message, Truth};
use super::world::World;

/// All of them.
pub fn at_the_end(world: &World) {
    let mut broken = Vec::new();
    {
        let truth = world.truth();
        once_each(world, &truth, &mut broken);
        in_order(world, &truth, &mut broken);
        without_repeats(world, &truth, &mut broken);
        broken.extend(truth.ledger.at_the_end());
    }
    let mut truth = world.truth();
    for what in &broken {
        truth.broken(what);
    }
}

/// A trusting app applies each message exactly once, unless a request outlives its sidecar's belief in it.
fn once_each(world: &World, truth: &Truth, broken: &mut Vec<String>) {
    let Faults { stall, forget, fail_over, app_zombie, .. } = world.plan.faults;
    if world.plan.model == AppModel::Trusting && (stall || forget || fail_over || app_zombie) {
        return;
    }
    for (message, effects) in &truth.effects {
        if effects.len() > 1 {
            broken.push(format!("{message:?} has {} effects: {effects:?}", effects.len()));
        }
    }
}

/// First effects of one key within a partition follow the log.
fn in_order(world: &World, truth: &Truth, broken: &mut Vec<String>) {
    if world.plan.ordering == Ordering::None {
        return;
    }
    let homes = homes_of(truth);
    for (partition, log) in &truth.log {
        let mut last: BTreeMap<&str, (i64, tokio::time::Instant)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for planted in log {
            let Some(id) = &planted.id else { continue };
            let message = (partition.topic.to_string(), id.clone());
            let alone = homes.get(&message).is_some_and(|homes| homes.len() == 1);
            let lettered = truth.letters.values().any(|letter| letter.message.as_ref() == Some(&message));
            if !alone || lettered || !seen.insert(message.clone()) {
                continue;
            }
            let lane = match (world.plan.ordering, &planted.key) {
                (Ordering::Partition, _) => "",
                (_, Some(key)) => key,
                (_, None) => continue,
            };
            let Some(first) = truth.effects.get(&message).and_then(|effects| effects.first()) else { continue };
            if let Some((offset, at)) = last.insert(lane, (planted.offset, first.at))
                && at > first.at
            {
                broken.push(format!("{partition}: offset {} of {lane:?} was applied before {offset}", planted.offset));
            }
        }
    }
}

/// In which partitions, and with which keys, each message stands.
fn homes_of(truth: &Truth) -> BTreeMap<Message, BTreeSet<(&TopicPartition, Option<&String>)>> {
    let mut homes: BTreeMap<Message, BTreeSet<_>> = BTreeMap::new();
    for (partition, log) in &truth.log {
        for planted in log {
            if let Some(id) = &planted.id {
                let message = (partition.topic.to_string(), id.clone());
                homes.entry(message).or_default().insert((partition, planted.key.as_ref()));
            }
        }
    }
    homes
}

/// Where every process ends as it should and every answer comes, nothing is forwarded twice.
fn without_repeats(world: &World, truth: &Truth, broken: &mut Vec<String>) {
    if !world.plan.faults.are_graceful() {
        return;
    }
    let lettered = |message: &Message| truth.letters.values().any(|letter| letter.message.as_ref() == Some(message));
    // A record that was refused and could not be dead-lettered before its partition went is refused again elsewhere.
    for (message, requests) in truth.requests.iter().filter(|(message, _)| !lettered(message)) {
        let repeats = requests.len() > 1 || requests.iter().any(|one| one.delivery != Delivery::First);
        if repeats {
            broken.push(format!("{message:?} was forwarded more than once, or in doubt: {requests:?}"));
        }
    }
}
