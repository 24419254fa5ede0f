//! What is wrong with the settings: every problem at once, and never a secret in any of them.

use std::fmt;

/// Longest part of a value that a problem repeats, in characters.
const SHOWN_MAX: usize = 120;

/// One thing that is wrong with one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable's name as it stands in the environment.
    pub variable: String,
    /// What is wrong; quotes the value unless it may hold a secret.
    pub what: String,
    /// What the operator can do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from outside too: a control character must not forge a second line.
        let name = self.variable.escape_debug();
        write!(f, "{name}: {}; {}", self.what, self.remedy)
    }
}

/// All problems of one set of settings, in the order of [`super::table::TABLE`]; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The exit code of a process that ends because of its settings.
    pub const EXIT_CODE: u8 = 2;

    /// Wraps problems that are already in their final order.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// The problems, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Why a parser refused a text; the reader adds the variable and the value in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Reads on after the quoted value: `has no unit`.
    pub what: String,
    /// What to do instead.
    pub remedy: String,
}

impl Fault {
    /// A fault whose words hold nothing of a secret value.
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// The value as a problem may show it: quoted, shortened, and left out where it may hold a secret.
///
/// An `@` outside a secret setting is taken for a password that was put in the wrong place, and a
/// URL's query for a token.
pub(super) fn quoted(value: &str, secret: bool) -> String {
    if secret || value.contains('@') || value.contains("-----BEGIN") {
        return "the value (not shown)".to_owned();
    }
    let is_url = value.contains("://") || value.starts_with("unix:");
    let visible = match value.split_once('?') {
        Some((before, _)) if is_url => format!("{before}?..."),
        _ => value.to_owned(),
    };
    match visible.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("{:?}...", &visible[..cut]),
        None => format!("{visible:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_unless_it_may_hold_a_secret() {
        let long = "x".repeat(500);
        let cases = [
            ("30", false, "\"30\"".to_owned()),
            ("a\nb", false, "\"a\\nb\"".to_owned()),
            ("hunter2", true, "the value (not shown)".to_owned()),
            ("http://u:p@h/", false, "the value (not shown)".to_owned()),
            ("http://h/?token=t", false, "\"http://h/?...\"".to_owned()),
            ("-----BEGIN PRIVATE KEY-----", false, "the value (not shown)".to_owned()),
            (long.as_str(), false, format!("\"{}\"...", "x".repeat(120))),
        ];
        for (value, secret, shown) in cases {
            assert_eq!(quoted(value, secret), shown);
        }
    }

    #[test]
    fn a_control_character_in_a_name_does_not_forge_a_line() {
        let problem =
            Problem { variable: "ONCE_A\nB".to_owned(), what: "is unknown".to_owned(), remedy: "remove it".to_owned() };
        assert_eq!(problem.to_string().lines().count(), 1);
    }
}
