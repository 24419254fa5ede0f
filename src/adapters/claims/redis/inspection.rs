//! What people ask of the store: what it knows of messages.

use redis::Value;

use super::RedisClaims;
use super::config::Address;
use super::exchange::exchange;
use super::fault::Fault;
use super::request::{Request, count, strange};
use crate::domain::claim::{ClaimValue, IdHash};
use crate::domain::claim_codec::decode;
use crate::domain::inspection::{Held, Sighting};
use crate::ports::{ClaimCommand, StoreError};

impl RedisClaims {
    /// What stands under the keys of these messages, in their order, whether claims are held by a session that lives,
    /// and for how long it stays. Waits for a connection and then for the answers, each at most the timeout.
    ///
    /// # Errors
    /// As of every request: away, or refused.
    pub async fn inspect(&self, ids: &[IdHash]) -> Result<Vec<Sighting>, StoreError> {
        self.with_link(|link| async move {
            let look = |id: &IdHash| [Request::Claims(ClaimCommand::Look { id: *id }), Request::Lifetime(*id)];
            let requests: Vec<_> = ids.iter().flat_map(look).collect();
            let answers = exchange(&link, &self.keys, &requests, false).await?;
            let mut sightings = Vec::with_capacity(ids.len());
            for pair in answers.values.chunks_exact(2) {
                let node = &link.primaries[pair[0].1].connection.address;
                let keeps = u64::try_from(count(&pair[1].0, node)?).ok().map(std::time::Duration::from_millis);
                sightings.push(Sighting { held: held(&pair[0].0, node)?, session_lives: None, keeps });
            }
            let session = |sighting: &Sighting| match sighting.held {
                Held::Value(ClaimValue::Claimed { session, .. }) => Some(session),
                _ => None,
            };
            let claimed = sightings.iter_mut().filter_map(|seen| Some((session(seen)?, &mut seen.session_lives)));
            let (sessions, lives): (Vec<_>, Vec<_>) = claimed.unzip();
            let alive = |session| Request::Claims(ClaimCommand::IsAlive { session });
            let requests: Vec<_> = sessions.into_iter().map(alive).collect();
            let answers = exchange(&link, &self.keys, &requests, false).await?;
            for (lives, (answer, primary)) in lives.into_iter().zip(&answers.values) {
                *lives = Some(count(answer, &link.primaries[*primary].connection.address)? > 0);
            }
            Ok(sightings)
        })
        .await
    }
}

fn held(answer: &Value, node: &Address) -> Result<Held, Fault> {
    match answer {
        Value::Nil => Ok(Held::Nothing),
        Value::BulkString(bytes) => {
            let unreadable = Held::Unreadable { first: bytes.first().copied(), length: bytes.len() };
            Ok(decode(bytes).map_or(unreadable, Held::Value))
        }
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Held::OtherType),
        other => Err(strange(node, other)),
    }
}
