//! What is sent: payments of some accounts, with duplicates planted where producers in trouble put them.

use std::collections::VecDeque;

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

/// One record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub partition: i32,
    pub key: String,
    /// The message ID, sent as the header `message-id`.
    pub id: String,
    pub value: String,
}

/// Everything to send, in this order.
#[derive(Debug)]
pub(super) struct Plan {
    pub messages: Vec<Message>,
    pub planted: Planted,
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
        let mut plan = Self { messages: Vec::with_capacity(SENT), planted: Planted::default() };
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
        plan
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
    fn every_partition_has_many_keys() {
        for partition in 0..PARTITIONS {
            let messages = Plan::new().messages;
            let here = messages.iter().filter(|message| message.partition == partition);
            let keys: BTreeSet<&str> = here.map(|message| message.key.as_str()).collect();
            assert!(keys.len() >= 16, "{partition}: {}", keys.len());
        }
    }
}
