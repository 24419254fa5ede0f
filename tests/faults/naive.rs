//! Two naive stand-ins for ours, and the auditor that sees what they lose and repeat: it would see it of ours too.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::load::numbered;
use crate::support::scene::{Ground, PATIENCE, Scene};
use crate::support::topics::{self, Committed};
use crate::support::{Audit, wire};

const COUNT: usize = 200;
const PARTITIONS: usize = 2;

/// After how many messages each process dies; the last one goes on to the end.
const LIVES: [usize; 4] = [30, 50, 1, usize::MAX];

/// What stands in for remembering, and where it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naive {
    /// The claim is the mark: `SET NX`, `POST`, commit. Dies between claim and `POST`.
    ClaimIsMark,
    /// It marks after the `POST`, and nobody knows of a message without a mark. Dies between `POST` and mark.
    MarkAfterwards,
}

/// One process of the naive kind, without a group's rebalances: it goes on where the group has committed.
struct Process<'a> {
    kind: Naive,
    scene: &'a Scene,
    consumer: BaseConsumer,
    redis: redis::Connection,
}

impl<'a> Process<'a> {
    fn start(kind: Naive, scene: &'a Scene) -> Self {
        let consumer = topics::consumer(&scene.bootstrap, &scene.group).expect("a consumer");
        let committed = topics::committed(&scene.bootstrap, &scene.group, &scene.topic).expect("commits");
        let mut list = TopicPartitionList::new();
        for partition in topics::partitions(&scene.bootstrap, &scene.topic).expect("partitions") {
            let next = committed.get(&partition).map_or(0, |committed| committed.next);
            list.add_partition_offset(&scene.topic, partition, Offset::Offset(next)).expect("an offset");
        }
        consumer.assign(&list).expect("partitions");
        let redis = redis::Client::open(scene.redis_url.as_str()).and_then(|client| client.get_connection());
        Self { kind, scene, consumer, redis: redis.expect("a connection") }
    }

    /// Handles messages up to the end of the log, or drops everything in the middle of the one numbered `dies_in`.
    fn run(mut self, dies_in: usize) {
        let left = self.left();
        for number in 0..left {
            let message = self.consumer.poll(PATIENCE).expect("a message in time").expect("a message").detach();
            let id = id_of(&message);
            let key = format!("naive:{}:{id}", self.scene.topic);
            let dies = number == dies_in;
            match self.kind {
                Naive::ClaimIsMark => {
                    let claimed = self.ask(redis::cmd("SET").arg(&key).arg("claimed").arg("NX"));
                    if claimed && dies {
                        return;
                    }
                    if claimed {
                        self.post(&id, &message);
                    }
                }
                Naive::MarkAfterwards => {
                    if !self.ask(redis::cmd("GET").arg(&key)) {
                        self.post(&id, &message);
                        if dies {
                            return;
                        }
                        self.ask(redis::cmd("SET").arg(&key).arg("done"));
                    }
                }
            }
            let next = Committed { next: message.offset() + 1, metadata: String::new() };
            let Scene { bootstrap, group, topic, .. } = self.scene;
            topics::commit(bootstrap, group, topic, message.partition(), &next).expect("a commit");
        }
    }

    /// How many records the group has not committed.
    fn left(&self) -> usize {
        let Scene { bootstrap, group, topic, .. } = self.scene;
        let committed = topics::committed(bootstrap, group, topic).expect("commits");
        let ends = topics::watermarks(bootstrap, topic).expect("watermarks");
        let left = |(partition, (_, end)): (&i32, &(i64, i64))| {
            end - committed.get(partition).map_or(0, |committed| committed.next)
        };
        usize::try_from(ends.iter().map(left).sum::<i64>()).expect("a number")
    }

    /// Whether Redis answered with something else than nil.
    fn ask(&mut self, command: &redis::Cmd) -> bool {
        let answer: Option<String> = command.query(&mut self.redis).expect("an answer of Redis");
        answer.is_some()
    }

    fn post(&self, id: &str, message: &impl Message) {
        let url = self.scene.ledger.url("");
        let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
        let headers = [
            ("Idempotency-Key", id),
            ("Once-Delivery", "first"),
            ("Kafka-Topic", message.topic()),
            ("Kafka-Partition", &partition),
            ("Kafka-Offset", &offset),
        ];
        let address = url.trim_start_matches("http://");
        let body = message.payload().unwrap_or_default();
        let reply = wire::request_with(address, "POST", "/", &headers, body, Duration::from_secs(30));
        assert_eq!(reply.expect("an answer").status, 200);
    }
}

fn id_of(message: &impl Message) -> String {
    let headers = message.headers().expect("headers");
    let id = headers.iter().find(|header| header.key == "message-id").and_then(|header| header.value).expect("an ID");
    String::from_utf8(id.to_vec()).expect("text")
}

/// Lives and dies until the log is at its end, and asks the auditor. `None`: Kafka or Redis cannot be had.
fn audited(kind: Naive, name: &str) -> Option<Audit> {
    let scene = Scene::new(Ground::Real, name, 2)?;
    let records: Vec<_> = (0..COUNT).map(|number| numbered(&scene.topic, number, PARTITIONS)).collect();
    let produced = scene.produce(&records);
    for dies_in in LIVES {
        Process::start(kind, &scene).run(dies_in);
    }
    scene.await_committed();
    Some(scene.audit(&produced))
}

#[test]
fn the_auditor_sees_that_a_claim_taken_for_a_mark_loses_a_message_with_each_crash() {
    let Some(audit) = audited(Naive::ClaimIsMark, "naive-claim") else { return };
    let crashes = LIVES.len() - 1;
    assert_eq!(
        (audit.lost.len(), audit.passed_open.len(), audit.effects),
        (crashes, crashes, COUNT - crashes),
        "{audit}"
    );
    assert!(audit.repeated.is_empty(), "{audit}");
}

#[test]
fn the_auditor_sees_that_marking_afterwards_repeats_a_message_unmarked_with_each_crash() {
    let Some(audit) = audited(Naive::MarkAfterwards, "naive-mark") else { return };
    let crashes = LIVES.len() - 1;
    assert_eq!((audit.repeated.len(), audit.applied_twice.len()), (crashes, crashes), "{audit}");
    assert!(audit.lost.is_empty() && audit.passed_open.is_empty(), "{audit}");
}
