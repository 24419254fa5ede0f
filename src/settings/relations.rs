//! Relations between settings: what is sound alone and wrong together.
//!
//! Each relation looks at the texts again, so that it is checked even when other settings are broken;
//! a text that does not parse is already a problem of its own and passes here.

use std::time::Duration;

use super::delivery;
use super::problems::Fault;
use super::properties;
use super::reader::Reader;
use super::units::{self, show_duration, show_size};
use super::{app, kafka, redis};
use crate::domain::life::InDoubt;

/// What librdkafka takes when a property is not set, in milliseconds.
const SESSION_TIMEOUT_MS: i64 = 45_000;
const HEARTBEAT_INTERVAL_MS: i64 = 3_000;
const MAX_POLL_INTERVAL_MS: i64 = 300_000;

/// Every relation of the sidecar's settings.
pub(super) fn all(read: &mut Reader) {
    client(read);
    client_identity(read);
    timeouts(read);
    sizes(read);
    remote_urls(read);
    doubt(read);
    dead_letters_apart(read);
}

/// Relations between properties of the Kafka client.
pub(super) fn client(read: &mut Reader) {
    if protocol_is_consumer(read) {
        let forbidden =
            ["SESSION_TIMEOUT_MS", "PARTITION_ASSIGNMENT_STRATEGY", "HEARTBEAT_INTERVAL_MS", "GROUP_PROTOCOL_TYPE"];
        for short in forbidden {
            let name = format!("{}{short}", properties::PREFIX);
            if read.is_named(&name) {
                let what = "is set, and the group protocol is consumer, which forbids it";
                read.problem(&name, Fault::new(what, "unset it: the broker decides"));
            }
        }
        return;
    }
    let session = millis(read, "SESSION_TIMEOUT_MS", SESSION_TIMEOUT_MS);
    let heartbeat = millis(read, "HEARTBEAT_INTERVAL_MS", HEARTBEAT_INTERVAL_MS);
    let poll = millis(read, "MAX_POLL_INTERVAL_MS", MAX_POLL_INTERVAL_MS);
    if let (Some((session, set)), Some((heartbeat, heartbeat_set))) = (session, heartbeat)
        && session <= heartbeat
    {
        let name = if set || !heartbeat_set { "SESSION_TIMEOUT_MS" } else { "HEARTBEAT_INTERVAL_MS" };
        let what = format!("gives a session timeout of {session} ms, not above the heartbeat of {heartbeat} ms");
        let remedy = "keep the heartbeat at a third of the session timeout";
        read.problem(&format!("{}{name}", properties::PREFIX), Fault::new(what, remedy));
    }
    if let (Some((session, set)), Some((poll, _))) = (session, poll)
        && poll < session
    {
        let name = if set { "SESSION_TIMEOUT_MS" } else { "MAX_POLL_INTERVAL_MS" };
        let what = format!("gives a session timeout of {session} ms, above max.poll.interval.ms of {poll} ms");
        let remedy = "keep max.poll.interval.ms at least at the session timeout";
        read.problem(&format!("{}{name}", properties::PREFIX), Fault::new(what, remedy));
    }
}

fn protocol_is_consumer(read: &Reader) -> bool {
    let name = format!("{}GROUP_PROTOCOL", properties::PREFIX);
    let is_consumer = |text: &str| Ok(text.eq_ignore_ascii_case("consumer"));
    read.peek(&name, is_consumer).unwrap_or(false)
}

/// A property in milliseconds or its default, and whether it is set; `None` when it is set badly.
fn millis(read: &Reader, short: &str, default: i64) -> Option<(i64, bool)> {
    let name = format!("{}{short}", properties::PREFIX);
    if !read.is_named(&name) {
        return Some((default, false));
    }
    let property = properties::by_variable(&name)?;
    let text = read.peek(&name, |text| property.check(text).map(|()| text.to_owned()))?;
    text.parse().ok().map(|ms| (ms, true))
}

/// A client certificate needs its key, and the key its certificate.
pub(super) fn client_identity(read: &mut Reader) {
    let (cert, key) = ("ONCE_REDIS_CERT", "ONCE_REDIS_KEY");
    let (has_cert, has_key) = (read.is_named(cert), read.is_named(key));
    if has_cert != has_key {
        let (set, missing) = if has_cert { (cert, key) } else { (key, cert) };
        let what = format!("is not set, and {set} is");
        read.problem(missing, Fault::new(what, "set both or none"));
    }
}

