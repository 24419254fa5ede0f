//! What is sent: payments of some accounts, with duplicates planted where producers in trouble put them, numbers of the
//! producers' sequences that are never sent, and some that come late.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

/// Partitions of the demo's topic.
pub(super) const PARTITIONS: i32 = 4;

/// Records sent in all, duplicates included.
const SENT: usize = 2_000;

/// One message in so many is sent twice.
const EVERY: usize = 9;

/// Keys; each has its partition. Enough to keep many requests open at once, though those of one key never overlap.
const ACCOUNTS: usize = 96;

/// How many messages later a duplicate comes that is not adjacent.
const LATER: usize = 40;

/// Which numbers are left out of each producer's sequence: so many from there on, a place further in each partition.
const GAPS: [(u64, u64); 2] = [(60, 1), (200, 7)];

/// The number of the message that comes late, or the first one after it that has no duplicate.
const DELAYED: u64 = 120;

/// One record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub partition: i32,
    pub key: String,
    /// The message ID, sent as the header `message-id`.
    pub id: String,
    pub value: String,
    /// Its number in the sequence of its partition's producer, where it has one.
    pub number: Option<u64>,
}

/// Numbers of one producer that are never sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Gap {
    pub producer: String,
    pub first: u64,
    pub last: u64,
}

/// The producer that writes to a partition.
pub(super) fn producer(partition: i32) -> String {
    format!("till-{partition}")
}

/// Everything to send, in this order.
#[derive(Debug)]
pub(super) struct Plan {
    pub messages: Vec<Message>,
    pub planted: Planted,
    /// In order.
    pub gaps: Vec<Gap>,
    /// How many messages come later than their number says.
    pub late: usize,
}

/// How many duplicates were planted, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Planted {
    /// Right behind the first one, as a retrying client sends it.
    pub adjacent: usize,
    /// Later in the same partition.
    pub later: usize,
    /// Later in another partition.
    pub elsewhere: usize,
}

impl Planted {
    /// All of them.
    pub(super) fn sum(self) -> usize {
        self.adjacent + self.later + self.elsewhere
    }
}

impl Plan {
    /// The same messages at each call: what the demo finds can be compared between two runs.
    pub(super) fn new() -> Self {
        let mut plan =
            Self { messages: Vec::with_capacity(SENT), planted: Planted::default(), gaps: Vec::new(), late: 0 };
        let mut later = VecDeque::new();
        for number in 0.. {
            if plan.messages.len() + later.len() >= SENT {
                break;
            }
            let message = payment(number);
            plan.messages.push(message.clone());
            if number % EVERY == 0 {
                plan.plant(number / EVERY, message, &mut later);
            }
            if later.front().is_some_and(|(due, _)| plan.messages.len() >= *due) {
                plan.messages.extend(later.pop_front().map(|(_, message)| message));
            }
        }
        plan.messages.extend(later.into_iter().map(|(_, message)| message));
        plan.number();
        plan.delay();
        plan
    }

    /// Numbers the messages of each partition as its producer would, and leaves some numbers out. A duplicate has the
    /// number of its first one; in another partition it has none, for another producer sent it.
    fn number(&mut self) {
        let mut next = [0; PARTITIONS.unsigned_abs() as usize];
        let mut firsts: HashMap<String, (i32, Option<u64>)> = HashMap::new();
        for message in &mut self.messages {
            if let Some((partition, number)) = firsts.get(&message.id) {
                message.number = number.filter(|_| *partition == message.partition);
                continue;
            }
            let place = usize::try_from(message.partition).unwrap_or(0);
            if let Some((_, missing)) = GAPS.iter().find(|(at, _)| next[place] == at + place as u64) {
                let first = next[place];
                next[place] += missing;
                self.gaps.push(Gap { producer: producer(message.partition), first, last: next[place] - 1 });
            }
            message.number = Some(next[place]);
            next[place] += 1;
            firsts.insert(message.id.clone(), (message.partition, message.number));
        }
        self.gaps.sort();
    }

