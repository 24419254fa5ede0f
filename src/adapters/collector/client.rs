//! The exporter's client: posts what it is given, and keeps what of the answer the exporter leaves out.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::runtime::Runtime;

use super::wire::Wire;
use crate::settings::Collector as Settings;

/// Sends spans. Blocks the thread that asks: that of the exporter, which has nothing else to do.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
    wire: Wire,
    told: Told,
}

/// What came of the last `POST`, beside the status that the exporter judges.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<Mutex<Answer>>);

/// The collector's words, or ours where it had none.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// How many spans it did not take although it took the `POST`.
    pub(super) rejected: u64,
    /// Why it did not take them, or why there was no answer.
    pub(super) why: Option<String>,
}

impl Told {
    /// Takes it out.
    pub(super) fn take(&self) -> Answer {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, answer: Answer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

impl Client {
    /// Connects to nobody.
    pub(super) fn new(settings: &Settings, told: Told) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime: Some(runtime), wire: Wire::new(settings)?, told })
    }
}

/// A name that is still being looked up must not hold up the end of the process.
impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let Some(runtime) = &self.runtime else { return Err("closed".into()) };
        let sent = runtime.block_on(self.wire.send(request));
        self.told.set(match &sent {
            Ok(answer) => read(answer),
            Err(error) => Answer { rejected: 0, why: Some(format!("{error:#}")) },
        });
        sent.map_err(Into::into)
    }
}

/// A success may still leave spans out (`partial_success`). One that is no OTLP took everything.
fn read(answer: &Response<Bytes>) -> Answer {
    if !answer.status().is_success() {
        return Answer::default();
    }
    let answer = ExportTraceServiceResponse::decode(answer.body().clone()).unwrap_or_default();
    let Some(partial) = answer.partial_success else { return Answer::default() };
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    Answer { rejected, why: (rejected > 0).then_some(partial.error_message) }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn a_look_up_of_a_name_that_never_ends_does_not_hold_up_the_end() {
        let settings = crate::adapters::collector::tests::settings(&[]);
        let client = Client::new(&settings, Told::default()).expect("a client");
        let (forever, never) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel();
        client.runtime.as_ref().expect("a runtime").spawn_blocking(move || {
            begun.send(()).expect("the test");
            never.recv() // as a resolver that does not answer
        });
        begins.recv().expect("it has begun");
        let (dropped, ends) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(client);
            dropped.send(()).expect("the test");
        });
        ends.recv_timeout(std::time::Duration::from_secs(60)).expect("it is dropped while the name is looked up");
        drop(forever);
    }

    #[test]
    fn what_a_collector_leaves_out_of_a_post_that_it_took_is_read_from_its_answer() {
        let partial = |rejected_spans| {
            let partial = ExportTracePartialSuccess { rejected_spans, error_message: "quota".to_owned() };
            ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        let quota = |rejected| Answer { rejected, why: Some("quota".to_owned()) };
        for (status, body, expected) in [
            (200, Vec::new(), Answer::default()),
            (200, partial(3), quota(3)),
            (202, partial(1), quota(1)),
            (200, partial(0), Answer::default()),
            (200, partial(-1), Answer::default()),
            (400, partial(3), Answer::default()), // all are lost, and the status says why
            (200, b"<html>".to_vec(), Answer::default()),
        ] {
            let answer = Response::builder().status(status).body(Bytes::from(body.clone())).unwrap();
            assert_eq!(read(&answer), expected, "{status} {body:?}");
        }
    }
}
