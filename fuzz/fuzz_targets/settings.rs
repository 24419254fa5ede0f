//! Settings from any environment: no panic, and no secret in what is said.
#![no_main]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use kafka_once::settings::{Settings, example, table};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "hunter2hunter2";

/// The names of all variables, from the table of the documentation.
fn names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let page = table::markdown();
        page.split('`').filter(|word| word.starts_with("ONCE_")).map(str::to_owned).collect()
    })
}

fuzz_target!(|text: &str| {
    let mut pairs: BTreeMap<&str, &str> = example();
    for line in text.lines() {
        let Some((which, value)) = line.split_once('=') else { continue };
        let name = which.parse::<usize>().map_or(which, |at| names()[at % names().len()].as_str());
        if !name.is_empty() && !name.contains('\0') && !value.contains('\0') {
            pairs.insert(name, value);
        }
    }
    let pairs: Vec<(&str, String)> =
        pairs.into_iter().map(|(name, value)| (name, value.replace("SECRET", SECRET))).collect();
    let given: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let said = match Settings::from_pairs(&given) {
        Ok(settings) => format!("{settings:?}"),
        Err(problems) => problems.to_string(),
    };
    let secret_is_a_password = given.iter().any(|(name, value)| *name == "ONCE_REDIS_URL" && value.contains(":SECRET@"));
    assert!(!secret_is_a_password || !said.contains(SECRET), "{said}");
});
