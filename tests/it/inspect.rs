//! `kafka-once inspect` and `GET /inspect`: what stands in Redis is said as it is, in words and as JSON.

use std::time::{Duration, Instant};

use kafka_once::adapters::claims::redis::keys::Keys;
use kafka_once::domain::claim::{ClaimValue, Digest, SessionId, Spent};
use kafka_once::domain::claim_codec::encode;
use kafka_once::domain::identity::{MessageId, WireId};
use kafka_once::domain::record::{Offset, Position};
use kafka_once::domain::time::UnixMillis;
use kafka_once::pipeline::id_hash;
use serde_json::{Value, json};

use crate::support::process::Start;
use crate::support::redis::Data;
use crate::support::scene::{Ground, PATIENCE, Scene, unique};
use crate::support::{self, Answer, Record, Redis};

const POSITION: Position = Position { partition: 3, offset: Offset(12), timestamp: 951_782_400_123 };
const DIGEST: Digest = Digest([0xd1; 16]);
const SESSION: SessionId = SessionId([0x5e; 16]);

/// Runs `kafka-once inspect` with these settings; its exit code and what it said.
fn inspect(arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let start = Start::new(env!("CARGO_BIN_EXE_kafka-once")).arg("inspect").args(arguments).clear_env();
    let start = settings.iter().fold(start, |start, (name, value)| start.env(name, value));
    let inspect = start.spawn().expect("it starts");
    let code = inspect.wait_exit(PATIENCE).expect("it ends");
    (code, inspect.log().all())
}

/// A namespace of its own in the shared Redis.
struct Bench {
    redis: &'static Redis,
    namespace: String,
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        Some(Self { redis: support::redis()?, namespace: unique(name) })
    }

    fn ask(&self, arguments: &[&str], topics: &str) -> (i32, String) {
        let url = self.redis.url();
        inspect(
            arguments,
            &[
                ("ONCE_REDIS_URL", url.as_str()),
                ("ONCE_KAFKA_GROUP", self.namespace.as_str()),
                ("ONCE_KAFKA_TOPICS", topics),
            ],
        )
    }

    fn json(&self, arguments: &[&str], topics: &str) -> (i32, Value) {
        let (code, said) = self.ask(&[arguments, &["--json"]].concat(), topics);
        (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }

    fn key(&self, topic: &str, wire: &str) -> Vec<u8> {
        let id = WireId::parse(wire).expect("an ID");
        let mut key = Vec::new();
        Keys::new(&self.namespace).id(id_hash(&self.namespace, topic, &id), &mut key);
        key
    }

    fn tell(&self, command: &redis::Cmd) {
        let mut connection =
            redis::Client::open(self.redis.url()).and_then(|client| client.get_connection()).expect("a connection");
        command.query::<()>(&mut connection).expect("it is done");
    }

    fn put(&self, topic: &str, wire: &str, bytes: &[u8]) {
        self.tell(redis::cmd("SET").arg(self.key(topic, wire)).arg(bytes).arg("PX").arg(3_600_000));
    }

    fn session(&self, session: SessionId) {
        self.tell(redis::cmd("SET").arg(Keys::new(&self.namespace).session(session)).arg("1").arg("PX").arg(3_600_000));
    }
}

fn claimed(in_doubt: bool) -> ClaimValue {
    let spent = Spent { attempt: 2, retries: 1, deadline: UnixMillis(951_782_400_000) };
    ClaimValue::Claimed { session: SESSION, spent, in_doubt, position: POSITION, digest: DIGEST }
}

