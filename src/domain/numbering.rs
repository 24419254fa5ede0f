//! Where a producer writes which of its messages this is: its own name and a number, for finding what never arrived.

use super::identity::JsonLookup;
use super::record::Record;

/// The longest name of a producer, in bytes: it is kept for every producer that is followed, and stored.
pub const LONGEST_PRODUCER: usize = 255;

/// The Kafka headers of `CloudEvents`' sequence extension (Kafka protocol binding, binary mode).
const CE_SOURCE: &str = "ce_source";
const CE_SEQUENCE: &str = "ce_sequence";

/// One place where producer and number may stand (`ONCE_SEQUENCE` lists them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSource {
    /// In two headers.
    Header {
        /// The header that names the producer.
        producer: String,
        /// The header that holds the number.
        number: String,
    },
    /// In the attributes `source` and `sequence` of `CloudEvents`.
    CloudEvents,
    /// In the JSON value, at two RFC 6901 pointers.
    Json {
        /// Where the producer's name stands.
        producer: String,
        /// Where the number stands.
        number: String,
    },
}

impl SequenceSource {
    /// The headers that it looks at.
    pub fn headers(&self) -> Vec<&str> {
        match self {
            Self::Header { producer, number } => vec![producer, number],
            Self::CloudEvents => vec![CE_SOURCE, CE_SEQUENCE],
            Self::Json { .. } => Vec::new(),
        }
    }
}

/// What a record says of its place in its producer's sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// Nothing: no source holds a number.
    Not,
    /// Something that is no number, or nobody's. It is counted, never guessed.
    Unreadable(&'static str),
    /// Which of its producer's messages it is.
    As {
        /// The producer's name: bytes as they stand in the record.
        producer: Box<[u8]>,
        /// The number.
        number: u64,
    },
}

/// Finds producer and number: the first source that holds a number wins, readable or not.
pub fn number(sources: &[SequenceSource], record: &Record, json: &JsonLookup<'_>) -> Numbered {
    for source in sources {
        let found = match source {
            SequenceSource::Header { producer, number } => from_headers(record, producer, number),
            SequenceSource::CloudEvents => from_headers(record, CE_SOURCE, CE_SEQUENCE),
            SequenceSource::Json { producer, number } => from_json(record, producer, number, json),
        };
        if found != Numbered::Not {
            return found;
        }
    }
    Numbered::Not
}

fn from_headers(record: &Record, producer: &str, number: &str) -> Numbered {
    match (header(record, producer), header(record, number)) {
        (_, Ok(None)) => Numbered::Not,
        (_, Err(Twice)) => Numbered::Unreadable("the number's header stands twice with different values"),
        (Err(Twice), _) => Numbered::Unreadable("the producer's header stands twice with different values"),
        (Ok(producer), Ok(Some(number))) => read(producer, number),
    }
}

fn from_json(record: &Record, producer: &str, number: &str, json: &JsonLookup<'_>) -> Numbered {
    let Some(value) = record.value() else { return Numbered::Not };
    match json(value, number) {
        None => Numbered::Not,
        Some(number) => read(json(value, producer).as_deref(), &number),
    }
}

fn read(producer: Option<&[u8]>, number: &[u8]) -> Numbered {
    let Some(producer) = producer.filter(|name| !name.is_empty()) else {
        return Numbered::Unreadable("a number without a producer");
    };
    if producer.len() > LONGEST_PRODUCER {
        return Numbered::Unreadable("the producer's name is longer than 255 bytes");
    }
    match decimal(number) {
        Some(number) => Numbered::As { producer: producer.into(), number },
        None => Numbered::Unreadable("not a decimal number from 0 to 18446744073709551615"),
    }
}

/// Digits and nothing else (`CloudEvents` may pad with zeros); `None` beyond 64 bits.
fn decimal(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let mut digits = text.iter().peekable();
    digits.peek()?;
    digits.try_fold(0_u64, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)?))
}

/// A header stands more than once with different values.
struct Twice;

