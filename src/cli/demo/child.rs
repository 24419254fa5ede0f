//! A sidecar as a child process of our own binary: its settings in, its log read for its address and for what went wrong.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::sidecar::Failure;

/// Bound of a start up to the admin port, which waits for no neighbour.
const START: Duration = Duration::from_secs(15);

/// How much longer than its drain timeout a sidecar may take to end.
const END: Duration = Duration::from_secs(30);

/// How long it may take when nobody waits for its result any more.
const FAREWELL: Duration = Duration::from_secs(3);

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Lines of its log that are kept for the case that it fails.
const LAST_LINES: usize = 12;

/// Where the admin server says where it listens; port 0 has let it choose.
const ADMIN_LOG: &str = "kafka_once::adapters::admin=info";
const LISTENS: &str = "admin server listens";

/// The log of children: what the user asked for is passed on, and a little is read by us.
#[derive(Clone, Debug)]
pub(super) struct ChildLog {
    /// `ONCE_LOG`, when the user has set it: the children's lines go to our standard error.
    pub filter: Option<String>,
    /// `ONCE_LOG_FORMAT` of the children.
    pub format: &'static str,
}

/// A running sidecar. Dropping it asks it to end, and kills it if it does not do so soon.
pub(super) struct Child {
    process: std::process::Child,
    admin: SocketAddr,
    last: LastLines,
}

type LastLines = Arc<Mutex<VecDeque<String>>>;

impl Child {
    /// Starts `kafka-once run` with these settings and nothing else in its environment.
    pub(super) fn start(settings: &[(&str, &str)], log: &ChildLog) -> anyhow::Result<Self> {
        let (mut process, last, address) = spawn(settings, log)?;
        if let Ok(admin) = address.recv_timeout(START) {
            return Ok(Self { process, admin, last });
        }
        let _ = process.kill(); // it may have ended
        let status = process.wait().ok();
        Err(failure("a sidecar did not start", status, &last).into())
    }

    /// Its admin port.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|status| status.is_some())
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        ensure!(self.process.try_wait()?.is_none(), "a sidecar had ended before it was killed");
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// SIGTERM, and the wait for exit code 0.
    pub(super) fn terminate(mut self) -> anyhow::Result<()> {
        match self.ask_and_wait(END)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(failure("a sidecar failed", Some(status), &self.last).into()),
            None => Err(failure("a sidecar did not end after SIGTERM", None, &self.last).into()),
        }
    }

    fn ask_and_wait(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        if let Some(status) = self.process.try_wait()? {
            return Ok(Some(status));
        }
        // Not waited for until now: its process ID is nobody else's.
        let pid = Pid::from_raw(self.process.id().cast_signed()).context("a process ID")?;
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that leaves its group lets us delete that; one that cannot, or has ended, is no news here.
        let _ = self.ask_and_wait(FAREWELL);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(
    settings: &[(&str, &str)],
    log: &ChildLog,
) -> anyhow::Result<(std::process::Child, LastLines, Receiver<SocketAddr>)> {
    let filter = log.filter.as_deref().unwrap_or("warn");
    let mut process = Command::new(std::env::current_exe().context("the path of our own binary")?)
        .arg("run")
        .env_clear()
        .envs(settings.iter().copied())
        .env("ONCE_LOG", format!("{filter},{ADMIN_LOG}"))
        .env("ONCE_LOG_FORMAT", log.format)
        .process_group(0) // Ctrl-C is for us: we end it
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting our own binary")?;
    let lines = BufReader::new(process.stderr.take().context("no standard error of a child")?);
    let (last, echo) = (LastLines::default(), log.filter.is_some());
    let (found, address) = sync_channel(1);
    let kept = Arc::clone(&last);
    std::thread::Builder::new().name("child-log".to_owned()).spawn(move || follow(lines, &kept, &found, echo))?;
    Ok((process, last, address))
}

/// Reads a child's log to its end. Dropping `found` there tells a waiting start that nothing will come.
fn follow(lines: impl BufRead, last: &LastLines, found: &SyncSender<SocketAddr>, echo: bool) {
    for line in lines.lines().map_while(Result::ok) {
        if let Some(address) = listens_at(&line) {
            let _ = found.try_send(address); // nobody waits any more
        }
        if echo {
            eprintln!("{line}");
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
}

/// The address in the line by which the admin server says it, in either format.
fn listens_at(line: &str) -> Option<SocketAddr> {
    let line = line.contains(LISTENS).then_some(line)?;
    let mut address = line.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    address.find_map(|word| word.parse().ok())
}

/// What to say of a child that failed: its exit code stands for ours, its last lines for what it had to say.
fn failure(what: &str, status: Option<ExitStatus>, last: &LastLines) -> Failure {
    let code = status.and_then(|status| status.code());
    let ended = code.map_or(String::new(), |code| format!(" (exit code {code})"));
    let lines: Vec<String> = last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    let text = format!("{what}{ended}\n{}", lines.join("\n"));
    if code == Some(2) { Failure::Refused(text) } else { Failure::Failed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_address_is_found_in_either_format() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 40_123)));
        let table = [
            (
                r#"{"timestamp":"2025-01-01T00:00:00.1Z","message":"admin server listens","address":"127.0.0.1:40123"}"#,
                address,
            ),
            ("2025-01-01T00:00:00.1Z  INFO admin: admin server listens address=127.0.0.1:40123", address),
            ("another line with 127.0.0.1:40123", None),
        ];
        for (line, expected) in table {
            assert_eq!(listens_at(line), expected, "{line}");
        }
    }
}
