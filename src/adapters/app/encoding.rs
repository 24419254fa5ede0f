//! Percent-encoding: which bytes stay as they are, in a header's name, in its value, in a
//! `CloudEvents` value, in a URL.
//!
//! Every rule but that of IDs encodes `%` too, so that decoding gives back the bytes. Encoded bytes are `%XX` in upper case.

use bytes::BufMut;

/// The bytes that stay as they are; every other one becomes `%XX`.
pub(super) struct Stays([bool; 256]);

/// Header names: the token characters of RFC 9110, without `%`.
pub(super) const NAME: Stays = Stays::alphanumeric_and(b"!#$&'*+-.^_`|~");

/// Inside a header's value: visible ASCII and the space, without `%`.
const VALUE: Stays = Stays::visible_without(b"%").and(b' ');

/// The ends of a header's value: HTTP trims a space there.
const VALUE_END: Stays = Stays::visible_without(b"%");

/// Values of `ce-*` headers, as the `CloudEvents` HTTP binding says (3.1.3.2): no space, no double quote, no `%`.
pub(super) const CLOUD_EVENT: Stays = Stays::visible_without(b"%\"");

/// Text of our own in a URL (a topic): the unreserved characters of RFC 3986.
pub(super) const URL_TEXT: Stays = Stays::alphanumeric_and(b"-._~");

impl Stays {
    const fn alphanumeric_and(others: &[u8]) -> Self {
        Self([false; 256])
            .set(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", true)
            .set(others, true)
    }

    const fn visible_without(others: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0x21;
        while byte <= 0x7E {
            table[byte] = true;
            byte += 1;
        }
        Self(table).set(others, false)
    }

    const fn and(self, byte: u8) -> Self {
        self.set(&[byte], true)
    }

    const fn set(mut self, bytes: &[u8], stays: bool) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self.0[bytes[at] as usize] = stays;
            at += 1;
        }
        self
    }

    /// How long `bytes` are when encoded.
    pub(super) fn encoded_len(&self, bytes: &[u8]) -> usize {
        bytes.iter().map(|&byte| if self.0[usize::from(byte)] { 1 } else { 3 }).sum()
    }

    /// Writes `bytes` encoded.
    pub(super) fn encode(&self, bytes: &[u8], out: &mut impl BufMut) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| !self.0[usize::from(byte)]) {
            out.put_slice(&rest[..at]);
            put_hex(rest[at], out);
            rest = &rest[at + 1..];
        }
        out.put_slice(rest);
    }
}

fn put_hex(byte: u8, out: &mut impl BufMut) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.put_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// How long [`encode_value`] makes `bytes`.
pub(super) fn encoded_value_len(bytes: &[u8]) -> usize {
    let (first, middle, last) = ends(bytes);
    VALUE_END.encoded_len(first) + VALUE.encoded_len(middle) + VALUE_END.encoded_len(last)
}

/// Writes the value of a header: 0x20 to 0x7E stay, except `%` and a space at either end.
pub(super) fn encode_value(bytes: &[u8], out: &mut impl BufMut) {
    let (first, middle, last) = ends(bytes);
    VALUE_END.encode(first, out);
    VALUE.encode(middle, out);
    VALUE_END.encode(last, out);
}

/// The first byte, what stands between, the last byte; each may be empty.
fn ends(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (first, rest) = bytes.split_at(bytes.len().min(1));
    let (middle, last) = rest.split_at(rest.len().saturating_sub(1));
    (first, middle, last)
}

/// Whether a header's value may stand in a request as it is: printable ASCII, no space at its ends, not empty.
pub(super) fn is_plain_value(bytes: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b' ');
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| (0x20..=0x7E).contains(byte))
}

/// Writes a number in decimal, without allocating.
pub(super) fn put_number(number: i64, out: &mut impl BufMut) {
    if number < 0 {
        out.put_u8(b'-');
    }
    put_unsigned(number.unsigned_abs(), out);
}

/// Writes a number in decimal, without allocating.
pub(super) fn put_unsigned(mut number: u64, out: &mut impl BufMut) {
    let mut digits = [0_u8; 20]; // u64::MAX has 20
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        encode_value(bytes, &mut out);
        assert_eq!(out.len(), encoded_value_len(bytes));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_keeps_printable_ascii_and_inner_spaces_only() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"plain \"text\"; a=b", "plain \"text\"; a=b"),
            (b" both ends ", "%20both ends%20"),
            (b" ", "%20"),
            (b"  ", "%20%20"),
            (b"   ", "%20 %20"),
            (b"100%", "100%25"),
            (b"a\r\nEvil: 1\0", "a%0D%0AEvil: 1%00"),
            (b"tab\t\x7F\xC3\xA9\xFF", "tab%09%7F%C3%A9%FF"),
        ] {
            assert_eq!(value(bytes), expected);
        }
    }

    #[test]
    fn a_name_keeps_token_characters_only() {
        let mut out = Vec::new();
        NAME.encode(b"a-b_c.d:e f%\xFF(\n", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a-b_c.d%3Ae%20f%25%FF%28%0A");
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 7, -1, 10, 1_700_000_000_123, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        let mut out = Vec::new();
        put_unsigned(u64::MAX, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), u64::MAX.to_string());
    }
}
