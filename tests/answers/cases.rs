//! The ways in which an app can answer, as tables: what stands on the wire, and what it must be taken for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::Answer;

/// Failed and unknown answers that a message may have before it is given up.
pub const RETRIES: usize = 3;

/// One answer of the app: how it looks on the wire, and what it must be taken for.
#[derive(Clone)]
pub struct Said {
    pub answer: Arc<dyn Fn() -> Answer + Send + Sync>,
    pub verdict: &'static str,
    pub status: Option<u16>,
}

/// One message: the app's answers in the order of its attempts, and 200 to each further one.
pub struct Case {
    pub name: String,
    pub said: Vec<Said>,
}

pub fn said(verdict: &'static str, status: Option<u16>, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Said {
    Said { answer: Arc::new(answer), verdict, status }
}

pub fn code(verdict: &'static str, code: u16) -> Said {
    said(verdict, Some(code), move || Answer::status(code))
}

/// A status with `Once-Verdict`; the effect happens exactly when that is the meaning.
pub fn overruled(status: u16, word: &'static str, verdict: &'static str) -> Said {
    said(verdict, Some(status), move || {
        Answer::status(status).header("Once-Verdict", word).applied(verdict == "accepted")
    })
}

pub fn raw(verdict: &'static str, status: Option<u16>, bytes: impl Into<Vec<u8>>) -> Said {
    let bytes = bytes.into();
    said(verdict, status, move || Answer::raw(bytes.clone()).applied(verdict == "accepted"))
}

pub fn case(name: impl Into<String>, said: impl IntoIterator<Item = Said>) -> Case {
    Case { name: name.into(), said: said.into_iter().collect() }
}

/// Every status that the table names, and some of those that it does not.
pub fn statuses() -> Vec<Case> {
    let table: [(&str, &[u16]); 4] = [
        ("accepted", &[200, 201, 202, 204, 299]),
        ("refused", &[400, 410, 413, 415, 422, 431, 402, 406, 411, 418, 451, 499]),
        ("failed", &[300, 304, 399, 401, 403, 404, 405, 407, 409, 423, 500, 501, 502, 504, 599]),
        ("overloaded", &[408, 425, 429, 503]),
    ];
    let cases = table.into_iter().flat_map(|(verdict, codes)| {
        codes.iter().map(move |status| case(format!("status-{status}"), [code(verdict, *status)]))
    });
    // A status beyond the classes has no meaning: a broken answer.
    let beyond = [600, 999].map(|status| case(format!("status-{status}"), [code("unknown", status)]));
    cases.chain(beyond).collect()
}

pub fn redirects(trap: &str) -> Vec<Case> {
    let metadata = "http://169.254.169.254/latest/meta-data/".to_owned();
    let places = [(301, metadata.clone()), (301, trap.to_owned()), (302, trap.to_owned()), (303, trap.to_owned())];
    let places = places.into_iter().chain([(307, trap.to_owned()), (308, trap.to_owned()), (308, metadata)]);
    let cases = places.enumerate().map(|(number, (status, to))| {
        let answer = move || Answer::status(status).header("Location", &to);
        case(format!("redirect-{number}"), [said("failed", Some(status), answer)])
    });
    cases.collect()
}

pub fn overrules() -> Vec<Case> {
    [
        (200, "refused", "refused"),
        (200, "failed", "failed"),
        (204, "Failed", "failed"),
        (500, "accepted", "accepted"),
        (404, "accepted", "accepted"),
        (503, "accepted", "accepted"),
        (500, "refused", "refused"),
        (503, "refused", "refused"),
        (400, "failed", "failed"),
        (503, "failed", "failed"),
        (200, "perhaps", "failed"), // whoever overrules a 2xx means no
        (200, "accepted, refused", "failed"),
        (500, "perhaps", "failed"),
        (400, "perhaps", "refused"),
        (429, "perhaps", "overloaded"),
    ]
    .into_iter()
    .zip(0..)
    .map(|((status, word, verdict), number)| case(format!("overruled-{number}"), [overruled(status, word, verdict)]))
    .collect()
}

