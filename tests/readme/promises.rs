//! `docs/promises.md` names tests that exist, and leaves no promise, hole or fault out.

use crate::{path, read};

const PAGE: &str = "docs/promises.md";

/// Rows that must stand in the tables: promises, holes, faults, commands.
fn wanted() -> Vec<String> {
    let numbered = |letter: char, last: u32| (1..=last).map(move |number| format!("{letter}{number}"));
    numbered('P', 6).chain(numbered('H', 24)).chain(numbered('F', 22)).chain(numbered('C', 10)).collect()
}

/// The rows of all tables, each as its cells, without heads and rules.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|line| line.split(" | ").map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| cells[0] != "#").collect()
}

/// `file.rs::test_name` in a cell.
fn tests_of(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|span| span.split_once("::")).collect()
}

#[test]
fn every_test_that_holds_a_promise_exists() {
    let page = read(PAGE);
    let mut missing = Vec::new();
    for (file, name) in rows(&page).iter().flat_map(|cells| tests_of(cells[cells.len() - 1])) {
        let text = std::fs::read_to_string(path(file)).unwrap_or_default();
        if !["(", "<"].iter().any(|next| text.contains(&format!("fn {name}{next}"))) {
            missing.push(format!("{file}::{name}"));
        }
    }
    assert!(missing.is_empty(), "{PAGE} names tests that are not there: {missing:#?}");
}

#[test]
fn every_promise_hole_and_fault_has_its_row() {
    let page = read(PAGE);
    let rows = rows(&page);
    let numbers: Vec<&str> = rows.iter().map(|cells| cells[0]).filter(|number| *number != "B").collect();
    assert_eq!(numbers, wanted());
}

#[test]
fn a_row_names_tests_or_says_that_they_come_later() {
    let page = read(PAGE);
    let later = |cell: &str| (1..=6).any(|part| cell.contains(&format!("later (part {part})")));
    let rows = rows(&page);
    assert!(!rows.is_empty());
    for cells in rows {
        let held = cells[cells.len() - 1];
        assert!(!tests_of(held).is_empty() || later(held), "{cells:?}");
    }
}
