//! A partition's past as it stands in the store: a version, whose it is, and then compact numbers.
//!
//! Layout: version byte, 16 bytes that name the owner, 8 bytes (big endian) that count how often it has written, then
//! `observed_to`, the landmark, the producers. Numbers are LEB128, signed ones zigzag, as in Protocol Buffers. Whoever reads
//! another version starts afresh.

use std::fmt;

use super::past::{Landmark, Past};
use super::producers::Producers;
use super::record::{NextOffset, Offset};
use super::sequence::{Missing, Run, Tracker};
use super::time::{Now, UnixMillis};

/// The version that is written.
pub const VERSION: u8 = 1;

/// Bytes that say whose it is, with the version before them.
pub const OWNED: usize = 1 + 16;

/// Bytes before the numbers.
pub const HEADER: usize = OWNED + 8;

/// Who may write a partition's past: one assignment of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub [u8; 16]);

/// Why a stored past cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPast {
    /// Another version has written it.
    Version(u8),
    /// It is no past at all, or a broken one.
    Broken,
}

impl fmt::Display for BadPast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "what is stored is of version {version}, which this build does not know")
            }
            Self::Broken => f.write_str("what is stored is broken"),
        }
    }
}

impl std::error::Error for BadPast {}

/// What may be written over what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// This may.
    Open,
    /// Its owner has written a later one: this one was on its way for long.
    Late,
    /// Another owner has it.
    NotOurs,
}

/// Whether a past may be written over what stands there: a fence that whoever stores pasts must keep. What is of another
/// version, or no past at all, fences nobody off.
pub fn fence(stands: &[u8], past: &[u8]) -> Fence {
    let (Some(stands), Some(past)) = (stands.get(..HEADER), past.get(..HEADER)) else { return Fence::Open };
    if stands[0] != past[0] {
        Fence::Open
    } else if stands[..OWNED] != past[..OWNED] {
        Fence::NotOurs
    } else if stands > past {
        Fence::Late
    } else {
        Fence::Open
    }
}

/// What stands before the numbers; `turn` counts how often the owner has written.
pub fn header(owner: Owner, turn: u64) -> [u8; HEADER] {
    let mut header = [VERSION; HEADER];
    header[1..OWNED].copy_from_slice(&owner.0);
    header[OWNED..].copy_from_slice(&turn.to_be_bytes());
    header
}

/// A past in bytes; `turn` counts how often its owner has written.
pub fn encode(owner: Owner, turn: u64, past: &Past) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 32);
    out.extend_from_slice(&header(owner, turn));
    signed(&mut out, past.observed_to.0);
    match past.settled {
        None => out.push(0),
        Some(Landmark { offset, timestamp }) => {
            out.push(1);
            signed(&mut out, offset.0);
            signed(&mut out, timestamp);
        }
    }
    for (producer, tracker, unseen) in past.producers.by_silence() {
        put_producer(&mut out, producer, tracker, unseen);
    }
    out
}

fn put_producer(out: &mut Vec<u8>, producer: &[u8], tracker: &Tracker, unseen: bool) {
    unsigned(out, producer.len() as u64);
    out.extend_from_slice(producer);
    put_run(out, tracker.run());
    out.push(u8::from(tracker.former().is_some()) | u8::from(unseen) << 1);
    if let Some(former) = tracker.former() {
        put_run(out, former);
    }
    unsigned(out, tracker.missing().len() as u64);
    for missing in tracker.missing() {
        unsigned(out, missing.first);
        unsigned(out, missing.last - missing.first);
        signed(out, missing.before.0);
        signed(out, missing.after.0);
        unsigned(out, missing.since.wall.0);
        out.push(u8::from(missing.lost) | u8::from(missing.past) << 1);
    }
}

fn put_run(out: &mut Vec<u8>, run: Run) {
    unsigned(out, run.base.map_or(0, |base| base.saturating_add(1)));
    signed(out, run.began.0);
    unsigned(out, run.highest);
    signed(out, run.highest_at.0);
}

/// Reads a past; the grace of what is suspected begins anew. An empty one (a header alone) is `None`.
///
/// # Errors
/// Another version, or no past at all: whoever reads it starts afresh.
pub fn decode(bytes: &[u8], now: Now) -> Result<Option<Past>, BadPast> {
    let (Some(version), Some(mut rest)) = (bytes.first(), bytes.get(HEADER..)) else { return Err(BadPast::Broken) };
    if *version != VERSION {
        return Err(BadPast::Version(*version));
    }
    if rest.is_empty() {
        return Ok(None);
    }
    past(&mut rest, now).map(Some).ok_or(BadPast::Broken)
}

