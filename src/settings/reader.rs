//! Gathers the `ONCE_*` variables, strictly, and hands their texts to the sections' parsers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;

use config::{Config, Environment};

use super::commands::Command;
use super::files::{self, Files};
use super::problems::{Fault, Problem, Problems, quoted};
use super::properties::{self, Property};
use super::table::{self, Preset, Variable};
use super::unknown;

/// What one name of the environment sets.
struct Known {
    /// The variable itself, without `_FILE`.
    base: String,
    is_file: bool,
}

/// The texts of all variables that the command needs, and the problems found so far.
pub(super) struct Reader {
    texts: HashMap<String, String>,
    /// Names that are set, sound or not: a name set badly is not also "missing".
    named: BTreeSet<String>,
    /// What was found, each with its place in the table.
    problems: Vec<(usize, Problem)>,
}

impl Reader {
    /// Takes in every `ONCE_*` variable; names that the command does not need are checked for
    /// spelling only.
    pub(super) fn gather(command: Command, vars: impl Iterator<Item = (OsString, OsString)>, files: Files<'_>) -> Self {
        let mut reader = Self { texts: HashMap::new(), named: BTreeSet::new(), problems: Vec::new() };
        let mut direct = BTreeMap::new();
        let mut from_files = BTreeMap::new();
        // Sorted, so that the answer does not depend on the environment's order.
        for (name, value) in reader.own_names(vars) {
            let Some(known) = identify(&name) else {
                reader.problem(&name, unknown::fault(&name, &value));
                continue;
            };
            if !command.needs(&known.base) {
                continue;
            }
            reader.named.insert(known.base.clone());
            let text = reader.text_of(&name, value);
            let Some(text) = text else { continue };
            if known.is_file {
                from_files.insert(known.base.clone(), (name, text));
            } else {
                direct.insert(known.base, text);
            }
        }
        for (base, (name, path)) in from_files {
            if reader.named_directly(&base, &direct) {
                let what = format!("is set, and so is {base}");
                reader.problem(&name, Fault::new(what, "set only one of the two"));
                continue;
            }
            match files::value(&path, files) {
                Ok(text) => {
                    direct.insert(base, text);
                }
                Err(fault) => reader.problem(&name, fault),
            }
        }
        reader.layer(direct);
        reader
    }

