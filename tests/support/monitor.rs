//! What a redis-server was told and when, as its `MONITOR` shows it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

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

    /// What was written to each key. Everything that `redis` has carried out so far is heard.
    pub fn writes(&self, redis: &Redis) -> anyhow::Result<HashMap<String, Writes>> {
        let last = format!("until here {}", self.process.log().len());
        redis.cli(&["ECHO", &last])?;
        self.process.log().wait_for(ANSWER, |line| line.ends_with(&format!("\"{last}\"")))?;
        let mut writes = HashMap::new();
        for line in self.process.log().lines() {
            let Some((at, key)) = write(&line) else { continue };
            let of_key = writes.entry(key).or_insert(Writes { first: at, claims: 0 });
            of_key.claims += usize::from(line.contains("\" \"NX\" \"GET\" \""));
        }
        Ok(writes)
    }
}

/// What was written to one key.
#[derive(Clone, Copy, Debug)]
pub struct Writes {
    /// When something was written for the first time.
    pub first: SystemTime,
    /// How often it was claimed, won or not.
    pub claims: usize,
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
