//! What fuzz targets look at from outside; in no build that ships (`cargo fuzz` sets the `fuzzing` configuration).

use std::time::{Duration, SystemTime};

use bytes::{Buf as _, BytesMut};

use super::body::Body;
use super::encoding::{CLOUD_EVENT, NAME, Stays, encode_value, encoded_value_len};
use super::head::{Parsed, parse};
use crate::domain::verdict::Answer;

/// An answer as it comes from the wire in pieces of so many bytes: what it says, and whether its body ended.
///
/// # Errors
/// What of it is not HTTP.
pub fn answer(bytes: &[u8], piece: usize) -> Result<Option<(Answer, bool)>, String> {
    let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut input = BytesMut::new();
    let mut pieces = bytes.chunks(piece.max(1));
    let head = loop {
        match parse(&input, now)? {
            Parsed::Final(head, length) => {
                input.advance(length);
                break head;
            }
            Parsed::Interim(length) => input.advance(length),
            Parsed::Partial => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return Ok(None),
            },
        }
    };
    let mut body = Body::new(head.framing);
    loop {
        body.take(&mut input)?;
        match pieces.next() {
            Some(piece) if !body.is_done() => input.extend_from_slice(piece),
            _ => return Ok(Some((head.answer, body.is_done()))),
        }
    }
}

/// Bytes as they stand in a header's name, in its value, and in a value of `CloudEvents`.
pub fn encoded(bytes: &[u8]) -> [Vec<u8>; 3] {
    let with = |stays: &Stays| {
        let mut out = Vec::new();
        stays.encode(bytes, &mut out);
        assert_eq!(out.len(), stays.encoded_len(bytes), "as long as was said");
        out
    };
    let mut value = Vec::new();
    encode_value(bytes, &mut value);
    assert_eq!(value.len(), encoded_value_len(bytes), "as long as was said");
    [with(&NAME), value, with(&CLOUD_EVENT)]
}
