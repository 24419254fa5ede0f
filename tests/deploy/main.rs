//! What operators apply: the image, the plain manifest and the chart keep what the sidecar's promises rest on.

#[path = "../support/mod.rs"]
mod support;

mod chart;
mod image;
mod manifest;

/// A file of the package as text.
fn read(path: &str) -> String {
    std::fs::read_to_string(support::available::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
