//! Which records were given up in doubt, by any of their letters: another copy must not hide what one of them tells.

use std::collections::hash_map::Entry;

use crate::domain::hashed::ByHash;
use crate::domain::letter::Letter;
use crate::pipeline::hash_128;

/// Records that are remembered, some 40 bytes each. Beyond it every letter counts as in doubt.
const MOST_DOUBTS: usize = 1_000_000;

/// What the letters in doubt say, by the record that they are of.
#[derive(Default)]
pub(super) struct Doubts {
    /// The most requests that one of them tells of.
    attempts: ByHash<[u8; 16], u32>,
    /// There were more.
    more: bool,
}

impl Doubts {
    /// Remembers what a letter says, if it is in doubt.
    pub(super) fn add(&mut self, letter: &Letter) {
        if letter.in_doubt {
            self.put(record(letter), letter.attempts);
        }
    }

    fn put(&mut self, record: [u8; 16], attempts: u32) {
        let room = self.attempts.len() < MOST_DOUBTS;
        match self.attempts.entry(record) {
            Entry::Occupied(mut known) => *known.get_mut() = attempts.max(*known.get()),
            Entry::Vacant(place) if room => {
                place.insert(attempts);
            }
            Entry::Vacant(_) => self.more = true,
        }
    }

    /// The requests that were sent for a letter's record, and whether one of them may have had its effect: by what all of
    /// its letters say.
    pub(super) fn of(&self, letter: &Letter) -> (u32, bool) {
        let known = self.attempts.get(&record(letter));
        let attempts = known.map_or(letter.attempts, |attempts| letter.attempts.max(*attempts));
        (attempts, letter.in_doubt || self.more || known.is_some())
    }
}

fn record(letter: &Letter) -> [u8; 16] {
    hash_128(&letter.source_input())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::letter;
    use crate::domain::record::{Offset, Position, Record};

    fn letter(offset: &str, attempts: &str, delivery: &str) -> Letter {
        let said = [
            (letter::ERROR, "refused"),
            (letter::DETAIL, "no"),
            (letter::ATTEMPTS, attempts),
            (letter::DELIVERY, delivery),
            (letter::MESSAGE_ID, "a"),
            (letter::NAMESPACE, "billing"),
            (letter::SOURCE_TOPIC, "orders"),
            (letter::SOURCE_PARTITION, "0"),
            (letter::SOURCE_OFFSET, offset),
            (letter::AT, "now"),
        ];
        let headers = said.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let position = Position { partition: 0, offset: Offset(0), timestamp: 0 };
        Letter::read(&Record::new("dead".into(), position, None, None, &headers)).expect("a letter")
    }

    #[test]
    fn what_one_copy_tells_counts_for_all_of_them_and_for_no_other_record() {
        let mut doubts = Doubts::default();
        for (attempts, delivery) in [("3", "possible-repeat"), ("2", "possible-repeat"), ("9", "first")] {
            doubts.add(&letter("5", attempts, delivery));
        }
        assert_eq!(doubts.of(&letter("5", "1", "first")), (3, true));
        assert_eq!(doubts.of(&letter("5", "4", "first")), (4, true));
        assert_eq!(doubts.of(&letter("6", "1", "first")), (1, false));
        assert_eq!(doubts.of(&letter("6", "1", "possible-repeat")), (1, true));
    }

    #[test]
    fn beyond_what_is_remembered_every_letter_is_in_doubt() {
        let mut doubts = Doubts::default();
        for number in 0..MOST_DOUBTS {
            doubts.put((number as u128).to_le_bytes(), 1);
        }
        doubts.put(7_u128.to_le_bytes(), 2); // known already
        assert_eq!(doubts.of(&letter("5", "1", "first")), (1, false));
        doubts.add(&letter("6", "1", "possible-repeat"));
        assert_eq!((doubts.of(&letter("5", "1", "first")), doubts.attempts.len()), ((1, true), MOST_DOUBTS));
    }
}
