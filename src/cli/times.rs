//! Times on the command line: RFC 3339, or a duration back from now.

use datetime::OffsetDateTime;
use datetime::format_description::well_known::Rfc3339;

use crate::domain::time::UnixMillis;
use crate::settings;

/// A time as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// That moment.
    At(UnixMillis),
    /// So long before the command was started.
    Back(std::time::Duration),
}

impl When {
    /// Reads `2026-01-31T23:59:59Z`, with any offset and fraction, or `2h`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => {
                let millis = time.unix_timestamp_nanos() / 1_000_000;
                u64::try_from(millis)
                    .map(|millis| Self::At(UnixMillis(millis)))
                    .map_err(|_| "lies before 1970".to_owned())
            }
            Err(_) if text.contains([':', 'T']) => {
                Err("is no time; write it as in RFC 3339, such as 2026-01-31T23:59:59Z".to_owned())
            }
            Err(_) => settings::duration(text)
                .map(Self::Back)
                .map_err(|fault| format!("{fault}, or a time such as 2026-01-31T23:59:59Z")),
        }
    }

    /// The moment, seen from now.
    pub(super) fn seen_from(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::At(time) => time,
            Self::Back(duration) => {
                UnixMillis(now.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_a_duration_back() {
        let now = UnixMillis(1_769_904_000_000);
        let table = [
            ("2026-01-31T23:59:59Z", 1_769_903_999_000),
            ("2026-01-31T23:59:59.5Z", 1_769_903_999_500),
            ("2026-02-01T00:59:59+01:00", 1_769_903_999_000),
            ("1970-01-01T00:00:00Z", 0),
            ("2h", 1_769_896_800_000),
            ("30s", 1_769_903_970_000),
            ("0s", 1_769_904_000_000),
            ("36500d", 0),
        ];
        for (text, millis) in table {
            assert_eq!(When::parse(text).map(|when| when.seen_from(now)), Ok(UnixMillis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_words_that_help() {
        let table = [
            ("yesterday", "begin with an integer"),
            ("2", "no unit"),
            ("2 h", "unit"),
            ("2026-01-31", "unit"),
            ("2026-01-31T25:00:00Z", "RFC 3339"),
            ("2026-01-31 23:59", "RFC 3339"),
            ("1969-12-31T23:59:59Z", "before 1970"),
            ("", "begin with an integer"),
        ];
        for (text, words) in table {
            let said = When::parse(text).expect_err(text);
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
