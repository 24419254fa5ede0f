//! The consumer group's coordinator: who owns which partition, who must give one back, what is committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka_once::domain::record::TopicPartition;
use tokio::time::Instant;

use super::plan::GROUP_SESSION;

/// One joining of a process; a process that was thrown out joins as another member.
pub type MemberId = u64;

/// What the group tells a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These are yours.
    Assign(Vec<TopicPartition>),
    /// Give these back.
    Revoke(Vec<TopicPartition>),
}

#[derive(Debug)]
struct Member {
    heard: Instant,
    mail: VecDeque<Change>,
}

/// The group.
#[derive(Debug)]
pub struct Group {
    partitions: Vec<TopicPartition>,
    members: BTreeMap<MemberId, Member>,
    joined: MemberId,
    /// Grows with each sharing out.
    pub generation: u64,
    owners: BTreeMap<TopicPartition, MemberId>,
    targets: BTreeMap<TopicPartition, MemberId>,
    revoking: BTreeSet<TopicPartition>,
    /// Whoever was thrown out does not hear of it.
    pub keep_stale_members: bool,
    /// Offset and metadata of each partition.
    pub committed: BTreeMap<TopicPartition, (i64, String)>,
}

impl Group {
    /// A group without members.
    pub fn new(partitions: Vec<TopicPartition>) -> Self {
        Self {
            partitions,
            members: BTreeMap::new(),
            joined: 0,
            generation: 0,
            owners: BTreeMap::new(),
            targets: BTreeMap::new(),
            revoking: BTreeSet::new(),
            keep_stale_members: false,
            committed: BTreeMap::new(),
        }
    }

    /// A new member.
    pub fn join(&mut self, turn: u64) -> MemberId {
        self.joined += 1;
        self.members.insert(self.joined, Member { heard: Instant::now(), mail: VecDeque::new() });
        self.rebalance(turn);
        self.joined
    }

    /// A member is alive; `false`: it was thrown out.
    pub fn heard(&mut self, id: MemberId) -> bool {
        self.members.get_mut(&id).map(|member| member.heard = Instant::now()).is_some() || self.keep_stale_members
    }

    /// Whether it is a member.
    pub fn knows(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    /// What the group wants of a member next.
    pub fn mail(&mut self, id: MemberId) -> Option<Change> {
        self.members.get_mut(&id)?.mail.pop_front()
    }

    /// A member gives partitions back.
    pub fn give_up(&mut self, id: MemberId, partitions: &[TopicPartition]) {
        for at in partitions.iter().filter(|at| self.owners.get(*at) == Some(&id)).cloned().collect::<Vec<_>>() {
            self.owners.remove(&at);
            self.revoking.remove(&at);
        }
        self.assign();
    }

    /// A member leaves, or is thrown out.
    pub fn leave(&mut self, id: MemberId, turn: u64) {
        self.members.remove(&id);
        let owned: Vec<_> = self.owners.iter().filter(|(_, owner)| **owner == id).map(|(at, _)| at.clone()).collect();
        for at in owned {
            self.owners.remove(&at);
            self.revoking.remove(&at);
        }
        self.rebalance(turn);
    }

    /// Throws out whoever was not heard for too long.
    pub fn expire(&mut self, turn: u64) {
        let silent = |member: &Member| member.heard.elapsed() > GROUP_SESSION;
        let gone: Vec<MemberId> = self.members.iter().filter(|(_, one)| silent(one)).map(|(id, _)| *id).collect();
        for id in gone {
            self.leave(id, turn);
        }
    }

    /// Throws out everybody.
    pub fn expel_all(&mut self, turn: u64) {
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.leave(id, turn);
        }
    }

    /// Shares the partitions out anew; `turn` says who gets the first one.
    pub fn rebalance(&mut self, turn: u64) {
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        self.targets.clear();
        self.generation += 1;
        if members.is_empty() {
            return;
        }
        let mut revoke: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for (place, at) in self.partitions.iter().enumerate() {
            let target = members[(place + usize::try_from(turn).expect("small")) % members.len()];
            self.targets.insert(at.clone(), target);
            if let Some(owner) = self.owners.get(at).filter(|owner| **owner != target)
                && self.revoking.insert(at.clone())
            {
                revoke.entry(*owner).or_default().push(at.clone());
            }
        }
        for (owner, partitions) in revoke {
            if let Some(member) = self.members.get_mut(&owner) {
                member.mail.push_back(Change::Revoke(partitions));
            }
        }
        self.assign();
    }

    fn assign(&mut self) {
        let mut news: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for at in &self.partitions {
            let free = !self.owners.contains_key(at);
            if let Some(target) = self.targets.get(at).filter(|target| free && self.members.contains_key(target)) {
                self.owners.insert(at.clone(), *target);
                news.entry(*target).or_default().push(at.clone());
            }
        }
        for (target, partitions) in news {
            if let Some(member) = self.members.get_mut(&target) {
                member.mail.push_back(Change::Assign(partitions));
            }
        }
    }
}
