//! The bytes under an ID's key: a version byte, a state byte, then fixed fields in network order.

use crate::domain::claim::{ClaimValue, Digest, SessionId, Spent, Stored};
use crate::domain::record::{Offset, Position};
use crate::domain::time::UnixMillis;

/// The version we write. Reading refuses all others: the value is then foreign, never new and never a duplicate.
const VERSION: u8 = 1;
/// Version, state, session, spent, position, digest.
const LONGEST: usize = 2 + 16 + 16 + 20 + 16;

const CLAIMED: u8 = b'c';
const CLAIMED_IN_DOUBT: u8 = b'C';
const RELEASED: u8 = b'r';
const RELEASED_IN_DOUBT: u8 = b'R';
const DONE: u8 = b'd';
const DEAD: u8 = b'x';

/// An encoded value, without an allocation.
pub(super) struct Encoded {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Encoded {
    /// Encodes `value`. One value has exactly one encoding: compare-and-set compares bytes.
    pub(super) fn of(value: &ClaimValue) -> Self {
        let mut out = Self { bytes: [0; LONGEST], len: 0 };
        out.put(&[VERSION]);
        match value {
            ClaimValue::Claimed { session, spent, in_doubt, .. } => {
                out.put(&[if *in_doubt { CLAIMED_IN_DOUBT } else { CLAIMED }]);
                out.put(&session.0);
                out.spent(spent);
            }
            ClaimValue::Released { spent, in_doubt, .. } => {
                out.put(&[if *in_doubt { RELEASED_IN_DOUBT } else { RELEASED }]);
                out.spent(spent);
            }
            ClaimValue::Done { .. } => out.put(&[DONE]),
            ClaimValue::Dead { .. } => out.put(&[DEAD]),
        }
        let position = value.position();
        out.put(&position.partition.to_be_bytes());
        out.put(&position.offset.0.to_be_bytes());
        out.put(&position.timestamp.to_be_bytes());
        out.put(&value.digest().0);
        out
    }

    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn put(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    fn spent(&mut self, spent: &Spent) {
        self.put(&spent.attempt.to_be_bytes());
        self.put(&spent.retries.to_be_bytes());
        self.put(&spent.deadline.0.to_be_bytes());
    }
}

/// Reads what stands under a key; anything that is not ours to the last byte is foreign.
pub(super) fn read(bytes: &[u8]) -> Stored {
    decode(bytes).map_or(Stored::Foreign, Stored::Value)
}

fn decode(bytes: &[u8]) -> Option<ClaimValue> {
    let mut reader = Reader(bytes);
    if reader.take()? != [VERSION] {
        return None;
    }
    let [state] = reader.take()?;
    let value = match state {
        CLAIMED | CLAIMED_IN_DOUBT => ClaimValue::Claimed {
            session: SessionId(reader.take()?),
            spent: reader.spent()?,
            in_doubt: state == CLAIMED_IN_DOUBT,
            position: reader.position()?,
            digest: Digest(reader.take()?),
        },
        RELEASED | RELEASED_IN_DOUBT => ClaimValue::Released {
            spent: reader.spent()?,
            in_doubt: state == RELEASED_IN_DOUBT,
            position: reader.position()?,
            digest: Digest(reader.take()?),
        },
        DONE => ClaimValue::Done { position: reader.position()?, digest: Digest(reader.take()?) },
        DEAD => ClaimValue::Dead { position: reader.position()?, digest: Digest(reader.take()?) },
        _ => return None,
    };
    reader.0.is_empty().then_some(value)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn spent(&mut self) -> Option<Spent> {
        Some(Spent {
            attempt: u32::from_be_bytes(self.take()?),
            retries: u32::from_be_bytes(self.take()?),
            deadline: UnixMillis(u64::from_be_bytes(self.take()?)),
        })
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position {
            partition: i32::from_be_bytes(self.take()?),
            offset: Offset(i64::from_be_bytes(self.take()?)),
            timestamp: i64::from_be_bytes(self.take()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_state() -> Vec<ClaimValue> {
        let position = Position { partition: 7, offset: Offset(i64::MAX), timestamp: -1 };
        let digest = Digest(*b"\0\r\n{}:*$\xff\xfe567890");
        let session = SessionId([0xab; 16]);
        let spent = Spent { attempt: 3, retries: u32::MAX, deadline: UnixMillis(u64::MAX) };
        let doubts = [false, true];
        let claimed = doubts.map(|in_doubt| ClaimValue::Claimed { session, spent, in_doubt, position, digest });
        let released = doubts.map(|in_doubt| ClaimValue::Released { spent, in_doubt, position, digest });
        let settled = [ClaimValue::Done { position, digest }, ClaimValue::Dead { position, digest }];
        claimed.into_iter().chain(released).chain(settled).collect()
    }

    #[test]
    fn every_state_reads_back_as_it_was_written() {
        for value in each_state() {
            assert_eq!(read(Encoded::of(&value).as_bytes()), Stored::Value(value));
        }
    }

    #[test]
    fn whatever_is_shorter_longer_or_of_another_version_is_foreign() {
        for value in each_state() {
            let bytes = Encoded::of(&value).as_bytes().to_vec();
            for len in 0..bytes.len() {
                assert_eq!(read(&bytes[..len]), Stored::Foreign, "cut to {len} bytes");
            }
            assert_eq!(read(&[&bytes[..], b"\0"].concat()), Stored::Foreign, "one byte more");
            assert_eq!(read(&[&[2], &bytes[1..]].concat()), Stored::Foreign, "the next version");
            assert_eq!(read(&[&[1, b'?'], &bytes[2..]].concat()), Stored::Foreign, "an unknown state");
        }
    }
}
