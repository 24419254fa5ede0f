//! The README's sample apps keep their word: they are short, they apply a message once, and a failure is a 5xx.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::available::{on_path, skip};
use crate::support::ports;
use crate::support::process::{Process, Start};
use crate::{path, read};

const SOON: Duration = Duration::from_secs(30);
/// Bounds fetching a package, and building with it.
const FETCH: Duration = Duration::from_secs(300);
/// The port that the samples name; a test runs a copy that names a free one.
const PORT: &str = "8080";

/// The default of `ONCE_MAX_IN_FLIGHT`.
const IN_FLIGHT: usize = 64;

const MOST_LINES: usize = 15;
const SAMPLES: [&str; 3] = ["docs/apps/python/app.py", "docs/apps/node/app.js", "docs/apps/go/main.go"];

#[test]
fn a_sample_app_has_at_most_fifteen_lines() {
    for sample in SAMPLES {
        let lines = read(sample).lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= MOST_LINES, "{sample} has {lines} lines");
    }
}

#[test]
fn the_python_app_applies_a_message_once() {
    let Some(copy) = copy("docs/apps/python") else { return };
    let app = App::start(Start::new("python3").arg("app.py"), copy);
    app.applies_once();
    assert_eq!(app.ask("SELECT count(*) FROM applied"), app.ask("SELECT count(*) FROM orders"));
}

#[test]
fn the_node_app_applies_a_message_once() {
    let Some(copy) = copy("docs/apps/node") else { return };
    let Some(node) = node(copy.dir.path()) else { return skip("no Node 22.13 or newer, and npx cannot fetch one") };
    App::start(Start::new(node).arg("app.js"), copy).applies_once();
}

#[test]
fn the_go_app_applies_a_message_once() {
    if !on_path("go") {
        return skip("no Go");
    }
    let Some(copy) = copy("docs/apps/go") else { return };
    let go = |arguments: &[&str]| {
        let go = Start::new("go").args(arguments).env("GOTOOLCHAIN", "local").dir(copy.dir.path());
        let go = go.spawn().expect("go starts");
        (go.wait_exit(FETCH), go.log().lines())
    };
    if let (code @ (None | Some(1..)), lines) = go(&["mod", "download"]) {
        return skip(&format!("go cannot fetch the sample's package ({code:?}: {:?})", lines.last()));
    }
    assert_eq!(go(&["build", "-o", "app", "."]), (Some(0), Vec::new()));
    App::start(Start::new(copy.dir.path().join("app")), copy).applies_once();
}

/// A sample in a directory of its own, on a port of its own.
struct Copy {
    dir: TempDir,
    port: u16,
}

/// `None` (recorded as a skip) without python3, with which the test reads the samples' tables.
fn copy(sample: &str) -> Option<Copy> {
    if !on_path("python3") {
        skip("no python3");
        return None;
    }
    let (dir, port) = (tempfile::tempdir().expect("a directory"), ports::free());
    for entry in std::fs::read_dir(path(sample)).expect("a sample") {
        let entry = entry.expect("a file");
        let text = std::fs::read_to_string(entry.path()).expect("a text");
        std::fs::write(dir.path().join(entry.file_name()), text.replace(PORT, &port.to_string())).expect("a copy");
    }
    Some(Copy { dir, port })
}

/// A Node that has `node:sqlite`: ours, or one that npx fetches.
fn node(dir: &Path) -> Option<PathBuf> {
    const PROBE: &str = "require('node:sqlite'); console.log(process.execPath)";
    let ours = Start::new("node").args(["-e", PROBE]);
    let fetched = Start::new("npx").args(["--yes", "node@22", "-e", PROBE]);
    [("node", ours), ("npx", fetched)].into_iter().filter(|(program, _)| on_path(program)).find_map(|(_, probe)| {
        let probe = probe.dir(dir).spawn().ok()?;
        if probe.wait_exit(FETCH) != Some(0) {
            return None;
        }
        let path = probe.log().wait_for(SOON, |line| line.starts_with('/')).ok()?;
        Some(PathBuf::from(path))
    })
}

