//! Accepts connections and bounds what each may cost: one request, a time for its head, a time in all.
//!
//! `axum::serve` has no such bounds, so that clients which never send or never read would pile up.

use std::convert::Infallible;
use std::future::Future;
use std::net::TcpListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::{CONNECTION_WITHIN, HEAD_WITHIN, LINGER, MOST_CONNECTIONS, STOP_WITHIN};

/// Bytes of a request's head; a longer one is answered with 431.
const MOST_HEAD_BYTES: usize = 16 * 1024;
/// After a failed accept (no file descriptors left), wait so long before the next.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until told to stop, or until the telling end is dropped.
pub async fn serve(listener: StdListener, router: Router, stopped: oneshot::Receiver<()>) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS as usize));
    tokio::select! {
        () = accept(&listener, &router, &slots) => {}
        _ = stopped => {}
    }
    drop(listener);
    // All slots free again: every connection has ended.
    let _ = tokio::time::timeout(STOP_WITHIN, slots.acquire_many(MOST_CONNECTIONS)).await;
    Ok(())
}

async fn accept(listener: &TcpListener, router: &Router, slots: &Arc<Semaphore>) {
    // A semaphore fails only when closed, and nobody closes this one.
    while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    connection(stream, router).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// One connection: one request and its answer.
async fn connection(stream: TcpStream, router: Router) {
    let app = TowerToHyperService::new(router);
    let working = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&working);
    let service = service_fn(move |request: Request<Incoming>| answer(&app, request, Arc::clone(&flag)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MOST_HEAD_BYTES)
        .keep_alive(false) // an idle connection would hold a slot
        .serve_connection(TokioIo::new(stream), service);
    let served = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx));
    match within_bounds(served, &working).await {
        Some(Ok(())) => {}
        // A head that cannot be read; it has been answered.
        Some(Err(error)) => tracing::debug!(%error, "admin request failed"),
        None => {
            tracing::debug!("admin connection took too long");
            return;
        }
    }
    linger(connection.into_parts().io.into_inner()).await;
}

fn answer(
    app: &TowerToHyperService<Router>,
    request: Request<Incoming>,
    working: Arc<AtomicBool>,
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>> {
    working.store(true, Ordering::Relaxed);
    let answer = app.call(request);
    Box::pin(async move {
        let answer = answer.await;
        working.store(false, Ordering::Relaxed);
        answer
    })
}

/// Runs a connection to its end, or cuts it. While a handler works time does not count: handlers bound themselves,
/// and a drain may take its time.
async fn within_bounds<F: Future>(connection: F, working: &AtomicBool) -> Option<F::Output> {
    let mut connection = std::pin::pin!(connection);
    loop {
        if let Ok(end) = tokio::time::timeout(CONNECTION_WITHIN, connection.as_mut()).await {
            return Some(end);
        }
        if !working.load(Ordering::Relaxed) {
            return None;
        }
    }
}

/// Closes our side and throws away what still comes: closing with unread bytes (a body that nobody wanted) would
/// reset the connection, and the client would lose the answer.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let rest = async {
        let mut scrap = [0; 8192];
        let mut read = async || tokio::time::timeout(LINGER, stream.read(&mut scrap)).await;
        while let Ok(Ok(1..)) = read().await {}
    };
    let _ = tokio::time::timeout(CONNECTION_WITHIN, rest).await;
}
