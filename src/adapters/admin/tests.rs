//! The server over real sockets, asked in raw HTTP.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::domain::record::{Topic, TopicPartition};
use crate::ports::{NotAssigned, Scope};
use crate::telemetry::Loop;
use crate::telemetry::status::{State, Status};

/// A server with its neighbours in the test's hands.
struct Bench {
    addr: SocketAddr,
    server: AdminServer,
    deps: AdminDeps,
    asked: mpsc::Receiver<Operation>,
    micros: Arc<AtomicU64>,
}

impl Bench {
    fn start() -> Self {
        let (operations, asked) = mpsc::channel(4);
        let micros = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&micros);
        let deps = AdminDeps {
            metrics: Arc::new(Metrics::new().expect("metrics")),
            board: Arc::default(),
            pulses: Arc::default(),
            operations,
            inspect: Arc::new(|id, topic| {
                Box::pin(async move {
                    match (id.as_str(), topic) {
                        ("", _) => Err(InspectError::Question("an ID is needed".to_owned())),
                        ("slow", _) => std::future::pending().await,
                        ("away", _) => Err(InspectError::Store("redis is away".to_owned())),
                        (id, topic) => Ok(Inspection::new(id, &topic.unwrap_or_default(), [])),
                    }
                })
            }),
            clock: Arc::new(move || Moment(clock.load(Ordering::SeqCst))),
        };
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let (addr, server) = AdminServer::start(any_port, deps.clone()).expect("server");
        Self { addr, server, deps, asked, micros }
    }

    fn ask(&self, method: &str, path: &str) -> Reply {
        Reply::read(self.open(method, path))
    }

    fn open(&self, method: &str, path: &str) -> TcpStream {
        self.write(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    fn write(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).expect("connect");
        stream.write_all(request).expect("write");
        stream
    }

    fn publish(&self, state: State) {
        self.deps.board.publish(Status { state, ..Status::default() });
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("a whole answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("json")
    }
}

#[test]
fn every_page_answers_and_the_index_names_it() {
    let bench = Bench::start();
    let index = bench.ask("GET", "/");
    assert_eq!(index.status, 200);
    for (path, kind) in [
        ("/live", "application/json"),
        ("/ready", "application/json"),
        ("/metrics", "text/plain; version=0.0.4"),
        ("/status", "application/json"),
        ("/gaps", "application/json"),
        ("/inspect?id=x", "application/json"),
    ] {
        let reply = bench.ask("GET", path);
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.head.contains(&format!("content-type: {kind}")), "{path} {}", reply.head);
        let path = path.split('?').next().expect("a path");
        assert!(index.body.contains(&format!("GET  {path} ")), "{path}");
    }
    bench.server.stop();
}

#[test]
fn metrics_and_status_show_what_was_put_up_last() {
    let bench = Bench::start();
    bench.deps.metrics.received(bench.deps.metrics.topic(&Topic::from("orders")), 7);
    assert!(bench.ask("GET", "/metrics").body.contains("kafka_once_records_received_total{topic=\"orders\"} 7\n"));
    assert_eq!(bench.ask("GET", "/status").json()["state"], "starting");
    bench.publish(State::Paused);
    assert_eq!(bench.ask("GET", "/status").json()["state"], "paused");
    assert_eq!(bench.ask("GET", "/gaps").json(), json!({ "gaps": [], "more": 0 }));
}

#[test]
fn ready_fails_only_while_draining() {
    let bench = Bench::start();
    for (state, status) in [(State::Starting, 200), (State::Running, 200), (State::Paused, 200), (State::Draining, 503)]
    {
        bench.publish(state);
        let reply = bench.ask("GET", "/ready");
        assert_eq!((reply.status, reply.json()["ready"] == true), (status, status == 200), "{state:?}");
    }
    assert!(bench.ask("GET", "/ready").json()["reason"].as_str().is_some_and(|reason| reason.starts_with("draining")));
    assert_eq!(bench.ask("GET", "/live").status, 200);
}

