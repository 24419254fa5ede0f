//! What people read says what the code says: tables, samples, paths, and the tests that hold each promise.
//!
//! `UPDATE_DOCS=1 cargo test --test readme` writes the generated parts anew.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod apps;
mod fence;
mod operations;
mod pages;
mod promises;

use std::path::PathBuf;

/// Where a file of the package stands.
fn path(name: &str) -> PathBuf {
    support::available::root().join(name)
}

/// A file of the package as text.
fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
