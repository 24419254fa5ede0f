//! The collector of spans: one span for each request to the app, by OTLP (HTTP, protobuf), in the background.
//!
//! `parent` reads the record's trace context, `span` is one request, `export` the queue and its bound, `client` what the
//! exporter posts with, `wire` the `POST`. Nothing here holds up a record: a collector that is away, slow or unwilling
//! costs spans, and the log and a metric say how many.

mod client;
mod export;
mod parent;
mod span;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use http::header;
use opentelemetry::trace::{Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope, KeyValue, StringValue};
use opentelemetry_http::{Bytes, Request as Post};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use crate::ports::{Request, Span, Spans};
use crate::settings::{Collector as Settings, Sampling};
use crate::telemetry::Metrics;
use client::{Client, Told};
use export::{Exporter, Queue, Tally};
use span::Watched;
use wire::Wire;

/// Spans, on their way to the collector.
pub struct Collector {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    tally: Arc<Tally>,
    group: StringValue,
}

impl Collector {
    /// Starts the exporter's thread; connects to nobody before there is a span. `group`: the consumer group.
    ///
    /// # Errors
    /// Certificates that cannot be read, or a client that cannot be built.
    pub fn start(settings: &Settings, group: &str, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let (tally, told) = (Arc::new(Tally::new(metrics)), Told::default());
        let headers = settings.headers.iter().map(|(name, value)| (name.clone(), value.expose().clone()));
        let inner = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(settings, told.clone())?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.url.expose())
            .with_headers(headers.collect())
            .with_timeout(settings.timeout)
            .build()?;
        let exporter = Exporter { inner, tally: Arc::clone(&tally), told };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Queue::new(exporter, Arc::clone(&tally), settings.delay))
            .with_sampler(sampler(settings.sampling))
            .with_resource(resource(settings))
            .build();
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION"));
        let tracer = provider.tracer_with_scope(scope.build());
        Ok(Self { provider, tracer, tally, group: group.to_owned().into() })
    }

    /// Sends what still waits, for at most so long. Spans that begin later are none.
    pub fn close(&self, within: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(within) {
            tracing::debug!(%error, "spans were not flushed in time");
        }
        self.tally.tell_at_the_end();
    }
}

/// Why a collector would take no spans.
#[derive(Debug)]
pub enum Unwilling {
    /// Its settings cannot be used: a sidecar does not start with them.
    Refused(anyhow::Error),
    /// It is away, or does not want them from us: a sidecar runs without.
    Away(anyhow::Error),
}

/// Asks a collector whether it takes spans: posts none to it.
///
/// # Errors
/// [`Unwilling`], in words without a secret.
pub async fn ask(settings: &Settings) -> Result<(), Unwilling> {
    let wire = Wire::new(settings).map_err(Unwilling::Refused)?;
    let mut post = Post::post(settings.url.expose());
    post = post.header(header::CONTENT_TYPE, "application/x-protobuf").header(header::CONTENT_LENGTH, "0");
    for (name, value) in &settings.headers {
        post = post.header(name, value.expose());
    }
    let post = post.body(Bytes::new()).map_err(|error| Unwilling::Refused(error.into()))?;
    match wire.send(post).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(Unwilling::Away(anyhow::anyhow!("status code: {}", answer.status().as_u16()))),
        Err(error) => Err(Unwilling::Away(error)),
    }
}

impl Spans for Collector {
    fn begin(&self, request: &Request) -> Option<Box<dyn Span>> {
        let (place, context) = match parent::of(&request.record) {
            Some((place, parent)) => (Some(place), Context::new().with_remote_span_context(parent)),
            None => (None, Context::new()),
        };
        let mut span = self.tracer.build_with_context(span::builder(request), &context);
        if span.is_recording() {
            span.set_attributes(span::attributes(request, &self.group));
        }
        let watched = Watched::new(span, place)?;
        Some(Box::new(watched))
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let root = match sampling.ratio {
        ratio if ratio >= 1.0 => Sampler::AlwaysOn,
        ratio if ratio <= 0.0 => Sampler::AlwaysOff,
        ratio => Sampler::TraceIdRatioBased(ratio),
    };
    if sampling.parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
}

fn resource(settings: &Settings) -> Resource {
    let named = settings.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector)).with_attributes(named).build()
}
