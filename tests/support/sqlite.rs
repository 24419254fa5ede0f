//! A real `SQLite` database, reached through Python's standard library: each connection is a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};

use super::available::{on_path, skip};

/// Reads one statement a line and answers with one line; ends with its input, so it never outlives the test.
const PYTHON: &str = r#"
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
for line in sys.stdin:
    try:
        cursor = db.execute(*json.loads(line))
        answer = {"rows": cursor.fetchall(), "changed": cursor.rowcount}
    except sqlite3.Error as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"#;

/// One connection.
pub struct Sqlite {
    process: Child,
    statements: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What one statement did.
#[derive(Debug)]
pub struct Done {
    /// The rows of a query.
    pub rows: Vec<Vec<Value>>,
    /// How many rows a change touched.
    pub changed: i64,
}

impl Sqlite {
    /// Opens a database, made if it is not there; `None` (recorded as a skip) without python3.
    pub fn open(path: &Path) -> Option<Self> {
        if !on_path("python3") {
            skip("no python3");
            return None;
        }
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.spawn().expect("python3 starts");
        let statements = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("its output"));
        let mut database = Self { process, statements, answers };
        database.run("PRAGMA synchronous = OFF", &json!({})).expect("a database"); // a test's crash is no power cut
        Some(database)
    }

    /// Runs one statement with named values. The error is what the database says; a lock held elsewhere is one, at once.
    pub fn run(&mut self, sql: &str, values: &Value) -> anyhow::Result<Done> {
        let statements = self.statements.as_mut().context("closed")?;
        writeln!(statements, "{}", json!([sql, values]))?;
        statements.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).context("no answer of python3")?;
        if let Some(error) = answer["error"].as_str() {
            anyhow::bail!("{error}: {sql}");
        }
        let rows = serde_json::from_value(answer["rows"].clone())?;
        Ok(Done { rows, changed: answer["changed"].as_i64().context("no count")? })
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.statements.take();
        let _ = self.process.wait();
    }
}
