//! What each path answers.

use std::future::Future;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

use super::{ANSWER_WITHIN, AdminDeps, MOST_DRAINS, MOST_INSPECTIONS, STUCK_AFTER};
use crate::domain::record::{Topic, TopicPartition};
use crate::ports::{NotAssigned, Operation, Scope};
use crate::telemetry::METRICS_CONTENT_TYPE;
use crate::telemetry::inspection::InspectError;
use crate::telemetry::status;

const INDEX: &str = "kafka-once
GET  /live     do the loops make progress
GET  /ready    may the pod take traffic
GET  /metrics  Prometheus' text format
GET  /status   session, pauses, partitions (JSON)
GET  /gaps     missing sequence numbers (JSON)
GET  /inspect  what Redis knows of a message: ?id=ID (as in Idempotency-Key, encoded for a URL), ?topic=T
POST /pause    stop taking records: all, ?topic=T, or ?topic=T&partition=N
POST /resume   go on; ends every pause that waits for an operator; the same parameters
POST /drain    finish what is open and leave the group; answers when drained
";

#[derive(Clone)]
struct Shared {
    deps: AdminDeps,
    drains: Arc<Semaphore>,
    inspections: Arc<Semaphore>,
}

/// All paths. Request bodies are never read.
pub fn router(deps: AdminDeps) -> Router {
    Router::new()
        .route("/", get(async || INDEX))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status_page))
        .route("/gaps", get(gaps))
        .route("/inspect", get(inspect))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/drain", post(drain))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "no such path; GET / lists them"))
        .method_not_allowed_fallback(async || refuse(StatusCode::METHOD_NOT_ALLOWED, "this path has another method"))
        .with_state(Shared {
            deps,
            drains: Arc::new(Semaphore::new(MOST_DRAINS)),
            inspections: Arc::new(Semaphore::new(MOST_INSPECTIONS)),
        })
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(json!({ "error": error.into() }))).into_response()
}

async fn live(State(shared): State<Shared>) -> Response {
    let ages = shared.deps.pulses.ages((shared.deps.clock)());
    let stuck: Vec<&str> = ages.iter().filter(|(_, age)| *age >= STUCK_AFTER).map(|(of, _)| of.as_str()).collect();
    let status = if stuck.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "live": stuck.is_empty(), "stuck": stuck }))).into_response()
}

/// Ready means: settings valid (or this server would not run) and not draining. A neighbour that is away, also at the
/// start, must not take the app's pod out of its Service.
async fn ready(State(shared): State<Shared>) -> Response {
    match shared.deps.board.status().state {
        status::State::Starting | status::State::Running | status::State::Paused => {
            Json(json!({ "ready": true })).into_response()
        }
        status::State::Draining => {
            let reason = "draining: what is open is finished, nothing new is taken";
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason }))).into_response()
        }
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.deps.metrics.render() {
        Ok(page) => ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written out");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written out")
        }
    }
}

async fn status_page(State(shared): State<Shared>) -> Response {
    Json(shared.deps.board.status().as_ref()).into_response()
}

/// The parameters of `/gaps`: one page of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    skip: Option<usize>,
    limit: Option<usize>,
}

async fn gaps(State(shared): State<Shared>, page: Result<Query<Page>, QueryRejection>) -> Response {
    match page {
        Ok(Query(Page { skip, limit })) => {
            Json(shared.deps.board.gaps().page(skip.unwrap_or(0), limit.unwrap_or(usize::MAX))).into_response()
        }
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

/// The parameters of `/inspect`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(default)]
    id: String,
    topic: Option<String>,
}

/// Beside everything else: the handler only waits, and the store's timeout bounds that.
async fn inspect(State(shared): State<Shared>, message: Result<Query<Message>, QueryRejection>) -> Response {
    let Query(Message { id, topic }) = match message {
        Ok(message) => message,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let Ok(_looking) = shared.inspections.try_acquire() else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many messages are looked for");
    };
    match (shared.deps.inspect)(id, topic).await {
        Ok(found) => Json(found).into_response(),
        Err(InspectError::Question(why)) => refuse(StatusCode::BAD_REQUEST, why),
        Err(InspectError::Store(why)) => refuse(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// The parameters of `/pause` and `/resume`. Others are refused: a typo must not pause everything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    topic: Option<String>,
    partition: Option<i32>,
}

type Selected = Result<Query<Selection>, QueryRejection>;

fn scope(selected: Selected) -> Result<Scope, String> {
    let Query(Selection { topic, partition }) = selected.map_err(|rejection| rejection.body_text())?;
    match (topic.as_deref().map(Topic::from), partition) {
        (None, None) => Ok(Scope::All),
        (Some(topic), None) => Ok(Scope::Topic(topic)),
        (Some(topic), Some(partition)) => Ok(Scope::Partition(TopicPartition { topic, partition })),
        (None, Some(_)) => Err("partition needs a topic".to_owned()),
    }
}

async fn pause(State(shared): State<Shared>, selected: Selected) -> Response {
    operate(&shared, selected, |scope, reply| Operation::Pause { scope, reply }).await
}

async fn resume(State(shared): State<Shared>, selected: Selected) -> Response {
    operate(&shared, selected, |scope, reply| Operation::Resume { scope, reply }).await
}

async fn operate(
    shared: &Shared,
    selected: Selected,
    operation: impl FnOnce(Scope, oneshot::Sender<Result<(), NotAssigned>>) -> Operation,
) -> Response {
    let scope = match scope(selected) {
        Ok(scope) => scope,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error),
    };
    let (reply, answer) = oneshot::channel();
    let asked = async {
        send(shared, operation(scope, reply)).await?;
        answer.await.map_err(|_| ended())
    };
    match in_time(asked).await {
        Ok(Ok(())) => Json(json!({ "done": true })).into_response(),
        Ok(Err(not_assigned)) => refuse(StatusCode::NOT_FOUND, not_assigned.to_string()),
        Err(refusal) => refusal,
    }
}

async fn drain(State(shared): State<Shared>) -> Response {
    let Ok(_waiting) = shared.drains.try_acquire() else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many drains are waited for");
    };
    let (reply, drained) = oneshot::channel();
    if let Err(refusal) = in_time(send(&shared, Operation::Drain { reply })).await {
        return refusal;
    }
    // No time of our own here: ONCE_DRAIN_TIMEOUT ends a drain.
    match drained.await {
        Ok(()) => Json(json!({ "drained": true })).into_response(),
        Err(_) => ended(),
    }
}

async fn send(shared: &Shared, operation: Operation) -> Result<(), Response> {
    shared.deps.operations.send(operation).await.map_err(|_| ended())
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Response>>) -> Result<T, Response> {
    let late = |_| refuse(StatusCode::SERVICE_UNAVAILABLE, "the pipeline has not answered yet; it may still do it");
    tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(late)?
}

fn ended() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "the pipeline has ended")
}
