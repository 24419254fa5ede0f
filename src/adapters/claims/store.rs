//! The store that the settings name, and what is asked of a Redis before it is trusted with claims.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::memory::Memory;
use super::redis::{RedisClaims, StoreFacts};
use crate::domain::claim::SessionId;
use crate::domain::history::History;
use crate::domain::past_codec::Owner;
use crate::domain::record::TopicPartition;
use crate::ports::{ClaimBatch, ClaimCommand, Claims, Keeping, StoreError, StoredPast};

/// One of the two stores.
pub struct Store(Kind);

enum Kind {
    Memory(Memory),
    Redis { claims: Box<RedisClaims>, allow_eviction: bool, trusted: AtomicBool },
}

impl Store {
    /// The store in this process' memory.
    pub fn memory(memory: Memory) -> Self {
        Self(Kind::Memory(memory))
    }

    /// Redis. `allow_eviction`: `ONCE_REDIS_ALLOW_EVICTION`.
    pub fn redis(claims: RedisClaims, allow_eviction: bool) -> Self {
        Self(Kind::Redis { claims: Box::new(claims), allow_eviction, trusted: AtomicBool::new(false) })
    }

    /// Looks once, before the first session, whether Redis can be trusted with claims at all.
    async fn examine(&self) -> Result<(), StoreError> {
        let Kind::Redis { claims, allow_eviction, trusted } = &self.0 else { return Ok(()) };
        if trusted.load(Ordering::Relaxed) {
            return Ok(());
        }
        for facts in claims.facts().await? {
            judge(&facts, *allow_eviction)?;
        }
        trusted.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn judge(facts: &StoreFacts, allow_eviction: bool) -> Result<(), StoreError> {
    let node = &facts.node;
    if facts.is_too_old() {
        let version = facts.version.as_deref().unwrap_or("unknown");
        let why = format!("{node} is version {version}: SET with NX and GET needs Redis 7.0 or newer");
        return Err(StoreError::Refused(why));
    }
    match facts.evicts() {
        Some(true) if !allow_eviction => {
            let policy = facts.eviction_policy.as_deref().unwrap_or("unknown");
            Err(StoreError::Refused(format!(
                "{node} may evict marks (maxmemory-policy {policy}), and a forgotten mark repeats an effect: set \
                 noeviction, or ONCE_REDIS_ALLOW_EVICTION=true"
            )))
        }
        Some(true) => {
            tracing::warn!(%node, "redis may evict marks; a forgotten mark repeats an effect unseen");
            Ok(())
        }
        Some(false) => Ok(()),
        None => {
            tracing::warn!(%node, "redis hides its eviction policy; a forgotten mark would repeat an effect unseen");
            Ok(())
        }
    }
}

impl Claims for Store {
    async fn batch(&self, commands: Vec<ClaimCommand>) -> Result<ClaimBatch, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.batch(commands).await,
            Kind::Redis { claims, .. } => claims.batch(commands).await,
        }
    }

    async fn open_session(&self, session: SessionId, lease: Duration) -> Result<(), StoreError> {
        self.examine().await?;
        match &self.0 {
            Kind::Memory(memory) => memory.open_session(session, lease).await,
            Kind::Redis { claims, .. } => claims.open_session(session, lease).await,
        }
    }

    async fn renew_session(&self, session: SessionId, lease: Duration) -> Result<bool, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.renew_session(session, lease).await,
            Kind::Redis { claims, .. } => claims.renew_session(session, lease).await,
        }
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.close_session(session).await,
            Kind::Redis { claims, .. } => claims.close_session(session).await,
        }
    }

    async fn history(&self) -> Result<History, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.history().await,
            Kind::Redis { claims, .. } => claims.history().await,
        }
    }

    async fn take_pasts(&self, partitions: Vec<(TopicPartition, Owner)>) -> Result<Vec<StoredPast>, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.take_pasts(partitions).await,
            Kind::Redis { claims, .. } => claims.take_pasts(partitions).await,
        }
    }

    async fn keep_pasts(&self, pasts: Vec<(TopicPartition, Vec<u8>)>) -> Result<Vec<Keeping>, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => memory.keep_pasts(pasts).await,
            Kind::Redis { claims, .. } => claims.keep_pasts(pasts).await,
        }
    }
}
