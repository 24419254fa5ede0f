//! Durations, sizes, counts and words as texts: the only place that knows their units.

use std::time::Duration;

use super::problems::{Fault, quoted};

/// Duration units with their length in milliseconds, shortest first.
const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Size units in bytes, smallest first.
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// The longest duration, in milliseconds: a hundred years, far inside what Redis takes as an expiry.
const DURATION_MAX_MS: u64 = 36_500 * 86_400_000;

/// The largest size in bytes: a tebibyte.
const SIZE_MAX: u64 = 1 << 40;

/// Reads an integer with `ms`, `s`, `m`, `h` or `d`; at most a hundred years.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let remedy = "write an integer with ms, s, m, h or d, such as 30s";
    scaled(text, &DURATION_UNITS, DURATION_MAX_MS, remedy).map(Duration::from_millis)
}

/// Like [`duration`], and above zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, Fault> {
    match duration(text)? {
        Duration::ZERO => Err(Fault::new("is zero", "write a duration above zero")),
        above => Ok(above),
    }
}

/// Reads an integer with `B`, `KiB`, `MiB` or `GiB` as bytes; 1 B to 1 TiB.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let remedy = "write an integer with B, KiB, MiB or GiB, such as 64MiB";
    match scaled(text, &SIZE_UNITS, SIZE_MAX, remedy)? {
        0 => Err(Fault::new("is zero", "write a size above zero")),
        above => Ok(above),
    }
}

/// Reads a plain integer within the bounds, both included.
pub(super) fn count(text: &str, least: u32, most: u32) -> Result<u32, Fault> {
    let remedy = format!("write an integer from {least} to {most}");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::new("is not an integer", remedy));
    }
    match text.parse::<u32>() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(Fault::new("is out of range", remedy)),
    }
}

/// Reads `true` or `false`.
pub(super) fn flag(text: &str) -> Result<bool, Fault> {
    word(text, &[("true", true), ("false", false)])
}

/// Reads one of a closed set of words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let remedy = format!("write one of {}", names.join(", "));
    Err(Fault::new("is not a known word", remedy))
}

/// Splits a list at its commas; an empty entry, or none at all, is a fault.
pub(super) fn list(text: &str) -> Result<Vec<&str>, Fault> {
    let entries: Vec<&str> = text.split(',').map(str::trim).collect();
    if entries.iter().any(|entry| entry.is_empty()) {
        let remedy = "separate the entries by one comma each";
        return Err(Fault::new("has an empty entry", remedy));
    }
    Ok(entries)
}

/// Faults when an entry stands twice.
pub(super) fn unique<T: PartialEq>(entries: &[T], texts: &[&str]) -> Result<(), Fault> {
    for (nth, entry) in entries.iter().enumerate() {
        if entries[..nth].contains(entry) {
            let what = format!("names {} twice", quoted(texts[nth], false));
            return Err(Fault::new(what, "name each entry once"));
        }
    }
    Ok(())
}

/// The duration in the largest unit that holds it as an integer.
pub(super) fn show_duration(value: Duration) -> String {
    let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    show(ms, &DURATION_UNITS)
}

/// The size in the largest unit that holds it as an integer.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, scale): &&(&str, u64)| value >= *scale && value.is_multiple_of(*scale);
    let (unit, scale) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{unit}", value / scale)
}

fn scaled(text: &str, units: &[(&str, u64)], most: u64, remedy: &str) -> Result<u64, Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Fault::new("does not begin with an integer", remedy));
    }
    if unit.is_empty() {
        return Err(Fault::new("has no unit", remedy));
    }
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(Fault::new("has no known unit", remedy));
    };
    let value = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*scale));
    match value {
        Some(value) if value <= most => Ok(value),
        _ => {
            let what = format!("is above {}", show(most, units));
            Err(Fault::new(what, "write a smaller one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_take_an_integer_and_a_unit_and_nothing_else() {
        let good =
            [("0s", 0), ("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("24h", 86_400_000), ("7d", 604_800_000)];
        for (text, ms) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        let bad = [
            ("30", "has no unit"),
            ("", "does not begin with an integer"),
            ("s", "does not begin with an integer"),
            ("-1s", "does not begin with an integer"),
            ("+1s", "does not begin with an integer"),
            (" 1s", "does not begin with an integer"),
            ("1 s", "has no known unit"),
            ("1.5s", "has no known unit"),
            ("30S", "has no known unit"),
            ("1w", "has no known unit"),
            ("1h30m", "has no known unit"),
            ("36501d", "is above 36500d"),
            ("99999999999999999999s", "is above 36500d"),
            ("18446744073709551615d", "is above 36500d"),
        ];
        for (text, what) in bad {
            assert_eq!(duration(text).map_err(|f| f.what), Err(what.to_owned()), "{text}");
        }
        assert_eq!(positive_duration("0ms").map_err(|f| f.what), Err("is zero".to_owned()));
    }

    #[test]
    fn sizes_take_an_integer_and_a_binary_unit_and_nothing_else() {
        let good = [("1B", 1), ("2KiB", 2048), ("64MiB", 64 << 20), ("1GiB", 1 << 30)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        let bad = [
            ("64", "has no unit"),
            ("64MB", "has no known unit"),
            ("64mib", "has no known unit"),
            ("0B", "is zero"),
            ("1025GiB", "is above 1024GiB"),
            ("99999999999999999999B", "is above 1024GiB"),
        ];
        for (text, what) in bad {
            assert_eq!(size(text).map_err(|f| f.what), Err(what.to_owned()), "{text}");
        }
    }

    #[test]
    fn counts_words_and_lists_are_strict() {
        assert_eq!(count("64", 1, 100), Ok(64));
        for text in ["", "-1", "1.0", "0x1", "0", "101", "99999999999"] {
            assert!(count(text, 1, 100).is_err(), "{text}");
        }
        assert_eq!(flag("true"), Ok(true));
        for text in ["TRUE", "1", "yes", " true"] {
            assert!(flag(text).is_err(), "{text}");
        }
        assert_eq!(list("a, b"), Ok(vec!["a", "b"]));
        for text in ["", ",", "a,", "a,,b", " "] {
            assert!(list(text).is_err(), "{text}");
        }
        assert!(unique(&[1, 2, 1], &["a", "b", "a"]).is_err());
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(ms in 0..=DURATION_MAX_MS) {
            let value = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(value)), Ok(value));
        }

        #[test]
        fn a_shown_size_reads_back(bytes in 1..=SIZE_MAX) {
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "\\PC*") {
            let read = (duration(&text).is_ok(), size(&text).is_ok(), count(&text, 0, 9).is_ok());
            let begins_with_digit = text.starts_with(|c: char| c.is_ascii_digit());
            prop_assert!(begins_with_digit || read == (false, false, false));
        }
    }
}
