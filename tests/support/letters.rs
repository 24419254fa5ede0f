//! Dead letters for tests of `redrive`: a topic for them, letters written as the sidecar writes them, the command itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_once::adapters::claims::redis::keys::Keys;
use kafka_once::adapters::kafka::{DeadLetterConfig, KafkaDeadLetters};
use kafka_once::domain::claim::{ClaimValue, SessionId};
use kafka_once::domain::claim_codec::{decode, encode};
use kafka_once::domain::identity::WireId;
use kafka_once::domain::reasons::DeadLetterReason;
use kafka_once::domain::record::{Offset, Position, Record as Source};
use kafka_once::domain::time::UnixMillis;
use kafka_once::pipeline::{digest, id_hash};
use kafka_once::ports::{DeadLetter, DeadLetters};
use serde_json::Value;

use super::process::{Process, Start};
use super::scene::{Ground, PATIENCE, Scene};
use super::topics::{self, Read};
use super::{Answer, Record, Sidecar};

/// A scene with a dead-letter topic.
pub struct Letters {
    pub scene: Scene,
    /// The dead-letter topic.
    pub topic: String,
}

/// A letter to be written, as of a record of the scene's topic.
pub struct Letter<'a> {
    pub reason: DeadLetterReason,
    /// In wire form.
    pub id: Option<&'a str>,
    pub value: Option<&'a str>,
    /// Where its record stood: partition, offset, timestamp.
    pub stood: (i32, i64, i64),
    pub detail: &'a str,
    /// Requests that were sent for it.
    pub attempts: u32,
    pub in_doubt: bool,
    /// Unix milliseconds.
    pub at: u64,
}

impl<'a> Letter<'a> {
    /// A refused letter with an ID and that value, of this offset in partition 0, now.
    pub fn new(id: &'a str, value: &'a str, offset: i64) -> Self {
        let (reason, stood) = (DeadLetterReason::Refused, (0, offset, i64::try_from(now()).expect("a time")));
        Self { reason, id: Some(id), value: Some(value), stood, detail: "no", attempts: 1, in_doubt: false, at: now() }
    }

    fn record(&self, topic: &str) -> Source {
        let (partition, offset, timestamp) = self.stood;
        let position = Position { partition, offset: Offset(offset), timestamp };
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            self.id.map(|id| (&b"message-id"[..], Some(id.as_bytes()))).into_iter().collect();
        Source::new(topic.into(), position, Some(b"key"), self.value.map(str::as_bytes), &headers)
    }
}

/// Unix milliseconds.
pub fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("a time")
}

impl Letters {
    /// `None`: Kafka or Redis cannot be had. Both topics have two partitions.
    pub fn new(name: &str) -> Option<Self> {
        let scene = Scene::new(Ground::Real, name, 2)?;
        let topic = format!("{}-dead", scene.topic);
        // Letters keep their timestamps: retention would take old ones at once, and those of the future be refused.
        let any_time = [("retention.ms", "-1"), ("message.timestamp.after.max.ms", "9223372036854775807")];
        topics::create(&scene.bootstrap, &topic, 2, 1, &any_time).expect("a topic");
        Some(Self { scene, topic })
    }

