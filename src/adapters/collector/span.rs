//! One request to the app as a span, in the words of OpenTelemetry's semantic conventions for messaging.

use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status};
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::domain::verdict::{Answer, Verdict, judge};
use crate::ports::{Request, Span, TraceContext};

/// How a span begins: its name is the operation and the topic.
pub(super) fn builder(request: &Request) -> SpanBuilder {
    SpanBuilder::from_name(format!("process {}", request.record.topic())).with_kind(SpanKind::Consumer)
}

/// What is known before the request is sent. Keys of records are left out: they may be personal data.
pub(super) fn attributes(request: &Request, group: &StringValue) -> Vec<KeyValue> {
    let (record, position) = (&request.record, request.record.position());
    let mut attributes = vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.destination.name", Arc::clone(record.topic())),
        KeyValue::new("messaging.destination.partition.id", position.partition.to_string()),
        KeyValue::new("messaging.kafka.offset", position.offset.0),
        KeyValue::new("messaging.consumer.group.name", group.clone()),
        KeyValue::new("messaging.message.id", Arc::clone(&request.id.0)),
        KeyValue::new("once.attempt", i64::from(request.attempt)),
        KeyValue::new("once.delivery", request.delivery.as_str()),
    ];
    if record.value().is_none() {
        attributes.push(KeyValue::new("messaging.kafka.message.tombstone", true));
    }
    attributes
}

/// The span of one request under way.
pub(super) struct Watched {
    /// `None` once it has ended.
    span: Option<SdkSpan>,
    context: TraceContext,
}

impl Watched {
    /// `None`: the span has no valid context, so nobody may go on from it.
    pub(super) fn new(span: SdkSpan, parent: Option<usize>) -> Option<Self> {
        let context = span.span_context();
        if !context.is_valid() {
            return None;
        }
        let (trace, id, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        let context = TraceContext { traceparent: format!("00-{trace}-{id}-{flags:02x}"), parent };
        Some(Self { span: Some(span), context })
    }
}

impl Span for Watched {
    fn context(&self) -> &TraceContext {
        &self.context
    }

    fn end(mut self: Box<Self>, answer: &Answer) {
        let Some(mut span) = self.span.take().filter(SdkSpan::is_recording) else { return };
        let judgement = judge(answer);
        span.set_attribute(KeyValue::new("once.verdict", judgement.verdict.as_str()));
        if let Some(status) = judgement.status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        if judgement.verdict != Verdict::Accepted {
            span.set_attribute(KeyValue::new("error.type", error_type(judgement.verdict, judgement.status)));
            span.set_status(Status::error(describe(answer)));
        }
        span.end();
    }
}

/// A request that was given up: its partition or its session is gone, or the process ends.
impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.set_attribute(KeyValue::new("error.type", "cancelled"));
            span.set_status(Status::error("the request was cancelled"));
            span.end();
        }
    }
}

/// The status where that is the reason, else the verdict: a closed set.
fn error_type(verdict: Verdict, status: Option<u16>) -> StringValue {
    match status.filter(|status| !(200..300).contains(status)) {
        Some(status) => status.to_string().into(),
        None => verdict.as_str().into(),
    }
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Status { code, overrule: Some(_), .. } => format!("the app answered {code} and overruled it"),
        Answer::Status { code, .. } => format!("the app answered {code}"),
        Answer::NotSent(why) | Answer::NoAnswer(why) => why.clone(),
    }
}