/// `Retry-After` in each form; what is absurd is bounded, or the message would never come again.
pub fn retry_after() -> Vec<Case> {
    let soon = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    let asks = |name: &str, status: u16, value: Arc<dyn Fn() -> String + Send + Sync>| {
        case(name, [said("overloaded", Some(status), move || Answer::status(status).header("Retry-After", &value()))])
    };
    vec![
        asks("after-seconds", 429, Arc::new(|| "1".to_owned())),
        asks("after-date", 503, Arc::new(soon)),
        asks("after-absurd-seconds", 503, Arc::new(|| "99999999999999999999999999".to_owned())),
        asks("after-absurd-date", 425, Arc::new(|| "Fri, 31 Dec 9999 23:59:59 GMT".to_owned())),
        asks("after-past-date", 408, Arc::new(|| "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())),
        asks("after-word", 503, Arc::new(|| "soon".to_owned())),
        asks("after-negative", 429, Arc::new(|| "-1".to_owned())),
    ]
}

/// Answers that are none, or not what they say. Whether the effect has happened, only the app knows.
pub fn broken(effect: bool) -> Vec<Case> {
    let unknown = |name: &str, answer: fn() -> Answer| {
        let name = format!("{name}-{}", if effect { "done" } else { "undone" });
        case(name, [said("unknown", None, move || answer().applied(effect))])
    };
    vec![
        unknown("timeout", Answer::never),
        unknown("reset", Answer::reset),
        unknown("closed", || Answer::raw("")),
        unknown("reset-in-head", || Answer::raw_then_reset("HTTP/1.1 200 OK\r\nContent-Le")),
        unknown("reset-in-body", || Answer::raw_then_reset("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")),
        unknown("short", || Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")),
        unknown("short-chunk", || Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")),
        unknown("length-twice", || Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc")),
        unknown("length-no-number", || Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc")),
        unknown("garbage", || Answer::raw("SSH-2.0-OpenSSH_9.9\r\n")),
        unknown("binary", || Answer::raw(vec![0_u8, 255, 0, 159, 13, 10, 13, 10])),
        unknown("tls", || Answer::raw(vec![0x15_u8, 3, 1, 0, 2, 2, 70])),
        unknown("endless-head", || Answer::raw([&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(50_000)].concat())),
        unknown("slow", || Answer::drip("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Duration::from_secs(1))),
        unknown("slow-body", || {
            let mut answer = "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n".to_owned();
            answer.push_str(&"x".repeat(1_000));
            Answer::drip(answer, Duration::from_millis(20))
        }),
    ]
}

/// Bodies that nobody wants to read count by their status.
pub fn bodies() -> Vec<Case> {
    let huge = |status: u16| {
        let head = format!("HTTP/1.1 {status} -\r\nContent-Length: 10737418240\r\n\r\n");
        [head.into_bytes(), vec![b'.'; 1_000_000]].concat()
    };
    vec![
        case("endless", [said("accepted", Some(200), || Answer::endless().applied(true))]),
        case("huge-failed", [raw("failed", Some(500), huge(500))]),
        case("huge-refused", [raw("refused", Some(422), huge(422))]),
        case("huge-overloaded", [raw("overloaded", Some(429), huge(429))]),
        case("long", [raw("accepted", Some(200), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdefgh")]),
        case("until-close", [raw("accepted", Some(200), "HTTP/1.0 200 OK\r\n\r\nabcdefgh")]),
        case(
            "reset-after",
            [said("accepted", Some(200), || {
                Answer::raw_then_reset("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").applied(true)
            })],
        ),
        case(
            "interim",
            [raw("accepted", Some(200), "HTTP/1.1 102 -\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")],
        ),
    ]
}

/// What spends retries, and what ends them.
pub fn in_a_row() -> Vec<Case> {
    let (failed, overloaded) = (code("failed", 500), code("overloaded", 503));
    let lost = said("unknown", None, Answer::reset);
    vec![
        case("row-failed", vec![failed.clone(); RETRIES]),
        case("row-unknown", vec![lost.clone(); RETRIES]),
        case("row-mixed", [failed.clone(), lost.clone(), failed.clone()]),
        case("row-unknown-refused", [lost.clone(), code("refused", 422)]),
        case("row-overloaded", vec![overloaded.clone(); RETRIES + 2]),
        case("row-spared", [vec![overloaded.clone(); RETRIES], vec![failed.clone(); RETRIES - 1]].concat()),
        case("row-spent", [vec![overloaded; RETRIES], vec![failed; RETRIES]].concat()),
        case("row-doubt-stays", [lost, code("failed", 500)]),
    ]
}
