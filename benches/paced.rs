//! Latency: a producer sets the pace, and every message carries the time of its sending to the app.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::app::{App, Order, unix_micros};
use crate::contender::{ALL, Contender};
use crate::plan::{PACE, Plan};
use crate::support::Producer;
use crate::world::{World, message};

/// How long the producer goes on.
const SECONDS: u32 = 6;

/// How long a contender with an empty topic is left alone before its memory counts as idle.
const IDLE: Duration = Duration::from_secs(3);

const RUN: Duration = Duration::from_secs(30);

/// One contender's run, between 10 % and 90 % of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Median from the producer's sending to the app's arrival, in milliseconds.
    pub p50: f64,
    /// What one in a hundred exceeds, in milliseconds.
    pub p99: f64,
    /// Seconds of its CPU for 1,000 messages.
    pub cpu: f64,
    /// Resident memory after the assignment and before the first message, in MiB.
    pub idle_mib: f64,
    /// Cores it used meanwhile.
    pub idle_cpu: f64,
}

/// The runs of one round; whoever failed is missing.
pub type Round = BTreeMap<Contender, Run>;

/// Runs all rounds.
pub fn measure(world: &World, plan: &Plan) -> Vec<Round> {
    (0..plan.fewer_rounds()).take_while(|_| !plan.is_over()).map(|number| round(world, number)).collect()
}

fn round(world: &World, number: u32) -> Round {
    let mut order = ALL;
    order.rotate_left(number as usize % ALL.len());
    let mut runs = Round::new();
    for contender in order {
        match run(world, contender, &format!("paced-{contender:?}-{number}")) {
            Ok(run) => {
                eprintln!("bench: {PACE}/s round {number}: {}: {:.2} ms", contender.name(), run.p50);
                runs.insert(contender, run);
            }
            Err(error) => eprintln!("bench: {PACE}/s round {number}: {} FAILED: {error:#}", contender.name()),
        }
    }
    runs
}

fn run(world: &World, contender: Contender, topic: &str) -> anyhow::Result<Run> {
    world.store().flush()?;
    world.create_topic(topic)?;
    let app = App::start(&Order { work: Duration::ZERO, expect: PACE * SECONDS, stamped: true, ..Order::default() })?;
    let running = contender.start(world, topic, topic, app.address())?;
    running.await_assigned(topic).with_context(|| running.tail())?;
    let before = running.cpu_seconds()?;
    sleep(IDLE);
    let idle_cpu = (running.cpu_seconds()? - before) / IDLE.as_secs_f64();
    let idle_mib = running.resident_mib()?;
    let producer = Producer::with(&world.brokers(), &[("linger.ms", "0")])?;
    let (seen, cpu) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| producer.send(at_pace(topic)));
        app.await_mark("tenth", RUN)?;
        let before = running.cpu_seconds()?;
        app.await_mark("ninetieth", RUN)?;
        let cpu = running.cpu_seconds()? - before;
        let seen = app.await_done(RUN)?;
        sending.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        anyhow::Ok((seen, cpu))
    })
    .with_context(|| running.tail())?;
    running.stop()?;
    Ok(Run {
        p50: seen.p50.as_secs_f64() * 1_000.0,
        p99: seen.p99.as_secs_f64() * 1_000.0,
        cpu: cpu / f64::from(seen.requests) * 1_000.0,
        idle_mib,
        idle_cpu,
    })
}

/// Messages that come into being when they are due.
fn at_pace(topic: &str) -> impl Iterator<Item = crate::support::Record> {
    let start = Instant::now();
    (0..PACE * SECONDS).map(move |number| {
        let due = start + Duration::from_secs(number.into()) / PACE;
        sleep(due.saturating_duration_since(Instant::now()));
        message(topic, number, unix_micros())
    })
}