/// A running sample.
struct App {
    process: Process,
    copy: Copy,
}

/// One message for the app: topic, ID, body.
type Message<'a> = (&'a str, &'a str, &'a str);

impl App {
    fn start(start: Start, copy: Copy) -> Self {
        let process = start.dir(copy.dir.path()).spawn().expect("the app starts");
        let app = Self { process, copy };
        let until = Instant::now() + SOON;
        while TcpStream::connect(app.address()).is_err() {
            assert!(app.process.runs() && Instant::now() < until, "{:?}", app.process.log().lines());
            std::thread::yield_now();
        }
        app
    }

    fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.copy.port)
    }

    /// Each effect happens once, whatever comes twice; a transaction that fails is a 5xx and leaves no key behind.
    fn applies_once(&self) {
        let (first, repeat) = (("orders", "%C3%A9-1", "one"), ("orders", "%C3%A9-1", "one"));
        assert_eq!(self.post(&[first]), [204]);
        let others = [repeat, ("orders", "2", "two"), ("refunds", "2", "three")];
        assert_eq!(self.post(&others), [204; 3], "over one connection");
        assert_eq!(self.ask(BODIES), "one three two");

        let late = ("orders", "3", "late");
        self.ask("ALTER TABLE orders RENAME TO away");
        assert_eq!(self.post(&[late]), [500]);
        self.ask("ALTER TABLE away RENAME TO orders");
        assert_eq!(self.post(&[late, late]), [204; 2]);
        assert_eq!(self.ask(BODIES), "late one three two");
        self.applies_once_under_load();
    }

    /// As many connections as the sidecar opens by default, all at once; each ID comes twice.
    fn applies_once_under_load(&self) {
        let before: usize = self.ask(COUNT).parse().expect("a count");
        std::thread::scope(|scope| {
            let post = |number: usize| move || self.post(&[("load", &(number / 2).to_string(), "load")]);
            let posts: Vec<_> = (0..IN_FLIGHT).map(|number| scope.spawn(post(number))).collect();
            for statuses in posts {
                assert_eq!(statuses.join().expect("an answer"), [204]);
            }
        });
        assert_eq!(self.ask(COUNT), (before + IN_FLIGHT / 2).to_string());
    }

    /// Posts messages one after another over one connection; the statuses of the answers.
    fn post(&self, messages: &[Message]) -> Vec<u16> {
        let mut stream = TcpStream::connect(self.address()).expect("a connection");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        for (nth, (topic, id, body)) in messages.iter().enumerate() {
            let connection = if nth + 1 == messages.len() { "close" } else { "keep-alive" };
            let request = format!(
                "POST /messages HTTP/1.1\r\nhost: app\r\nconnection: {connection}\r\ncontent-length: {}\r\n\
                 idempotency-key: {id}\r\nonce-delivery: first\r\nkafka-topic: {topic}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).expect("a request");
        }
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("answers");
        let statuses = answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse());
        statuses.collect::<Result<_, _>>().expect("statuses")
    }

    /// What the app's database answers, in words.
    fn ask(&self, sql: &str) -> String {
        const ASK: &str = "import sqlite3, sys\n\
            with sqlite3.connect('app.db', timeout=15) as db:\n    \
            rows = db.execute(sys.argv[1]).fetchall()\n\
            print(*[v.decode() if isinstance(v, bytes) else v for row in rows for v in row])";
        let mut python = Command::new("python3");
        let answer = python.args(["-c", ASK, sql]).current_dir(self.copy.dir.path()).output().expect("python3");
        assert!(answer.status.success(), "{sql}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }
}

const COUNT: &str = "SELECT count(*) FROM orders";
const BODIES: &str = "SELECT body FROM orders ORDER BY CAST(body AS TEXT)";
