//! The admin server: probes, metrics, status and operations over HTTP, on a thread of its own.
//!
//! It answers while the pipeline is busy, because it only reads what others have put up and sends what operators ask.
//! Everything it holds is bounded: connections, their life, the wait for an answer, drains asked for at once.

mod routes;
mod server;

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::domain::time::Moment;
use crate::ports::Operation;
use crate::telemetry::inspection::{InspectError, Inspection};
use crate::telemetry::{Metrics, Pulses, StatusBoard};

/// A loop that has not turned for so long is stuck, and `/live` says so.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Connections at once; more wait in the listen queue.
pub const MOST_CONNECTIONS: u32 = 64;
/// Drains that may be waited for at once.
pub const MOST_DRAINS: usize = 8;
/// A request's head must have come within this time.
pub const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// The pipeline must have answered an operation (other than a drain) within this time.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A connection is cut after so long, not counting the time in which we work on its answer.
pub const CONNECTION_WITHIN: Duration = Duration::from_secs(15);
/// After an answer, what the client still sends (an ignored body) is thrown away, until nothing comes for so long or
/// [`CONNECTION_WITHIN`] is over.
pub const LINGER: Duration = Duration::from_secs(1);
/// At the end, open connections may finish for so long.
pub const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Messages that may be looked for at once.
pub const MOST_INSPECTIONS: usize = 8;

/// Tells what the store knows of a message, by its ID in wire form and its topic; without a topic, in each that is read.
/// Bounds its own time.
pub type Inspect = Arc<
    dyn Fn(String, Option<String>) -> Pin<Box<dyn Future<Output = Result<Inspection, InspectError>> + Send>>
        + Send
        + Sync,
>;

/// What the server reads and to whom it talks.
#[derive(Clone)]
pub struct AdminDeps {
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
    /// `/status`, `/gaps`, and the state for `/ready`.
    pub board: Arc<StatusBoard>,
    /// `/live`.
    pub pulses: Arc<Pulses>,
    /// `/pause`, `/resume`, `/drain`.
    pub operations: mpsc::Sender<Operation>,
    /// `/inspect`.
    pub inspect: Inspect,
    /// The clock that the pulses are counted with.
    pub clock: Arc<dyn Fn() -> Moment + Send + Sync>,
}

/// The running server. Dropping it asks the server to stop; [`AdminServer::stop`] also waits.
pub struct AdminServer {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminServer {
    /// Binds, then serves on a new thread. Returns the address that was bound (port 0 chooses one).
    ///
    /// Fails, naming the address, when it cannot be bound.
    pub fn start(addr: SocketAddr, deps: AdminDeps) -> anyhow::Result<(SocketAddr, Self)> {
        let listener = TcpListener::bind(addr).with_context(|| format!("admin address {addr} cannot be bound"))?;
        let bound = listener.local_addr().with_context(|| format!("admin address {addr} has no local address"))?;
        listener.set_nonblocking(true).with_context(|| format!("admin address {addr} cannot be polled"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the admin server's runtime cannot be built")?;
        let (stop, stopped) = oneshot::channel();
        let router = routes::router(deps);
        let run = move || {
            if let Err(error) = runtime.block_on(server::serve(listener, router, stopped)) {
                tracing::error!(%error, "admin server ended");
            }
        };
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(run)
            .context("the admin server's thread cannot be started")?;
        tracing::info!(address = %bound, "admin server listens");
        Ok((bound, Self { stop, thread }))
    }

    /// Takes no new connections, lets open ones finish for [`STOP_WITHIN`], and ends the thread. Blocks so long.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("admin server panicked");
        }
    }
}

#[cfg(test)]
mod tests;