    /// The text of a variable that must have one; notes a problem when it has none.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        if !self.texts.contains_key(&key(name)) && !self.named.contains(name) {
            let help = table::find(name).map_or("", |variable| variable.help);
            let remedy = format!("set it ({})", help.replace('`', ""));
            self.problem(name, Fault::new("is required and not set", remedy));
        }
        self.optional(name, parse)
    }

    /// The text of a variable, parsed; `None` when it is not set or was refused, which is noted.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        let text = self.texts.get(&key(name))?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(fault) => {
                let secret = is_secret(name);
                let what = format!("{} {}", quoted(text, secret), fault.what);
                self.problem(name, Fault::new(what, fault.remedy));
                None
            }
        }
    }

    /// Like [`Self::optional`] for a relation: a text that does not parse was already noted.
    pub(super) fn peek<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        parse(self.texts.get(&key(name))?).ok()
    }

    /// Whether the variable is set, directly or by its `_FILE` twin, soundly or not.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.named.contains(name)
    }

    /// The variables of Kafka properties that are set, sorted by name.
    pub(super) fn properties(&self) -> Vec<(String, &'static Property)> {
        let named = self.named.iter().filter(|name| self.texts.contains_key(&key(name)));
        named.filter_map(|name| Some((name.clone(), properties::by_variable(name)?))).collect()
    }

    /// Notes a problem; its words must hold nothing of a secret.
    pub(super) fn problem(&mut self, name: &str, fault: Fault) {
        let rank = if name.starts_with(properties::PREFIX) {
            table::rank(table::PROPERTY_ROW)
        } else {
            identify(name).map_or(table::TABLE.len(), |known| table::rank(&known.base))
        };
        let problem = Problem { variable: name.to_owned(), what: fault.what, remedy: fault.remedy };
        self.problems.push((rank, problem));
    }

    /// The whole, or everything that was wrong, in the order of the table.
    pub(super) fn finish<T>(mut self, whole: Option<T>) -> Result<T, Problems> {
        match whole {
            Some(whole) if self.problems.is_empty() => Ok(whole),
            _ => {
                self.problems.sort_by_key(|(rank, _)| *rank);
                let sorted = self.problems.into_iter().map(|(_, problem)| problem);
                Err(Problems::new(sorted.collect()))
            }
        }
    }

    /// The variables whose name begins with `ONCE_`, sorted; a name that is not UTF-8 is a problem.
    fn own_names(&mut self, vars: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, OsString> {
        let mut own = BTreeMap::new();
        for (name, value) in vars {
            if !name.as_encoded_bytes().starts_with(b"ONCE_") {
                continue;
            }
            match name.into_string() {
                Ok(name) => {
                    own.insert(name, value);
                }
                Err(name) => {
                    let fault = Fault::new("has a name that is not UTF-8", "remove it");
                    self.problem(&name.to_string_lossy(), fault);
                }
            }
        }
        own
    }

    fn text_of(&mut self, name: &str, value: OsString) -> Option<String> {
        let Ok(text) = value.into_string() else {
            let fault = Fault::new("has a value that is not UTF-8", "write it in UTF-8");
            self.problem(name, fault);
            return None;
        };
        if text.is_empty() {
            let fault = Fault::new("is empty", "unset it or give a value");
            self.problem(name, fault);
            return None;
        }
        if text.contains('\0') {
            self.problem(name, Fault::new("holds a NUL", "remove it"));
            return None;
        }
        Some(text)
    }

    /// Whether the variable itself is set, be it well or badly.
    fn named_directly(&self, base: &str, direct: &BTreeMap<String, String>) -> bool {
        let refused = |problem: &Problem| problem.variable == base;
        direct.contains_key(base) || self.problems.iter().any(|(_, problem)| refused(problem))
    }

    /// Lays what is set over the defaults, by the `config` crate.
    fn layer(&mut self, set: BTreeMap<String, String>) {
        let mut defaults = table::TABLE.iter().filter_map(default_of);
        let built = defaults
            .try_fold(Config::builder(), |builder, (name, text)| builder.set_default(key(name), text))
            .and_then(|builder| {
                let set = Environment::default().source(Some(set.into_iter().collect()));
                builder.add_source(set).build()
            })
            .and_then(Config::try_deserialize::<HashMap<String, String>>);
        match built {
            Ok(texts) => self.texts = texts,
            // Cannot happen with known names and texts; its words might quote a value, so none are shown.
            Err(_) => self.problem("ONCE_*", Fault::new("cannot be read", "report this as a bug")),
        }
    }
}

/// The variable that a name sets, directly or as a `_FILE` twin; `None` when there is no such.
fn identify(name: &str) -> Option<Known> {
    if name != table::PROPERTY_ROW && secrecy(name).is_some() {
        return Some(Known { base: name.to_owned(), is_file: false });
    }
    let base = name.strip_suffix("_FILE")?;
    secrecy(base)?.then(|| Known { base: base.to_owned(), is_file: true })
}

/// Whether the variable of that exact name holds a secret; `None` when there is none.
fn secrecy(name: &str) -> Option<bool> {
    match table::find(name) {
        Some(variable) => Some(variable.secret),
        None => properties::by_variable(name).map(Property::secret),
    }
}

fn is_secret(name: &str) -> bool {
    secrecy(name).unwrap_or(true)
}

fn default_of(variable: &Variable) -> Option<(&'static str, &'static str)> {
    match variable.preset {
        Preset::Text(text) => Some((variable.name, text)),
        Preset::Required | Preset::Unset(_) => None,
    }
}

/// The name as the `config` crate holds it.
fn key(name: &str) -> String {
    name.to_lowercase()
}
