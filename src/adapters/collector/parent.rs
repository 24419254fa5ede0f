//! What of a trace a record brings: its `traceparent` and `tracestate`, read as W3C Trace Context says.

use std::str::FromStr as _;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::domain::record::Record;

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The span that a record goes on from, and which of its headers says so: the first valid `traceparent`. A `tracestate`
/// that cannot be read is left out of ours; the app gets it as it came.
pub(super) fn of(record: &Record) -> Option<(usize, SpanContext)> {
    let is = |found: &[u8], name: &str| found.eq_ignore_ascii_case(name.as_bytes());
    let mut parents = record.headers().enumerate().filter(|(_, (name, _))| is(name, "traceparent"));
    let (place, (trace, span, flags)) = parents.find_map(|(place, (_, value))| Some((place, parse(value?)?)))?;
    let state = record.headers().find(|(name, _)| is(name, "tracestate")).and_then(|(_, value)| value);
    let state = state.and_then(|value| TraceState::from_str(std::str::from_utf8(value).ok()?).ok());
    Some((place, SpanContext::new(trace, span, flags, true, state.unwrap_or_default())))
}

/// `version-trace-parent-flags`: lower-case hexadecimal, neither ID all zero. A version to come may have more behind it.
/// Of the flags only *sampled* is known.
fn parse(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let [version, trace, span, flags] = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
    let dashes = [known[2], known[35], known[52]] == *b"---";
    let ends = if version == b"00" { rest.is_empty() } else { rest.first().is_none_or(|byte| *byte == b'-') };
    if !dashes || !ends || number(version)? == 0xFF {
        return None;
    }
    let trace = TraceId::from_bytes(number(trace)?.to_be_bytes());
    let span = SpanId::from_bytes(u64::try_from(number(span)?).ok()?.to_be_bytes());
    let sampled = number(flags)? & 1 == 1;
    let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
    valid.then(|| (trace, span, TraceFlags::default().with_sampled(sampled)))
}

fn number(digits: &[u8]) -> Option<u128> {
    let lower = digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let text = lower.then(|| std::str::from_utf8(digits).ok()).flatten()?;
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{Offset, Position};

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn found(headers: &[(&str, Option<&str>)]) -> Option<(usize, SpanContext)> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes))).collect();
        let position = Position { partition: 0, offset: Offset(0), timestamp: 0 };
        of(&Record::new("orders".into(), position, None, None, &headers))
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says_and_anything_else_is_none() {
        for (value, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            (format!("00-{TRACE}-{SPAN}-ff"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-02"), Some(false)),
            (format!("cc-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01.what-comes"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("0g-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
            (format!("00-{TRACE}-{SPAN}-0A"), None),
            (format!("00-{TRACE}-{SPAN}-+1"), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00_{TRACE}_{SPAN}_01"), None),
            (format!(" 00-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}-0é"), None),
            (String::new(), None),
        ] {
            let found = found(&[("traceparent", Some(&value))]);
            assert_eq!(found.as_ref().map(|(_, context)| context.is_sampled()), sampled, "{value}");
            if let Some((place, context)) = found {
                assert_eq!((place, context.trace_id().to_string().as_str()), (0, TRACE));
                assert_eq!(context.span_id().to_string(), SPAN);
                assert!(context.is_remote() && context.is_valid());
            }
        }
    }

    #[test]
    fn the_first_valid_one_counts_whatever_its_name_s_case_and_its_state_comes_along() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let headers = [
            ("x", None),
            ("traceparent", None),
            ("traceparent", Some("broken")),
            ("TraceParent", Some(good.as_str())),
            ("traceparent", Some("00-11111111111111111111111111111111-2222222222222222-01")),
            ("TRACESTATE", Some("a=1,b=2")),
        ];
        let (place, context) = found(&headers).expect("a parent");
        assert_eq!((place, context.span_id().to_string().as_str()), (3, SPAN));
        assert_eq!(context.trace_state().header(), "a=1,b=2");
        let (_, context) = found(&[("traceparent", Some(&good)), ("tracestate", Some("no state"))]).expect("a parent");
        assert_eq!(context.trace_state().header(), "");
        assert_eq!(found(&[("tracestate", Some("a=1"))]), None);
    }
}
