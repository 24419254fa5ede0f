//! `memory:`: the same protocol in this process, for the demo and the simulation. Forgotten at exit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::claim::{ClaimValue, IdHash, SessionId, Stored};
use crate::domain::history::History;
use crate::domain::past_codec::{Fence, HEADER, Owner, fence, header};
use crate::domain::record::TopicPartition;
use crate::domain::time::Moment;
use crate::ports::{ClaimBatch, ClaimCommand, ClaimReply, Claims, Keeping, StoreError, StoredPast};

/// Where the store reads the time from: expiry is decided by nothing else.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Below this number of keys nobody sweeps.
const FIRST_SWEEP: usize = 1024;

/// A handle to one store. Clones share it, as several sidecars share one Redis.
#[derive(Clone)]
pub struct Memory {
    now: Clock,
    seed: u64,
    state: Arc<Mutex<State>>,
}

/// What a replica holds that lags behind.
#[derive(Clone)]
pub struct Replica(State);

/// Bounded: expired keys are swept whenever the number of keys has doubled since the last sweep.
#[derive(Clone)]
struct State {
    ids: HashMap<IdHash, Entry>,
    sessions: HashMap<SessionId, Moment>,
    /// Bounded by the partitions that were ever assigned.
    pasts: HashMap<TopicPartition, Vec<u8>>,
    sentinel: Option<String>,
    /// Sentinels made so far; makes each another one.
    sentinels: u64,
    /// Fail-overs so far; makes each primary another one.
    primary: u64,
    sweep_at: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    stored: Stored,
    expires: Moment,
}

impl Memory {
    /// An empty store that expires keys by `now`; `seed` makes its sentinels differ from another store's.
    pub fn new(now: Clock, seed: u64) -> Self {
        let state = State {
            ids: HashMap::new(),
            sessions: HashMap::new(),
            pasts: HashMap::new(),
            sentinel: None,
            sentinels: 0,
            primary: 0,
            sweep_at: FIRST_SWEEP,
        };
        Self { now, seed, state: Arc::new(Mutex::new(state)) }
    }

    /// Forgets everything, as `FLUSHALL` does: marks, claims, sessions and the sentinel.
    pub fn forget_all(&self) {
        let mut state = self.lock();
        state.ids.clear();
        state.sessions.clear();
        state.pasts.clear();
        state.sentinel = None;
    }

    /// What a replica would hold that has heard everything until now, and nothing from now on.
    pub fn replica(&self) -> Replica {
        Replica(self.lock().clone())
    }

    /// A replica takes over: what was written since is lost, and the history says that another primary answers.
    pub fn fail_over(&self, replica: Replica) {
        let mut state = self.lock();
        *state = State { primary: state.primary + 1, ..replica.0 };
    }

    /// Puts something that is not ours under an ID's key, for ever, as another tool might.
    pub fn plant_foreign(&self, id: IdHash) {
        self.lock().ids.insert(id, Entry { stored: Stored::Foreign, expires: Moment(u64::MAX) });
    }

    /// Puts bytes where a partition's past is kept, as another build or tool might.
    pub fn plant_past(&self, partition: TopicPartition, bytes: Vec<u8>) {
        self.lock().pasts.insert(partition, bytes);
    }

    /// When an ID's key expires; `None` when nothing stands there.
    pub fn expires(&self, id: IdHash) -> Option<Moment> {
        let now = (self.now)();
        self.lock().ids.get(&id).map(|entry| entry.expires).filter(|expires| *expires > now)
    }

    /// When a session's key expires; `None` when it is gone.
    pub fn session_expires(&self, session: SessionId) -> Option<Moment> {
        let now = (self.now)();
        self.lock().sessions.get(&session).copied().filter(|expires| *expires > now)
    }

    /// Keys that live: of IDs, and of sessions.
    pub fn lives(&self) -> (usize, usize) {
        let (now, state) = ((self.now)(), self.lock());
        let ids = state.ids.values().filter(|entry| entry.expires > now).count();
        (ids, state.sessions.values().filter(|expires| **expires > now).count())
    }

