//! An app that keeps a ledger: every request as it came, every effect it applied, and any misbehaviour a test asks for.
//!
//! It has a thread and a runtime of its own, so that neither a blocking nor an asynchronous test slows it down.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Notify;

use super::redis::Certificates;

mod answer;
mod http;
mod records;

pub use answer::Answer;
pub use http::tls_config;
pub use records::{Effect, Model, Records, Request, percent_decoded};

type Behaviour = Arc<dyn Fn(Arc<Request>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The running app. Dropping it closes its port and connections.
pub struct Ledger {
    shared: Arc<Shared>,
    address: Address,
    server: Mutex<Option<tokio::task::JoinHandle<()>>>,
    runtime: tokio::runtime::Handle,
    stop: Arc<Notify>,
}

#[derive(Clone)]
enum Address {
    Tcp(u16),
    Tls(u16, Arc<tokio_rustls::rustls::ServerConfig>),
    Unix(std::path::PathBuf),
}

struct Shared {
    records: Mutex<Records>,
    changed: Condvar,
    woken: Notify,
    behaviour: RwLock<Behaviour>,
    model: Model,
    ready: AtomicBool,
    connections: AtomicU64,
}

impl Ledger {
    /// An app on a free TCP port that trusts `Once-Delivery` and answers 200 to everything.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_as(Model::Trusting)
    }

    /// An app on a free TCP port with another model.
    pub fn start_as(model: Model) -> anyhow::Result<Self> {
        Self::launch(Address::Tcp(super::ports::free()), model)
    }

    /// An app on a unix socket.
    pub fn start_unix(path: &Path) -> anyhow::Result<Self> {
        Self::launch(Address::Unix(path.to_owned()), Model::Trusting)
    }

    /// An app that speaks TLS on a free TCP port.
    pub fn start_tls(certificates: &Certificates) -> anyhow::Result<Self> {
        let config = Arc::new(http::tls_config(certificates)?);
        Self::launch(Address::Tls(super::ports::free(), config), Model::Trusting)
    }

    fn launch(address: Address, model: Model) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("ledger".to_owned()).spawn(move || runtime.block_on(stopped.notified()))?;
        let ok: Behaviour = Arc::new(|_| Box::pin(async { Answer::status(200) }));
        let shared = Shared {
            records: Mutex::default(),
            changed: Condvar::new(),
            woken: Notify::new(),
            behaviour: RwLock::new(ok),
            model,
            ready: AtomicBool::new(true),
            connections: AtomicU64::new(0),
        };
        let server = Mutex::default();
        let ledger = Self { shared: Arc::new(shared), address, server, runtime: handle, stop };
        ledger.open()?;
        Ok(ledger)
    }

    /// A value for `ONCE_APP_URL` with this HTTP path.
    pub fn url(&self, path: &str) -> String {
        match &self.address {
            Address::Tcp(port) => format!("http://127.0.0.1:{port}{path}"),
            Address::Tls(port, _) => format!("https://localhost:{port}{path}"),
            Address::Unix(socket) => format!("unix:{}:{path}", socket.display()),
        }
    }

    /// A value for `ONCE_APP_LOOKUP_URL`: `GET` answers 200 for an applied message, else 404.
    pub fn lookup_url(&self) -> String {
        self.url("/applied/{id}")
    }

    /// A value for `ONCE_APP_READY_URL`: 200, or 503 after [`Ledger::set_ready`] with `false`.
    pub fn ready_url(&self) -> String {
        self.url("/ready")
    }

    /// What `/ready` answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.shared.ready.store(ready, Ordering::SeqCst);
    }

    /// Decides from now on how requests (other than GET) are answered. Until its future is done, nothing is applied.
    pub fn behave<F, B>(&self, behaviour: B)
    where
        F: Future<Output = Answer> + Send + 'static,
        B: Fn(Arc<Request>) -> F + Send + Sync + 'static,
    {
        let behaviour: Behaviour = Arc::new(move |request| Box::pin(behaviour(request)));
        *self.shared.behaviour.write().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// A copy of everything seen and done so far.
    pub fn records(&self) -> Records {
        self.shared.lock().clone()
    }

    /// Runs `look` over the records without copying them.
    pub fn with<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Blocks until `wanted` holds; it is asked again after arrivals and applications. An error after `deadline`.
    pub fn wait_until(&self, deadline: Duration, mut wanted: impl FnMut(&Records) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + deadline;
        let mut records = self.shared.lock();
        while !wanted(&records) {
            let left = end.saturating_duration_since(Instant::now());
            anyhow::ensure!(!left.is_zero(), "{}", missed(&records));
            let woken = self.shared.changed.wait_timeout(records, left);
            records = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Blocks until so many effects are applied. Patience begins anew with each one.
    pub fn await_applied(&self, effects: usize, patience: Duration) {
        loop {
            let now = self.with(|records| records.effects.len());
            if now >= effects {
                return;
            }
            let more = self.wait_until(patience, |records| records.effects.len() > now);
            more.unwrap_or_else(|error| panic!("{effects} effects: {error}"));
        }
    }

    /// The same as [`Ledger::wait_until`] for asynchronous tests.
    pub async fn until(&self, deadline: Duration, mut wanted: impl FnMut(&Records) -> bool) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let mut woken = std::pin::pin!(self.shared.woken.notified());
            woken.as_mut().enable();
            if wanted(&self.shared.lock()) {
                return Ok(());
            }
            let in_time = tokio::time::timeout_at(end, woken).await.is_ok();
            anyhow::ensure!(in_time, "{}", missed(&self.shared.lock()));
        }
    }

    /// Closes the port and every connection: from now on connections are refused.
    pub fn close(&self) {
        let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        server.abort();
        let (told, gone) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            let _ = server.await;
            let _ = told.send(());
        });
        let _ = gone.recv();
    }

    /// Listens again after [`Ledger::close`], on the same address.
    pub fn open(&self) -> anyhow::Result<()> {
        let listener = http::Listener::bind(&self.address).context("the ledger's address")?;
        let server = self.runtime.spawn(listener.serve(Arc::clone(&self.shared)));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
        self.stop.notify_one();
    }
}

