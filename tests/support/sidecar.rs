//! Our own binary as a child process: settings in, log lines and metrics out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::log::Log;
use super::ports;
use super::process::{Process, Start};
use super::wire::{self, Reply};

/// Bound of one answer of the admin port; a drain may take longer, see [`Sidecar::post_within`].
const ANSWER: Duration = Duration::from_secs(10);

/// A running kafka-once. Dropping it kills it.
pub struct Sidecar {
    process: Process,
    admin: String,
}

impl Sidecar {
    /// Starts `kafka-once run` with these settings only, and an admin port of its own.
    pub fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::command(&["run"], settings)
    }

    /// Starts another command of the binary. `ONCE_ADMIN_ADDR` is set unless given.
    pub fn command(arguments: &[&str], settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let given = settings.iter().find(|(name, _)| *name == "ONCE_ADMIN_ADDR").map(|&(_, address)| address);
        let admin = given.map_or_else(|| format!("127.0.0.1:{}", ports::free()), str::to_owned);
        let mut start = Start::new(env!("CARGO_BIN_EXE_kafka-once")).args(arguments).clear_env();
        start = start.env("ONCE_ADMIN_ADDR", &admin);
        for (name, value) in settings {
            start = start.env(name, value);
        }
        Ok(Self { process: start.spawn()?, admin })
    }

    /// What it wrote to standard output and standard error.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Asks it to shut down.
    pub fn sigterm(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Kills it as a crash would.
    pub fn sigkill(&self) {
        self.process.kill();
    }

    /// Freezes it.
    pub fn sigstop(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn sigcont(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Its exit code (128 + signal when killed), or `None` when it still runs at the deadline.
    pub fn wait_exit(&self, deadline: Duration) -> Option<i32> {
        self.process.wait_exit(deadline)
    }

    /// Whether it has not ended.
    pub fn runs(&self) -> bool {
        self.process.runs()
    }

    /// `HOST:PORT` of its admin port.
    pub fn admin_address(&self) -> &str {
        &self.admin
    }

    /// `GET path` on the admin port.
    pub fn get(&self, path: &str) -> anyhow::Result<Reply> {
        wire::request(&self.admin, "GET", path, b"", ANSWER)
    }

    /// `POST path` on the admin port.
    pub fn post(&self, path: &str) -> anyhow::Result<Reply> {
        self.post_within(path, ANSWER)
    }

    /// `POST path`, waiting up to `timeout` for the answer.
    pub fn post_within(&self, path: &str, timeout: Duration) -> anyhow::Result<Reply> {
        wire::request(&self.admin, "POST", path, b"", timeout)
    }

    /// One scrape.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        let reply = self.get("/metrics")?;
        anyhow::ensure!(reply.status == 200, "/metrics answered {}", reply.status);
        Metrics::parse(&reply.body)
    }

    /// Scrapes until `wanted` holds, and gives back that scrape. For states that no log line and no request announces.
    pub fn await_metrics(&self, deadline: Duration, wanted: impl Fn(&Metrics) -> bool) -> anyhow::Result<Metrics> {
        let end = Instant::now() + deadline;
        loop {
            let scrape = self.metrics();
            if scrape.as_ref().is_ok_and(&wanted) {
                return scrape;
            }
            anyhow::ensure!(self.runs(), "the sidecar ended; last lines:\n{}", self.tail());
            anyhow::ensure!(Instant::now() < end, "the metrics never said so: {scrape:?}\n{}", self.tail());
            // Paces the scrapes; what the test waits for is the condition.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Looks at `/status` until a sidecar that had started shows a pause of everything for this reason, and gives back
    /// the pause's detail.
    pub fn await_pause(&self, deadline: Duration, reason: &str) -> anyhow::Result<String> {
        let end = Instant::now() + deadline;
        loop {
            let page: serde_json::Value = serde_json::from_str(&self.get("/status")?.body)?;
            let pauses = page["pauses"].as_array().context("no pauses on /status")?;
            let pause = pauses.iter().find(|pause| pause["reason"] == reason && pause.get("topic").is_none());
            if let Some(pause) = pause.filter(|_| page["state"] == "paused") {
                return Ok(pause["detail"].as_str().unwrap_or_default().to_owned());
            }
            anyhow::ensure!(self.runs(), "the sidecar ended; last lines:\n{}", self.tail());
            anyhow::ensure!(Instant::now() < end, "/status never said {reason}: {page}\n{}", self.tail());
            // Paces the looks; what the test waits for is the condition.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of its log, for a failing test's message.
    pub fn tail(&self) -> String {
        let lines = self.log().lines();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A test that fails shows what its sidecars said last.
impl Drop for Sidecar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("last lines of sidecar {}:\n{}", self.pid(), self.tail());
        }
    }
}

/// A parsed scrape.
#[derive(Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<Series, f64>);

/// What is not zero, without the buckets: what a failing test wants to show.
impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.iter().filter(|((name, _), value)| !name.ends_with("_bucket") && value.abs() > 0.0);
        f.debug_map().entries(shown).finish()
    }
}

/// Name and labels of a series.
pub type Series = (String, BTreeMap<String, String>);

impl Metrics {
    /// Parses the text format of Prometheus.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let series = lines.map(|line| series(line).with_context(|| format!("not a sample: {line}")));
        Ok(Self(series.collect::<anyhow::Result<_>>()?))
    }

    /// The sum over all series of that name that carry these labels; `None` when there is none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let carries = |found: &BTreeMap<String, String>| {
            labels.iter().all(|&(label, value)| found.get(label).is_some_and(|found| found == value))
        };
        let found = self.0.iter().filter(|((series, found), _)| series == name && carries(found));
        found.map(|(_, value)| *value).reduce(|sum, value| sum + value)
    }

    /// Like [`Metrics::get`], with 0 for an absent series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or(0.0)
    }

    /// Every series with its value.
    pub fn all(&self) -> &BTreeMap<Series, f64> {
        &self.0
    }
}

/// `name{label="value",...} number [timestamp]`.
fn series(line: &str) -> anyhow::Result<(Series, f64)> {
    let name_end = line.find(['{', ' ']).context("no name")?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").context("a label without value")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let number = rest.split_whitespace().next().context("no number")?;
    let value = match number {
        "+Inf" => f64::INFINITY,
        number => number.parse()?,
    };
    Ok(((name.to_owned(), labels), value))
}

/// A label's value up to its closing quote, and what follows that.
fn quoted(text: &str) -> anyhow::Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().context("a value cut short")?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    anyhow::bail!("a value without closing quote")
}