#[test]
fn live_names_the_loops_that_stopped_turning() {
    let bench = Bench::start();
    bench.deps.pulses.beat(Loop::Kafka, Moment(0));
    bench.deps.pulses.beat(Loop::Pipeline, Moment(0));
    let limit = u64::try_from(STUCK_AFTER.as_micros()).expect("micros");
    bench.micros.store(limit - 1, Ordering::SeqCst);
    assert_eq!(bench.ask("GET", "/live").status, 200);
    bench.deps.pulses.beat(Loop::Pipeline, Moment(limit - 1));
    bench.micros.store(limit, Ordering::SeqCst);
    let reply = bench.ask("GET", "/live");
    assert_eq!((reply.status, reply.json()), (503, json!({ "live": false, "stuck": ["kafka"] })));
    bench.deps.pulses.rest(Loop::Kafka);
    assert_eq!(bench.ask("GET", "/live").status, 200);
}

#[test]
fn unknown_paths_and_wrong_methods_are_small_json_errors() {
    let bench = Bench::start();
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/status/", 404),
        ("GET", "//", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/status", 405),
        ("GET", "/drain", 405),
        ("BREW", "/pause", 405),
    ] {
        let reply = bench.ask(method, path);
        assert_eq!(reply.status, status, "{method} {path}");
        assert!(reply.json()["error"].is_string() && reply.body.len() < 100, "{method} {path} {}", reply.body);
    }
    assert!(bench.ask("GET", "/drain").head.contains("allow: post"));
}

#[test]
fn pause_and_resume_reach_the_pipeline_with_their_scope() {
    let mut bench = Bench::start();
    let one = Scope::Partition(TopicPartition { topic: Topic::from("a/b"), partition: 3 });
    for (query, expected) in
        [("", Scope::All), ("?topic=orders", Scope::Topic(Topic::from("orders"))), ("?topic=a%2Fb&partition=3", one)]
    {
        for path in ["/pause", "/resume"] {
            let stream = bench.open("POST", &format!("{path}{query}"));
            let (paused, scope, reply) = match bench.asked.blocking_recv() {
                Some(Operation::Pause { scope, reply }) => (true, scope, reply),
                Some(Operation::Resume { scope, reply }) => (false, scope, reply),
                other => panic!("{other:?}"),
            };
            assert_eq!((paused, &scope), (path == "/pause", &expected));
            reply.send(Ok(())).expect("somebody waits");
            assert_eq!(Reply::read(stream).status, 200);
        }
    }
}

#[test]
fn what_is_not_assigned_is_404_and_what_cannot_be_read_is_400() {
    let mut bench = Bench::start();
    let stream = bench.open("POST", "/pause?topic=orders&partition=99");
    let Some(Operation::Pause { reply, .. }) = bench.asked.blocking_recv() else { panic!("no pause") };
    reply.send(Err(NotAssigned)).expect("somebody waits");
    let reply = Reply::read(stream);
    assert_eq!((reply.status, reply.json()), (404, json!({ "error": "not assigned to this process" })));
    for query in ["partition=3", "topic=orders&partition=x", "topic=orders&partition=99999999999", "topics=orders"] {
        let reply = bench.ask("POST", &format!("/resume?{query}"));
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.json()["error"].is_string(), "{query}");
    }
    assert!(bench.asked.try_recv().is_err());
}

#[test]
fn a_pipeline_that_has_ended_is_503() {
    let mut bench = Bench::start();
    let stream = bench.open("POST", "/drain");
    drop(bench.asked.blocking_recv());
    assert_eq!(Reply::read(stream).status, 503);
    bench.asked.close();
    for path in ["/pause", "/drain"] {
        let reply = bench.ask("POST", path);
        assert_eq!((reply.status, reply.json()), (503, json!({ "error": "the pipeline has ended" })), "{path}");
    }
}

#[test]
fn drain_answers_when_drained_also_when_asked_twice_and_once_more_afterwards() {
    let mut bench = Bench::start();
    let streams = [bench.open("POST", "/drain"), bench.open("POST", "/drain")];
    let mut replies = Vec::new();
    for _ in &streams {
        let Some(Operation::Drain { reply }) = bench.asked.blocking_recv() else { panic!("no drain") };
        replies.push(reply);
    }
    // While both wait, other pages answer.
    assert_eq!(bench.ask("GET", "/live").status, 200);
    for reply in replies {
        reply.send(()).expect("somebody waits");
    }
    for stream in streams {
        let reply = Reply::read(stream);
        assert_eq!((reply.status, reply.json()), (200, json!({ "drained": true })));
    }
    let again = bench.open("POST", "/drain");
    let Some(Operation::Drain { reply }) = bench.asked.blocking_recv() else { panic!("no drain") };
    reply.send(()).expect("somebody waits");
    assert_eq!(Reply::read(again).status, 200);
}