#[test]
fn every_state_is_said_in_words_and_as_json() {
    let Some(bench) = Bench::new("inspect-states") else { return };
    let spent = Spent { attempt: 4, retries: 0, deadline: UnixMillis(0) };
    let released = |in_doubt| ClaimValue::Released { spent, in_doubt, position: POSITION, digest: DIGEST };
    let (session, digest) = ("5e".repeat(16), "d1".repeat(16));
    let stands = json!({ "partition": 3, "offset": 12, "timestamp": "2000-02-29T00:00:00.123Z", "digest": digest });
    let with = |more: Value| {
        let mut all = stands.as_object().expect("an object").clone();
        all.extend(more.as_object().expect("an object").clone());
        Value::Object(all)
    };
    let spent = json!({ "attempt": 2, "retries": 1, "deadline": "2000-02-29T00:00:00.000Z", "in_doubt": false,
        "session": session, "session_lives": false });
    for (value, detail, expected) in [
        (claimed(false), "which is gone", with(spent)),
        (released(true), "in doubt", with(json!({ "attempt": 4, "retries": 0, "in_doubt": true }))),
        (released(false), "not in doubt", with(json!({ "attempt": 4, "retries": 0, "in_doubt": false }))),
        (ClaimValue::Done { position: POSITION, digest: DIGEST }, "the effect happened", stands.clone()),
        (
            ClaimValue::Dead { attempt: 1, in_doubt: false, position: POSITION, digest: DIGEST },
            "dead-letter topic",
            stands.clone(),
        ),
    ] {
        bench.put("orders", "a%20b", &encode(&value));
        let (code, found) = bench.json(&["a%20b"], "orders");
        assert_eq!((code, &found["known"], &found["id"]), (0, &json!(true), &json!("a%20b")), "{found:#}");
        let mut topic = found["topics"][0].as_object().expect("a topic").clone();
        let said = topic.remove("detail").and_then(|said| said.as_str().map(str::to_owned)).expect("words");
        assert!(said.contains(detail), "{said}");
        let keeps = topic.remove("keeps_ms").and_then(|keeps| keeps.as_u64()).expect("a lifetime");
        assert!((1..=3_600_000).contains(&keeps), "{keeps}");
        let state = topic.remove("state").expect("a state");
        assert_eq!(topic.remove("topic"), Some(json!("orders")));
        assert_eq!(Value::Object(topic), expected, "{state}");
        let (code, page) = bench.ask(&["a%20b"], "orders");
        assert!(code == 0 && page.contains(&said) && page.contains(&digest), "{page}");
        assert!(page.contains("partition 3, offset 12, timestamp 2000-02-29T00:00:00.123Z"), "{page}");
    }
}

#[test]
fn a_claim_of_a_session_that_lives_is_told_from_one_whose_session_is_gone() {
    let Some(bench) = Bench::new("inspect-session") else { return };
    bench.put("orders", "x", &encode(&claimed(true)));
    let (_, found) = bench.json(&["x"], "orders");
    assert_eq!(found["topics"][0]["session_lives"], json!(false), "{found:#}");
    bench.session(SESSION);
    let (_, found) = bench.json(&["x"], "orders");
    assert_eq!((&found["topics"][0]["session_lives"], &found["topics"][0]["in_doubt"]), (&json!(true), &json!(true)));
    let (_, page) = bench.ask(&["x"], "orders");
    assert!(page.contains("which lives and works on it") && page.contains("last deadline   2000-02-29"), "{page}");
}

#[test]
fn ids_in_wire_form_are_found_in_each_topic_of_the_settings_or_in_the_one_asked_for() {
    let Some(bench) = Bench::new("inspect-ids") else { return };
    let done = encode(&ClaimValue::Done { position: POSITION, digest: DIGEST });
    for (topic, id) in [("b", "order%207/%C3%A4%0A"), ("a", "ce:/shop#1%23"), ("c", "position:c/3/12/951782400123")] {
        bench.put(topic, id, &done);
        let (code, found) = bench.json(&[id], "a,b");
        let topics: Vec<_> = found["topics"].as_array().expect("topics").iter().collect();
        let known: Vec<_> =
            topics.iter().filter(|found| found["state"] == "done").map(|found| &found["topic"]).collect();
        assert_eq!((code, known), (0, vec![&json!(topic)]), "{found:#}");
        assert_eq!(topics.len(), if topic == "c" { 1 } else { 2 }, "a position names its own topic");
    }
    let (code, found) = bench.json(&["order%207/%C3%A4%0A", "--topic", "a"], "a,b");
    assert_eq!((code, &found["known"], &found["topics"][0]["state"]), (1, &json!(false), &json!("unknown")));
    let (code, page) = bench.ask(&["nobody"], "a,b");
    assert!(code == 1 && page.matches("nothing is known of it").count() == 2, "{page}");
}

#[test]
fn what_is_not_ours_under_a_messages_key_is_said_and_ends_nothing() {
    let Some(bench) = Bench::new("inspect-foreign") else { return };
    let newer = [&[0x20], &encode(&claimed(false))[1..]].concat();
    bench.put("a", "x", &newer);
    bench.tell(redis::cmd("LPUSH").arg(bench.key("b", "x")).arg("1"));
    bench.put("c", "x", b"");
    let (code, found) = bench.json(&["x"], "a,b,c");
    assert_eq!(code, 0, "{found:#}");
    let details = found["topics"].as_array().expect("topics").iter().map(|topic| {
        assert_eq!(topic["state"], "foreign");
        topic["detail"].as_str().expect("words")
    });
    let details: Vec<_> = details.collect();
    assert!(details[0].contains("of another version") && details[0].contains("the first one 0x20"), "{details:?}");
    assert!(details[1].contains("no string") && details[2].contains("0 bytes"), "{details:?}");
}

