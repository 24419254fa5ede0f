//! Every commit that a group has ever made, read from Kafka's own topic of commits: the last one alone hides what was wrong
//! before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::UNIX_EPOCH;

use anyhow::Context;

use super::audit::Produced;
use super::ledger::{Effect, Records};
use super::topics;

/// One commit of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Partition.
    pub partition: i32,
    /// The next offset the group would read.
    pub next: i64,
    /// Unix milliseconds by the broker's clock.
    pub at: i64,
}

/// All commits of a group for a topic, in the order in which the broker took them.
pub fn made(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<Vec<Commit>> {
    let mut made = Vec::new();
    for record in topics::read_all(bootstrap, "__consumer_offsets")? {
        if let (Some(key), Some(value)) = (&record.key, &record.value) {
            let commit = read(key, value, group, topic);
            made.extend(commit.with_context(|| format!("a commit in another format: {key:02x?} {value:02x?}"))?);
        }
    }
    Ok(made)
}

/// Who has assigned a group's partitions to its members, as Kafka's own topic tells it: the strategies that members have
/// agreed on, and [`BROKER`].
pub fn assignors(bootstrap: &str, group: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for record in topics::read_all(bootstrap, "__consumer_offsets")? {
        if let (Some(key), Some(value)) = (&record.key, &record.value) {
            let assignor = assignor(key, value, group);
            found.extend(assignor.with_context(|| format!("a group in another format: {key:02x?} {value:02x?}"))?);
        }
    }
    Ok(found)
}

/// The broker itself assigns (KIP-848, `group.protocol=consumer`).
pub const BROKER: &str = "the broker";

/// Fails the test if a commit was below an earlier one of its partition: whoever had lost the partition has committed.
pub fn assert_never_back(made: &[Commit]) {
    assert!(!made.is_empty(), "the group has committed nothing");
    let mut last: BTreeMap<i32, &Commit> = BTreeMap::new();
    for commit in made {
        if let Some(before) = last.insert(commit.partition, commit) {
            assert!(commit.next >= before.next, "{commit:?} came after {before:?}");
        }
    }
}

/// Fails the test if a commit passed a record that the app had not even seen by then. `dead` is what stands on the
/// dead-letter topic.
pub fn assert_nothing_passed(made: &[Commit], produced: &[Produced], ledger: &Records, dead: &HashSet<Effect>) {
    let seen = first_seen(ledger);
    let mut logs: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    for one in produced {
        let effect = (one.topic.clone(), one.id.clone());
        let seen = if dead.contains(&effect) { Some(0) } else { seen.get(&effect).copied() };
        logs.entry(one.position.0).or_default().push((one.position.1, seen.unwrap_or(i64::MAX)));
    }
    for log in logs.values_mut() {
        log.sort_unstable();
        let mut latest = 0;
        for (_, seen) in log {
            latest = latest.max(*seen); // when all up to here had been seen
            *seen = latest;
        }
    }
    for commit in made {
        let Some(log) = logs.get(&commit.partition) else { continue };
        let below = log.partition_point(|(offset, _)| *offset < commit.next);
        let settled_at = below.checked_sub(1).map_or(0, |last| log[last].1);
        assert!(settled_at <= commit.at, "{commit:?} passed a record that the app saw at {settled_at}");
    }
}

/// When the app saw each message first, in Unix milliseconds.
fn first_seen(ledger: &Records) -> HashMap<Effect, i64> {
    let mut seen = HashMap::new();
    for request in &ledger.requests {
        let at = request.wall.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
        seen.entry(request.effect()).or_insert(i64::try_from(at).unwrap_or(i64::MAX));
    }
    seen
}

/// Reads a record of that topic: `None` inside when it is something else, or another group's or topic's.
#[allow(clippy::option_option)] // unreadable, not ours, ours
fn read(key: &[u8], value: &[u8], group: &str, topic: &str) -> Option<Option<Commit>> {
    let (mut key, mut value) = (Bytes(key), Bytes(value));
    if !matches!(key.short()?, 0 | 1) {
        return Some(None); // members and the like
    }
    let (whose, of, partition) = (key.text()?, key.text()?, key.int()?);
    let version = value.short()?;
    let next = value.long()?;
    if version >= 3 {
        value.int()?; // the leader's epoch
    }
    let metadata = if version >= 4 { value.compact_text() } else { value.text() };
    metadata?;
    let at = value.long()?;
    let ours = whose == group.as_bytes() && of == topic.as_bytes();
    Some(ours.then_some(Commit { partition, next, at }))
}

/// Reads a record of that topic: `None` inside when it says nothing of who assigns in this group.
#[allow(clippy::option_option)] // unreadable, not ours, ours
fn assignor(key: &[u8], value: &[u8], group: &str) -> Option<Option<String>> {
    let (mut key, mut value) = (Bytes(key), Bytes(value));
    let kind = key.short()?;
    if !matches!(kind, 2 | 3) || key.text()? != group.as_bytes() {
        return Some(None);
    }
    if kind == 3 {
        return Some(Some(BROKER.to_owned()));
    }
    let compact = value.short()? >= 4;
    let kind = if compact { value.compact_text() } else { value.text() };
    kind?;
    value.int()?; // the generation
    let empty = if compact { 0 } else { u8::MAX };
    if value.0.first() == Some(&empty) {
        return Some(None); // a group without members
    }
    let name = if compact { value.compact_text() } else { value.text() };
    Some(Some(String::from_utf8_lossy(name?).into_owned()))
}

/// Bytes in Kafka's encoding, read from their beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A text with the length of newer formats: one more than it is, seven bits a byte.
    fn compact_text(&mut self) -> Option<&'a [u8]> {
        let mut length: usize = 0;
        for shift in (0..).step_by(7) {
            let byte = *self.take(1)?.first()?;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.take(length.checked_sub(1)?)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.short()?).ok()?;
        self.take(length)
    }
}
