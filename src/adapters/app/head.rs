//! The head of an answer: its status, our words in it, how its body is framed, and whether the connection stays
//! (RFC 9112, sections 4, 6.3 and 9.3).

use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime};

use httparse::{Header, ParserConfig, Response, Status};

use super::answer;
use crate::domain::verdict::Answer;

/// How many headers an answer may have.
const MAX_HEADERS: usize = 100;

/// The head of a whole answer.
#[derive(Debug)]
pub(super) struct Head {
    /// In the words of the domain.
    pub(super) answer: Answer,
    /// The status; 100 to 999.
    pub(super) status: u16,
    /// For how long the app keeps the connection, where it says so.
    pub(super) keep_alive: Option<Duration>,
    /// Where its body ends.
    pub(super) framing: Framing,
    /// Whether the connection may be used again.
    pub(super) persistent: bool,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// Where the connection ends.
    UntilClose,
}

/// What stands at the beginning of the bytes read so far.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A head of so many bytes.
    Final(Box<Head>, usize),
    /// An interim answer (1xx) of so many bytes: the final one follows.
    Interim(usize),
    /// The head goes on.
    Partial,
}

/// Reads a head. `now` is what a date in `Retry-After` is measured from.
///
/// # Errors
/// What of it is not HTTP/1.x, or contradicts itself.
pub(super) fn parse(bytes: &[u8], now: impl FnOnce() -> SystemTime) -> Result<Parsed, String> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(format!("the answer is not HTTP: {error}")),
    };
    let (Some(status @ 100..=999), Some(minor)) = (response.code, response.version) else {
        return Err("the answer is not HTTP: invalid status".to_owned());
    };
    match status {
        101 => return Err("the answer switches protocols".to_owned()),
        100..=199 => return Ok(Parsed::Interim(length)),
        _ => {}
    }
    let headers: &[Header<'_>] = response.headers;
    let (framing, sure) = framing(status, minor, headers)?;
    let head = Head {
        answer: answer::translate(status, headers, now),
        status,
        keep_alive: answer::keep_alive(headers),
        framing,
        persistent: sure && stays(minor, headers),
    };
    Ok(Parsed::Final(Box::new(head), length))
}

/// Where the body ends, and whether that is beyond doubt.
fn framing(status: u16, minor: u8, headers: &[Header<'_>]) -> Result<(Framing, bool), String> {
    let length = content_length(headers)?;
    let coding = elements(headers, "transfer-encoding").last();
    if matches!(status, 204 | 304) {
        // It has no body. One that speaks of a body may send it all the same: the connection is not used again.
        return Ok((Framing::Length(0), length.unwrap_or(0) == 0 && coding.is_none()));
    }
    let Some(coding) = coding else {
        return Ok(length.map_or((Framing::UntilClose, false), |length| (Framing::Length(length), true)));
    };
    if minor == 0 {
        return Err("the answer has a transfer encoding, which HTTP/1.0 does not know".to_owned());
    }
    // Both at once is how answers are smuggled: the encoding counts, and the connection goes.
    let chunked = coding.eq_ignore_ascii_case(b"chunked");
    Ok(if chunked { (Framing::Chunked, length.is_none()) } else { (Framing::UntilClose, false) })
}

fn content_length(headers: &[Header<'_>]) -> Result<Option<u64>, String> {
    let mut found = None;
    for header in headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length")) {
        let digits = header.value.trim_ascii();
        let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(length) = number.and_then(|text| text.parse::<u64>().ok()) else {
            return Err("the answer's content-length is no number".to_owned());
        };
        if found.is_some_and(|other| other != length) {
            return Err("the answer has two different content-lengths".to_owned());
        }
        found = Some(length);
    }
    Ok(found)
}

fn stays(minor: u8, headers: &[Header<'_>]) -> bool {
    let says = |word: &[u8]| elements(headers, "connection").any(|option| option.eq_ignore_ascii_case(word));
    !says(b"close") && (minor > 0 || says(b"keep-alive"))
}

/// The elements of a list that may stand in several headers of one name.
fn elements<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let split = named.flat_map(|header| header.value.split(|byte| *byte == b','));
    split.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Parsed, String> {
        parse(text.as_bytes(), || SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_body_ends_where_rfc_9112_says() {
        use Framing::{Chunked, Length, UntilClose};
        for (head, framing, persistent) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Length(7), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nContent-Length: 7\r\n\r\n", Length(7), true),
            ("HTTP/1.1 200 OK\r\n\r\n", UntilClose, false),
            ("HTTP/1.1 204 None\r\n\r\n", Length(0), true),
            ("HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", Length(0), true),
            ("HTTP/1.1 204 None\r\nContent-Length: 7\r\n\r\n", Length(0), false),
            ("HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n", Length(0), false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n", Chunked, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", UntilClose, false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n", Chunked, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: x, Close\r\n\r\n", Length(7), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n", Length(7), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 7\r\nConnection: Keep-Alive\r\n\r\n", Length(7), true),
        ] {
            let Ok(Parsed::Final(found, length)) = read(head) else { panic!("{head:?}") };
            assert_eq!((found.framing, found.persistent, length), (framing, persistent, head.len()), "{head:?}");
        }
    }

    #[test]
    fn what_is_no_head_of_an_answer_is_an_error_and_a_part_of_one_is_waited_for() {
        for bad in [
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 101 Switch\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1)),
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        assert!((0..whole.len()).all(|end| matches!(read(&whole[..end]), Ok(Parsed::Partial))));
        assert!(matches!(read("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP"), Ok(Parsed::Interim(31))));
    }
}