#[test]
fn what_cannot_be_asked_or_answered_is_one_sentence_and_exit_code_2() {
    let Some(bench) = Bench::new("inspect-usage") else { return };
    for (arguments, topics, words) in [
        (&["x"][..], "^orders.*", "ONCE_KAFKA_TOPICS is a pattern"),
        (&["%4"][..], "a", "no message ID"),
        (&["x", "--topic", "a b"][..], "a", "topic names"),
        (&["position:c/0/1/2", "--topic", "a"][..], "a", "made from a position in topic c"),
        (&[][..], "a", "required"),
    ] {
        let (code, said) = bench.ask(arguments, topics);
        assert!(code == 2 && said.contains(words), "{arguments:?}: {said}");
    }
    let group = ("ONCE_KAFKA_GROUP", "g");
    let (code, said) = inspect(&["x", "--topic", "a"], &[group, ("ONCE_REDIS_URL", "memory:")]);
    assert!(code == 2 && said.contains("memory:") && said.lines().count() == 1, "{said}");
    let (code, said) = inspect(&["x", "--topic", "a"], &[group, ("ONCE_REDIS_URL", "redis://127.0.0.1:1")]);
    assert!(code == 2 && said.contains("away") && said.contains("check ONCE_REDIS_URL"), "{said}");
    let (code, said) = inspect(&["x"], &[]);
    assert!(code == 2 && said.contains("ONCE_REDIS_URL") && !said.contains("ONCE_APP_URL"), "{said}");
}

#[test]
fn the_admin_port_says_what_redis_knows_while_the_app_works_and_when_it_is_done() {
    let Some(scene) = Scene::new(Ground::Mock, "inspect-admin", 1) else { return };
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let held = std::sync::Arc::clone(&release);
    scene.ledger.behave(move |_| {
        let held = std::sync::Arc::clone(&held);
        async move { Answer::status(200).held(async move { held.notified().await }) }
    });
    scene.produce(&[Record::new(&scene.topic, "x").id("order 7/ä")]);
    let sidecar = scene.sidecar(&[]);
    scene.ledger.wait_until(PATIENCE, |records| records.requests.len() == 1).expect("a request");
    let wire = WireId::of(&MessageId::Plain("order 7/ä".as_bytes().into()));
    let ask = || {
        let reply = sidecar.get(&format!("/inspect?id={}", wire.in_url())).expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.body);
        let mut found: Value = serde_json::from_str(&reply.body).expect("json");
        assert_eq!(found["id"], json!(wire.as_str()));
        found["topics"][0].take()
    };
    let found = ask();
    assert_eq!(
        (&found["state"], &found["session_lives"], &found["attempt"]),
        (&json!("claimed"), &json!(true), &json!(1))
    );
    release.notify_one();
    let end = Instant::now() + PATIENCE;
    while ask()["state"] != "done" {
        assert!(Instant::now() < end, "it is never done"); // the answers pace this loop
    }
    for (path, words) in
        [("/inspect", "an ID is needed"), (&*format!("/inspect?id={}", "x".repeat(2000)), "longer than")]
    {
        let reply = sidecar.get(path).expect("an answer");
        assert!(reply.status == 400 && reply.body.contains(words), "{}", reply.body);
    }
}

#[test]
fn without_redis_the_admin_port_says_so_in_one_sentence_and_scrapes_go_on() {
    if !support::redis_possible() {
        return;
    }
    let Some(scene) = Scene::new(Ground::Mock, "inspect-away", 1) else { return };
    let redis = Redis::start(&[]).expect("a redis");
    let sidecar = scene.sidecar(&[("ONCE_REDIS_URL", &redis.url())]);
    sidecar.log().wait_for(PATIENCE, |line| line.contains("session opened")).expect("it runs");
    let ask = || sidecar.get("/inspect?id=x").expect("an answer");
    assert_eq!(ask().status, 200);
    redis.pause(); // it takes connections, and answers nothing
    let reply = ask();
    assert!(reply.status == 503 && reply.body.contains("redis is away"), "{}", reply.body);
    assert_eq!(sidecar.get("/metrics").expect("a scrape").status, 200);
    redis.cont();
    redis.kill();
    let reply = ask();
    assert!(reply.status == 503 && reply.body.contains("redis is away"), "{}", reply.body);
    redis.restart(Data::Empty).expect("it is back");
    let end = Instant::now() + PATIENCE;
    while ask().status != 200 {
        assert!(Instant::now() < end, "never again");
        std::thread::sleep(Duration::from_millis(20)); // paces the questions
    }
}
