//! What a redis-server was told and when, as its `MONITOR` shows it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use kafka_once::adapters::claims::redis::keys::Keys;
use kafka_once::domain::identity::MessageId;
use kafka_once::pipeline::id_hash;

use super::Redis;
use super::process::{Process, Start};

const ANSWER: Duration = Duration::from_secs(30);

/// Listens to every command that a server carries out, from its start on.
pub struct Monitor {
    process: Process,
}

impl Monitor {
    /// Begins to listen; what is carried out after this returned is heard.
    pub fn start(redis: &Redis) -> anyhow::Result<Self> {
        let process = Start::new("redis-cli").args(["-p", &redis.port().to_string(), "MONITOR"]).spawn()?;
        process.log().wait_for(ANSWER, |line| line == "OK")?;
        Ok(Self { process })
    }

    /// When each key was written for the first time. Everything that `redis` has carried out so far is heard.
    pub fn first_writes(&self, redis: &Redis) -> anyhow::Result<HashMap<String, SystemTime>> {
        let mut first = HashMap::new();
        for (at, key) in self.heard(redis)?.iter().filter_map(|line| write(line)) {
            first.entry(key).or_insert(at);
        }
        Ok(first)
    }

    /// How often each key was asked for as a claim (`SET key value NX ...`), won or not.
    pub fn claims(&self, redis: &Redis) -> anyhow::Result<HashMap<String, usize>> {
        let mut claims = HashMap::new();
        for line in self.heard(redis)?.iter().filter(|line| line.contains("\" \"NX\" \"GET\" \"PX\" ")) {
            if let Some((_, key)) = write(line) {
                *claims.entry(key).or_default() += 1;
            }
        }
        Ok(claims)
    }

    /// All lines about what `redis` has carried out so far.
    fn heard(&self, redis: &Redis) -> anyhow::Result<Vec<String>> {
        let last = format!("until here {}", self.process.log().len());
        redis.cli(&["ECHO", &last])?;
        self.process.log().wait_for(ANSWER, |line| line.ends_with(&format!("\"{last}\"")))?;
        Ok(self.process.log().lines())
    }
}

/// The key under which a message of `topic` with this ID stands in the store.
pub fn key_of(namespace: &str, topic: &str, id: &str) -> String {
    let id = MessageId::Plain(id.as_bytes().into());
    let mut key = Vec::new();
    Keys::new(namespace).id(id_hash(namespace, topic, &id), &mut key);
    String::from_utf8(key).expect("keys are ASCII")
}

/// Time and key of `1700000000.123456 [0 127.0.0.1:40000] "SET" "key" ...`; a script's own commands are shown too.
fn write(line: &str) -> Option<(SystemTime, String)> {
    let (seconds, rest) = line.split_once(" [")?;
    let (_, command) = rest.split_once("] \"")?;
    let (name, rest) = command.split_once("\" \"")?;
    let key = rest.split('"').next()?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds.parse().ok()?);
    name.eq_ignore_ascii_case("set").then(|| (at, key.to_owned()))
}
