//! Looks into the store that the settings name, beside the pipeline and without waiting for it.

use tokio::sync::OnceCell;

use super::memory::Memory;
use super::redis::{RedisClaims, RedisConfig};
use crate::domain::claim::{ClaimValue, IdHash, Stored};
use crate::domain::inspection::{Held, Sighting};
use crate::ports::{ClaimCommand, ClaimReply, Claims, StoreError};

/// A look into one of the two stores.
pub struct Inspector(Kind);

enum Kind {
    Memory(Memory),
    /// A connection of its own, opened by the first question.
    Redis {
        config: Box<RedisConfig>,
        claims: OnceCell<RedisClaims>,
    },
}

impl Inspector {
    /// Into the store in this process' memory.
    pub fn memory(memory: Memory) -> Self {
        Self(Kind::Memory(memory))
    }

    /// Into Redis. Nothing is connected before the first question.
    pub fn redis(config: RedisConfig) -> Self {
        Self(Kind::Redis { config: Box::new(config), claims: OnceCell::new() })
    }

    /// What stands under the keys of these messages, in their order. All questions must be asked on one runtime.
    /// Waits for a connection and then for the answers, each at most the timeout of the store.
    ///
    /// # Errors
    /// Redis is away, or refuses us.
    pub async fn look(&self, ids: &[IdHash]) -> Result<Vec<Sighting>, StoreError> {
        match &self.0 {
            Kind::Memory(memory) => in_memory(memory, ids).await,
            Kind::Redis { config, claims } => {
                let claims = claims.get_or_try_init(async || RedisClaims::start(config)).await?;
                claims.inspect(ids).await
            }
        }
    }
}

/// The store in memory tells no lifetimes.
async fn in_memory(memory: &Memory, ids: &[IdHash]) -> Result<Vec<Sighting>, StoreError> {
    let mut sightings = Vec::with_capacity(ids.len());
    for reply in memory.batch(ids.iter().map(|id| ClaimCommand::Look { id: *id }).collect()).await?.replies {
        let held = match reply {
            ClaimReply::Was(Stored::Value(value)) => Held::Value(value),
            ClaimReply::Was(Stored::Foreign) => Held::OtherType,
            _ => Held::Nothing,
        };
        let session_lives = match held {
            Held::Value(ClaimValue::Claimed { session, .. }) => {
                let alive = memory.batch(vec![ClaimCommand::IsAlive { session }]).await?.replies;
                Some(alive == [ClaimReply::Alive(true)])
            }
            _ => None,
        };
        sightings.push(Sighting { held, session_lives, keeps: None });
    }
    Ok(sightings)
}
