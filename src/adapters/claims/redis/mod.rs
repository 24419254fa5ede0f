//! Claims and sessions in Redis 7.0 or newer, or Valkey: one server, Sentinel or Cluster.
//!
//! A batch is one pipelined write to each primary it concerns (usually the only one). All commands may be repeated:
//! a command whose answer was lost, or that timed out, may have been carried out or may be later.

mod config;
mod connection;
mod exchange;
mod facts;
mod fault;
mod inspection;
mod keeper;
pub mod keys;
mod layout;
mod request;
mod topology;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Pipeline, Value};

pub use self::config::{Address, RedisConfig, TlsConfig, Topology};
use self::exchange::{Answers, exchange};
pub use self::facts::StoreFacts;
use self::fault::Fault;
use self::keeper::Keeper;
use self::keys::Keys;
use self::layout::text;
use self::request::{Request, count, keeping, reply, stored_past, strange};
use self::topology::{Finder, Link};
use crate::domain::claim::SessionId;
use crate::domain::history::History;
use crate::domain::past_codec::Owner;
use crate::domain::record::TopicPartition;
use crate::ports::{ClaimBatch, ClaimCommand, Claims, Keeping, StoreError, StoredPast};

/// A cluster's layout is not asked for again before it is this old.
const LAYOUT_STAYS: Duration = Duration::from_secs(1);
/// Bytes of pasts sent, or expected, in one exchange: with less a slow link answers within the timeout of a command.
const EXCHANGE: usize = 1024 * 1024;
/// The largest pasts, of a thousand producers with gaps, are about as large as this.
const LARGE_PAST: usize = EXCHANGE / 4;
/// Hex digits of a sentinel and of a hash over several.
const HISTORY_DIGITS: usize = 32;

/// The store of claims in Redis. One multiplexed connection to each primary, made anew whenever it fails.
pub struct RedisClaims {
    keeper: Keeper,
    keys: Keys,
    timeout: Duration,
    /// That `INFO` is hidden was said.
    hidden_said: AtomicBool,
}

impl RedisClaims {
    /// Begins to connect in the background of the current tokio runtime, and goes on until dropped.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the TLS settings cannot be used.
    pub fn start(config: &RedisConfig) -> Result<Self, StoreError> {
        let keys = Keys::new(&config.namespace);
        let keeper = Keeper::start(Finder::new(config, keys.clone())?, config.timeout);
        Ok(Self { keeper, keys, timeout: config.timeout, hidden_said: AtomicBool::new(false) })
    }

    /// What each primary says of itself, for the checks at start and `kafka-once check`.
    ///
    /// # Errors
    /// As of every request: away, or refused. What an ACL hides is `None` instead.
    pub async fn facts(&self) -> Result<Vec<StoreFacts>, StoreError> {
        self.with_link(|link| async move {
            let mut facts = Vec::with_capacity(link.primaries.len());
            for primary in &link.primaries {
                facts.push(facts::of(&primary.connection).await?);
            }
            Ok(facts)
        })
        .await
    }

