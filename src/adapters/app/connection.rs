//! One HTTP/1.1 connection and one exchange on it.
//!
//! Written by hand, because HTTP is what a sidecar spends most of its time on: a request is one vectored write of a head
//! that was built in place and of the record's value where it lies in memory. The syntax of answers is `httparse`'s.
//!
//! Reading and writing are polled by one future: no task, and dropping that future closes the connection. A connection
//! goes through an exchange by value: it comes back only when the exchange ended well, so a half-done one can never be
//! used again.

use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::Instant;

use super::body::Body;
use super::head::{Head, Parsed, parse};
use super::stream::{Dialer, Stream};
use super::target::Transport;
use crate::failpoints::{self, Failpoint};

/// How much of an answer's body is read; its rest is cut off together with the connection.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How large the head of an answer may be.
const MAX_ANSWER_HEAD_BYTES: usize = 64 * 1024;

/// How many interim answers (1xx) may come before the final one.
const MAX_INTERIM_ANSWERS: u32 = 16;

/// Room for the next read; an usual answer fits.
const READ: usize = 2 * 1024;

/// What is said of bytes that came before a request was written.
const UNASKED: &str = "the app sent bytes that nobody asked for";

/// An open connection without an exchange on it.
pub(super) struct Connection {
    stream: Stream,
    /// What was read and not used yet.
    input: BytesMut,
    used: Instant,
}

/// A request as it goes over the wire.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// Request line, header lines and the empty line behind them.
    pub(super) head: &'a [u8],
    /// As long as the head's `content-length` says.
    pub(super) body: &'a [u8],
}

/// How an exchange ended.
pub(super) enum Exchange {
    /// A whole answer came, or as much of its body as we read. The connection, where it can be used again.
    Answered(Box<Head>, Option<Connection>),
    /// Not one byte of the request was written. The text says why.
    Unsent(String),
    /// Something may have been written, and no whole answer came. The text says why.
    Broken(String),
}

impl Connection {
    /// Connects. Nothing of a request is sent.
    pub(super) async fn open(dialer: &Dialer, transport: &Transport) -> Result<Self, String> {
        let stream = dialer.open(transport).await.map_err(|error| describe(&error))?;
        Ok(Self { stream, input: BytesMut::with_capacity(READ), used: Instant::now() })
    }

    /// The connection again, unless it was idle for `limit`. If the app has closed it, the exchange will see that
    /// before it writes.
    pub(super) fn not_too_old(self, limit: Duration) -> Option<Self> {
        (self.used.elapsed() < limit).then_some(self)
    }

    /// Sends a request and reads its answer. `now` is what a date in `Retry-After` is measured from.
    pub(super) async fn exchange(mut self, message: Message<'_>, now: fn() -> SystemTime) -> Exchange {
        if let Some(why) = self.is_over().await {
            return Exchange::Unsent(why);
        }
        let (mut writing, mut interim) = (Writing::new(message), 0);
        let head = match poll_fn(|cx| self.poll_head(cx, &mut writing, &mut interim, now)).await {
            Ok(head) => head,
            Err(why) if writing.begun => return Exchange::Broken(why),
            Err(why) => return Exchange::Unsent(why),
        };
        let mut body = Body::new(head.framing);
        match poll_fn(|cx| self.poll_body(cx, &mut writing, &mut body)).await {
            Ok(()) => {}
            Err(why) => return Exchange::Broken(why),
        }
        // One that was answered before it had been read, or brings bytes that nobody asked for, is no good any more.
        let reusable = head.persistent && body.is_done() && writing.is_done() && self.input.is_empty();
        self.used = Instant::now();
        if self.input.capacity() > 4 * READ {
            self.input = BytesMut::with_capacity(READ); // one large head does not stay in memory
        }
        Exchange::Answered(head, reusable.then_some(self))
    }

