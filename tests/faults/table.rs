//! The table of `make soak`: it adds up what scenarios put on record, and fails when a promise was broken.

use std::process::Command;

use crate::support::available::root;

/// What the table prints, and whether it is content, for these records.
fn table(audits: &str, failed: &str, sizes: &str) -> (String, bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let recoveries = "a::one\tkill\t9.0\na::one\tkill\t3.0\na::one\tkill\t4.0\n";
    let files = [
        ("audits", audits),
        ("failed", failed),
        ("sizes", sizes),
        ("recoveries", recoveries),
        ("left_out", "b::two\n"),
    ];
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("a record");
    }
    let script = root().join("tests/soak-table");
    let done = Command::new(script).arg(dir.path()).args(["100000", "61"]).output().expect("bash and awk");
    (String::from_utf8_lossy(&done.stdout).into_owned(), done.status.success())
}

/// Scenario, mode, then what the auditor counted.
const WELL: &str = "a::one\trepeat\t3000\t0\t0\t4\t0\t0\na::one\tlookup\t3000\t0\t0\t0\t0\t0\n";
const SIZES: &str = "a::one\t3000\t40\na::one\t3000\t41\n";

#[test]
fn the_table_adds_up_what_was_audited_and_how_long_it_took_to_recover() {
    let (printed, content) = table(WELL, "", SIZES);
    assert!(content, "{printed}");
    for line in [
        "    2      6000      0        0         4       0  a::one",
        "    2      6000      0        0         4       0  all",
        "      3    4.0 s    9.0 s  kill",
        "NOT RUN for want of time, 1 scenarios:",
        "2 scenarios had fewer than 100000 messages",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
}

#[test]
fn the_soak_fails_when_anything_was_lost_repeated_outside_doubt_or_failed() {
    let broken = [
        ("lost", "a::one\trepeat\t2999\t1\t0\t0\t0\t0\n", ""),
        ("repeated outside doubt", "a::one\trepeat\t3000\t0\t1\t0\t0\t0\n", ""),
        ("repeated in doubt although the app was asked", "a::one\tlookup\t3000\t0\t0\t1\t0\t0\n", ""),
        ("out of order", "a::one\trepeat\t3000\t0\t0\t0\t1\t0\n", ""),
        ("committed past an open record", "a::one\trepeat\t3000\t0\t0\t0\t0\t1\n", ""),
        ("failed", "", "a::one\n"),
    ];
    for (what, audits, failed) in broken {
        let (printed, content) = table(&format!("{WELL}{audits}"), failed, SIZES);
        assert!(!content, "{what}\n{printed}");
    }
    assert!(!table("", "", "").1, "nothing ran");
}
