//! `docs/operations.md` leaves nothing out that an operator may be told.

use kafka_once::domain::reasons::PauseReason;
use kafka_once::telemetry::catalog;

use crate::{path, read};

fn page() -> String {
    read("docs/operations.md")
}

#[test]
fn each_reason_of_a_pause_is_explained() {
    let page = page();
    for reason in PauseReason::ALL {
        assert!(page.contains(&format!("| `{reason}` |")), "{reason} has no row");
    }
}

#[test]
fn each_metric_is_explained() {
    let page = page();
    for row in catalog::markdown().lines().filter(|line| line.starts_with("| `kafka_once_")) {
        let name = row.trim_start_matches("| `kafka_once_").split('`').next().expect("a name");
        assert!(page.contains(&format!("`{name}`")), "{name} is not explained");
    }
}

#[test]
fn each_line_of_level_error_or_warn_is_explained_under_its_level() {
    let page = page();
    let (_, lines) = page.split_once("### error").expect("a part for errors");
    let (errors, warnings) = lines.split_once("### warn").expect("a part for warnings");
    let mut found = 0;
    for file in sources(&path("src")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (level, part) in [("error", errors), ("warn", warnings)] {
            for message in messages(text, level) {
                assert!(part.contains(&format!("`{message}`")), "{}: {level} {message:?}", file.display());
                found += 1;
            }
        }
    }
    assert!(found > 50, "only {found} lines were found");
}

fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_source = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|ext| ext == "rs") && path.file_name().is_some_and(|name| name != "tests.rs")
    };
    files.into_iter().filter(is_source).chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// The message of each call: the last text among its arguments.
fn messages(text: &str, level: &str) -> Vec<String> {
    let call = format!("tracing::{level}!(");
    let calls = text.split(&call).skip(1);
    calls
        .map(|call| last_text(call).unwrap_or_else(|| panic!("no message in {}", &call[..80.min(call.len())])))
        .collect()
}

/// The last string literal before the parenthesis that closes the call.
fn last_text(call: &str) -> Option<String> {
    let (mut depth, mut last, mut chars) = (0, None, call.chars());
    while let Some(char) = chars.next() {
        match char {
            '(' => depth += 1,
            ')' if depth == 0 => return last,
            ')' => depth -= 1,
            '"' => last = Some(literal(&mut chars)),
            _ => {}
        }
    }
    None
}

/// The rest of a string literal; a backslash at the end of a line joins it with the next.
fn literal(chars: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' if chars.as_str().starts_with('\n') => {
                let rest = chars.as_str().trim_start();
                *chars = rest.chars();
            }
            '\\' => text.extend(chars.next()),
            char => text.push(char),
        }
    }
    text
}
