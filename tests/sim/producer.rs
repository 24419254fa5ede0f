//! What is produced: messages with and without keys, planted duplicates, poison, reused and missing IDs, holes.

use std::sync::Arc;

use kafka_once::domain::record::TopicPartition;
use tokio::time::{Instant, sleep};

use super::app::POISON;
use super::dice::Dice;
use super::host::DAWN;
use super::sequences::Numbers;
use super::truth::Planted;
use super::world::World;

/// Produces everything that is planned, spread over the time of trouble.
pub async fn produce(world: Arc<World>) {
    let dice = Dice::new(world.plan.seed, "producer");
    let time = world.plan.trouble.mul_f64(if world.plan.backlog { 0.1 } else { 0.9 });
    let pace = time / u32::try_from(world.plan.messages).expect("few");
    let mut sent: Vec<(TopicPartition, Planted)> = Vec::new();
    let mut numbers = Numbers::of(&world.plan);
    for number in 0..world.plan.messages {
        let (at, mut planted) = one(&world, &dice, number, &sent);
        planted.stamp = numbers.stamp(&at, planted.stamp.as_ref());
        put(&world, &dice, &at, planted.clone());
        if dice.percent(5) && world.plan.duplicates {
            let stamp = numbers.stamp(&at, planted.stamp.as_ref());
            put(&world, &dice, &at, Planted { stamp, ..planted.clone() }); // twice, adjacent
        }
        sent.push((at, planted));
        // In bursts: some at once, then a pause.
        if dice.percent(30) {
            sleep(pace * 10 / 3).await;
        }
    }
}

fn one(world: &World, dice: &Dice, number: u64, sent: &[(TopicPartition, Planted)]) -> (TopicPartition, Planted) {
    let (topic, partitions) = dice.pick(&world.plan.topics);
    let place = i32::try_from(dice.below(u64::try_from(partitions).expect("few"))).expect("few");
    let mut at = TopicPartition { topic: Arc::from(topic), partition: place };
    let key = dice.percent(80).then(|| format!("k{}", dice.below(world.plan.keys)));
    let mut planted = Planted {
        offset: 0,
        id: Some(format!("m{number}")),
        by_position: world.plan.positions && dice.percent(60),
        key,
        payload: format!("p{number}"),
        stamp: None,
        produced: Instant::now(),
    };
    let before = usize::try_from(dice.below(sent.len() as u64)).expect("few");
    let earlier = sent.get(before).filter(|_| world.plan.duplicates);
    match (dice.below(100), earlier) {
        (0..=1, _) => (planted.id, planted.by_position) = (Some(format!("{POISON}{number}")), false),
        (2, _) if !world.plan.positions => planted.id = None,
        (3..=8, Some((where_, first))) => (at, planted) = (where_.clone(), first.clone()),
        (9..=14, Some((where_, first))) => {
            at.topic = Arc::clone(&where_.topic);
            at.partition = if at.topic.as_ref() == topic { at.partition } else { 0 };
            planted = Planted { stamp: None, ..first.clone() };
        }
        (15..=16, Some((where_, first))) if !first.by_position => {
            at = where_.clone();
            planted.by_position = false;
            planted.id.clone_from(&first.id);
        }
        _ => {}
    }
    (at, planted)
}

fn put(world: &World, dice: &Dice, at: &TopicPartition, planted: Planted) {
    let hole = if dice.percent(10) { 1 + i64::try_from(dice.below(5)).expect("few") } else { 0 };
    append(world, at, planted, hole);
}

/// A record's timestamp in Kafka.
pub fn timestamp(world: &World, planted: &Planted) -> i64 {
    let since = i64::try_from(planted.produced.duration_since(world.dawn).as_millis()).expect("a short world");
    since + i64::try_from(DAWN).expect("a time")
}

/// Appends a record to the log, behind a hole of so many offsets.
pub fn append(world: &World, at: &TopicPartition, mut planted: Planted, hole: i64) {
    let mut truth = world.truth();
    let log = truth.log.entry(at.clone()).or_default();
    planted.offset = log.last().map_or(0, |last| last.offset + 1) + hole;
    planted.produced = Instant::now();
    if planted.by_position {
        let timestamp = timestamp(world, &planted);
        planted.id = Some(format!("position:{}/{}/{}/{timestamp}", at.topic, at.partition, planted.offset));
    }
    let mut what = format!("produced {at} {} {:?} {:?} {}", planted.offset, planted.id, planted.key, planted.payload);
    if let Some(stamp) = &planted.stamp {
        what = format!("{what} {}/{} {:?}", stamp.producer, stamp.number, stamp.step);
    }
    let (stamp, offset) = (planted.stamp.clone(), planted.offset);
    log.push(planted);
    truth.note(&what);
    if let Some(stamp) = stamp {
        truth.ledger.planted(at, &stamp, offset);
    }
}
