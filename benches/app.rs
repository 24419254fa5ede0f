//! The app under load: a process with one thread that answers 200, counts, and says how long the middle of it took.
//!
//! It writes `listening HOST:PORT`, then `tenth` and `ninetieth` when it has seen 10 % and 90 % of the expected requests,
//! and at the end `done` with the time between those two and, where values carry one, the ages of what came in between.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::figures::percentile;
use crate::support::Process;
use crate::support::process::Start;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Digits a value begins with when it says when it was sent: Unix microseconds.
pub const STAMP_DIGITS: usize = 16;

/// Bound of one request, head and body.
const MAX_REQUEST: usize = 64 * 1024;

/// What an app is to do.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// How long it works on each request.
    pub work: Duration,
    /// How many requests it waits for.
    pub expect: u32,
    /// Whether values begin with the time they were sent.
    pub stamped: bool,
}

/// What an app saw between 10 % and 90 % of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How many requests that were.
    pub requests: u32,
    /// How long they took.
    pub took: Duration,
    /// Median age at arrival; zero without stamps.
    pub p50: Duration,
    /// Age at arrival that one in a hundred exceeds; zero without stamps.
    pub p99: Duration,
}

/// A running app.
pub struct App {
    process: Process,
    address: String,
}

impl App {
    /// Starts one and waits until it listens.
    pub fn start(order: &Order) -> anyhow::Result<Self> {
        let arguments = [order.work.as_millis().to_string(), order.expect.to_string(), order.stamped.to_string()];
        let process = Start::new(std::env::current_exe()?).arg("app").args(arguments).spawn()?;
        let line = process.log().wait_for(Duration::from_secs(10), |line| line.starts_with("listening "))?;
        let address = line.trim_start_matches("listening ").to_owned();
        Ok(Self { process, address })
    }

    /// Where it listens: `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits for `tenth` or `ninetieth`.
    pub fn await_mark(&self, mark: &str, deadline: Duration) -> anyhow::Result<()> {
        self.process.log().wait_for(deadline, |line| line == mark).map(drop)
    }

    /// Waits for all requests.
    pub fn await_done(&self, deadline: Duration) -> anyhow::Result<Seen> {
        let line = self.process.log().wait_for(deadline, |line| line.starts_with("done "))?;
        let numbers: Result<Vec<u32>, _> = line.split(' ').skip(1).map(str::parse).collect();
        let [requests, took, p50, p99] = numbers?.try_into().ok().context("not four numbers")?;
        let micros = |number: u32| Duration::from_micros(number.into());
        Ok(Seen { requests, took: micros(took), p50: micros(p50), p99: micros(p99) })
    }
}

/// The process itself: `WORK_MS EXPECT STAMPED`.
pub fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let [work, expect, stamped] = arguments else { anyhow::bail!("app WORK_MS EXPECT STAMPED") };
    let order =
        Order { work: Duration::from_millis(work.parse()?), expect: expect.parse()?, stamped: stamped.parse()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(order))
}

async fn serve(order: Order) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?);
    let tally = Arc::new(Mutex::new(Tally::new(order)));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that ends or breaks is the contender's business.
        tokio::spawn(answer_all(stream, order, Arc::clone(&tally)));
    }
}

async fn answer_all(mut stream: TcpStream, order: Order, tally: Arc<Mutex<Tally>>) -> anyhow::Result<()> {
    let mut buffer = vec![0; MAX_REQUEST];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        while let Some(Frame { body, end }) = frame(&buffer[..filled])? {
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(&buffer[body..end]);
            if !order.work.is_zero() {
                tokio::time::sleep(order.work).await;
            }
            stream.write_all(ANSWER).await?;
            buffer.copy_within(end..filled, 0);
            filled -= end;
        }
    }
}

/// Where a whole request's body begins and ends.
struct Frame {
    body: usize,
    end: usize,
}

fn frame(bytes: &[u8]) -> anyhow::Result<Option<Frame>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(body) = request.parse(bytes)? else { return Ok(None) };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Ok(0), |header| std::str::from_utf8(header.value).unwrap_or_default().parse())?;
    let end = body + length;
    anyhow::ensure!(end <= MAX_REQUEST, "a request of {end} bytes");
    Ok((bytes.len() >= end).then_some(Frame { body, end }))
}

/// Counts requests and keeps the two instants that matter.
struct Tally {
    order: Order,
    count: u32,
    tenth: Option<Instant>,
    ninetieth: Option<Instant>,
    ages: Vec<u32>,
}

impl Tally {
    fn new(order: Order) -> Self {
        let ages = if order.stamped { order.expect as usize } else { 0 };
        Self { order, count: 0, tenth: None, ninetieth: None, ages: Vec::with_capacity(ages) }
    }

    fn count(&mut self, body: &[u8]) {
        self.count += 1;
        if self.order.stamped && self.tenth.is_some() && self.ninetieth.is_none() {
            self.ages.push(age(body));
        }
        if self.count == self.order.expect / 10 {
            self.tenth = Some(Instant::now());
            println!("tenth");
        }
        if self.count == self.order.expect / 10 * 9 {
            self.ninetieth = Some(Instant::now());
            println!("ninetieth");
        }
        if self.count == self.order.expect {
            self.report();
        }
    }

    fn report(&mut self) {
        let (Some(tenth), Some(ninetieth)) = (self.tenth, self.ninetieth) else { return };
        self.ages.sort_unstable();
        let (p50, p99) = (percentile(&self.ages, 50), percentile(&self.ages, 99));
        println!("done {} {} {p50} {p99}", self.order.expect / 10 * 8, (ninetieth - tenth).as_micros());
    }
}

/// Microseconds since a stamped value was sent.
fn age(body: &[u8]) -> u32 {
    let stamp = body.get(..STAMP_DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
    let sent = stamp.and_then(|digits| digits.parse().ok()).unwrap_or_default();
    u32::try_from(unix_micros().saturating_sub(sent)).unwrap_or(u32::MAX)
}

/// Unix microseconds now.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
