//! Members of a group come and go: under each way of assigning partitions, and at random, with kills among them.

use std::time::{Duration, Instant};

use crate::checks::{assert_forwarded_once, assert_repeats_marked};
use crate::dice::Dice;
use crate::ends::{QUICK_GROUP, await_owned, await_settled};
use crate::flow::Flow;
use crate::support::load::{stop, works_for};
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::{Record, Sidecar, commits};
use crate::trial::{QUICK, Trial, messages, number};

const PARTITIONS: usize = 6;

/// Changes of the group in a scenario of clean moves.
const GUESTS: usize = 3;

/// Members of a group with joins and leaves at random, at most.
const MOST: usize = 4;

#[test]
fn moves_of_a_cooperative_group_forward_nothing_twice() {
    let strategy = ("ONCE_KAFKA_PROPERTY_PARTITION_ASSIGNMENT_STRATEGY", "cooperative-sticky");
    moves("moves-sticky", &[QUICK_GROUP[0], QUICK_GROUP[1], QUICK_GROUP[2], strategy], strategy.1);
}

#[test]
fn moves_of_an_eager_group_forward_nothing_twice() {
    let strategy = ("ONCE_KAFKA_PROPERTY_PARTITION_ASSIGNMENT_STRATEGY", "range");
    moves("moves-range", &[QUICK_GROUP[0], QUICK_GROUP[1], QUICK_GROUP[2], strategy], strategy.1);
}

#[test]
fn moves_of_a_group_whose_broker_assigns_forward_nothing_twice() {
    moves("moves-broker", &[QUICK_GROUP[2], ("ONCE_KAFKA_PROPERTY_GROUP_PROTOCOL", "consumer")], commits::BROKER);
}

/// Guests join two sidecars under load, take part and leave; partitions are assigned by nobody but `assignor`.
fn moves(name: &str, settings: &[(&'static str, &str)], assignor: &str) {
    let Some(scene) = Scene::new(Ground::Real, name, 6) else { return };
    works_for(&scene, 20);
    let (trial, staying) = Flow::new(scene, PARTITIONS).during(|flow| {
        let scene = &flow.scene;
        let staying = [scene.sidecar(settings), scene.sidecar(settings)];
        for sidecar in &staying {
            await_settled(sidecar, 50);
        }
        for _ in 0..GUESTS {
            let guest = scene.sidecar(settings);
            await_settled(&guest, 50);
            stop(&guest);
        }
        staying
    });
    assert_forwarded_once(&trial, &staying.each_ref());
    let assigned_by = commits::assignors(&trial.scene.bootstrap, &trial.scene.group).expect("the topic of commits");
    assert_eq!(assigned_by, [assignor.to_owned()].into());
}

#[test]
fn sidecars_that_join_leave_and_die_at_random_lose_nothing_and_repeat_only_in_doubt() {
    let Some(scene) = Scene::new(Ground::Real, "coming-going", 6) else { return };
    works_for(&scene, 20);
    let settings = [QUICK[0], QUICK[1], ("ONCE_KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "3000"), QUICK[3], QUICK_GROUP[2]];
    let seed = number("FAULT_SEED", 1);
    let (trial, sidecars) = Flow::new(scene, PARTITIONS).during(|flow| {
        let mut crowd = Crowd::new(&flow.scene, &settings, seed);
        let end = Instant::now() + Duration::from_secs(number("FAULT_SECONDS", 20) as u64);
        while Instant::now() < end {
            crowd.change();
            // The rate of changes is the fault.
            std::thread::sleep(crowd.dice.millis(500, 2000));
        }
        eprintln!("seed {seed}: {} joined, {} left, {} died", crowd.joined, crowd.left.len(), crowd.died);
        let over = Instant::now();
        let sidecars = crowd.heal();
        flow.recovered_everywhere("joins, leaves and kills at random", over);
        sidecars
    });
    let sidecars: Vec<&Sidecar> = sidecars.iter().collect();
    assert_repeats_marked(&trial, &sidecars).assert_promise();
}

/// A group whose members come and go by dice.
struct Crowd<'a> {
    scene: &'a Scene,
    settings: &'a [(&'static str, &'a str)],
    dice: Dice,
    members: Vec<Sidecar>,
    /// Asked to leave; they are doing so.
    left: Vec<Sidecar>,
    joined: usize,
    died: usize,
}

impl<'a> Crowd<'a> {
    fn new(scene: &'a Scene, settings: &'a [(&'static str, &'a str)], seed: usize) -> Self {
        let dice = Dice::new(seed as u64, "crowd");
        Self { scene, settings, dice, members: Vec::new(), left: Vec::new(), joined: 0, died: 0 }
    }

    fn change(&mut self) {
        let join = self.members.is_empty() || self.members.len() < MOST && self.dice.percent(50);
        if join {
            return self.join();
        }
        let member = self.members.swap_remove(usize::try_from(self.dice.below(self.members.len() as u64)).unwrap());
        if self.dice.percent(40) {
            member.sigkill();
            self.died += 1;
        } else {
            member.sigterm();
            self.left.push(member);
        }
    }

    fn join(&mut self) {
        self.members.push(self.scene.sidecar(self.settings));
        self.joined += 1;
    }

    /// No more changes: two members at least, and whoever was asked to leave has left in order.
    fn heal(mut self) -> Vec<Sidecar> {
        while self.members.len() < 2 {
            self.join();
        }
        for left in &self.left {
            assert_eq!(left.wait_exit(PATIENCE), Some(0), "{}", left.tail());
        }
        self.members
    }
}

#[test]
fn the_same_ids_on_two_partitions_of_two_sidecars_at_once_are_forwarded_once() {
    let Some(scene) = Scene::new(Ground::Real, "twins", 2) else { return };
    works_for(&scene, 5);
    let sidecars = [scene.sidecar(&QUICK_GROUP), scene.sidecar(&QUICK_GROUP)];
    await_owned(&sidecars.each_ref(), 2);
    let distinct = messages().min(20_000) & !1; // in pairs
    let produced = scene.produce(&on_both_partitions(&scene.topic, distinct));
    scene.await_applied(distinct);
    scene.await_committed();
    let counts = |cause| -> f64 {
        let duplicates = |sidecar: &Sidecar| {
            sidecar.metrics().expect("a scrape").sum("kafka_once_duplicates_total", &[("cause", cause)])
        };
        sidecars.iter().map(duplicates).sum()
    };
    let (waited, sent_twice) = (counts("in_flight"), counts("producer"));
    let all = f64::from(u32::try_from(distinct).expect("a small number"));
    assert!((waited + sent_twice - all).abs() < 0.5, "{waited} + {sent_twice} of {distinct}");
    let trial = Trial { scene, produced, distinct };
    assert_forwarded_once(&trial, &sidecars.each_ref());
}

/// Every message on both partitions at the same time; on the second one neighbours of a key are swapped, so that each
/// sidecar meets messages that the other one has begun.
fn on_both_partitions(topic: &str, distinct: usize) -> Vec<Record> {
    let record = |number: usize, partition| {
        let key = format!("key-{}", number / 2 % 500);
        Record::new(topic, format!("value {number}")).id(format!("id-{number}")).key(key).partition(partition)
    };
    (0..distinct).flat_map(|number| [record(number, 0), record(number ^ 1, 1)]).collect()
}