    /// Runs `work` over the link within the timeout; what only a fresh connection can heal makes a fresh one.
    ///
    /// Waits for a connection and then for the answers, each at most the timeout.
    async fn with_link<T, F, W>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Arc<Link>) -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let link = self.keeper.link(self.timeout).await?;
        let fault = match tokio::time::timeout(self.timeout, work(Arc::clone(&link))).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(fault)) => fault,
            Err(_) => {
                let late = format!("{}: no answer within {} ms", link.addresses(), self.timeout.as_millis());
                Fault { error: StoreError::Away(late), reconnect: true }
            }
        };
        if fault.reconnect {
            self.keeper.broke(&link, &fault.error);
        }
        Err(fault.error)
    }

    /// Asks one thing about one key; the answer is a count or `OK`.
    async fn ask(&self, request: Request<'_>) -> Result<i64, StoreError> {
        self.with_link(|link| async move {
            let answers = exchange(&link, &self.keys, &[request], false).await?;
            self.follow(&link, &answers);
            match answers.values.first() {
                Some((Value::Okay, _)) => Ok(1),
                Some((value, primary)) => count(value, &link.primaries[*primary].connection.address),
                None => Ok(0),
            }
        })
        .await
    }

    /// Asks one thing about each of several keys, and reads each answer.
    async fn ask_each<T>(
        &self,
        requests: Vec<Request<'_>>,
        read: impl Fn(&Value, &Address) -> Result<T, Fault>,
    ) -> Result<Vec<T>, StoreError> {
        self.with_link(|link| async move {
            let answers = exchange(&link, &self.keys, &requests, false).await?;
            self.follow(&link, &answers);
            let read = |(value, primary): &(Value, usize)| read(value, &link.primaries[*primary].connection.address);
            all_or_worst(answers.values.iter().map(read))
        })
        .await
    }

    /// Asks in several exchanges, so that each of them fits into the timeout of a command.
    async fn ask_in_portions<T>(
        &self,
        mut requests: Vec<Request<'_>>,
        sizes: &[usize],
        read: impl Fn(&Value, &Address) -> Result<T, Fault> + Copy,
    ) -> Result<Vec<T>, StoreError> {
        let mut answers = Vec::with_capacity(requests.len());
        for portion in portions(sizes) {
            let rest = requests.split_off(portion.min(requests.len()));
            answers.extend(self.ask_each(requests, read).await?);
            requests = rest;
        }
        Ok(answers)
    }

    /// Slots have moved: the next batch shall know where. While many move, redirects are followed in between.
    fn follow(&self, link: &Arc<Link>, answers: &Answers) {
        if answers.moved && link.since.elapsed() >= LAYOUT_STAYS {
            self.keeper.broke(link, &StoreError::Away("cluster slots have moved".to_owned()));
        }
    }

    fn say_hidden(&self, why: &StoreError) {
        if !self.hidden_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason = %why, "redis hides INFO: a fail-over that forgets the last moments goes unseen");
        }
    }

    /// One primary's sentinel, made if it is gone, and its replication ID (empty where hidden).
    async fn primary_history(&self, link: &Link, index: usize) -> Result<(String, String), Fault> {
        let primary = &link.primaries[index];
        let node = &primary.connection.address;
        let fresh = format!("{:032x}", rand::random::<u128>());
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("SET").arg(&primary.sentinel).arg(&fresh).arg("NX").arg("GET");
        pipeline.cmd("INFO").arg("replication");
        let answers = primary.connection.send(&pipeline).await?;
        let [sentinel, info] = answers.as_slice() else { return Err(Fault::away(node, "too few answers")) };
        let sentinel = self::sentinel(sentinel, link, index)?.unwrap_or(fresh);
        let replication = match info {
            Value::ServerError(error) if error.code() == "NOPERM" => {
                self.say_hidden(&Fault::answered(node, error).error);
                String::new()
            }
            Value::ServerError(error) => return Err(Fault::answered(node, error)),
            other => text(other).and_then(|info| facts::field(info, "master_replid")).unwrap_or_default().to_owned(),
        };
        Ok((sentinel, replication))
    }
}

impl Claims for RedisClaims {
    async fn batch(&self, commands: Vec<ClaimCommand>) -> Result<ClaimBatch, StoreError> {
        self.with_link(|link| async move {
            let requests: Vec<_> = commands.iter().copied().map(Request::Claims).collect();
            let answers = exchange(&link, &self.keys, &requests, true).await?;
            self.follow(&link, &answers);
            let replies = commands.iter().zip(&answers.values);
            let replies = replies
                .map(|(command, (value, primary))| reply(command, value, &link.primaries[*primary].connection.address));
            let replies = all_or_worst(replies)?;
            let sentinels = answers.sentinels.iter().enumerate().map(|(index, value)| sentinel(value, &link, index));
            let sentinels: Option<Vec<String>> = sentinels.collect::<Result<_, _>>()?;
            Ok(ClaimBatch { replies, sentinel: sentinels.map(|sentinels| in_one(&link, sentinels)) })
        })
        .await
    }

    async fn open_session(&self, session: SessionId, lease: Duration) -> Result<(), StoreError> {
        self.ask(Request::Open(session, lease)).await.map(|_| ())
    }

    async fn renew_session(&self, session: SessionId, lease: Duration) -> Result<bool, StoreError> {
        self.ask(Request::Renew(session, lease)).await.map(|renewed| renewed > 0)
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.ask(Request::Close(session)).await.map(|_| ())
    }

