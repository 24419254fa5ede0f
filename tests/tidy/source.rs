//! A source file as the rules see it: its place in the module tree, and its code without comments and tests.

use std::path::Path;

/// One file below `src`.
pub struct Source {
    /// From the repository's root on, with slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The lines of code with their numbers: no comments, no inline test module. Empty for a file of tests.
    pub code: Vec<(usize, String)>,
}

impl Source {
    /// A file at a path with a text.
    pub fn new(path: &str, text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].ends_with('{'));
        let code = lines.iter().take(end.unwrap_or(lines.len())).enumerate();
        let code = code.map(|(place, line)| (place + 1, line.split("//").next().unwrap_or_default().to_owned()));
        let code = if is_test(path) { Vec::new() } else { code.collect() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The module that it is: `["adapters", "kafka", "owned"]`.
    pub fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| *part != "mod").collect()
    }
}

fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name == "tests.rs" || name.ends_with("_tests.rs") || path.contains("/tests/")
}

/// Every file below `src`, in the order of their names.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).expect("a text");
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                found.push(Source::new(&name, &text));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}
