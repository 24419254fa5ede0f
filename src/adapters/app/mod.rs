//! The app beside us, over HTTP/1.1: no redirects, no proxies, no retries of a request that may have been written.
//!
//! `contract` says what a request looks like, `line` sends one after another over one kept-alive `connection`, `head`,
//! `body` and `answer` read what came back, `ask` asks for readiness and lookups. Whether an answer is a success is not decided here.

mod answer;
mod ask;
mod body;
mod connection;
mod contract;
mod encoding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod line;
mod stream;
mod target;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::time::Instant;

pub use contract::{MAX_HEAD_BYTES, MAX_RECORD_HEADERS, fits};
pub use line::HttpLine;
pub use target::{AppTarget, Transport};

use crate::domain::identity::WireId;
use crate::domain::record::Topic;
use crate::ports::{App, Lookup, Spans};
use contract::Contract;
use stream::Dialer;
use target::Target;

/// What the adapter needs to know. URLs and their consent (loopback, remote) were checked by the settings.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// Where records go; its path may hold `{topic}`.
    pub url: AppTarget,
    /// Where to ask whether a message was applied; its path holds `{id}` and may hold `{topic}`.
    pub lookup: Option<AppTarget>,
    /// Where to ask for readiness; `None`: a connection to `url` will do.
    pub ready: Option<AppTarget>,
    /// Certificates to trust, PEM; `None`: the system's roots.
    pub ca: Option<Vec<u8>>,
    /// How long one connection, TLS included, may take to open; the attempt's own timeout bounds it too.
    pub connect_timeout: Duration,
    /// How long a lookup may take, and a readiness check (at most 2 s). Attempts carry their own.
    pub timeout: Duration,
    /// For how long an idle connection is used again; must be below the app's own keep-alive (Node: 5 s).
    pub idle_limit: Duration,
    /// The wall clock, for dates in `Retry-After`.
    pub clock: fn() -> SystemTime,
}

/// The app, over HTTP.
#[derive(Clone)]
pub struct HttpApp(Arc<Inner>);

/// What all lines share.
struct Inner {
    contract: Contract,
    lookup: Option<Target>,
    ready: Option<Target>,
    dialer: Dialer,
    connect_timeout: Duration,
    timeout: Duration,
    idle_limit: Duration,
    clock: fn() -> SystemTime,
    spans: Option<Arc<dyn Spans>>,
}

impl HttpApp {
    /// Checks paths and certificates; connects to nobody.
    ///
    /// # Errors
    /// A path that no URL may hold, a lookup without `{id}`, an `{id}` elsewhere, or certificates that cannot be read.
    pub fn new(config: &AppConfig) -> anyhow::Result<Self> {
        Self::watched(config, None)
    }

    /// The same, with somebody who watches its requests.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn watched(config: &AppConfig, spans: Option<Arc<dyn Spans>>) -> anyhow::Result<Self> {
        let targets = [Some(&config.url), config.lookup.as_ref(), config.ready.as_ref()];
        let needs_tls = targets.iter().flatten().any(|to| matches!(to.transport, Transport::Tcp { tls: true, .. }));
        Ok(Self(Arc::new(Inner {
            contract: Contract::new(Target::without_id(&config.url).context("the app's url")?),
            lookup: config.lookup.as_ref().map(Target::with_id).transpose().context("the app's lookup url")?,
            ready: config.ready.as_ref().map(Target::without_id).transpose().context("the app's readiness url")?,
            dialer: Dialer::new(needs_tls, config.ca.as_deref())?,
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            idle_limit: config.idle_limit,
            clock: config.clock,
            spans,
        })))
    }
}

impl App for HttpApp {
    type Line = HttpLine;

    fn line(&self) -> HttpLine {
        HttpLine::new(Arc::clone(&self.0))
    }

    async fn ready(&self) -> Result<(), String> {
        ask::ready(&self.0).await
    }

    async fn still_ready(&self) -> Result<(), String> {
        if self.0.ready.is_some() { ask::ready(&self.0).await } else { Ok(()) }
    }

    async fn look_up(&self, topic: &Topic, id: &WireId) -> Lookup {
        ask::look_up(&self.0, topic, id).await
    }
}

/// The moment `wait` from now; a wait beyond counting ends in a day, which no attempt outlives.
fn far_away(wait: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Instant::now() + wait.min(DAY)
}

#[cfg(test)]
mod tests;