    /// Keys held, expired ones that nobody swept yet included.
    pub fn keys(&self) -> usize {
        let state = self.lock();
        state.ids.len() + state.sessions.len()
    }

    /// No code panics while it holds the lock, and each change is one insert: what a poisoned lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, command: ClaimCommand, now: Moment) -> ClaimReply {
        match command {
            ClaimCommand::Claim { id, value, keep } => {
                let was = self.look(id, now);
                if was == Stored::Nothing {
                    self.write(id, value, now.after(keep));
                }
                ClaimReply::Was(was)
            }
            ClaimCommand::Replace { id, expected, value, keep } => match self.look(id, now) {
                Stored::Value(was) if was == expected || was == value => {
                    self.write(id, value, now.after(keep));
                    ClaimReply::Replaced
                }
                other => ClaimReply::NotReplaced(other),
            },
            ClaimCommand::Mark { id, value, keep } => {
                let was = self.look(id, now);
                if was != Stored::Foreign {
                    self.write(id, value, now.after(keep));
                }
                ClaimReply::Was(was)
            }
            ClaimCommand::Shorten { id, keep } => {
                if let Some(entry) = self.ids.get_mut(&id) {
                    entry.expires = entry.expires.min(now.after(keep));
                }
                ClaimReply::Shortened
            }
            ClaimCommand::Look { id } => ClaimReply::Was(self.look(id, now)),
            ClaimCommand::IsAlive { session } => ClaimReply::Alive(self.lives(session, now)),
        }
    }

    fn look(&self, id: IdHash, now: Moment) -> Stored {
        self.ids.get(&id).filter(|entry| entry.expires > now).map_or(Stored::Nothing, |entry| entry.stored)
    }

    fn lives(&self, session: SessionId, now: Moment) -> bool {
        self.sessions.get(&session).is_some_and(|expires| *expires > now)
    }

    fn write(&mut self, id: IdHash, value: ClaimValue, expires: Moment) {
        self.ids.insert(id, Entry { stored: Stored::Value(value), expires });
    }

    fn sweep(&mut self, now: Moment) {
        if self.ids.len() + self.sessions.len() < self.sweep_at {
            return;
        }
        self.ids.retain(|_, entry| entry.expires > now);
        self.sessions.retain(|_, expires| *expires > now);
        self.sweep_at = FIRST_SWEEP.max((self.ids.len() + self.sessions.len()) * 2);
    }
}

impl Claims for Memory {
    async fn batch(&self, commands: Vec<ClaimCommand>) -> Result<ClaimBatch, StoreError> {
        let now = (self.now)();
        let mut state = self.lock();
        let replies = commands.into_iter().map(|command| state.apply(command, now)).collect();
        state.sweep(now);
        Ok(ClaimBatch { replies, sentinel: state.sentinel.clone() })
    }

    async fn open_session(&self, session: SessionId, lease: Duration) -> Result<(), StoreError> {
        let now = (self.now)();
        let mut state = self.lock();
        state.sessions.insert(session, now.after(lease));
        state.sweep(now);
        Ok(())
    }

    async fn renew_session(&self, session: SessionId, lease: Duration) -> Result<bool, StoreError> {
        let now = (self.now)();
        let mut state = self.lock();
        let lives = state.lives(session, now);
        if lives {
            state.sessions.insert(session, now.after(lease));
        }
        Ok(lives)
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.lock().sessions.remove(&session);
        Ok(())
    }

    async fn history(&self) -> Result<History, StoreError> {
        let mut state = self.lock();
        if state.sentinel.is_none() {
            state.sentinels += 1;
            let name = [self.seed.to_be_bytes(), state.sentinels.to_be_bytes()].concat();
            state.sentinel = Some(blake3::hash(&name).to_hex()[..32].to_owned());
        }
        let replication = if state.primary == 0 { String::new() } else { format!("{:x}", state.primary) };
        Ok(History { sentinel: state.sentinel.clone().unwrap_or_default(), replication })
    }

