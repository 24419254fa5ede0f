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
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    /// How long it works on each request.
    pub work: Duration,
    /// How many requests it waits for.
    pub expect: u32,
    /// Whether values begin with the time they were sent.
    pub stamped: bool,
    /// How many requests at once it can take: beyond, each takes longer by the square of how far it is exceeded. 0: any.
    pub crowd: u32,
    /// It never answers messages of one key, and does not count them.
    pub hangs: bool,
}

/// The key whose messages are never answered by an app that hangs.
pub const HUNG: &str = "customer-7";

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
        let Order { work, expect, stamped, crowd, hangs } = order;
        let work = work.as_millis();
        let arguments =
            [format!("{work}"), format!("{expect}"), format!("{stamped}"), format!("{crowd}"), format!("{hangs}")];
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

/// The process itself: `WORK_MS EXPECT STAMPED CROWD HANGS`.
pub fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let [work, expect, stamped, crowd, hangs] = arguments else {
        anyhow::bail!("app WORK_MS EXPECT STAMPED CROWD HANGS")
    };
    let order = Order {
        work: Duration::from_millis(work.parse()?),
        expect: expect.parse()?,
        stamped: stamped.parse()?,
        crowd: crowd.parse()?,
        hangs: hangs.parse()?,
    };
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
        while let Some(Frame { body, end, hung }) = frame(&buffer[..filled])? {
            if hung && order.hangs {
                std::future::pending::<()>().await;
            }
            if !order.work.is_zero() {
                work(order, &tally).await;
            }
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(&buffer[body..end]);
            stream.write_all(ANSWER).await?;
            buffer.copy_within(end..filled, 0);
            filled -= end;
        }
    }
}

/// Works on one request beside the others that are open. A contender that goes takes its open requests with it, and the
/// app then ends too.
async fn work(order: Order, tally: &Mutex<Tally>) {
    let open = tally.lock().unwrap_or_else(PoisonError::into_inner).enter();
    let excess = if order.crowd == 0 { 1.0 } else { (f64::from(open) / f64::from(order.crowd)).max(1.0) };
    tokio::time::sleep(order.work.mul_f64(excess * excess)).await;
    tally.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
}

/// Where a whole request's body begins and ends, and whether it is of the key that hangs.
struct Frame {
    body: usize,
    end: usize,
    hung: bool,
}

fn frame(bytes: &[u8]) -> anyhow::Result<Option<Frame>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(body) = request.parse(bytes)? else { return Ok(None) };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Ok(0), |header| std::str::from_utf8(header.value).unwrap_or_default().parse())?;
    let end = body + length;
    anyhow::ensure!(end <= MAX_REQUEST, "a request of {end} bytes");
    let key = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("kafka-key"));
    let hung = key.is_some_and(|header| header.value == HUNG.as_bytes());
    Ok((bytes.len() >= end).then_some(Frame { body, end, hung }))
}

/// Counts requests and keeps the two instants that matter.
struct Tally {
    order: Order,
    count: u32,
    open: u32,
    tenth: Option<Instant>,
    ninetieth: Option<Instant>,
    ages: Vec<u32>,
}

impl Tally {
    fn new(order: Order) -> Self {
        let ages = if order.stamped { order.expect as usize } else { 0 };
        Self { order, count: 0, open: 0, tenth: None, ninetieth: None, ages: Vec::with_capacity(ages) }
    }

    /// One more request is open; how many are now.
    fn enter(&mut self) -> u32 {
        self.open += 1;
        self.open
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
