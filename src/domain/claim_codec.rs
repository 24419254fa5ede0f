//! Claims as bytes in the store: compact, one encoding for each value, readable by the version before and after.
//!
//! ```text
//! version (1 byte) | state (1 byte) | fields
//!   claimed   session (16) attempt retries deadline in-doubt (1) partition offset timestamp digest (16)
//!   released               attempt retries deadline in-doubt (1) partition offset timestamp digest (16)
//!   dead                   attempt                  in-doubt (1) partition offset timestamp digest (16)
//!   done                                                         partition offset timestamp digest (16)
//! ```
//!
//! Numbers are LEB128 varints, shortest form only; signed ones (partition, offset, timestamp) are zig-zagged first.
//!
//! # How versions live beside each other
//!
//! A rolling update runs two versions on one store. The high half of the version byte is the layout, the low half its
//! revision.
//!
//! - A **revision** appends fields, at the end, and only such as may get lost: an older reader skips them, and drops
//!   them when it writes. They never decide whose a claim is. A value that does not use them is written in the oldest
//!   revision that holds it, so each value has one encoding in all revisions. So a higher revision than ours always
//!   has more bytes than we read, and ours never has.
//! - Compare-and-set needs what stands there, and an older reader cannot write a newer revision's bytes again. So it
//!   compares by [`is_same`], not byte for byte: a newer revision with the same fields before the appended ones is the
//!   same value. Every field is of known length or ends itself, so comparing the beginning compares exactly the fields.
//! - A new **layout** takes two releases: one that reads both and writes the old one, then one that writes the new one.
//!   A layout that we do not know is foreign, like anything else that is not ours.

use super::claim::{ClaimValue, Digest, SessionId, Spent};
use super::record::{Offset, Position};
use super::time::UnixMillis;

/// The layout above, in the high half of the version byte.
const LAYOUT: u8 = 0x10;
/// Where the low half of the version byte says how much is appended to the fields of a layout.
const REVISION_MASK: u8 = 0x0F;
/// The highest revision of the layout whose fields we know. None has been appended so far.
const REVISION: u8 = 0;

const CLAIMED: u8 = 1;
const RELEASED: u8 = 2;
const DONE: u8 = 3;
const DEAD: u8 = 4;

/// The longest value we write, in bytes: a claim with every number at its largest.
pub const LONGEST: usize = 80;

/// The bytes of a value, at most [`LONGEST`]. Equal values give equal bytes.
pub fn encode(value: &ClaimValue) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LONGEST);
    bytes.push(LAYOUT | REVISION);
    let (position, digest) = match value {
        ClaimValue::Claimed { session, spent, in_doubt, position, digest } => {
            bytes.push(CLAIMED);
            bytes.extend_from_slice(&session.0);
            put_spent(&mut bytes, spent, *in_doubt);
            (position, digest)
        }
        ClaimValue::Released { spent, in_doubt, position, digest } => {
            bytes.push(RELEASED);
            put_spent(&mut bytes, spent, *in_doubt);
            (position, digest)
        }
        ClaimValue::Done { position, digest } => {
            bytes.push(DONE);
            (position, digest)
        }
        ClaimValue::Dead { attempt, in_doubt, position, digest } => {
            bytes.push(DEAD);
            put_unsigned(&mut bytes, u64::from(*attempt));
            bytes.push(u8::from(*in_doubt));
            (position, digest)
        }
    };
    put_signed(&mut bytes, i64::from(position.partition));
    put_signed(&mut bytes, position.offset.0);
    put_signed(&mut bytes, position.timestamp);
    bytes.extend_from_slice(&digest.0);
    bytes
}

/// Reads a value; `None` for one that is not ours: another layout, cut off, too long, a number not in shortest form.
pub fn decode(bytes: &[u8]) -> Option<ClaimValue> {
    let mut reader = Reader(bytes);
    let version = reader.byte()?;
    if version & !REVISION_MASK != LAYOUT {
        return None;
    }
    let value = reader.value()?;
    let appended = !reader.0.is_empty();
    (appended == (version & REVISION_MASK > REVISION)).then_some(value)
}

/// Whether what stands in the store is the value that a compare-and-set expects, as [`encode`] wrote it: the same
/// bytes, or a newer revision of the layout that begins with the same fields.
///
/// A store that compares in a script of its own must say the same: `stored == expected`, or `stored` is longer, its
/// first byte is above that of `expected` with the same high half, and its bytes from the second on begin with those
/// of `expected`.
pub fn is_same(stored: &[u8], expected: &[u8]) -> bool {
    let ([theirs, stored_fields @ ..], [ours, expected_fields @ ..]) = (stored, expected) else { return false };
    let newer = theirs > ours && theirs & !REVISION_MASK == ours & !REVISION_MASK;
    stored == expected
        || (newer && stored_fields.len() > expected_fields.len() && stored_fields.starts_with(expected_fields))
}