    /// A sidecar that writes letters.
    pub fn sidecar(&self, more: &[(&'static str, &str)]) -> Sidecar {
        let own = [("ONCE_DEAD_LETTER_TOPIC", self.topic.as_str()), ("ONCE_DEAD_LETTER_BUDGET", "unlimited")];
        self.scene.sidecar(&[&own, more].concat())
    }

    /// The app refuses everything, or accepts it again.
    pub fn refuse(&self, refuses: bool) {
        self.scene.ledger.behave(move |_| async move { Answer::status(if refuses { 400 } else { 200 }) });
    }

    /// Lets the app refuse these records, and accept everything from then on; a sidecar that goes on.
    pub fn give_up(&self, records: &[Record]) -> Sidecar {
        self.refuse(true);
        self.scene.produce(records);
        let sidecar = self.sidecar(&[]);
        self.await_letters(records.len());
        self.await_settled();
        self.refuse(false);
        sidecar
    }

    /// Writes letters of the scene's topic and namespace.
    pub fn write(&self, letters: &[Letter<'_>]) {
        self.write_as(&self.scene.topic, &self.scene.group, letters);
    }

    /// Writes letters of any topic and namespace.
    pub fn write_as(&self, source: &str, namespace: &str, letters: &[Letter<'_>]) {
        let config = DeadLetterConfig {
            brokers: self.scene.bootstrap.clone(),
            properties: BTreeMap::new(),
            topic: self.topic.clone(),
            namespace: namespace.to_owned(),
        };
        let sender = KafkaDeadLetters::new(config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for letter in letters {
            let sent = sender.send(DeadLetter {
                record: Arc::new(letter.record(source)),
                reason: letter.reason,
                detail: letter.detail.to_owned(),
                status: Some(400),
                attempts: letter.attempts,
                in_doubt: letter.in_doubt,
                id: letter.id.map(|id| WireId(id.into())),
                at: UnixMillis(letter.at),
            });
            runtime.block_on(sent).expect("acknowledged");
        }
    }

    /// Everything on the dead-letter topic.
    pub fn on_topic(&self) -> Vec<Read> {
        topics::read_all(&self.scene.bootstrap, &self.topic).expect("letters")
    }

    /// Everything on the source topic.
    pub fn on_source(&self) -> Vec<Read> {
        topics::read_all(&self.scene.bootstrap, &self.scene.topic).expect("records")
    }

    /// Waits until everything on the source topic is settled: transactions end with a marker behind the last record, and
    /// nobody commits behind that.
    pub fn await_settled(&self) {
        let last: BTreeMap<i32, i64> = self.on_source().iter().map(|read| (read.partition, read.offset)).collect();
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            // The broker's answers pace this loop.
            let (bootstrap, group) = (&self.scene.bootstrap, &self.scene.group);
            let committed = topics::committed(bootstrap, group, &self.scene.topic).expect("commits");
            let there = |(at, last): (&i32, &i64)| committed.get(at).is_some_and(|found| found.next > *last);
            if last.iter().all(there) {
                return;
            }
            assert!(std::time::Instant::now() < end, "committed {committed:?} of {last:?}");
        }
    }

    /// Waits until so many letters stand there.
    pub fn await_letters(&self, letters: usize) {
        let end = std::time::Instant::now() + PATIENCE;
        // The broker's answers pace this loop.
        while self.on_topic().len() < letters {
            assert!(std::time::Instant::now() < end, "only {} letters", self.on_topic().len());
        }
    }

    /// Starts `kafka-once redrive`; settings given here overrule those of the scene, empty ones are left out.
    pub fn start(&self, arguments: &[&str], more: &[(&str, &str)]) -> Process {
        let mut settings = self.scene.settings();
        settings.push(("ONCE_DEAD_LETTER_TOPIC", self.topic.clone()));
        let start = Start::new(env!("CARGO_BIN_EXE_kafka-once")).arg("redrive").args(arguments).clear_env();
        let own = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let own = own.filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let all = own.chain(more.iter().copied()).filter(|(_, value)| !value.is_empty());
        all.fold(start, |start, (name, value)| start.env(name, value)).spawn().expect("it starts")
    }

    /// Runs `kafka-once redrive`; its exit code and what it said.
    pub fn run(&self, arguments: &[&str], more: &[(&str, &str)]) -> (i32, String) {
        let redrive = self.start(arguments, more);
        let code = redrive.wait_exit(PATIENCE).expect("it ends");
        (code, redrive.log().all())
    }

    /// Runs it to its end with `--json`.
    pub fn redrive(&self, arguments: &[&str]) -> Value {
        let (code, said) = self.run(&[arguments, &["--json"]].concat(), &[]);
        assert_eq!(code, 0, "{said}");
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(report["complete"], true);
        report
    }

    fn key(&self, wire: &str) -> Vec<u8> {
        let id = WireId::parse(wire).expect("an ID");
        let mut key = Vec::new();
        Keys::new(&self.scene.group).id(id_hash(&self.scene.group, &self.scene.topic, &id), &mut key);
        key
    }

    fn redis(&self) -> redis::Connection {
        redis::Client::open(self.scene.redis_url.as_str()).and_then(|it| it.get_connection()).expect("a connection")
    }

    /// Puts under a letter's message what `value` makes of its position and digest.
    pub fn mark(&self, letter: &Letter<'_>, value: impl Fn(Position, kafka_once::domain::claim::Digest) -> ClaimValue) {
        let record = letter.record(&self.scene.topic);
        let value = value(record.position(), digest(&record));
        self.put(letter.id.expect("an ID"), &encode(&value));
    }

    /// Puts bytes under a message's key.
    pub fn put(&self, wire: &str, bytes: &[u8]) {
        redis::cmd("SET").arg(self.key(wire)).arg(bytes).query::<()>(&mut self.redis()).expect("it is put");
    }

    /// Lets a session live, as if a sidecar had it.
    pub fn live(&self, session: SessionId) {
        let key = Keys::new(&self.scene.group).session(session);
        redis::cmd("SET").arg(key).arg("").query::<()>(&mut self.redis()).expect("it is put");
    }

    /// Lets it die.
    pub fn die(&self, session: SessionId) {
        let key = Keys::new(&self.scene.group).session(session);
        redis::cmd("DEL").arg(key).query::<()>(&mut self.redis()).expect("it is removed");
    }

    /// Removes what stands under a message's key.
    pub fn forget(&self, wire: &str) {
        redis::cmd("DEL").arg(self.key(wire)).query::<()>(&mut self.redis()).expect("it is removed");
    }

    /// What stands under a message's key.
    pub fn standing(&self, wire: &str) -> Option<ClaimValue> {
        let bytes: Option<Vec<u8>> = redis::cmd("GET").arg(self.key(wire)).query(&mut self.redis()).expect("an answer");
        bytes.map(|bytes| decode(&bytes).expect("a value of ours"))
    }
}

/// A mark that says dead, for [`Letters::mark`].
pub fn dead(position: Position, digest: kafka_once::domain::claim::Digest) -> ClaimValue {
    ClaimValue::Dead { attempt: 1, in_doubt: false, position, digest }
}

/// A mark that says done.
pub fn done(position: Position, digest: kafka_once::domain::claim::Digest) -> ClaimValue {
    ClaimValue::Done { position, digest }
}
