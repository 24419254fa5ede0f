//! What is known before the first letter is sent: the markers of earlier runs, all of them, and what letters tell of doubt.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::doubts::Doubts;
use super::selection::{Left, Selection};
use super::trouble::Trouble;
use crate::adapters::kafka::{Seen, Span, TopicReader, Wanted};
use crate::domain::hashed::SetByHash;
use crate::domain::letter::{Letter, Marker};
use crate::domain::record::{Offset, Record};

/// Markers that are remembered, some 60 bytes each. Beyond it a letter could look unsent: nothing is sent then.
pub(super) const MOST_MARKERS: usize = 1_000_000;

/// Letters that were sent back.
#[derive(Default)]
pub(super) struct Markers {
    letters: HashSet<(i32, Offset)>,
    records: SetByHash<[u8; 16]>,
}

impl Markers {
    /// Whether that letter was sent back.
    pub(super) fn has_letter(&self, partition: i32, offset: Offset) -> bool {
        self.letters.contains(&(partition, offset))
    }

    /// Whether a copy of that letter was.
    pub(super) fn has_record(&self, record: [u8; 16]) -> bool {
        self.records.contains(&record)
    }

    /// Remembers one.
    pub(super) fn add(&mut self, marker: &Marker) {
        self.letters.insert((marker.partition, marker.offset));
        self.records.insert(marker.record);
    }

    /// Whether so many more would be too many.
    pub(super) fn is_full_with(&self, more: usize) -> bool {
        self.letters.len() + more > MOST_MARKERS
    }
}

/// What the whole topic holds.
#[derive(Default)]
pub(super) struct Scan {
    pub markers: Markers,
    /// Of all letters of our topics and namespace, whether they are asked for or not.
    pub doubts: Doubts,
    /// Where the letters that are asked for come from.
    pub topics: BTreeSet<String>,
}

impl Scan {
    /// Reads the spans for markers, for doubts and for the topics that letters come from.
    pub(super) fn read(reader: &TopicReader, spans: &[Span], selection: &Selection) -> Result<Self, Trouble> {
        let wanted = Wanted { every_header: true, ..Wanted::default() };
        let (stop, mut scan) = (AtomicBool::new(false), Self::default());
        let mut see = |seen| {
            if let Seen::Record { record, .. } = seen {
                scan.take(&record, selection);
                stop.store(scan.markers.is_full_with(0), Ordering::Relaxed);
            }
        };
        reader.read(spans, &wanted, &stop, &mut see).map_err(Trouble::before)?;
        if scan.markers.is_full_with(0) { Err(full()) } else { Ok(scan) }
    }

    fn take(&mut self, record: &Record, selection: &Selection) {
        if let Some(marker) = Marker::read(record) {
            self.markers.add(&marker);
        } else if let Some(letter) = Letter::read(record) {
            let judged = selection.judge(&letter);
            if matches!(judged, Ok(()) | Err(Left::NotAsked)) {
                self.doubts.add(&letter);
            }
            if judged.is_ok() && !self.topics.contains(&letter.topic) {
                self.topics.insert(letter.topic);
            }
        }
    }
}

/// More markers than can be remembered.
pub(super) fn full() -> Trouble {
    Trouble::before(format!(
        "the dead-letter topic holds more than {MOST_MARKERS} markers of letters sent back, so it cannot be told which \
         ones were; shorten its retention, or use another topic"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_remembered_up_to_their_bound_and_no_further() {
        let mut markers = Markers::default();
        for number in 0..MOST_MARKERS {
            assert!(!markers.is_full_with(1), "{number}");
            let offset = Offset(i64::try_from(number).expect("small"));
            markers.add(&Marker { partition: 0, offset, record: (number as u128).to_le_bytes() });
        }
        assert!(!markers.is_full_with(0) && markers.is_full_with(1));
        assert!(markers.has_letter(0, Offset(7)) && !markers.has_letter(1, Offset(7)));
        assert!(markers.has_record(7_u128.to_le_bytes()) && !markers.has_record([0xff; 16]));
    }
}