fn header<'a>(record: &'a Record, name: &str) -> Result<Option<&'a [u8]>, Twice> {
    let mut values = record.headers().filter(|(header, _)| *header == name.as_bytes()).map(|(_, value)| value);
    let first = values.next().flatten();
    if values.all(|value| value == first) { Ok(first) } else { Err(Twice) }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Offset, Position};
    use super::*;

    type Headers<'a> = &'a [(&'a [u8], Option<&'a [u8]>)];

    fn found(sources: &[SequenceSource], headers: Headers<'_>) -> Numbered {
        let position = Position { partition: 0, offset: Offset(7), timestamp: 0 };
        let record = Record::new("t".into(), position, None, Some(b"{}"), headers);
        number(sources, &record, &|_, pointer| match pointer {
            "/p" => Some(b"maker".to_vec()),
            "/n" => Some(b"12".to_vec()),
            _ => None,
        })
    }

    fn usual() -> [SequenceSource; 2] {
        let (producer, number) = ("producer-id".to_owned(), "sequence".to_owned());
        [SequenceSource::Header { producer, number }, SequenceSource::CloudEvents]
    }

    fn readable(producer: &[u8], number: u64) -> Numbered {
        Numbered::As { producer: producer.into(), number }
    }

    #[test]
    fn the_first_source_that_holds_a_number_wins() {
        let (p, n): (&[u8], &[u8]) = (b"producer-id", b"sequence");
        let (source, sequence): (&[u8], &[u8]) = (b"ce_source", b"ce_sequence");
        let table: [(Headers<'_>, Numbered); 5] = [
            (&[(p, Some(b"a")), (n, Some(b"3")), (source, Some(b"b")), (sequence, Some(b"4"))], readable(b"a", 3)),
            (&[(p, Some(b"a")), (source, Some(b"b")), (sequence, Some(b"0004"))], readable(b"b", 4)),
            (&[(p, Some(b"a"))], Numbered::Not),
            (&[(p, Some(b"a")), (n, None)], Numbered::Not),
            (&[], Numbered::Not),
        ];
        for (headers, expected) in table {
            assert_eq!(found(&usual(), headers), expected, "{headers:?}");
        }
        let json = [SequenceSource::Json { producer: "/p".to_owned(), number: "/n".to_owned() }];
        assert_eq!(found(&json, &[]), readable(b"maker", 12));
        assert_eq!(found(&[], &[(p, Some(b"a")), (n, Some(b"3"))]), Numbered::Not, "switched off");
    }

    #[test]
    fn what_is_no_number_is_never_guessed() {
        let p: (&[u8], Option<&[u8]>) = (b"producer-id", Some(b"a"));
        for text in ["", "-1", "+1", "1.0", "1e3", " 1", "1 ", "0x1", "18446744073709551616", "\u{661}"] {
            let headers: Headers<'_> = &[p, (b"sequence", Some(text.as_bytes()))];
            assert!(matches!(found(&usual(), headers), Numbered::Unreadable(_)), "{text:?}");
        }
        let most: Headers<'_> = &[p, (b"sequence", Some(b"18446744073709551615"))];
        assert_eq!(found(&usual(), most), readable(b"a", u64::MAX));
    }

    #[test]
    fn a_number_that_is_nobodys_or_stands_twice_is_unreadable() {
        let long = [b'x'; LONGEST_PRODUCER + 1];
        let (p, n): (&[u8], &[u8]) = (b"producer-id", b"sequence");
        let table: [Headers<'_>; 5] = [
            &[(n, Some(b"1"))],
            &[(p, Some(b"")), (n, Some(b"1"))],
            &[(p, Some(&long)), (n, Some(b"1"))],
            &[(p, Some(b"a")), (n, Some(b"1")), (n, Some(b"2"))],
            &[(p, Some(b"a")), (p, Some(b"b")), (n, Some(b"1"))],
        ];
        for headers in table {
            assert!(matches!(found(&usual(), headers), Numbered::Unreadable(_)), "{headers:?}");
        }
        let same: Headers<'_> = &[(p, Some(b"a")), (n, Some(b"1")), (n, Some(b"1"))];
        assert_eq!(found(&usual(), same), readable(b"a", 1));
    }
}
