//! A line to the app: one connection kept alive, one request at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::answer;
use super::connection::{Connection, Exchange};
use super::{Inner, far_away};
use crate::domain::verdict::Answer;
use crate::ports::{AppLine, Request};

/// What the app would answer to a head it cannot take (431): the verdict is *refused*, so nothing loops.
const HEAD_TOO_LARGE: u16 = 431;

/// How many connections one request may see: a second one only when nothing was written on the first.
const MAX_CONNECTIONS: u32 = 2;

/// One connection to the app, opened when it is first used.
pub struct HttpLine {
    app: Arc<Inner>,
    idle: Option<Idle>,
}

/// A connection between two requests, and for how long it may stay there.
struct Idle {
    connection: Connection,
    limit: Duration,
}

impl HttpLine {
    pub(super) fn new(app: Arc<Inner>) -> Self {
        Self { app, idle: None }
    }

    /// The idle connection unless it is too old, else a new one. Taken out of the line: whoever drops it closes it.
    async fn connection(&mut self) -> Result<Connection, String> {
        if let Some(Idle { connection, limit }) = self.idle.take()
            && let Some(connection) = connection.not_too_old(limit).await
        {
            return Ok(connection);
        }
        let deadline = far_away(self.app.connect_timeout);
        let opening = Connection::open(&self.app.dialer, &self.app.contract.target().transport);
        timeout_at(deadline, opening)
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {:?}", self.app.connect_timeout)))
    }

    async fn attempt(&mut self, request: &Request, deadline: Instant) -> Answer {
        let mut message = match self.app.contract.request(request) {
            Ok(message) => message,
            Err(why) => {
                tracing::error!(id = %request.id.0, why, "record cannot be sent to the app");
                return Answer::Status { code: HEAD_TOO_LARGE, overrule: None, retry_after: None };
            }
        };
        let mut closed = String::new();
        for _ in 0..MAX_CONNECTIONS {
            let connection = match timeout_at(deadline, self.connection()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(why)) => return Answer::NotSent(why),
                Err(_) => return Answer::NotSent(format!("no connection within {:?}", request.timeout)),
            };
            match timeout_at(deadline, connection.exchange(message)).await {
                Ok(Exchange::Answered(head, connection)) => {
                    let limit = answer::keep_alive(&head.headers).unwrap_or(Duration::MAX).min(self.app.idle_limit);
                    self.idle = connection.map(|connection| Idle { connection, limit });
                    return answer::translate(&head, self.app.clock);
                }
                Ok(Exchange::Unsent(unsent, why)) => (message, closed) = (*unsent, why),
                Ok(Exchange::Broken(why)) => return Answer::NoAnswer(why),
                Err(_) => return Answer::NoAnswer(format!("no answer within {:?}", request.timeout)),
            }
        }
        Answer::NotSent(closed)
    }
}

impl AppLine for HttpLine {
    async fn deliver(&mut self, request: &Request) -> Answer {
        self.attempt(request, far_away(request.timeout)).await
    }
}