    /// Why nothing can be sent on it any more: the app has closed it, or has said something that nobody asked for. An
    /// answer that came unasked would be taken for that of the next request.
    ///
    /// Looks at the socket itself: what the runtime knows of it may be older than the last answer.
    async fn is_over(&mut self) -> Option<String> {
        if self.stream.is_quiet() {
            return None;
        }
        tokio::task::yield_now().await; // the runtime looks at its sockets
        match poll_fn(|cx| Poll::Ready(self.poll_read(cx))).await {
            Poll::Pending if self.stream.buffers() => None, // TLS' own bytes, not the app's
            Poll::Pending => Some("the connection is not quiet".to_owned()),
            Poll::Ready(Ok(0)) => Some("the app closed the connection".to_owned()),
            Poll::Ready(Ok(_)) => Some(UNASKED.to_owned()),
            Poll::Ready(Err(error)) => Some(describe(&error)),
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        writing: &mut Writing<'_>,
        interim: &mut u32,
        now: fn() -> SystemTime,
    ) -> Poll<Result<Box<Head>, String>> {
        writing.poll(&mut self.stream, cx);
        if let (Some(why), false) = (&writing.failed, writing.begun) {
            return Poll::Ready(Err(why.clone()));
        }
        loop {
            let read = ready!(self.poll_read(cx));
            if let Some(why) = ended(read, writing) {
                return Poll::Ready(Err(why));
            }
            if !writing.begun {
                return Poll::Ready(Err(UNASKED.to_owned()));
            }
            while !self.input.is_empty() {
                match parse(&self.input, now) {
                    Ok(Parsed::Final(head, length)) => {
                        self.input.advance(length);
                        return Poll::Ready(Ok(head));
                    }
                    Ok(Parsed::Interim(length)) => {
                        self.input.advance(length);
                        *interim += 1;
                        if *interim > MAX_INTERIM_ANSWERS {
                            return Poll::Ready(Err("too many interim answers".to_owned()));
                        }
                    }
                    Ok(Parsed::Partial) if self.input.len() < MAX_ANSWER_HEAD_BYTES => break,
                    Ok(Parsed::Partial) => return Poll::Ready(Err("the answer's head is too large".to_owned())),
                    Err(why) => return Poll::Ready(Err(why)),
                }
            }
        }
    }

    /// Ready at the end of the body, or when more of it has come than is read.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        writing: &mut Writing<'_>,
        body: &mut Body,
    ) -> Poll<Result<(), String>> {
        writing.poll(&mut self.stream, cx);
        loop {
            body.take(&mut self.input)?;
            if body.is_done() || body.taken() > MAX_ANSWER_BYTES {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if body.may_end() => return Poll::Ready(Ok(())),
                read => {
                    if let Some(why) = ended(read, writing) {
                        return Poll::Ready(Err(why));
                    }
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ);
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }
}

/// Why no more of an answer will come, if that is so.
fn ended(read: io::Result<usize>, writing: &Writing<'_>) -> Option<String> {
    let why = match read {
        Ok(0) => "the connection was closed before the whole answer had come".to_owned(),
        Ok(_) => return None,
        Err(error) => describe(&error),
    };
    Some(writing.failed.clone().unwrap_or(why))
}

/// What of a request is still to be written.
struct Writing<'a> {
    head: &'a [u8],
    body: &'a [u8],
    flushed: bool,
    /// Some of it may have reached the app.
    begun: bool,
    /// Why no more can be written. What the app has said before that is still read.
    failed: Option<String>,
}

impl<'a> Writing<'a> {
    fn new(message: Message<'a>) -> Self {
        let Message { head, body } = message;
        Self { head, body, flushed: false, begun: false, failed: None }
    }

    fn is_done(&self) -> bool {
        self.flushed
    }

    /// Writes as much as the connection takes now.
    fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        while !self.flushed && self.failed.is_none() {
            match self.poll_once(stream, cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.failed = Some(describe(&error)),
            }
        }
    }

    fn poll_once(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut to = Pin::new(&mut *stream);
        if self.head.is_empty() && self.body.is_empty() {
            ready!(to.poll_flush(cx))?;
            self.flushed = true;
            failpoints::pass(Failpoint::RequestSent);
            return Poll::Ready(Ok(()));
        }
        self.begun |= to.buffers();
        let parts = [IoSlice::new(self.head), IoSlice::new(self.body)];
        let count = ready!(to.as_mut().poll_write_vectored(cx, &parts))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.begun = true;
        let of_head = count.min(self.head.len());
        self.head = &self.head[of_head..];
        self.body = &self.body[count - of_head..];
        Poll::Ready(Ok(()))
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
