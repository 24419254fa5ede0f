//! The dedup store: how it is reached, whom it trusts, and how long it remembers.

use std::time::Duration;

use super::problems::Fault;
use super::reader::Reader;
use super::secret::{Secret, SecretString};
use super::store::{self, Store};
use super::{kafka, units};
use crate::domain::history::OnHistoryLoss;

/// The shortest lease: below, a pause of the scheduler costs a session.
const LEASE_MIN: Duration = Duration::from_secs(3);

/// How the store is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Where it is.
    pub store: Store,
    /// Bound on one command.
    pub timeout: Duration,
    /// PEM of the authorities; `None`: the system's.
    pub ca: Option<SecretString>,
    /// PEM of our own certificate and of its key.
    pub identity: Option<ClientIdentity>,
    /// Start although Redis may evict marks.
    pub allow_eviction: bool,
}

/// Our certificate towards Redis.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// PEM of the certificate, with its chain.
    pub cert: SecretString,
    /// PEM of the private key.
    pub key: SecretString,
}

/// All settings of the store.
#[derive(Clone, Debug)]
pub struct Redis {
    /// How it is reached.
    pub reach: Reach,
    /// Scope of the IDs: the group unless set.
    pub namespace: String,
    /// Life of a mark.
    pub dedup_window: Duration,
    /// Life of a session without renewal; at least 3 s.
    pub lease: Duration,
    /// What follows when everything was forgotten.
    pub on_history_loss: OnHistoryLoss,
}

pub(super) fn reach(read: &mut Reader) -> Option<Reach> {
    let store = read.required("ONCE_REDIS_URL", store::parse);
    let timeout = read.required("ONCE_REDIS_TIMEOUT", units::positive_duration);
    let ca = read.optional("ONCE_REDIS_CA", certificate);
    let cert = read.optional("ONCE_REDIS_CERT", certificate);
    let key = read.optional("ONCE_REDIS_KEY", private_key);
    let allow_eviction = read.required("ONCE_REDIS_ALLOW_EVICTION", units::flag);
    Some(Reach {
        store: store?,
        timeout: timeout?,
        ca,
        identity: cert.zip(key).map(|(cert, key)| ClientIdentity { cert, key }),
        allow_eviction: allow_eviction?,
    })
}

/// The namespace: the group unless it is set. A problem of the group itself is noted with the group.
pub(super) fn namespace(read: &mut Reader) -> Option<String> {
    let own = "ONCE_DEDUP_NAMESPACE";
    if read.is_named(own) {
        return read.optional(own, braceless);
    }
    let group = read.peek("ONCE_KAFKA_GROUP", kafka::name)?;
    if let Ok(name) = braceless(&group) {
        return Some(name);
    }
    let what = "is not set, and the group has braces, which Redis Cluster reads as a hash tag";
    read.problem(own, Fault::new(what, "set it to a name without braces"));
    None
}

pub(super) fn section(read: &mut Reader) -> Option<Redis> {
    let reach = reach(read);
    let namespace = namespace(read);
    let dedup_window = read.required("ONCE_DEDUP_WINDOW", units::positive_duration);
    let own_lease = read.required("ONCE_LEASE", lease);
    let on_history_loss = read.required("ONCE_ON_HISTORY_LOSS", |text| {
        let words = [("continue", OnHistoryLoss::Continue), ("pause", OnHistoryLoss::Pause)];
        units::word(text, &words)
    });
    Some(Redis {
        reach: reach?,
        namespace: namespace?,
        dedup_window: dedup_window?,
        lease: own_lease?,
        on_history_loss: on_history_loss?,
    })
}

pub(super) fn lease(text: &str) -> Result<Duration, Fault> {
    match units::duration(text)? {
        short if short < LEASE_MIN => Err(Fault::new("is below 3s", "write at least 3s")),
        lease => Ok(lease),
    }
}

fn braceless(text: &str) -> Result<String, Fault> {
    if text.contains(['{', '}']) {
        let what = "has braces, which Redis Cluster reads as a hash tag";
        return Err(Fault::new(what, "write it without braces"));
    }
    kafka::name(text)
}

/// A PEM that holds a certificate; whether it is a good one, the TLS library says.
pub(super) fn certificate(text: &str) -> Result<SecretString, Fault> {
    pem(text, "CERTIFICATE-----", "a certificate")
}

fn private_key(text: &str) -> Result<SecretString, Fault> {
    pem(text, "PRIVATE KEY-----", "a private key")
}

fn pem(text: &str, marker: &str, thing: &str) -> Result<SecretString, Fault> {
    if text.contains("-----BEGIN ") && text.contains(marker) {
        return Ok(Secret::new(text.to_owned()));
    }
    let what = format!("is not a PEM that holds {thing}");
    Err(Fault::new(what, "give the PEM itself, or its path by the _FILE twin"))
}
