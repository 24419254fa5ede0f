//! The body of an answer: nobody reads it, but its end must be found before the connection can be used again
//! (RFC 9112, sections 6 and 7).

use bytes::{Buf as _, BytesMut};
use httparse::Status;

use super::head::Framing;

/// How long the line of a chunk's size, or one of the trailer section, may be.
const MAX_LINE: usize = 4 * 1024;

/// How many lines the trailer section may have.
const MAX_TRAILERS: u32 = 64;

/// What of a body is still to come.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    taken: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// So many bytes.
    Data(u64),
    /// Everything up to the end of the connection.
    UntilClose,
    /// The line with the size of the next chunk.
    ChunkSize,
    /// So many bytes of a chunk, then its line break.
    Chunk(u64),
    /// The line break behind a chunk.
    ChunkEnd,
    /// Lines behind the last chunk; so many may still come.
    Trailers(u32),
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(length) => State::Data(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, taken: 0 }
    }

    /// Whether nothing more belongs to it.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Data(0)
    }

    /// Whether it may end with the connection.
    pub(super) fn may_end(&self) -> bool {
        self.is_done() || self.state == State::UntilClose
    }

    /// How many bytes of it were taken, framing included.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes what belongs to it off `input`, as far as that has come.
    ///
    /// # Errors
    /// What of it is not framed as it must be.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<(), String> {
        let before = input.len();
        while !self.is_done() && self.step(input)? {}
        self.taken = self.taken.saturating_add(before - input.len());
        Ok(())
    }

    /// One step. `false`: more must come first.
    fn step(&mut self, input: &mut BytesMut) -> Result<bool, String> {
        match &mut self.state {
            State::Data(left) => return Ok(skip(left, input)),
            State::UntilClose => {
                input.clear();
                return Ok(false);
            }
            State::Chunk(left) => {
                if *left > 0 {
                    return Ok(skip(left, input));
                }
                self.state = State::ChunkEnd;
            }
            State::ChunkEnd => {
                let Some(line) = line(input)? else { return Ok(false) };
                if line > 0 {
                    return Err("a chunk of the answer is longer than it says".to_owned());
                }
                input.advance(2);
                self.state = State::ChunkSize;
            }
            // The parser takes a line without digits for the last chunk.
            State::ChunkSize if input.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) => {
                return Err("the answer has a chunk without a size".to_owned());
            }
            State::ChunkSize => match httparse::parse_chunk_size(input) {
                Ok(Status::Complete((length, size))) => {
                    input.advance(length);
                    self.state = if size == 0 { State::Trailers(MAX_TRAILERS) } else { State::Chunk(size) };
                }
                Ok(Status::Partial) if input.len() < MAX_LINE => return Ok(false),
                Ok(Status::Partial) | Err(_) => return Err("the answer has a chunk without a size".to_owned()),
            },
            State::Trailers(left) => {
                let Some(length) = line(input)? else { return Ok(false) };
                input.advance(length + 2);
                self.state = match left.checked_sub(1) {
                    _ if length == 0 => State::Data(0),
                    Some(left) => State::Trailers(left),
                    None => return Err("the answer has too many trailers".to_owned()),
                };
            }
        }
        Ok(true)
    }
}

/// Skips bytes of data. `false`: there are none.
fn skip(left: &mut u64, input: &mut BytesMut) -> bool {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    input.advance(count);
    *left -= count as u64;
    count > 0
}

/// The length of the line at the beginning, without its line break; `None` while that has not come.
fn line(input: &[u8]) -> Result<Option<usize>, String> {
    match input.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && input[at - 1] == b'\r' => Ok(Some(at - 1)),
        Some(_) => Err("a line of the answer's body does not end in CR LF".to_owned()),
        None if input.len() >= MAX_LINE => Err("a line of the answer's body is too long".to_owned()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `size`; tells whether the body is done and what is left behind it.
    fn feed(framing: Framing, text: &str, size: usize) -> Result<(bool, String), String> {
        let (mut body, mut input) = (Body::new(framing), BytesMut::new());
        for piece in text.as_bytes().chunks(size) {
            input.extend_from_slice(piece);
            body.take(&mut input)?;
        }
        Ok((body.is_done(), String::from_utf8_lossy(&input).into_owned()))
    }

    #[test]
    fn the_end_of_a_body_is_found_however_it_is_cut_up() {
        for (framing, text, rest) in [
            (Framing::Length(0), "next", "next"),
            (Framing::Length(5), "hellonext", "next"),
            (Framing::Chunked, "0\r\n\r\nnext", "next"),
            (Framing::Chunked, "5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nnext", "next"),
            (Framing::Chunked, "1\r\n\r\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\n", ""),
        ] {
            for size in 1..=text.len() {
                assert_eq!(feed(framing, text, size), Ok((true, rest.to_owned())), "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_body_that_is_cut_short_is_not_done() {
        for (framing, text) in [
            (Framing::Length(5), "hell"),
            (Framing::Chunked, "5\r\nhello\r\n"),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n"),
            (Framing::Chunked, "5"),
            (Framing::UntilClose, "anything"),
        ] {
            assert_eq!(feed(framing, text, 3).map(|(done, _)| done), Ok(false), "{text:?}");
        }
    }

    #[test]
    fn a_body_that_is_framed_wrongly_is_an_error_and_not_held() {
        let long = "1".repeat(MAX_LINE + 1);
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_TRAILERS as usize + 1));
        for text in [
            "zz\r\n",
            "\r\n\r\n",
            ";x\r\n\r\n",
            "5\r\nhello\r\n\r\n\r\n",
            "-1\r\n",
            "FFFFFFFFFFFFFFFFF\r\n",
            "2\r\nabc\r\n",
            "2\r\nab\n0\r\n",
            &format!("2;{long}"),
            &format!("0\r\n{long}"),
            &trailers,
        ] {
            assert!(feed(Framing::Chunked, text, 7).is_err(), "{text:?}");
        }
    }
}
