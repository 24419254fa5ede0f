//! What is kept of a partition beside its commits, so that restarts, crashes and rebalances neither invent nor hide a
//! loss: the producers' sequences, as of which offset, and the last record that was settled.

use super::producers::Producers;
use super::record::{NextOffset, Offset};

/// A record by which its log can be told from another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Landmark {
    /// Where it stood.
    pub offset: Offset,
    /// Its timestamp in Unix milliseconds; -1 where it had none.
    pub timestamp: i64,
}

/// One partition's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// All below has been observed; what comes again from there says nothing.
    pub observed_to: NextOffset,
    /// The last record below low water.
    pub settled: Option<Landmark>,
    /// The producers' sequences.
    pub producers: Producers,
}

impl Past {
    /// Of a partition that is read from here on, and of which nothing is known.
    pub fn none(start: NextOffset) -> Self {
        Self { observed_to: start, settled: None, producers: Producers::default() }
    }
}

/// What follows when records were lost (`ONCE_ON_LOSS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Go on with the earliest record left, loudly.
    Continue,
    /// The partition stays paused, and nothing is committed for it, until `POST /resume`.
    Stop,
}

/// How a partition's log and what the group knows of it fit together at its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Nothing is missing.
    Whole,
    /// Records below the log's start were deleted before they were read: so many offsets.
    Retention(u64),
    /// The log ends below what was committed, or it is another one of the same name: so many offsets above its end.
    Truncation(u64),
}

/// Judges what the log still holds. `known` is the first offset that is not known to be settled: the committed one, or
/// the one behind the last settled record where that is further; `None` for a group that starts.
pub fn fit(known: Option<NextOffset>, log_start: NextOffset, log_end: NextOffset) -> Fit {
    let offsets = |from: NextOffset, to: NextOffset| u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
    match known {
        Some(next) if next > log_end => Fit::Truncation(offsets(log_end, next)),
        Some(next) if next < log_start => Fit::Retention(offsets(next, log_start)),
        Some(_) | None => Fit::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_counted_exactly_by_its_cause() {
        let table = [
            (None, Fit::Whole),
            (Some(2), Fit::Retention(3)),
            (Some(5), Fit::Whole),
            (Some(9), Fit::Whole),
            (Some(12), Fit::Truncation(3)),
        ];
        for (known, expected) in table {
            assert_eq!(fit(known.map(NextOffset), NextOffset(5), NextOffset(9)), expected, "{known:?}");
        }
        assert_eq!(fit(Some(NextOffset(4)), NextOffset(0), NextOffset(0)), Fit::Truncation(4), "made anew, empty");
    }
}