fn missed(records: &Records) -> String {
    let (requests, applied) = (records.requests.len(), records.applied.len());
    format!("the ledger never showed it: {requests} requests, {applied} applied, {} effects", records.effects.len())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.woken.notify_waiters();
    }

    /// Records a request, lets the behaviour judge it, applies it, and says how to answer.
    async fn handle(&self, request: Request) -> Answer {
        let request = Arc::new(request);
        if request.method == "GET" {
            return self.look_up(request);
        }
        {
            let mut records = self.lock();
            records.requests.push(Arc::clone(&request));
            let highest = records.attempts.entry(request.effect()).or_default();
            *highest = request.attempt().max(*highest);
        }
        self.wake();
        let behaviour = Arc::clone(&self.behaviour.read().unwrap_or_else(PoisonError::into_inner));
        let mut answer = behaviour(Arc::clone(&request)).await;
        if answer.applies && !self.apply(&request) {
            answer = Answer::status(409);
        }
        self.wake();
        if let Some(hold) = answer.hold.take() {
            hold.await;
        }
        answer
    }

    /// Applies the effect as the model says; false when a stale attempt is refused.
    fn apply(&self, request: &Arc<Request>) -> bool {
        let mut records = self.lock();
        let effect = request.effect();
        let known = records.effects.contains_key(&effect);
        let highest = records.attempts.get(&effect).copied().unwrap_or_default();
        if self.model == Model::Fencing && request.attempt() < highest {
            records.refused.push(Arc::clone(request));
            return false;
        }
        if known {
            records.repeats.push(Arc::clone(request));
        }
        let looks = self.model == Model::Transactional || request.in_doubt();
        if !(looks && known) {
            *records.effects.entry(effect).or_default() += 1;
            records.applied.push(Arc::clone(request));
        }
        true
    }

    fn look_up(&self, request: Arc<Request>) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        let known = match path.strip_prefix("/applied/") {
            Some(id) => self.knows(id),
            None => self.ready.load(Ordering::SeqCst),
        };
        let status = match (known, path.starts_with("/applied/")) {
            (true, _) => 200,
            (false, true) => 404,
            (false, false) => 503,
        };
        self.lock().asked.push(request);
        self.wake();
        Answer::status(status)
    }

    /// Whether an ID, encoded for a URL, was applied for any topic. URLs encode more bytes than headers do.
    fn knows(&self, id: &str) -> bool {
        let id = percent_decoded(id);
        self.lock().effects.keys().any(|(_, known)| percent_decoded(known) == id)
    }
}
