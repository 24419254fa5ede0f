//! Who watches requests to the app: tracing, seen from the one who sends them.

use super::Request;
use crate::domain::verdict::Answer;

/// Where a request stands in its trace (W3C Trace Context), for the app to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The value of `traceparent`: 55 bytes of ASCII.
    pub traceparent: String,
    /// Which of the record's headers it goes on from, counted from 0; `None`: it begins a trace.
    pub parent: Option<usize>,
}

/// Watches requests to the app.
pub trait Spans: Send + Sync + 'static {
    /// A request is about to be sent. `None`: this one is not watched, and its record's headers stay as they are.
    fn begin(&self, request: &Request) -> Option<Box<dyn Span>>;
}

/// One request that is watched. Dropped before its end, it was cancelled.
pub trait Span: Send {
    /// What the app is told.
    fn context(&self) -> &TraceContext;

    /// What came of it.
    fn end(self: Box<Self>, answer: &Answer);
}
