//! Child processes that cannot outlive the test, however it ends: a small shell holds each one on a leash.
//!
//! The leash is a pipe. When our end goes away (drop, panic, `kill -9` of the test), the shell kills the child
//! and removes its directory. The shell has a process group of its own, so Ctrl-C reaches the child through the leash only.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::log::Log;

/// `$1` is the directory to remove when the leash is dropped (may be empty), the rest is the command.
/// The inner shell names its process id before it becomes the command. The watcher must outlive the kill to clean up.
const SUPERVISOR: &str = r#"
wipe=$1; shift
exec 3<&0
sh -c 'echo $$; exec "$@"' sh "$@" 3<&- </dev/null &
child=$!
( while read -r _ <&3; do :; done
  trap '' TERM
  kill -9 "$child"
  [ -z "$wipe" ] || rm -rf "$wipe" ) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child"; code=$?
kill -TERM "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
exit "$code"
"#;

/// What to start: program, arguments, environment.
pub struct Start {
    command: Command,
    wipe: OsString,
    arguments: Vec<OsString>,
}

impl Start {
    /// A program by name or path, with the environment of the test.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new("sh"), wipe: OsString::new(), arguments: vec![program.as_ref().to_owned()] }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Empties the environment except for `PATH`.
    pub fn clear_env(mut self) -> Self {
        self.command.env_clear();
        self.command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        self
    }

    /// The directory to start in.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// A directory that goes away with the process when the leash is dropped (not when it is killed or ends).
    pub fn wipe(mut self, dir: &Path) -> Self {
        dir.as_os_str().clone_into(&mut self.wipe);
        self
    }

    /// Starts it and reads its process id.
    pub fn spawn(mut self) -> anyhow::Result<Process> {
        let mut shell = self
            .command
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&self.wipe)
            .args(&self.arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {:?}", self.arguments))?;
        let leash = shell.stdin.take();
        let mut output = BufReader::new(shell.stdout.take().context("no standard output")?);
        let log = Arc::new(Log::default());
        log.follow(shell.stderr.take().context("no standard error")?);
        let pid = read_pid(&mut output)?;
        log.follow(output);
        let exit = Arc::new(Exit::default());
        let told = Arc::clone(&exit);
        std::thread::spawn(move || {
            let status = shell.wait().ok();
            told.set(status.and_then(|status| status.code()).unwrap_or(-1));
        });
        Ok(Process { pid, leash: Mutex::new(leash), exit, log })
    }
}

fn read_pid(output: &mut BufReader<ChildStdout>) -> anyhow::Result<Pid> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    let number = line.trim().parse().with_context(|| format!("no process id in {line:?}"))?;
    Pid::from_raw(number).context("process id 0")
}

/// A running child below its supervisor. Dropping it kills it and waits until it is gone.
pub struct Process {
    pid: Pid,
    leash: Mutex<Option<ChildStdin>>,
    exit: Arc<Exit>,
    log: Arc<Log>,
}

#[derive(Default)]
struct Exit {
    code: Mutex<Option<i32>>,
    known: Condvar,
}

impl Exit {
    fn set(&self, code: i32) {
        *self.code.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        self.known.notify_all();
    }

    fn wait(&self, deadline: Duration) -> Option<i32> {
        let end = Instant::now() + deadline;
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        while code.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            code = self.known.wait_timeout(code, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *code
    }
}

impl Process {
    /// Process id of the child itself, not of its supervisor.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it wrote.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Sends a signal, unless the child has ended.
    pub fn signal(&self, signal: Signal) {
        if self.exit.wait(Duration::ZERO).is_none() {
            // It may end just now; its id stays taken until the supervisor has seen that, microseconds later.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Its exit code (128 + number of the signal that killed it), or `None` when it still runs at the deadline.
    pub fn wait_exit(&self, deadline: Duration) -> Option<i32> {
        self.exit.wait(deadline)
    }

    /// Whether it has not ended.
    pub fn runs(&self) -> bool {
        self.exit.wait(Duration::ZERO).is_none()
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait_exit(Duration::from_secs(10));
    }

    /// Lets go of the leash, as the end of the test process does: the supervisor kills the child.
    pub fn unleash(&self) {
        self.leash.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.unleash();
        self.wait_exit(Duration::from_secs(10));
    }
}
