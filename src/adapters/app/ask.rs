//! Questions to the app beside the records: whether it is ready, whether it has applied a message.

use std::time::Duration;

use tokio::time::timeout;

use super::Inner;
use super::connection::{Connection, Exchange, Message, describe};
use super::contract::question;
use super::target::Target;
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
        let status = get(app, target, &target.path("", None)?).await?;
        if (200..300).contains(&status) { Ok(()) } else { Err(format!("readiness answered {status}")) }
    };
    timeout(bound, asking).await.unwrap_or_else(|_| Err(format!("readiness gave no answer within {bound:?}")))
}

/// Whether the app has applied a message. Everything but 200, 204 and 404 leaves it open.
pub(super) async fn look_up(app: &Inner, topic: &str, id: &WireId) -> Lookup {
    let Some(target) = &app.lookup else { return Lookup::Unclear("no lookup url is set".to_owned()) };
    match timeout(app.timeout, lookup_status(app, target, topic, id)).await {
        Ok(Ok(200 | 204)) => Lookup::Applied,
        Ok(Ok(404)) => Lookup::NotApplied,
        Ok(Ok(status)) => Lookup::Unclear(format!("lookup answered {status}")),
        Ok(Err(why)) => Lookup::Unclear(why),
        Err(_) => Lookup::Unclear(format!("lookup gave no answer within {:?}", app.timeout)),
    }
}

async fn lookup_status(app: &Inner, target: &Target, topic: &str, id: &WireId) -> Result<u16, String> {
    get(app, target, &target.path(topic, Some(id))?).await
}

/// One `GET` on a connection of its own; whoever calls bounds it.
async fn get(app: &Inner, target: &Target, path: &str) -> Result<u16, String> {
    let connection = Connection::open(&app.dialer, &target.transport).await?;
    let head = question(target, path);
    match connection.exchange(Message { head: &head, body: &[] }, app.clock).await {
        Exchange::Answered(head, _) => Ok(head.status),
        Exchange::Unsent(why) | Exchange::Broken(why) => Err(why),
    }
}
