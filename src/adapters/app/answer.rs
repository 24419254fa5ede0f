//! What an answer says: status, `Once-Verdict`, `Retry-After`, and how long the app keeps a connection.

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, HeaderName, RETRY_AFTER};
use hyper::http::response::Parts;

use crate::domain::verdict::{Answer, Overrule};

const ONCE_VERDICT: HeaderName = HeaderName::from_static("once-verdict");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A whole answer in the words of the domain. `now` is what a date in `Retry-After` is measured from.
pub(super) fn translate(head: &Parts, now: impl FnOnce() -> SystemTime) -> Answer {
    Answer::Status {
        code: head.status.as_u16(),
        overrule: overrule(&head.headers),
        retry_after: text(&head.headers, &RETRY_AFTER).and_then(|text| retry_after(text, now)),
    }
}

/// One of its three words; two headers that differ say nothing.
fn overrule(headers: &HeaderMap) -> Option<Overrule> {
    let mut values = headers.get_all(ONCE_VERDICT).iter();
    let first = values.next()?;
    if values.any(|other| other != first) {
        return None;
    }
    match first.to_str().ok()?.trim() {
        "accepted" => Some(Overrule::Accepted),
        "refused" => Some(Overrule::Refused),
        "failed" => Some(Overrule::Failed),
        _ => None,
    }
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
pub(super) fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text(headers, &KEEP_ALIVE)?
        .split(',')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, value)| value.trim().parse::<u32>().ok())?;
    Some(Duration::from_secs(u64::from(seconds)) * 4 / 5)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &str)]) -> Answer {
        let mut response = hyper::Response::new(());
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        // 1994-11-06T08:49:37Z, the date of RFC 9110's examples.
        translate(&response.into_parts().0, || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
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
            (&["accepted", "refused"], None),
            (&["Accepted!"], None),
            (&[""], None),
            (&[], None),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("once-verdict", *value)).collect();
            let Answer::Status { overrule, .. } = answer(&headers) else { panic!() };
            assert_eq!(overrule, expected, "{values:?}");
        }
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
            let headers = HeaderMap::from_iter([(KEEP_ALIVE, value.parse().unwrap())]);
            assert_eq!(keep_alive(&headers), expected.map(Duration::from_millis), "{value:?}");
        }
    }
}
