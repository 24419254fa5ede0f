//! The body of a request: a record's value where it lies in memory, never copied.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use hyper::body::{Body, Frame, SizeHint};

use crate::domain::record::Record;

/// The value of a record, sent in one piece; nothing for a tombstone, an empty value or a `GET`.
pub(super) struct Payload(Option<Value>);

/// The part of a record's value that is not written yet.
pub(super) struct Value {
    record: Arc<Record>,
    written: usize,
}

impl Payload {
    /// No body.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The record's value, untouched.
    pub(super) fn of(record: &Arc<Record>) -> Self {
        let has_bytes = record.value().is_some_and(|value| !value.is_empty());
        Self(has_bytes.then(|| Value { record: Arc::clone(record), written: 0 }))
    }
}

impl Buf for Value {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        self.record.value().and_then(|value| value.get(self.written..)).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
    }
}

impl Body for Payload {
    type Data = Value;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Value>, Infallible>>> {
        Poll::Ready(self.0.take().map(|value| Ok(Frame::data(value))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |value| value.remaining() as u64))
    }
}
