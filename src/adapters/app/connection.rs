//! One HTTP/1.1 connection and one exchange on it.
//!
//! hyper's driver of a connection is polled beside the wait for its answer, by the same future: no task, no channel
//! between tasks, and dropping that future closes the connection. A connection goes through an exchange by value: it
//! comes back only when the exchange ended well, so a half-done one can never be used again.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::response::Parts;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::payload::Payload;
use super::stream::{Dialer, Stream};
use super::target::Transport;

/// How much of an answer's body is read; its rest is cut off together with the connection.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How large the head of an answer may be.
const MAX_ANSWER_HEAD_BYTES: usize = 64 * 1024;

/// A connection idle for longer lets the runtime look at its socket first, so that a close is seen before we write.
const LOOK_AFTER: Duration = Duration::from_millis(5);

/// An open connection without an exchange on it.
pub(super) struct Connection {
    sender: http1::SendRequest<Payload>,
    driver: Driver,
    used: Instant,
}

/// How an exchange ended.
pub(super) enum Exchange {
    /// A whole answer came, or as much of its body as we read. The connection, where it can be used again.
    Answered(Box<Parts>, Option<Connection>),
    /// Not one byte of the request was written: here it is again. The text says why.
    Unsent(Box<Request<Payload>>, String),
    /// Something may have been written, and no whole answer came. The text says why.
    Broken(String),
}

impl Connection {
    /// Connects. Nothing of a request is sent.
    pub(super) async fn open(dialer: &Dialer, transport: &Transport) -> Result<Self, String> {
        let stream = dialer.open(transport).await.map_err(|error| describe(&error))?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_ANSWER_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| describe(&error))?;
        let mut connection = Self { sender, driver: Driver(Some(Box::new(driver))), used: Instant::now() };
        let Self { sender, driver, .. } = &mut connection;
        driver.beside(sender.ready()).await.map_err(|error| describe(&error))?;
        Ok(connection)
    }

    /// The connection again, unless it was idle for `limit`. If the app has closed it, the exchange will see that
    /// before it writes, and give the request back.
    pub(super) async fn not_too_old(self, limit: Duration) -> Option<Self> {
        let idle = self.used.elapsed();
        if idle >= limit {
            return None;
        }
        if idle > LOOK_AFTER {
            tokio::task::yield_now().await;
        }
        Some(self)
    }

    /// Sends a request and reads its answer.
    pub(super) async fn exchange(mut self, request: Request<Payload>) -> Exchange {
        let response = match self.driver.beside(self.sender.try_send_request(request)).await {
            Ok(response) => response,
            Err(mut error) => {
                let why = describe(error.error());
                return match error.take_message() {
                    Some(request) => Exchange::Unsent(Box::new(request), why),
                    None => Exchange::Broken(why),
                };
            }
        };
        let (head, body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Exchange::Broken("the answer switches protocols".to_owned());
        }
        match self.driver.read(body).await {
            Ok(Whole(false)) => Exchange::Answered(Box::new(head), None),
            Ok(Whole(true)) => Exchange::Answered(Box::new(head), self.reusable().await),
            Err(why) => Exchange::Broken(why),
        }
    }

    /// The connection, unless the app closes it or has answered before it had read the whole request.
    async fn reusable(mut self) -> Option<Self> {
        let Self { sender, driver, .. } = &mut self;
        let ready = sender.is_ready() || driver.now(sender.ready()).await.is_some_and(|ready| ready.is_ok());
        self.used = Instant::now();
        ready.then_some(self)
    }
}

/// Whether the whole body was read.
struct Whole(bool);

/// hyper's end of the connection. It is dropped as soon as it has ended, which ends whatever waits for it.
struct Driver(Option<Box<http1::Connection<TokioIo<Stream>, Payload>>>);

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        // How it ended is told to whoever waits for an answer; nobody else needs to know.
        if let Some(connection) = &mut self.0
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.0 = None;
        }
    }

    /// Waits for something that only the driver can bring about.
    async fn beside<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        poll_fn(|cx| {
            self.poll(cx);
            wait.as_mut().poll(cx)
        })
        .await
    }

    /// What becomes of `wait` without waiting.
    async fn now<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        let mut wait = pin!(wait);
        poll_fn(|cx| {
            self.poll(cx);
            Poll::Ready(match wait.as_mut().poll(cx) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            })
        })
        .await
    }

    async fn read(&mut self, mut body: Incoming) -> Result<Whole, String> {
        let mut left = MAX_ANSWER_BYTES;
        while let Some(frame) = self.beside(body.frame()).await {
            let frame = frame.map_err(|error| describe(&error))?;
            let size = frame.data_ref().map_or(0, bytes::Bytes::len);
            let Some(rest) = left.checked_sub(size) else { return Ok(Whole(false)) };
            left = rest;
        }
        Ok(Whole(true))
    }
}

/// An error with its causes, in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
