//! The bare loop: consume and `POST`, nothing else. No dedup, no order per key, no retries.
//!
//! A thread polls Kafka and hands batches over a bounded channel to one tokio thread, where as many connections as
//! requests may be in flight take records from it. Offsets are committed by the client once a second as they are taken
//! from it, which costs nothing and forgets what is in flight at a crash: less than any honest loop does. The first
//! failure ends the process.

mod consume;
mod headers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::plan::IN_FLIGHT;
use consume::Consumption;
use headers::{ONCE_DEADLINE, Style};

/// Records that go over the channel at once, at most.
const BATCH: usize = 64;

/// Batches that wait in the channel, at most.
const BATCHES: usize = 4;

/// What `Once-Deadline` promises.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A record, ready to be sent.
struct Job {
    headers: HeaderMap,
    value: Bytes,
}

/// The process itself: `three|contract BROKERS TOPIC GROUP APP`.
pub fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let [style, brokers, topic, group, app] = arguments else {
        anyhow::bail!("bare three|contract BROKERS TOPIC GROUP HOST:PORT")
    };
    let style = Style::named(style)?;
    let (batches, inbox) = mpsc::channel(BATCHES);
    let consumption = Consumption::new(brokers, topic, group, style)?;
    std::thread::spawn(move || consumption.hand_over(&batches));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(post_all(inbox, app, style))
}

async fn post_all(inbox: mpsc::Receiver<Vec<Job>>, app: &str, style: Style) -> anyhow::Result<()> {
    let queue = Arc::new(Mutex::new(Queue { inbox, batch: VecDeque::new() }));
    let host = HeaderValue::from_str(app)?;
    let mut lines = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let sender = connect(app).await?;
        lines.spawn(post_one_by_one(sender, Arc::clone(&queue), host.clone(), style));
    }
    while let Some(ended) = lines.join_next().await {
        ended??;
    }
    Ok(())
}

async fn connect(app: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(app).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error reaches the sender.
    tokio::spawn(connection);
    Ok(sender)
}

async fn post_one_by_one(
    mut sender: SendRequest<Full<Bytes>>,
    queue: Arc<Mutex<Queue>>,
    host: HeaderValue,
    style: Style,
) -> anyhow::Result<()> {
    loop {
        let Some(job) = queue.lock().await.next().await else { return Ok(()) };
        let mut request = Request::new(Full::new(job.value));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/");
        *request.headers_mut() = job.headers;
        request.headers_mut().insert(HOST, host.clone());
        if style == Style::Contract {
            request.headers_mut().insert(ONCE_DEADLINE, deadline());
        }
        sender.ready().await?;
        // The answer has no body to be read.
        let status = sender.send_request(request).await?.status();
        anyhow::ensure!(status.is_success(), "the app answered {status}");
    }
}

fn deadline() -> HeaderValue {
    let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TIMEOUT;
    HeaderValue::from(u64::try_from(until.as_millis()).unwrap_or(u64::MAX))
}

/// What all connections take from.
struct Queue {
    inbox: mpsc::Receiver<Vec<Job>>,
    batch: VecDeque<Job>,
}

impl Queue {
    async fn next(&mut self) -> Option<Job> {
        loop {
            if let Some(job) = self.batch.pop_front() {
                return Some(job);
            }
            self.batch = self.inbox.recv().await?.into();
        }
    }
}