    async fn take_pasts(&self, partitions: Vec<(TopicPartition, Owner)>) -> Result<Vec<StoredPast>, StoreError> {
        let mut state = self.lock();
        let take = |(partition, owner): (TopicPartition, Owner)| {
            let new = header(owner, 0);
            match state.pasts.get_mut(&partition) {
                None => {
                    state.pasts.insert(partition, new.to_vec());
                    StoredPast::Nothing
                }
                Some(stands) => {
                    let was = stands.clone();
                    if fence(stands, &new) == Fence::NotOurs {
                        stands[..HEADER].copy_from_slice(&new);
                    }
                    StoredPast::Bytes(was)
                }
            }
        };
        Ok(partitions.into_iter().map(take).collect())
    }

    async fn keep_pasts(&self, pasts: Vec<(TopicPartition, Vec<u8>)>) -> Result<Vec<Keeping>, StoreError> {
        let mut state = self.lock();
        let keep = |(partition, past): (TopicPartition, Vec<u8>)| {
            let fence = state.pasts.get(&partition).map_or(Fence::Open, |stands| fence(stands, &past));
            match fence {
                Fence::NotOurs => return Keeping::NotOurs,
                Fence::Late => {}
                Fence::Open => _ = state.pasts.insert(partition, past),
            }
            Keeping::Kept
        };
        Ok(pasts.into_iter().map(keep).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::conformance::{self, World};
    use super::*;
    use crate::domain::claim::Digest;
    use crate::domain::record::{Offset, Position};

    /// A store whose time the test moves.
    struct Bench {
        time: Arc<AtomicU64>,
        store: Memory,
    }

    impl Bench {
        fn new() -> Self {
            let time = Arc::new(AtomicU64::new(1));
            let hand = Arc::clone(&time);
            Self { time, store: Memory::new(Arc::new(move || Moment(hand.load(Ordering::Relaxed))), 1) }
        }

        fn now(&self) -> Moment {
            Moment(self.time.load(Ordering::Relaxed))
        }
    }

    impl World for Bench {
        type Store = Memory;

        async fn client(&self) -> Memory {
            self.store.clone()
        }
        async fn plant_garbage(&self, id: IdHash) {
            self.store.plant_foreign(id);
        }
        async fn plant_other_type(&self, id: IdHash) {
            self.store.plant_foreign(id);
        }
        async fn plant_past(&self, partition: &TopicPartition, bytes: &[u8]) {
            self.store.plant_past(partition.clone(), bytes.to_vec());
        }
        async fn forget_all(&self) {
            self.store.forget_all();
        }
        async fn remaining(&self, id: IdHash) -> Option<Duration> {
            self.store.expires(id).map(|expires| expires.since(self.now()))
        }
        async fn session_remaining(&self, session: SessionId) -> Option<Duration> {
            self.store.session_expires(session).map(|expires| expires.since(self.now()))
        }
        async fn expire(&self, id: IdHash) {
            self.time.store(self.store.expires(id).expect("a key").0, Ordering::Relaxed);
        }
        async fn expire_session(&self, session: SessionId) {
            self.time.store(self.store.session_expires(session).expect("a key").0, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn the_memory_store_keeps_the_protocol() {
        conformance::every_case(&Bench::new()).await;
    }

    #[tokio::test]
    async fn expired_keys_are_swept_so_that_the_store_stays_bounded() {
        let bench = Bench::new();
        let keep = Duration::from_secs(1);
        let value = ClaimValue::Done {
            position: Position { partition: 0, offset: Offset(0), timestamp: 0 },
            digest: Digest([0; 16]),
        };
        for round in 0..100_000_u128 {
            let id = IdHash(round.to_be_bytes());
            bench.store.batch(vec![ClaimCommand::Mark { id, value, keep }]).await.expect("memory is never away");
            bench.time.fetch_add(10_000, Ordering::Relaxed); // 100 keys live at any moment
            assert!(bench.store.keys() <= FIRST_SWEEP, "{} keys after {round} marks", bench.store.keys());
        }
    }

    #[tokio::test]
    async fn two_stores_have_different_histories() {
        let clock: Clock = Arc::new(|| Moment(0));
        let of = |seed| Memory::new(Arc::clone(&clock), seed);
        assert_ne!(of(1).history().await, of(2).history().await);
    }
}