#[test]
fn drains_waited_for_at_once_are_bounded() {
    let mut bench = Bench::start();
    let mut waiting = Vec::new();
    for _ in 0..MOST_DRAINS {
        let stream = bench.open("POST", "/drain");
        waiting.push((stream, bench.asked.blocking_recv()));
    }
    assert_eq!(bench.ask("POST", "/drain").status, 429);
    assert_eq!(waiting.len(), MOST_DRAINS);
}

#[test]
fn a_huge_body_is_never_held_and_the_answer_arrives() {
    const HUGE: usize = 32 * 1024 * 1024;
    const CHUNK: usize = 16 * 1024;
    let bench = Bench::start();
    let head = format!("GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: {HUGE}\r\n\r\n");
    let stream = bench.write(head.as_bytes());
    let mut body = stream.try_clone().expect("clone");
    std::thread::scope(|scope| {
        // The server may hang up before the end; what counts is the answer.
        scope.spawn(move || (0..HUGE / CHUNK).try_for_each(|_| body.write_all(&[b'x'; CHUNK])));
        assert_eq!(Reply::read(stream).status, 200);
    });
    assert_eq!(bench.ask("GET", "/live").status, 200);
}

#[test]
fn garbage_and_an_endless_head_are_refused() {
    let bench = Bench::start();
    assert_eq!(Reply::read(bench.write(b"\x16\x03\x01 what\r\n\r\n")).status, 400);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let reply = Reply::read(bench.write(long.as_bytes()));
    assert_eq!(reply.status, 431);
}

#[test]
fn silent_clients_below_the_bound_do_not_keep_others_from_an_answer() {
    let bench = Bench::start();
    let silent: Vec<TcpStream> = (1..MOST_CONNECTIONS).map(|_| bench.write(b"GET /live HT")).collect();
    assert_eq!(bench.ask("GET", "/live").status, 200);
    // When they leave, their slots are free again: as many requests are answered one by one.
    for stream in &silent {
        stream.shutdown(Shutdown::Both).expect("shutdown");
    }
    for _ in 0..2 * MOST_CONNECTIONS {
        assert_eq!(bench.ask("GET", "/live").status, 200);
    }
}

#[test]
fn a_hundred_scrapes_are_answered() {
    let bench = Bench::start();
    let streams: Vec<TcpStream> = (0..100).map(|_| bench.open("GET", "/metrics")).collect();
    for stream in streams {
        assert_eq!(Reply::read(stream).status, 200);
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let bench = Bench::start();
    let Err(error) = AdminServer::start(bench.addr, bench.deps.clone()) else { panic!("bound twice") };
    assert!(format!("{error:#}").contains(&bench.addr.to_string()), "{error:#}");
}

#[test]
fn a_stopped_server_frees_its_port() {
    let bench = Bench::start();
    bench.server.stop();
    let (addr, server) = AdminServer::start(bench.addr, bench.deps).expect("bind again");
    assert_eq!(addr, bench.addr);
    server.stop();
}

#[test]
fn inspect_answers_with_one_json_object_whatever_comes_of_it() {
    let bench = Bench::start();
    let found = bench.ask("GET", "/inspect?id=order%25207%23&topic=orders");
    assert_eq!(
        (found.status, &found.json()["id"], &found.json()["namespace"]),
        (200, &json!("order%207#"), &json!("orders"))
    );
    for (path, status, words) in [
        ("/inspect", 400, "an ID is needed"),
        ("/inspect?id=", 400, "an ID is needed"),
        ("/inspect?id=x&tpic=orders", 400, "tpic"),
        ("/inspect?id=away", 503, "redis is away"),
    ] {
        let reply = bench.ask("GET", path);
        let error = reply.json()["error"].as_str().map(str::to_owned).unwrap_or_default();
        assert!(reply.status == status && error.contains(words), "{path}: {reply:?}");
    }
}

#[test]
fn a_store_that_does_not_answer_holds_up_no_scrape_and_few_questions_wait_for_it() {
    let bench = Bench::start();
    let waiting: Vec<_> = (0..MOST_INSPECTIONS).map(|_| bench.open("GET", "/inspect?id=slow")).collect();
    while bench.ask("GET", "/inspect?id=quick").status != 429 {
        std::thread::yield_now(); // until all of them have been heard
    }
    assert_eq!(bench.ask("GET", "/metrics").status, 200);
    drop(waiting);
}
