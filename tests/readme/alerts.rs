//! The alert rules ask for metrics that exist, by labels and words that exist, and Prometheus takes them.

use std::process::Command;

use kafka_once::telemetry::catalog::{ALL, Family, Kind, PREFIX};
use serde_json::Value;

use crate::support::available::{on_path, skip};
use crate::{path, read};

const RULES: &str = "deploy/alerts.yaml";

fn rules() -> Vec<Value> {
    let file: Value = serde_yaml_ng::from_str(&read(RULES)).expect("YAML");
    let groups = file["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).cloned().collect()
}

/// Every metric an expression asks for, with the text behind its name.
fn metrics(expression: &str) -> Vec<(&str, &str)> {
    let starts = expression.match_indices(PREFIX).map(|(at, _)| &expression[at..]);
    let end = |text: &str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    starts.map(|text| text.split_at(end(text))).collect()
}

fn family(name: &str) -> Option<&'static Family> {
    let names = |family: &Family| {
        let full = family.full_name();
        let parts = [format!("{full}_bucket"), format!("{full}_sum"), format!("{full}_count")];
        if family.kind == Kind::Histogram { parts.iter().any(|part| part == name) } else { full == name }
    };
    ALL.iter().find(|family| names(family))
}

/// `label OP "a|b"` in braces behind a name.
fn matchers(behind: &str) -> Vec<(&str, Vec<&str>)> {
    let Some(inside) = behind.strip_prefix('{').and_then(|rest| rest.split('}').next()) else { return Vec::new() };
    let one = |text| {
        let (label, quoted): (&str, &str) = str::split_once(text, ['=', '!']).expect("a matcher");
        (label.trim(), quoted.trim_matches(['=', '~', '"', ' ']).split('|').collect())
    };
    inside.split(',').map(one).collect()
}

#[test]
fn alerts_ask_for_metrics_labels_and_words_that_exist() {
    let rules = rules();
    assert!(!rules.is_empty());
    for rule in &rules {
        let (alert, expression) = (&rule["alert"], rule["expr"].as_str().expect("an expression"));
        let asked = metrics(expression);
        assert!(!asked.is_empty(), "{alert} asks for nothing of ours");
        for (name, behind) in asked {
            let family = family(name).unwrap_or_else(|| panic!("{alert}: no metric {name}"));
            for (label, words) in matchers(behind) {
                let known = family.labels.iter().find(|known| known.name == label);
                let known = known.unwrap_or_else(|| panic!("{alert}: {name} has no label {label}"));
                let set = (known.words)();
                assert!(words.iter().all(|word| set.contains(word)), "{alert}: {label} of {name} is never {words:?}");
            }
        }
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{alert} has no {text}");
        }
    }
}

#[test]
fn prometheus_takes_the_alert_rules() {
    if !on_path("promtool") {
        return skip("no promtool (Debian package prometheus)");
    }
    let checked = Command::new("promtool").args(["check", "rules"]).arg(path(RULES)).output().expect("promtool");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