fn past(rest: &mut &[u8], now: Now) -> Option<Past> {
    let observed_to = NextOffset(take_signed(rest)?);
    let settled = match take(rest)? {
        0 => None,
        1 => Some(Landmark { offset: Offset(take_signed(rest)?), timestamp: take_signed(rest)? }),
        _ => return None,
    };
    let mut producers = Producers::default();
    while !rest.is_empty() {
        let length = usize::try_from(take_unsigned(rest)?).ok()?;
        let (producer, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        let (tracker, unseen) = tracker(rest, observed_to, now)?;
        producers.restore(producer.into(), tracker, unseen);
    }
    Some(Past { observed_to, settled, producers })
}

fn tracker(rest: &mut &[u8], observed_to: NextOffset, now: Now) -> Option<(Tracker, bool)> {
    let this = run(rest)?;
    let flags = take(rest)?;
    let (former, unseen) = match flags {
        0..=3 => (if flags & 1 == 0 { None } else { Some(run(rest)?) }, flags & 2 != 0),
        _ => return None,
    };
    let mut missing = Vec::new();
    for _ in 0..take_unsigned(rest)? {
        let first = take_unsigned(rest)?;
        let last = first.checked_add(take_unsigned(rest)?)?;
        let (before, after) = (Offset(take_signed(rest)?), Offset(take_signed(rest)?));
        let since = Now { moment: now.moment, wall: UnixMillis(take_unsigned(rest)?) };
        let flags = take(rest)?;
        missing.push(Missing { first, last, before, after, since, lost: flags & 1 != 0, past: flags & 2 != 0 });
    }
    let as_of = Offset(observed_to.0.checked_sub(1)?);
    Some((Tracker::restore(this, former, as_of, missing), unseen))
}

fn run(rest: &mut &[u8]) -> Option<Run> {
    let base = take_unsigned(rest)?.checked_sub(1);
    let began = Offset(take_signed(rest)?);
    Some(Run { base, began, highest: take_unsigned(rest)?, highest_at: Offset(take_signed(rest)?) })
}

// ---- numbers -------------------------------------------------------------------------------------------------------

fn unsigned(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

fn signed(out: &mut Vec<u8>, number: i64) {
    unsigned(out, (number << 1 ^ number >> 63).cast_unsigned());
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    Some(*first)
}

fn take_unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest)?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None; // beyond 64 bits
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let number = take_unsigned(rest)?;
    Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::time::Moment;
    use super::*;

    const OWNER: Owner = Owner([7; 16]);

    fn now(seconds: u64) -> Now {
        Now { moment: Moment(seconds * 1_000_000), wall: UnixMillis(seconds * 1_000) }
    }

    fn some_past() -> Past {
        let mut past = Past::none(NextOffset(40));
        past.settled = Some(Landmark { offset: Offset(30), timestamp: -1 });
        for (number, offset) in [(0, 10), (5, 11), (u64::MAX, 12)] {
            past.producers.observe(b"a", number, Offset(offset), now(1));
        }
        past.producers.observe(b"b\0\xff", 7, Offset(13), now(1));
        past
    }

    #[test]
    fn a_past_reads_back_with_its_grace_begun_anew() {
        let past = some_past();
        let read = decode(&encode(OWNER, 3, &past), now(9)).expect("a past").expect("not empty");
        assert_eq!((read.observed_to, read.settled), (past.observed_to, past.settled));
        assert_eq!((read.producers.ranges(), read.producers.suspected()), (2, past.producers.suspected()));
        let of_a = read.producers.iter().find(|(producer, _)| *producer == b"a").expect("a").1;
        let first = of_a.missing()[0];
        assert_eq!((first.first, first.last, first.before, first.after), (1, 4, Offset(10), Offset(11)));
        assert_eq!((first.since.wall, first.since.moment), (now(1).wall, now(9).moment));
        let run = Run { base: Some(0), began: Offset(10), highest: u64::MAX, highest_at: Offset(12) };
        assert_eq!((of_a.run(), of_a.former()), (run, None));
        assert_eq!(of_a.as_of(), Offset(39), "what comes again from below says nothing");
    }

    #[test]
    fn another_version_and_what_is_cut_short_are_told_apart() {
        let whole = encode(OWNER, 3, &some_past());
        let mut newer = whole.clone();
        newer[0] = 2;
        assert_eq!(decode(&newer, now(0)), Err(BadPast::Version(2)));
        assert_eq!(decode(&whole[..HEADER], now(0)), Ok(None));
        for cut in (0..HEADER).chain([HEADER + 1, HEADER + 3, whole.len() - 1]) {
            assert_eq!(decode(&whole[..cut], now(0)), Err(BadPast::Broken), "cut at {cut}");
        }
    }

    #[test]
    fn a_past_is_written_over_an_earlier_one_of_its_owner_and_over_what_is_no_past() {
        let of = |owner, turn| encode(Owner([owner; 16]), turn, &some_past());
        let mut another_version = of(1, 9);
        another_version[0] = 2;
        let table = [
            (of(1, 4), Fence::Open),
            (of(1, 5), Fence::Open), // sent again after a lost reply
            (of(1, 6), Fence::Late),
            (of(1, 256), Fence::Late),
            (of(0, 1), Fence::NotOurs),
            (of(2, 9), Fence::NotOurs),
            (another_version, Fence::Open),
            (vec![VERSION; 9], Fence::Open),
            (Vec::new(), Fence::Open),
        ];
        for (stands, expected) in table {
            assert_eq!(fence(&stands, &of(1, 5)), expected, "{stands:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_never_crash(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = decode(&bytes, now(0));
        }

        #[test]
        fn numbers_read_back(unsigned_one in any::<u64>(), signed_one in any::<i64>()) {
            let mut out = Vec::new();
            unsigned(&mut out, unsigned_one);
            signed(&mut out, signed_one);
            let mut rest = out.as_slice();
            prop_assert_eq!(take_unsigned(&mut rest), Some(unsigned_one));
            prop_assert_eq!(take_signed(&mut rest), Some(signed_one));
            prop_assert!(rest.is_empty());
        }
    }
}
