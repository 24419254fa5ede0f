//! The generated parts of pages are those that the code generates, and what pages point at exists.

use kafka_once::{settings, telemetry};

use crate::{path, read};

/// Every page with links and paths in it.
const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/apps/README.md",
    "docs/dead-letters.md",
    "docs/loss.md",
    "docs/metrics.md",
    "docs/operations.md",
    "docs/promises.md",
];

/// A part of a page between `<!-- NAME -->` and `<!-- /NAME -->`, and what must stand there.
fn generated() -> [(&'static str, &'static str, String); 5] {
    [
        ("README.md", "settings", settings::table::markdown()),
        ("README.md", "app-python", fenced("python", "docs/apps/python/app.py")),
        ("README.md", "app-node", fenced("js", "docs/apps/node/app.js")),
        ("README.md", "app-go", fenced("go", "docs/apps/go/main.go")),
        ("docs/metrics.md", "metrics", telemetry::catalog::markdown()),
    ]
}

fn fenced(language: &str, file: &str) -> String {
    format!("```{language}\n{}\n```\n", read(file).trim_end())
}

/// The page before the part, the part, the page after it.
fn split<'a>(page: &'a str, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = page.find(&open)? + open.len();
    let length = page[start..].find(&close)?;
    Some((&page[..start], &page[start..start + length], &page[start + length..]))
}

#[test]
fn the_generated_parts_of_pages_are_those_of_the_code() {
    let update = std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1");
    for (file, name, wanted) in generated() {
        let page = read(file);
        let (before, found, after) = split(&page, name).unwrap_or_else(|| panic!("{file} has no part {name}"));
        if update && found != wanted {
            let written = std::fs::write(path(file), format!("{before}{wanted}{after}"));
            written.unwrap_or_else(|error| panic!("{file}: {error}"));
        } else {
            assert!(
                found == wanted,
                "{file}: the part {name} is not what the code says; write it anew by\n\
                 UPDATE_DOCS=1 cargo test --test readme\nwanted:\n{wanted}\nfound:\n{found}"
            );
        }
    }
}

#[test]
fn a_newcomers_page_stays_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 300, "README.md has {lines} lines");
}

#[test]
fn every_link_of_a_page_leads_to_a_file() {
    let mut checked = 0;
    for page in PAGES {
        let folder = path(page).parent().expect("a page stands in a folder").to_owned();
        for target in links(&read(page)) {
            let file = target.split('#').next().unwrap_or_default();
            assert!(file.is_empty() || folder.join(file).exists(), "{page} links to {target}");
            checked += 1;
        }
    }
    assert!(checked > 0, "no link was found");
}

/// The targets of Markdown links that stay within the package.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let page = read("ARCHITECTURE.md");
    let spans = page.split('`').skip(1).step_by(2);
    let roots = ["src/", "tests/", "deploy/", "helm/", "docs/", "benches/"];
    let named: Vec<&str> = spans.filter(|span| roots.iter().any(|root| span.starts_with(root))).collect();
    assert!(named.len() > 20, "only {named:?}");
    let gone: Vec<&&str> = named.iter().filter(|name| !path(name.trim_end_matches('/')).exists()).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names what is not there: {gone:?}");
}
