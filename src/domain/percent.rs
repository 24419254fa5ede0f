//! Bytes as printable ASCII and back: `%XX`, upper-case hex, one for each byte that cannot stand as it is.

/// Writes bytes as ASCII. A byte stands as it is when it is ASCII and `keep` says so; `%` never does, so that
/// [`percent_decode`] gives the same bytes back.
pub fn percent_encode(bytes: &[u8], keep: impl Fn(u8) -> bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii() && byte != b'%' && keep(byte) {
            text.push(char::from(byte));
        } else {
            text.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 0xF)])]);
        }
    }
    text
}

/// Reads what [`percent_encode`] wrote, hex in either case; `None` where a `%` is not followed by two hex digits.
pub fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => other,
        });
    }
    Some(bytes)
}

/// Whether a byte may stand in the value of an HTTP header and in a message ID on the wire: 0x21-0x7E, without space.
pub fn is_visible(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_visible_bytes_stand_as_they_are() {
        for byte in 0..=u8::MAX {
            let encoded = percent_encode(&[byte], is_visible);
            let stands = (0x21..=0x7E).contains(&byte) && byte != b'%';
            let expected = if stands { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            assert_eq!(encoded, expected);
        }
    }

    #[test]
    fn a_broken_escape_is_none() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("a%20b", Some(b"a b")),
            ("%c3%A9", Some("é".as_bytes())),
            ("é", Some("é".as_bytes())),
            ("%", None),
            ("%4", None),
            ("%4g", None),
            ("%%41", None),
            ("%+1", None),
        ] {
            assert_eq!(percent_decode(text).as_deref(), bytes, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_kept_decoding_gives_the_bytes_back(bytes: Vec<u8>, kept: Vec<u8>) {
            let text = percent_encode(&bytes, |byte| kept.contains(&byte));
            prop_assert!(text.is_ascii());
            prop_assert_eq!(percent_decode(&text), Some(bytes));
        }
    }
}