fn put_spent(bytes: &mut Vec<u8>, spent: &Spent, in_doubt: bool) {
    put_unsigned(bytes, u64::from(spent.attempt));
    put_unsigned(bytes, u64::from(spent.retries));
    put_unsigned(bytes, spent.deadline.0);
    bytes.push(u8::from(in_doubt));
}

fn put_unsigned(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7F) as u8);
}

fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put_unsigned(bytes, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn value(&mut self) -> Option<ClaimValue> {
        Some(match self.byte()? {
            CLAIMED => {
                let session = SessionId(self.array()?);
                let (spent, in_doubt) = self.spent()?;
                let (position, digest) = self.position_and_digest()?;
                ClaimValue::Claimed { session, spent, in_doubt, position, digest }
            }
            RELEASED => {
                let (spent, in_doubt) = self.spent()?;
                let (position, digest) = self.position_and_digest()?;
                ClaimValue::Released { spent, in_doubt, position, digest }
            }
            DONE => {
                let (position, digest) = self.position_and_digest()?;
                ClaimValue::Done { position, digest }
            }
            DEAD => {
                let attempt = self.unsigned()?.try_into().ok()?;
                let in_doubt = self.flag()?;
                let (position, digest) = self.position_and_digest()?;
                ClaimValue::Dead { attempt, in_doubt, position, digest }
            }
            _ => return None,
        })
    }

    fn spent(&mut self) -> Option<(Spent, bool)> {
        let attempt = self.unsigned()?.try_into().ok()?;
        let retries = self.unsigned()?.try_into().ok()?;
        let deadline = UnixMillis(self.unsigned()?);
        Some((Spent { attempt, retries, deadline }, self.flag()?))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn position_and_digest(&mut self) -> Option<(Position, Digest)> {
        let partition = self.signed()?.try_into().ok()?;
        let offset = Offset(self.signed()?);
        let timestamp = self.signed()?;
        Some((Position { partition, offset, timestamp }, Digest(self.array()?)))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            number |= part << shift;
            if byte & 0x80 == 0 {
                let (overflows, padded) = (part << shift >> shift != part, byte == 0 && shift > 0);
                return (!overflows && !padded).then_some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example(offset: i64) -> ClaimValue {
        let position = Position { partition: 3, offset: Offset(offset), timestamp: -1 };
        ClaimValue::Done { position, digest: Digest([0xD1; 16]) }
    }

    /// What a later revision would write: a higher version byte, the same fields, and more behind them.
    fn newer_revision(value: &ClaimValue, revision: u8, appended: &[u8]) -> Vec<u8> {
        let mut bytes = encode(value);
        bytes[0] += revision;
        bytes.extend_from_slice(appended);
        bytes
    }

    #[test]
    fn the_bytes_are_those_that_running_versions_have_written() {
        let position = Position { partition: 3, offset: Offset(300), timestamp: -1 };
        let (spent, digest) = (Spent { attempt: 2, retries: 1, deadline: UnixMillis(128) }, Digest([0xD1; 16]));
        let tail = "06d80401".to_owned() + &"d1".repeat(16);
        let session = SessionId([0x5E; 16]);
        let claimed = ClaimValue::Claimed { session, spent, in_doubt: true, position, digest };
        for (value, expected) in [
            (claimed, "1001".to_owned() + &"5e".repeat(16) + "0201800101" + &tail),
            (ClaimValue::Released { spent, in_doubt: false, position, digest }, "10020201800100".to_owned() + &tail),
            (ClaimValue::Done { position, digest }, "1003".to_owned() + &tail),
            (ClaimValue::Dead { attempt: 2, in_doubt: true, position, digest }, "10040201".to_owned() + &tail),
        ] {
            let hex: String = encode(&value).iter().flat_map(|byte| [byte >> 4, byte & 0xF]).map(hex_digit).collect();
            assert_eq!(hex, expected);
        }
    }

    fn hex_digit(digit: u8) -> char {
        char::from_digit(u32::from(digit), 16).expect("below 16")
    }

    #[test]
    fn the_longest_value_is_as_long_as_its_bound() {
        let position = Position { partition: i32::MIN, offset: Offset(i64::MIN), timestamp: i64::MIN };
        let spent = Spent { attempt: u32::MAX, retries: u32::MAX, deadline: UnixMillis(u64::MAX) };
        let (session, digest) = (SessionId([0; 16]), Digest([0; 16]));
        let longest = ClaimValue::Claimed { session, spent, in_doubt: true, position, digest };
        assert_eq!(encode(&longest).len(), LONGEST);
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        let ours = encode(&example(300));
        let with = |place: usize, bytes: &[u8]| [&ours[..place], bytes, &ours[place + 1..]].concat();
        for (what, bytes) in [
            ("empty", Vec::new()),
            ("text", b"done".to_vec()),
            ("another layout", with(0, &[0x20])),
            ("an unknown state", with(1, &[0])),
            ("appended to a revision that appends nothing", [&ours[..], &[0]].concat()),
            ("a newer revision that appends nothing", with(0, &[0x11])),
            ("a number not in shortest form", with(2, &[0x86, 0x00])),
            ("a partition beyond 32 bits", with(2, &[0xFE, 0xFF, 0xFF, 0xFF, 0x7F])),
            ("a number beyond 64 bits", with(2, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02])),
            ("a number without an end", with(2, &[0xFF; 11])),
        ] {
            assert_eq!(decode(&bytes), None, "{what}");
        }
    }

    #[test]
    fn a_newer_revision_is_the_same_value_and_anything_else_is_not() {
        let value = example(300);
        let expected = encode(&value);
        for (what, stored, same) in [
            ("itself", expected.clone(), true),
            ("a newer revision of it", newer_revision(&value, 1, b"x"), true),
            ("a much newer revision of it", newer_revision(&value, 15, b"xyz"), true),
            ("a newer revision of another value", newer_revision(&example(301), 1, b"x"), false),
            ("a newer revision that appends nothing", newer_revision(&value, 1, b""), false),
            ("another layout", newer_revision(&value, 16, b"x"), false),
            ("something appended", newer_revision(&value, 0, b"x"), false),
            ("another value", encode(&example(301)), false),
            ("nothing", Vec::new(), false),
        ] {
            assert_eq!(is_same(&stored, &expected), same, "{what}");
        }
    }

    fn claim_value() -> impl Strategy<Value = ClaimValue> {
        let place = (any::<i32>(), any::<i64>(), any::<i64>(), any::<[u8; 16]>());
        let spent = (any::<u32>(), any::<u32>(), any::<u64>(), any::<bool>());
        (0..4_u8, any::<[u8; 16]>(), spent, place).prop_map(|(state, session, spent, place)| {
            let position = Position { partition: place.0, offset: Offset(place.1), timestamp: place.2 };
            let (digest, session, in_doubt) = (Digest(place.3), SessionId(session), spent.3);
            let spent = Spent { attempt: spent.0, retries: spent.1, deadline: UnixMillis(spent.2) };
            match state {
                0 => ClaimValue::Claimed { session, spent, in_doubt, position, digest },
                1 => ClaimValue::Released { spent, in_doubt, position, digest },
                2 => ClaimValue::Done { position, digest },
                _ => ClaimValue::Dead { attempt: spent.attempt, in_doubt, position, digest },
            }
        })
    }

    proptest! {
        #[test]
        fn every_value_reads_back_and_stays_below_its_bound(value in claim_value()) {
            let bytes = encode(&value);
            prop_assert!(bytes.len() <= LONGEST);
            prop_assert_eq!(decode(&bytes), Some(value));
        }

        #[test]
        fn a_newer_revision_reads_as_what_we_know_of_it(
            value in claim_value(),
            revision in 1..16_u8,
            appended in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            let stored = newer_revision(&value, revision, &appended);
            prop_assert_eq!(decode(&stored), Some(value));
            prop_assert!(is_same(&stored, &encode(&value)));
        }

        #[test]
        fn a_compare_and_set_takes_exactly_what_reads_as_the_expected_value(
            one in claim_value(),
            other in claim_value(),
            revision in 0..2_u8,
        ) {
            let appended = &b"x"[..usize::from(revision)];
            for (stored, expected) in [(one, one), (one, other)] {
                let same = is_same(&newer_revision(&stored, revision, appended), &encode(&expected));
                prop_assert_eq!(same, stored == expected);
            }
        }

        #[test]
        fn another_version_byte_or_fewer_bytes_are_foreign(value in claim_value(), version: u8, cut: prop::sample::Index) {
            let mut bytes = encode(&value);
            prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), None);
            if version != bytes[0] {
                bytes[0] = version;
                prop_assert_eq!(decode(&bytes), None);
            }
        }

        #[test]
        fn whatever_is_read_is_written_the_same(
            garbage: Vec<u8>,
            value in claim_value(),
            place: prop::sample::Index,
            byte: u8,
        ) {
            let mut damaged = encode(&value);
            let place = place.index(damaged.len());
            damaged[place] = byte;
            for bytes in [garbage, damaged] {
                if let Some(value) = decode(&bytes) {
                    prop_assert!(is_same(&bytes, &encode(&value)));
                }
            }
        }
    }
}
