//! The rules. Each says what is wrong, where, and what to do about it.

use super::source::Source;

/// Lines of a file at most.
const MOST_LINES: usize = 400;

/// Files that may be longer, each with its reason.
const LONG: [(&str, &str); 4] = [
    ("src/domain/life/mod.rs", "every state, event and effect of a record's life, most of it documentation"),
    ("src/domain/life/tests.rs", "one sentence for each turn a record's life may take"),
    ("src/settings/tests.rs", "one table of settings"),
    ("src/adapters/app/tests.rs", "one table of answers"),
];

/// Which layer may name which. A name stands for everything below it.
const LAYERS: [(&str, &[&str]); 10] = [
    ("domain", &["domain"]),
    ("settings", &["domain", "settings"]),
    ("telemetry", &["domain", "telemetry"]),
    ("ports", &["domain", "ports"]),
    ("failpoints", &["failpoints"]),
    ("adapters", &["domain", "settings", "telemetry", "ports", "failpoints"]),
    ("pipeline", &["domain", "telemetry", "ports", "failpoints", "pipeline"]),
    ("sidecar", &["domain", "settings", "telemetry", "ports", "adapters", "pipeline", "sidecar"]),
    ("cli", &["domain", "settings", "telemetry", "ports", "adapters", "pipeline", "sidecar", "cli"]),
    ("lib", &[]),
];

/// Everything that is wrong with a file.
pub fn all(source: &Source) -> Vec<String> {
    [imports, crates, clocks, panics, sentence, length].iter().flat_map(|rule| rule(source)).collect()
}

/// An import only looks down.
fn imports(source: &Source) -> Vec<String> {
    let module = source.module();
    let layer = module[0];
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else { return Vec::new() };
    let mut found = Vec::new();
    for (line, code) in &source.code {
        for target in names(&module, code) {
            let same = |name: &&str| target.get(1).is_some_and(|target| target == name);
            let own_adapter = layer == "adapters" && target[0] == layer && module.get(1).is_none_or(same);
            let is_layer = LAYERS.iter().any(|(name, _)| *name == target[0]);
            if is_layer && !own_adapter && !allowed.contains(&target[0].as_str()) {
                let depth = if target[0] == "adapters" { 2 } else { 1 };
                let named = target.iter().take(depth).cloned().collect::<Vec<_>>().join("::");
                found.push(format!(
                    "{}:{line} names {named}: {layer} may name only {}; move what is shared down, or the use of it up",
                    source.path,
                    allowed.join(", ")
                ));
            }
        }
    }
    found
}

/// The modules that a line names by `crate::` or `super::`, from the root on.
fn names(module: &[&str], code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in starts(code, "crate::") {
        let rest = &code[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(members(group).into_iter().map(|member| path(&member)));
        } else {
            found.push(path(rest));
        }
    }
    for start in starts(code, "super::").into_iter().filter(|start| !code[..*start].ends_with("super::")) {
        let chain = &code[start..];
        let ups = chain.split("super::").take_while(|part| part.is_empty()).count();
        let rest = chain.trim_start_matches("super::");
        let Some(depth) = module.len().checked_sub(ups) else { continue };
        let members = rest.strip_prefix('{').map_or_else(|| vec![rest.to_owned()], members);
        for member in members {
            found.push(module[..depth].iter().map(|part| (*part).to_owned()).chain(path(&member)).collect());
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// The members of a group of imports, as far as they stand on this line.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut members) = (0, vec![String::new()]);
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            _ => {}
        }
        if let Some(last) = members.last_mut().filter(|_| letter != ',' || depth > 0) {
            last.push(letter);
        }
    }
    members.iter().map(|member| member.trim().to_owned()).collect()
}

/// The names of a path, up to the first that is no module's.
fn path(text: &str) -> Vec<String> {
    let end =
        text.find(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':').unwrap_or(text.len());
    text[..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Where a word begins that is no part of a longer one.
fn starts(code: &str, word: &str) -> Vec<usize> {
    let inside = |at: usize| code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    code.match_indices(word).map(|(at, _)| at).filter(|at| !inside(*at)).collect()
}

/// The domain uses no crate but the standard library.
fn crates(source: &Source) -> Vec<String> {
    if source.module()[0] != "domain" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, code) in &source.code {
        for name in dependencies().iter().filter(|name| !starts(code, &format!("{name}::")).is_empty()) {
            found.push(format!(
                "{}:{line} uses the crate {name}: the domain uses std only; pass a value in, or do it in the pipeline",
                source.path
            ));
        }
    }
    found
}

fn dependencies() -> Vec<String> {
    let manifest = include_str!("../../Cargo.toml");
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with("[lints"));
    let names = lines.filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")));
    names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Time and chance are arguments: one file reads the clocks and throws the dice.
fn clocks(source: &Source) -> Vec<String> {
    const CLOCK: &str = "src/pipeline/clock.rs";
    if !["domain", "pipeline"].contains(&source.module()[0]) || source.path == CLOCK {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, code) in &source.code {
        let words =
            [("Instant::now", "reads a clock"), ("SystemTime::now", "reads a clock"), ("rand::", "throws dice")];
        if let Some((_, does)) = words.iter().find(|(word, _)| !starts(code, word).is_empty()) {
            found.push(format!("{}:{line} {does}: take it as an argument, or from {CLOCK}", source.path));
        }
    }
    found
}

/// Nothing panics on data from outside.
fn panics(source: &Source) -> Vec<String> {
    let words = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("];
    let breach = |code: &str| words.iter().find(|word| code.contains(*word)).copied();
    let lines = source.code.iter().filter_map(|(line, code)| Some((line, breach(code)?)));
    lines
        .map(|(line, word)| format!("{}:{line} may panic ({word}): return an error that knows its fate", source.path))
        .collect()
}

/// Every module begins with one sentence on what it is for.
fn sentence(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}:1 does not say what it is for: begin it with one `//!` sentence", source.path)]
}

/// Files stay small.
fn length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= MOST_LINES || LONG.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let path = &source.path;
    vec![format!("{path}:{lines} has more than {MOST_LINES} lines: split it, or list it here with the reason")]
}
