//! A line to the app: one connection kept alive, one request at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Exchange, Message};
use super::{Inner, far_away};
use crate::domain::verdict::Answer;
use crate::ports::{AppLine, Request, TraceContext};

/// What the app would answer to a head it cannot take (431): the verdict is *refused*, so nothing loops.
const HEAD_TOO_LARGE: u16 = 431;

/// How many connections one request may see: a second one only when nothing was written on the first.
const MAX_CONNECTIONS: u32 = 2;

/// How much room for a head is kept between requests.
const USUAL_HEAD: usize = 2 * 1024;

/// One connection to the app, opened when it is first used.
pub struct HttpLine {
    app: Arc<Inner>,
    idle: Option<Idle>,
    /// The head of the request under way, written anew for each.
    head: Vec<u8>,
}

/// A connection between two requests, and for how long it may stay there.
struct Idle {
    connection: Connection,
    limit: Duration,
}

impl HttpLine {
    pub(super) fn new(app: Arc<Inner>) -> Self {
        Self { app, idle: None, head: Vec::new() }
    }

    /// The idle connection unless it is too old. Taken out of the line: whoever drops it closes it.
    fn idle(&mut self) -> Option<Connection> {
        let Idle { connection, limit } = self.idle.take()?;
        connection.not_too_old(limit)
    }

    async fn open(&self, deadline: Instant) -> Result<Connection, String> {
        let bound = self.app.connect_timeout;
        let opening = Connection::open(&self.app.dialer, &self.app.contract.target().transport);
        let opened = timeout_at(deadline.min(far_away(bound)), opening).await;
        opened.unwrap_or_else(|_| Err(format!("no connection within {bound:?}")))
    }

    async fn attempt(&mut self, request: &Request, trace: Option<&TraceContext>) -> Answer {
        let deadline = far_away(request.timeout);
        if let Err(why) = self.app.contract.write(request, trace, &mut self.head) {
            tracing::error!(id = %request.id.0, why, "record cannot be sent to the app");
            return Answer::Status { code: HEAD_TOO_LARGE, overrule: None, retry_after: None };
        }
        let mut closed = String::new();
        for _ in 0..MAX_CONNECTIONS {
            let connection = match self.idle() {
                Some(connection) => connection,
                None => match self.open(deadline).await {
                    Ok(connection) => connection,
                    Err(why) => return Answer::NotSent(why),
                },
            };
            let message = Message { head: &self.head, body: request.record.value().unwrap_or_default() };
            match timeout_at(deadline, connection.exchange(message, self.app.clock)).await {
                Ok(Exchange::Answered(head, connection)) => {
                    let limit = head.keep_alive.unwrap_or(Duration::MAX).min(self.app.idle_limit);
                    self.idle = connection.map(|connection| Idle { connection, limit });
                    return head.answer;
                }
                Ok(Exchange::Unsent(why)) => closed = why,
                Ok(Exchange::Broken(why)) => return Answer::NoAnswer(why),
                Err(_) => return Answer::NoAnswer(format!("no answer within {:?}", request.timeout)),
            }
        }
        Answer::NotSent(closed)
    }
}

impl AppLine for HttpLine {
    async fn deliver(&mut self, request: &Request) -> Answer {
        let span = self.app.spans.as_ref().and_then(|spans| spans.begin(request));
        let answer = self.attempt(request, span.as_ref().map(|span| span.context())).await;
        if let Some(span) = span {
            span.end(&answer);
        }
        if self.head.capacity() > USUAL_HEAD {
            self.head = Vec::new(); // one large head does not stay in memory on each line
        }
        answer
    }
}
