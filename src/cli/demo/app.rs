//! The sample app: it keeps its books as the README teaches, fails now and then, and notes what a careless one would hide.
//!
//! A `first` request is applied without looking. Told `possible-repeat`, it looks into its own records.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::oneshot;

/// What an effect takes.
const WORK: Duration = Duration::from_millis(10);

/// One first attempt in so many is answered with 500, and nothing has happened.
const FAILS_EVERY: u64 = 97;

/// The app on a loopback port, with a thread of its own. Dropping it stops it.
pub(super) struct App {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
    _stop: oneshot::Sender<()>,
}

/// What the app did. Bounded by what the demo sends.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    /// How often each message was applied, by topic and message ID.
    pub applied: HashMap<(String, String), u32>,
    /// Effects by the sidecar that delivered them.
    pub by_sidecar: BTreeMap<String, usize>,
    /// Requests that said `possible-repeat` and had been applied before: looked up, and not applied again.
    pub absorbed: u64,
    /// First attempts answered with 500.
    pub failed: u64,
    /// Effects that came before an earlier one of the same key and partition.
    pub disordered: u64,
    /// Requests that lacked a header of the contract.
    pub malformed: u64,
    /// Requests of the sidecar to be held that were applied and get no answer.
    pub held: u64,
    hold: Option<String>,
    first_attempts: u64,
    /// Offset of the last effect, by topic, partition and key.
    last: HashMap<(String, i32, String), i64>,
}

/// What a request says.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub id: String,
    pub first: bool,
    pub attempt: u32,
}

/// What the app answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Status(StatusCode),
    /// None, for as long as the sidecar waits for one.
    Held,
}

impl App {
    /// Listens on a port of its own.
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let books = Arc::new(Mutex::new(Books::default()));
        let router = Router::new().route("/{sidecar}", post(take)).with_state(Arc::clone(&books));
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => {
                        if let Err(error) = served {
                            tracing::error!(%error, "the sample app ended");
                        }
                    }
                    _ = stopped => {}
                }
            });
        };
        std::thread::Builder::new().name("app".to_owned()).spawn(serve)?;
        Ok(Self { address, books, _stop: stop })
    }

    /// Where a sidecar of that name sends its records.
    pub(super) fn url(&self, sidecar: &str) -> String {
        format!("http://{}/{sidecar}", self.address)
    }

    /// From now on what that sidecar sends is applied and not answered.
    pub(super) fn hold(&self, sidecar: &str) {
        self.books().hold = Some(sidecar.to_owned());
    }

    /// The app's books, as they are now.
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

async fn take(State(books): State<Arc<Mutex<Books>>>, Path(sidecar): Path<String>, headers: HeaderMap) -> StatusCode {
    let Some(delivered) = Delivered::read(&headers) else {
        lock(&books).malformed += 1;
        return StatusCode::BAD_REQUEST;
    };
    tokio::time::sleep(WORK).await;
    let reply = lock(&books).take(&sidecar, delivered);
    match reply {
        Reply::Status(status) => status,
        Reply::Held => std::future::pending().await, // until its connection ends
    }
}

impl Delivered {
    /// `None`: a header of the contract is missing or not as it should be.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Some(Self {
            topic: text("kafka-topic")?.to_owned(),
            partition: text("kafka-partition")?.parse().ok()?,
            offset: text("kafka-offset")?.parse().ok()?,
            key: text("kafka-key")?.to_owned(),
            id: text("idempotency-key")?.to_owned(),
            first: match text("once-delivery")? {
                "first" => true,
                "possible-repeat" => false,
                _ => return None,
            },
            attempt: text("once-attempt")?.parse().ok()?,
        })
    }
}