    /// Lets one message of each partition come late: one that has no duplicate.
    fn delay(&mut self) {
        for partition in 0..PARTITIONS {
            let delayed = |message: &Message| message.partition == partition && message.number == Some(DELAYED);
            let mut at = self.messages.iter().position(delayed);
            while let Some(found) = at {
                let message = &self.messages[found];
                let once = self.messages.iter().filter(|other| other.id == message.id).count() == 1;
                let behind = (found + LATER * 4..self.messages.len())
                    .find(|behind| self.messages[*behind].id != self.messages[behind - 1].id);
                if let (true, Some(behind)) = (once, behind) {
                    let message = self.messages.remove(found);
                    self.messages.insert(behind - 1, message);
                    self.late += 1;
                    break;
                }
                at = (found + 1..self.messages.len()).find(|next| {
                    let next = &self.messages[*next];
                    next.partition == partition && next.number.is_some()
                });
            }
        }
    }

    fn plant(&mut self, nth: usize, mut message: Message, later: &mut VecDeque<(usize, Message)>) {
        let due = self.messages.len() + LATER;
        match nth % 3 {
            0 => {
                self.planted.adjacent += 1;
                self.messages.push(message);
            }
            1 => {
                self.planted.later += 1;
                later.push_back((due, message));
            }
            _ => {
                self.planted.elsewhere += 1;
                message.partition = (message.partition + 1) % PARTITIONS;
                later.push_back((due, message));
            }
        }
    }

    /// Messages, each counted once.
    pub(super) fn distinct(&self) -> usize {
        self.messages.len() - self.planted.sum()
    }
}

fn payment(number: usize) -> Message {
    let account = (number * 37 + number / ACCOUNTS) % ACCOUNTS; // no account's payments come in a regular pattern
    Message {
        partition: i32::try_from(account).unwrap_or(0) % PARTITIONS,
        key: format!("account-{account}"),
        id: format!("payment-{number}"),
        number: None,
        value: format!(r#"{{"account":{account},"payment":{number},"cents":{}}}"#, 100 + number * 7 % 9_900),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_planted_duplicate_is_the_same_message_again() {
        let plan = Plan::new();
        assert_eq!(plan.messages.len(), SENT);
        let mut seen: BTreeMap<&str, &Message> = BTreeMap::new();
        let mut found = Planted::default();
        for (at, message) in plan.messages.iter().enumerate() {
            let Some(first) = seen.insert(&message.id, message) else { continue };
            assert_eq!((&first.key, &first.value), (&message.key, &message.value));
            match (first.partition == message.partition, plan.messages[at - 1].id == message.id) {
                (true, true) => found.adjacent += 1,
                (true, false) => found.later += 1,
                (false, _) => found.elsewhere += 1,
            }
        }
        assert_eq!(found, plan.planted);
        assert_eq!(seen.len(), plan.distinct());
        assert!((SENT / 11..=SENT / 9).contains(&found.sum()), "about a tenth: {found:?}");
    }

    #[test]
    fn planted_gaps_are_the_numbers_that_no_message_has() {
        let plan = Plan::new();
        let mut gaps = Vec::new();
        for partition in 0..PARTITIONS {
            let numbers: Vec<u64> =
                plan.messages.iter().filter(|one| one.partition == partition).filter_map(|one| one.number).collect();
            let sent: BTreeSet<u64> = numbers.iter().copied().collect();
            let last = *sent.last().expect("numbers");
            let missing: Vec<u64> = (0..=last).filter(|number| !sent.contains(number)).collect();
            for gap in plan.gaps.iter().filter(|gap| gap.producer == producer(partition)) {
                gaps.extend(gap.first..=gap.last);
            }
            assert_eq!(gaps, missing, "partition {partition}");
            gaps.clear();
            let firsts: Vec<u64> = {
                let mut seen = BTreeSet::new();
                numbers.into_iter().filter(|number| seen.insert(*number)).collect()
            };
            let late = firsts.windows(2).filter(|pair| pair[1] < pair[0]).count();
            assert_eq!(late, 1, "one comes late in partition {partition}");
        }
        assert_eq!((plan.gaps.len(), plan.late), (GAPS.len() * 4, 4));
    }

    #[test]
    fn every_partition_has_many_keys() {
        for partition in 0..PARTITIONS {
            let messages = Plan::new().messages;
            let here = messages.iter().filter(|message| message.partition == partition);
            let keys: BTreeSet<&str> = here.map(|message| message.key.as_str()).collect();
            assert!(keys.len() >= 16, "{partition}: {}", keys.len());
        }
    }
}
