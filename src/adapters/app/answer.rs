//! The words of an answer: status, `Once-Verdict`, `Retry-After`, and how long the app keeps a connection.

use std::time::{Duration, SystemTime};

use httparse::Header;

use crate::domain::verdict::{Answer, Overrule};

/// A whole answer in the words of the domain. `now` is what a date in `Retry-After` is measured from.
pub(super) fn translate(status: u16, headers: &[Header<'_>], now: impl FnOnce() -> SystemTime) -> Answer {
    Answer::Status {
        code: status,
        overrule: overrule(status, headers),
        retry_after: text(headers, "retry-after").and_then(|text| retry_after(text, now)),
    }
}

/// One of its three words, however often it stands there. Words that differ, or that we do not know, say nothing, but a
/// 2xx beside them is not taken for a yes: whoever overrules a 2xx means no.
fn overrule(status: u16, headers: &[Header<'_>]) -> Option<Overrule> {
    let words = named(headers, "once-verdict").flat_map(|value| value.split(|byte| *byte == b','));
    let mut words = words.map(Overrule::parse);
    let first = words.next()?;
    let understood = first.filter(|_| words.all(|word| word == first));
    understood.or_else(|| (200..300).contains(&status).then_some(Overrule::Failed))
}

/// Seconds or an HTTP date. A date that is over means now; a number beyond counting means as long as can be counted.
fn retry_after(text: &str, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now()).unwrap_or_default())
}

/// For how long an idle connection may be used again when the app names its own limit (`Keep-Alive: timeout=5`): four
/// fifths of that, so that we never write into a connection that is just being closed.
pub(super) fn keep_alive(headers: &[Header<'_>]) -> Option<Duration> {
    let seconds = text(headers, "keep-alive")?
        .split(',')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, value)| value.trim().parse::<u32>().ok())?;
    Some(Duration::from_secs(u64::from(seconds)) * 4 / 5)
}

/// The first value of a name, without the space around it.
fn text<'a>(headers: &'a [Header<'a>], name: &'a str) -> Option<&'a str> {
    std::str::from_utf8(named(headers, name).next()?).ok().map(str::trim)
}

fn named<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &str)]) -> Answer {
        let headers: Vec<_> = headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        // 1994-11-06T08:49:37Z, the date of RFC 9110's examples.
        translate(200, &headers, || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_never_trusted_to_be_sane() {
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let Answer::Status { retry_after, .. } = answer(&[("retry-after", value)]) else { panic!() };
            assert_eq!(retry_after, expected.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn the_app_overrules_with_one_of_three_words() {
        for (values, expected) in [
            (&["accepted"][..], Some(Overrule::Accepted)),
            (&["refused"], Some(Overrule::Refused)),
            (&[" failed "], Some(Overrule::Failed)),
            (&["failed", "failed"], Some(Overrule::Failed)),
            (&["Refused, refused"], Some(Overrule::Refused)),
            (&["accepted", "refused"], Some(Overrule::Failed)), // a 200 that contradicts itself is no yes
            (&["Accepted!"], Some(Overrule::Failed)),
            (&[""], Some(Overrule::Failed)),
            (&[], None),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("once-verdict", *value)).collect();
            let Answer::Status { overrule, .. } = answer(&headers) else { panic!() };
            assert_eq!(overrule, expected, "{values:?}");
        }
        let unknown = [Header { name: "Once-Verdict", value: b"perhaps" }];
        assert_eq!(overrule(500, &unknown), None, "what is no yes stays what its status says");
    }

    #[test]
    fn an_idle_connection_is_left_before_the_app_closes_it() {
        for (value, expected) in [
            ("timeout=5", Some(4000)),
            ("max=100, Timeout=1", Some(800)),
            ("timeout=0", Some(0)),
            ("timeout=x", None),
            ("max=3", None),
        ] {
            let headers = [Header { name: "Keep-Alive", value: value.as_bytes() }];
            assert_eq!(keep_alive(&headers), expected.map(Duration::from_millis), "{value:?}");
        }
    }
}