impl Books {
    fn take(&mut self, sidecar: &str, delivered: Delivered) -> Reply {
        if delivered.first && delivered.attempt == 1 {
            self.first_attempts += 1;
            if self.first_attempts.is_multiple_of(FAILS_EVERY) {
                self.failed += 1;
                return Reply::Status(StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
        let name = (delivered.topic.clone(), delivered.id.clone());
        if !delivered.first && self.applied.contains_key(&name) {
            self.absorbed += 1;
        } else {
            self.apply(sidecar, name, delivered);
        }
        if self.hold.as_deref() == Some(sidecar) {
            self.held += 1;
            return Reply::Held;
        }
        Reply::Status(StatusCode::NO_CONTENT)
    }

    fn apply(&mut self, sidecar: &str, name: (String, String), delivered: Delivered) {
        *self.applied.entry(name).or_default() += 1;
        *self.by_sidecar.entry(sidecar.to_owned()).or_default() += 1;
        let lane = (delivered.topic, delivered.partition, delivered.key);
        let before = self.last.insert(lane, delivered.offset);
        self.disordered += u64::from(before.is_some_and(|before| before >= delivered.offset));
    }

    /// Effects that a sidecar's requests had.
    pub(super) fn applied_by(&self, sidecar: &str) -> usize {
        self.by_sidecar.get(sidecar).copied().unwrap_or(0)
    }
}

/// Each change of the books is whole between two statements that may panic.
fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A delivery of a message with that ID, to a lane of its own.
    pub(in super::super) fn delivered(id: &str, first: bool) -> Delivered {
        let (topic, key, id) = ("t".to_owned(), format!("key of {id}"), id.to_owned());
        Delivered { topic, partition: 0, offset: 7, key, id, first, attempt: 2 }
    }

    impl Books {
        /// Books after these deliveries.
        pub(in super::super) fn after(deliveries: &[Delivered]) -> Self {
            let mut books = Self::default();
            for delivered in deliveries {
                books.take("a", delivered.clone());
            }
            books
        }
    }

    #[test]
    fn only_a_possible_repeat_is_looked_up_before_it_is_applied() {
        let name = ("t".to_owned(), "m".to_owned());
        let table = [
            ([true, false], 1, 1), // the repeat is absorbed
            ([false, false], 1, 1),
            ([true, true], 2, 0), // a wrong `first` is seen
            ([false, true], 2, 0),
        ];
        for (deliveries, applied, absorbed) in table {
            let books = Books::after(&deliveries.map(|first| delivered("m", first)));
            assert_eq!((books.applied[&name], books.absorbed), (applied, absorbed), "{deliveries:?}");
        }
    }

    #[test]
    fn an_effect_out_of_its_keys_order_is_seen() {
        let at = |id: &str, offset| Delivered { offset, key: "k".to_owned(), ..delivered(id, true) };
        assert_eq!(Books::after(&[at("a", 1), at("b", 2), at("c", 9)]).disordered, 0);
        assert_eq!(Books::after(&[at("a", 1), at("b", 9), at("c", 2)]).disordered, 1);
    }

    #[test]
    fn first_attempts_fail_now_and_then_without_an_effect() {
        let mut books = Books::default();
        for number in 1..=2 * FAILS_EVERY {
            let reply = books.take("a", Delivered { attempt: 1, ..delivered(&number.to_string(), true) });
            let failed = reply == Reply::Status(StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(failed, number.is_multiple_of(FAILS_EVERY), "{number}");
        }
        assert_eq!((books.failed, books.applied.len() as u64), (2, 2 * FAILS_EVERY - 2));
    }

    #[test]
    fn what_a_held_sidecar_sends_is_applied_and_not_answered() {
        let mut books = Books { hold: Some("a".to_owned()), ..Books::default() };
        assert_eq!(books.take("a", delivered("m", true)), Reply::Held);
        assert_eq!(books.take("b", delivered("n", true)), Reply::Status(StatusCode::NO_CONTENT));
        assert_eq!((books.held, books.applied.len(), books.applied_by("a")), (1, 2, 1));
    }
}
