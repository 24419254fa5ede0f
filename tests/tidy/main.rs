//! The house rules that no compiler keeps: imports look down, one file reads the clock, nothing panics, files stay small.

mod rules;
mod source;

use source::{Source, sources};

/// Every rule, on every file of `src`.
#[test]
fn the_house_is_tidy() {
    let found: Vec<String> = sources().iter().flat_map(rules::all).collect();
    assert!(found.is_empty(), "{} things to tidy up:\n{}", found.len(), found.join("\n"));
}

/// Each rule on a snippet that breaks it: what it says must name the place and what to do.
#[test]
fn every_rule_bites() {
    let long = format!("//! Long.\n{}", "\n".repeat(401));
    for (path, text, word) in [
        ("src/domain/life/mod.rs", "use crate::ports::App;", "domain may name only domain"),
        ("src/domain/claim.rs", "use crate::{domain::time::Now, settings::Settings};", "names settings"),
        ("src/domain/claim.rs", "use super::super::telemetry::Metrics;", "names telemetry"),
        ("src/domain/time.rs", "use serde::Serialize;", "crate serde"),
        ("src/domain/time.rs", "fn f() { tokio::spawn(g()); }", "crate tokio"),
        ("src/settings/url.rs", "use crate::telemetry::Metrics;", "names telemetry"),
        ("src/telemetry/books.rs", "use crate::ports::Intake;", "names ports"),
        ("src/ports.rs", "use crate::pipeline::Clock;", "names pipeline"),
        ("src/adapters/app/line.rs", "use crate::adapters::kafka::KafkaLog;", "names adapters::kafka"),
        ("src/adapters/app/mod.rs", "use super::claims::Store;", "names adapters::claims"),
        ("src/adapters/kafka/consumer.rs", "let c = crate::pipeline::Clock::of_host();", "names pipeline"),
        ("src/adapters/kafka/consumer.rs", "use crate::sidecar::Sidecar;", "names sidecar"),
        ("src/pipeline/mod.rs", "use crate::adapters::claims::Store;", "names adapters::claims"),
        ("src/pipeline/mod.rs", "use crate::settings::Settings;", "names settings"),
        ("src/sidecar/mod.rs", "use crate::cli::run;", "names cli"),
        ("src/domain/life/mod.rs", "use crate::failpoints::pass;", "names failpoints"),
        ("src/failpoints.rs", "use crate::pipeline::Clock;", "names pipeline"),
        ("src/pipeline/desk.rs", "let now = tokio::time::Instant::now();", "reads a clock"),
        ("src/domain/retry.rs", "let now = std::time::SystemTime::now();", "reads a clock"),
        ("src/pipeline/desk.rs", "let chance: f64 = rand::random();", "throws dice"),
        ("src/cli/run.rs", "let x = y.unwrap();", "may panic"),
        ("src/cli/run.rs", "let x = y\n    .expect(\"there\");", "src/cli/run.rs:3"),
        ("src/cli/run.rs", "todo!()", "may panic"),
        ("src/cli/run.rs", "panic!(\"no\")", "may panic"),
        ("src/cli/run.rs", &long, "lines"),
    ] {
        let text =
            if text.starts_with("//!") { text.to_owned() } else { format!("//! It has its sentence.\n{text}\n") };
        let found = rules::all(&Source::new(path, &text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].contains(word) && found[0].starts_with(path), "{word:?} is not in {found:?}");
    }
    let found = rules::all(&Source::new("src/cli/run.rs", "use std::fmt;\n"));
    assert!(found[0].contains("begin it with one `//!` sentence"), "{found:?}");
}

/// What looks like a breach and is none.
#[test]
fn no_rule_bites_the_innocent() {
    for (path, text) in [
        ("src/domain/life/claiming.rs", "use super::{Life, State};\nuse crate::domain::claim::Spent;"),
        ("src/domain/time.rs", "/// See [`crate::pipeline::Clock`]; never `unwrap()` it.\nfn f() {}"),
        ("src/adapters/claims/redis/mod.rs", "use super::store::Store;\nuse crate::adapters::claims::memory;"),
        ("src/pipeline/clock.rs", "let now = Instant::now(); let x: u8 = rand::random();"),
        ("src/pipeline/desk.rs", "#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap(); let y = Instant::now(); }\n}"),
        ("src/pipeline/tests.rs", "fn f() { x.unwrap() }"),
        ("src/sidecar/mod.rs", "use crate::{adapters::app::HttpApp, pipeline::Pipeline, settings::Settings};"),
        ("src/cli/run.rs", "let x = y.unwrap_or_default().expect_err; use crate::sidecar::Sidecar;"),
    ] {
        let found = rules::all(&Source::new(path, &format!("//! It has its sentence.\n{text}\n")));
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

/// What lets tests kill the process is in no build that anybody runs.
#[test]
fn failpoints_are_in_no_build_that_ships() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("a text");
    let manifest = read("Cargo.toml");
    let features = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("features");
    let features: Vec<&str> =
        features.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(features, ["failpoints = []"], "no default feature, and none that brings it in");
    let tests = ["cargo clippy", "cargo test"];
    for name in ["Dockerfile", "README.md", "Makefile"] {
        for line in read(name).lines().filter(|line| line.contains("cargo ")) {
            let armed = line.contains("feature") || line.contains("ARMED");
            assert!(!armed || tests.iter().any(|test| line.trim_start().contains(test)), "{name}: {line}");
        }
    }
}