    async fn history(&self) -> Result<History, StoreError> {
        self.with_link(|link| async move {
            let mut sentinels = Vec::with_capacity(link.primaries.len());
            let mut replications = Vec::with_capacity(link.primaries.len());
            for index in 0..link.primaries.len() {
                let (sentinel, replication) = self.primary_history(&link, index).await?;
                sentinels.push(sentinel);
                replications.push(replication);
            }
            let hidden = replications.iter().any(String::is_empty);
            let replication = if hidden { String::new() } else { in_one(&link, replications) };
            Ok(History { sentinel: in_one(&link, sentinels), replication })
        })
        .await
    }

    async fn take_pasts(&self, partitions: Vec<(TopicPartition, Owner)>) -> Result<Vec<StoredPast>, StoreError> {
        let requests = partitions.iter().map(|(partition, owner)| Request::TakePast(partition, *owner)).collect();
        // The answers may be as large as what is kept.
        self.ask_in_portions(requests, &vec![LARGE_PAST; partitions.len()], stored_past).await
    }

    async fn keep_pasts(&self, pasts: Vec<(TopicPartition, Vec<u8>)>) -> Result<Vec<Keeping>, StoreError> {
        let requests = pasts.iter().map(|(partition, past)| Request::KeepPast(partition, past)).collect();
        let sizes: Vec<_> = pasts.iter().map(|(_, past)| past.len()).collect();
        self.ask_in_portions(requests, &sizes, keeping).await
    }
}

/// How many of these, in their order, go into each exchange: as many as stay below the bound, at least one.
fn portions(sizes: &[usize]) -> Vec<usize> {
    let mut portions = Vec::new();
    let mut room = 0;
    for &size in sizes {
        match portions.last_mut() {
            Some(count) if size <= room => *count += 1,
            _ => {
                portions.push(1);
                room = EXCHANGE;
            }
        }
        room = room.saturating_sub(size);
    }
    portions
}

/// All replies; or the failure that weighs most: one that somebody must heal before one that heals itself.
fn all_or_worst<T>(replies: impl Iterator<Item = Result<T, Fault>>) -> Result<Vec<T>, Fault> {
    let mut good = Vec::with_capacity(replies.size_hint().0);
    let mut worst: Option<Fault> = None;
    for reply in replies {
        match (reply, &mut worst) {
            (Ok(reply), _) => good.push(reply),
            (Err(fault), None) => worst = Some(fault),
            (Err(fault), Some(worst)) => {
                worst.reconnect |= fault.reconnect;
                if matches!(fault.error, StoreError::Refused(_)) {
                    worst.error = fault.error;
                }
            }
        }
    }
    worst.map_or(Ok(good), Err)
}

/// One primary's sentinel as it was read; `None`: gone.
fn sentinel(value: &Value, link: &Link, index: usize) -> Result<Option<String>, Fault> {
    let primary = &link.primaries[index];
    let node = &primary.connection.address;
    let foreign = || Fault::refused(node, format!("the key {} holds what is not ours", primary.sentinel));
    match value {
        Value::Nil => Ok(None),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Err(foreign()),
        Value::BulkString(bytes) => {
            let hex = bytes.len() == HISTORY_DIGITS && bytes.iter().all(u8::is_ascii_hexdigit);
            text(value).filter(|_| hex).map(|sentinel| Some(sentinel.to_owned())).ok_or_else(foreign)
        }
        other => Err(strange(node, other)),
    }
}

/// The one value of a single primary; of a cluster a hash over all, in the order of their slots.
fn in_one(link: &Link, mut each: Vec<String>) -> String {
    if !link.is_cluster() {
        return each.pop().unwrap_or_default();
    }
    let mut hasher = blake3::Hasher::new();
    for one in each {
        hasher.update(one.as_bytes());
        hasher.update(b"\n"); // no hex digit: an unambiguous separator
    }
    hasher.finalize().to_hex()[..HISTORY_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasts_go_in_as_few_exchanges_as_stay_below_the_bound() {
        assert_eq!(portions(&[]), Vec::<usize>::new());
        assert_eq!(portions(&[1, 1, 1]), [3]);
        assert_eq!(portions(&[EXCHANGE, 1]), [1, 1]);
        assert_eq!(portions(&[1, EXCHANGE, EXCHANGE + 1, 5]), [1, 1, 1, 1], "one that is too large goes alone");
        assert_eq!(portions(&[LARGE_PAST; 9]), [4, 4, 1]);
    }
}
