//! Questions to the app beside the records: whether it is ready, whether it has applied a message.

use std::time::Duration;

use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::Inner;
use super::connection::{Connection, Exchange, describe};
use super::contract::question;
use super::payload::Payload;
use super::target::{Target, Transport};
use crate::domain::identity::WireId;
use crate::ports::Lookup;

/// The longest a readiness check may take.
const MAX_READY: Duration = Duration::from_secs(2);

/// Whether the app takes requests: a 2xx from its readiness URL, or else somebody who listens.
pub(super) async fn ready(app: &Inner) -> Result<(), String> {
    let bound = app.timeout.min(MAX_READY);
    let asking = async {
        let Some(target) = &app.ready else {
            return app.dialer.knock(&app.contract.target().transport).await.map_err(|error| describe(&error));
        };
        let status = get(app, &target.transport, question(target, target.uri("", None)?)).await?;
        if status.is_success() { Ok(()) } else { Err(format!("readiness answered {}", status.as_u16())) }
    };
    timeout(bound, asking).await.unwrap_or_else(|_| Err(format!("readiness gave no answer within {bound:?}")))
}

/// Whether the app has applied a message. Everything but 200, 204 and 404 leaves it open.
pub(super) async fn look_up(app: &Inner, topic: &str, id: &WireId) -> Lookup {
    let Some(target) = &app.lookup else { return Lookup::Unclear("no lookup url is set".to_owned()) };
    match timeout(app.timeout, lookup_status(app, target, topic, id)).await {
        Ok(Ok(StatusCode::OK | StatusCode::NO_CONTENT)) => Lookup::Applied,
        Ok(Ok(StatusCode::NOT_FOUND)) => Lookup::NotApplied,
        Ok(Ok(status)) => Lookup::Unclear(format!("lookup answered {}", status.as_u16())),
        Ok(Err(why)) => Lookup::Unclear(why),
        Err(_) => Lookup::Unclear(format!("lookup gave no answer within {:?}", app.timeout)),
    }
}

async fn lookup_status(app: &Inner, target: &Target, topic: &str, id: &WireId) -> Result<StatusCode, String> {
    get(app, &target.transport, question(target, target.uri(topic, Some(id))?)).await
}

/// One `GET` on a connection of its own; whoever calls bounds it.
async fn get(app: &Inner, transport: &Transport, request: Request<Payload>) -> Result<StatusCode, String> {
    let connection = Connection::open(&app.dialer, transport).await?;
    match connection.exchange(request).await {
        Exchange::Answered(head, _) => Ok(head.status),
        Exchange::Unsent(_, why) | Exchange::Broken(why) => Err(why),
    }
}
