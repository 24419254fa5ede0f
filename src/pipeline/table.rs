//! Every open record of this process, and who waits for whom among those with the same message ID.

use std::collections::VecDeque;
use std::sync::Arc;

use super::couriers::Courier;
use super::desk::Asker;
use crate::domain::claim::IdHash;
use crate::domain::hashed::ByHash;
use crate::domain::identity::WireId;
use crate::domain::lanes::LaneKey;
use crate::domain::life::Life;
use crate::domain::low_water::Slot;
use crate::domain::reasons::DeadLetterReason;
use crate::domain::record::Record;
use crate::domain::time::Moment;

/// Names one open record, for replies and timers that may come after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token {
    index: u32,
    stamp: u32,
}

/// One open record.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Record>,
    pub(super) id: Option<(IdHash, WireId)>,
    /// Its ID is made from its position.
    pub(super) position_made: bool,
    pub(super) life: Life,
    /// Found before the claim: it can never be forwarded.
    pub(super) unfit: Option<DeadLetterReason>,
    /// What the dead-letter topic is told: why unfit, or what the app answered last.
    pub(super) detail: String,
    pub(super) status: Option<u16>,
    /// Index of its partition; `None` once the partition is not ours any more.
    pub(super) home: Option<u32>,
    pub(super) slot: Slot,
    pub(super) lane: Option<LaneKey>,
    pub(super) at_head: bool,
    /// Claimed, and waits to become the head of its lane.
    pub(super) ready: bool,
    /// When its request was sent, or its command to the store.
    pub(super) asked: Moment,
    /// When its claim was last on its way to the store: it lives for a window from then on.
    pub(super) written: Moment,
    /// The courier that carries its request.
    pub(super) courier: Option<Courier>,
    /// Grows when the record starts again under a new session: replies to what was asked before are not heard.
    pub(super) epoch: u32,
}

/// The open records. Bounded by the partitions' windows and the bytes held.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<(u32, Option<Box<Entry>>)>,
    free: Vec<u32>,
    stamp: u32,
    twins: ByHash<IdHash, Twins>,
}

/// The record that works on a message ID, and those behind it.
#[derive(Debug)]
struct Twins {
    owner: Token,
    behind: VecDeque<Token>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, entry: Entry) -> Token {
        self.stamp = self.stamp.wrapping_add(1);
        let place = (self.stamp, Some(Box::new(entry)));
        let index = if let Some(index) = self.free.pop() {
            self.entries[index as usize] = place;
            index
        } else {
            self.entries.push(place);
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        };
        Token { index, stamp: self.stamp }
    }

    pub(super) fn get(&self, token: Token) -> Option<&Entry> {
        let (stamp, entry) = self.entries.get(token.index as usize)?;
        if *stamp == token.stamp { entry.as_deref() } else { None }
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Entry> {
        let (stamp, entry) = self.entries.get_mut(token.index as usize)?;
        if *stamp == token.stamp { entry.as_deref_mut() } else { None }
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Box<Entry>> {
        let (stamp, entry) = self.entries.get_mut(token.index as usize)?;
        let gone = if *stamp == token.stamp { entry.take() } else { None };
        if gone.is_some() {
            self.free.push(token.index);
        }
        gone
    }

    /// Whether somebody still waits for what was asked.
    pub(super) fn awaits(&self, asker: Asker) -> bool {
        match asker {
            Asker::Record(token, epoch) | Asker::Keeping(token, epoch) => {
                self.get(token).is_some_and(|entry| entry.epoch == epoch)
            }
            Asker::Session(_) => true,
            Asker::Nobody => false,
        }
    }

    /// Whether no record is open.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }

    /// The tokens of all open records for which `wanted` holds.
    pub(super) fn tokens(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Token> {
        let open = self.entries.iter().enumerate().filter_map(|(index, (stamp, entry))| {
            let entry = entry.as_deref()?;
            wanted(entry).then(|| Token { index: u32::try_from(index).unwrap_or(u32::MAX), stamp: *stamp })
        });
        open.collect()
    }

    /// Records that wait for another one with the same ID.
    pub(super) fn behind_twins(&self) -> impl Iterator<Item = Token> {
        self.twins.values().flat_map(|twins| twins.behind.iter().copied())
    }

    /// Lets a record work on its ID, or puts it behind the one that does. `true`: it may go on.
    pub(super) fn claim_id(&mut self, id: IdHash, token: Token) -> bool {
        use std::collections::hash_map::Entry as Place;
        match self.twins.entry(id) {
            Place::Vacant(place) => {
                place.insert(Twins { owner: token, behind: VecDeque::new() });
                true
            }
            Place::Occupied(place) if place.get().owner == token => true,
            Place::Occupied(mut place) => {
                place.get_mut().behind.push_back(token);
                false
            }
        }
    }

    /// A record has ended. Returns the one behind it that works on the ID now.
    pub(super) fn leave_id(&mut self, id: IdHash, token: Token) -> Option<Token> {
        let twins = self.twins.get_mut(&id)?;
        if twins.owner != token {
            twins.behind.retain(|behind| *behind != token);
            return None;
        }
        if let Some(next) = twins.behind.pop_front() {
            twins.owner = next;
            Some(next)
        } else {
            self.twins.remove(&id);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: IdHash = IdHash([7; 16]);

    fn token(index: u32) -> Token {
        Token { index, stamp: index }
    }

    #[test]
    fn one_record_at_a_time_works_on_an_id() {
        let mut table = Table::default();
        assert!(table.claim_id(ID, token(1)));
        assert!(table.claim_id(ID, token(1)), "asking again changes nothing");
        assert!(!table.claim_id(ID, token(2)));
        assert!(!table.claim_id(ID, token(3)));
        assert_eq!(table.leave_id(ID, token(2)), None, "one from behind leaves quietly");
        assert_eq!(table.leave_id(ID, token(1)), Some(token(3)));
        assert_eq!(table.leave_id(ID, token(3)), None);
        assert!(table.twins.is_empty());
    }
}