fn timeouts(read: &mut Reader) {
    let [lease, app, window, drain, redis, backoff, backoff_max] = [
        "ONCE_LEASE",
        "ONCE_APP_TIMEOUT",
        "ONCE_DEDUP_WINDOW",
        "ONCE_DRAIN_TIMEOUT",
        "ONCE_REDIS_TIMEOUT",
        "ONCE_RETRY_BACKOFF",
        "ONCE_RETRY_BACKOFF_MAX",
    ];
    let less: fn(Duration, Duration) -> bool = |low, high| low < high;
    let at_most: fn(Duration, Duration) -> bool = |low, high| low <= high;
    let less_than_third: fn(Duration, Duration) -> bool = |low, high| low < high / 3;
    compare(read, redis, lease, less_than_third, "below a third of");
    compare(read, lease, window, less, "below");
    compare(read, app, lease, less, "below");
    compare(read, app, drain, at_most, "at most");
    compare(read, backoff, backoff_max, at_most, "at most");
}

/// Notes a problem with `low` when it does not stand to `high` as it must.
fn compare(read: &mut Reader, low: &str, high: &str, holds: fn(Duration, Duration) -> bool, must: &str) {
    let (Some(is), Some(limit)) = (duration(read, low), duration(read, high)) else {
        return;
    };
    if !holds(is, limit) {
        let what = format!("is {}, and must be {must} {high}, which is {}", show_duration(is), show_duration(limit));
        read.problem(low, Fault::new(what, format!("lower it, or raise {high}")));
    }
}

/// A duration as its own section reads it.
fn duration(read: &Reader, name: &str) -> Option<Duration> {
    if name == "ONCE_LEASE" { read.peek(name, redis::lease) } else { read.peek(name, units::positive_duration) }
}

fn sizes(read: &mut Reader) {
    let (message, held) = ("ONCE_MAX_MESSAGE_BYTES", "ONCE_MAX_HELD_BYTES");
    let (Some(is), Some(limit)) = (read.peek(message, units::size), read.peek(held, units::size)) else {
        return;
    };
    if is > limit {
        let what = format!("is {}, and must be at most {held}, which is {}", show_size(is), show_size(limit));
        read.problem(message, Fault::new(what, format!("lower it, or raise {held}")));
    }
}

/// How a URL's own section reads it.
type ParseUrl = fn(&str) -> Result<app::AppUrl, Fault>;

fn remote_urls(read: &mut Reader) {
    // A broken flag is a problem of its own: do not guess what it meant.
    if read.peek("ONCE_APP_ALLOW_REMOTE", units::flag) != Some(false) {
        return;
    }
    let urls: [(&str, ParseUrl); 3] = [
        ("ONCE_APP_URL", app::record_url),
        ("ONCE_APP_READY_URL", app::ready_url),
        ("ONCE_APP_LOOKUP_URL", app::lookup_url),
    ];
    for (name, parse) in urls {
        if let Some(url) = read.peek(name, parse).filter(|url| !url.is_local()) {
            let what = format!("names another machine: {url}");
            let remedy = "use loopback or a unix socket, or set ONCE_APP_ALLOW_REMOTE=true";
            read.problem(name, Fault::new(what, remedy));
        }
    }
}

fn doubt(read: &mut Reader) {
    let (needed, word) = match read.peek("ONCE_IN_DOUBT", delivery::in_doubt) {
        Some(InDoubt::Lookup) => ("ONCE_APP_LOOKUP_URL", "lookup"),
        Some(InDoubt::DeadLetter) => ("ONCE_DEAD_LETTER_TOPIC", "dead-letter"),
        Some(InDoubt::Repeat) | None => return,
    };
    if !read.is_named(needed) {
        let what = format!("is not set, and ONCE_IN_DOUBT={word} needs it");
        read.problem(needed, Fault::new(what, "set it, or choose another ONCE_IN_DOUBT"));
    }
}

fn dead_letters_apart(read: &mut Reader) {
    let topics = read.peek("ONCE_KAFKA_TOPICS", kafka::topics);
    let dead = read.peek("ONCE_DEAD_LETTER_TOPIC", kafka::topic);
    if let (Some(topics), Some(dead)) = (topics, dead)
        && topics.contains(&dead)
    {
        let what = format!("names {dead:?}, which ONCE_KAFKA_TOPICS reads");
        let remedy = "give dead letters a topic that is not read";
        read.problem("ONCE_DEAD_LETTER_TOPIC", Fault::new(what, remedy));
    }
}
