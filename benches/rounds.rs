//! Throughput: rounds in which every contender reads the same topic from its beginning, in rotating order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;

use crate::app::{App, Order};
use crate::contender::{ALL, Contender};
use crate::plan::Plan;
use crate::store::{Counters, Stored};
use crate::usage::machine_seconds;
use crate::world::{FILLED, World};

/// Bound of one contender's run.
const RUN: Duration = Duration::from_secs(30);

/// A kind of app.
pub struct Load {
    /// Its name in groups and tables.
    pub name: &'static str,
    /// How long the app works on each request.
    pub work: Duration,
    /// Of so many messages of the plan one is used.
    share: u32,
    /// Whether every round of the plan is run, or half of them.
    all_rounds: bool,
}

/// An app that answers at once.
pub const FAST: Load = Load { name: "0 ms", work: Duration::ZERO, share: 1, all_rounds: true };

/// An app that takes 10 ms: 64 in flight make 6,400 a second at best.
pub const SLOW: Load = Load { name: "10 ms", work: Duration::from_millis(10), share: 8, all_rounds: false };

/// One contender's run, between 10 % and 90 % of its requests unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Messages a second.
    pub rate: f64,
    /// Seconds of its CPU for 1,000 messages.
    pub cpu: f64,
    /// Which share of the machine's cores was idle: what nobody could use, or nobody needed.
    pub idle: f64,
    /// Resident memory at its peak in the whole run, in MiB.
    pub peak_mib: f64,
    /// What it asked of Redis for 1,000 messages.
    pub store: Counters,
    /// Bytes Redis needs for each ID remembered after the whole run.
    pub bytes_per_id: Option<f64>,
}

/// The runs of one round; whoever failed is missing.
pub type Round = BTreeMap<Contender, Run>;

/// Runs the rounds of one kind of app.
pub fn measure(world: &World, plan: &Plan, load: &Load) -> Vec<Round> {
    let rounds = if load.all_rounds { plan.rounds } else { plan.fewer_rounds() };
    let numbers = (0..rounds).take_while(|_| !plan.is_over());
    numbers.map(|number| round(world, plan, load, number)).collect()
}

fn round(world: &World, plan: &Plan, load: &Load, number: u32) -> Round {
    let mut order = ALL;
    order.rotate_left(number as usize % ALL.len());
    let mut runs = Round::new();
    for contender in order {
        let group = format!("{}-{}-{number}", contender.name(), load.name).replace([' ', ','], "-");
        match run(world, plan, load, contender, &group) {
            Ok(run) => {
                eprintln!(
                    "bench: {} round {number}: {}: {:.0} msgs/s, {:.4} CPU s per 1,000, machine {:.0} % idle",
                    load.name,
                    contender.name(),
                    run.rate,
                    run.cpu,
                    run.idle * 100.0
                );
                runs.insert(contender, run);
            }
            Err(error) => eprintln!("bench: {} round {number}: {} FAILED: {error:#}", load.name, contender.name()),
        }
    }
    runs
}

fn run(world: &World, plan: &Plan, load: &Load, contender: Contender, group: &str) -> anyhow::Result<Run> {
    let expect = plan.messages / load.share;
    let store = world.store();
    store.flush()?;
    let empty = store.stored()?;
    let app = App::start(&Order { work: load.work, expect, stamped: false, ..Order::default() })?;
    let running = contender.start(world, FILLED, group, app.address())?;
    let failed = || format!("its last lines:\n{}", running.tail());
    app.await_mark("tenth", RUN).with_context(failed)?;
    let (cpu, counters, machine) = (running.cpu_seconds()?, store.counters()?, machine_seconds()?);
    app.await_mark("ninetieth", RUN).with_context(failed)?;
    let (cpu, counters) = (running.cpu_seconds()? - cpu, store.counters()? - counters);
    let idle = idle_since(machine)?;
    let seen = app.await_done(RUN).with_context(failed)?;
    let peak_mib = running.peak_mib()?;
    running.stop()?;
    let thousands = f64::from(seen.requests) / 1_000.0;
    Ok(Run {
        rate: f64::from(seen.requests) / seen.took.as_secs_f64(),
        cpu: cpu / thousands,
        idle,
        peak_mib,
        store: Counters {
            commands: counters.commands / thousands,
            reads: counters.reads / thousands,
            cpu: counters.cpu / thousands,
        },
        bytes_per_id: (contender == Contender::Once).then(|| remembered(expect, empty, store.stored()?)).transpose()?,
    })
}

fn idle_since((busy_before, idle_before): (f64, f64)) -> anyhow::Result<f64> {
    let (busy, idle) = machine_seconds()?;
    Ok((idle - idle_before) / (busy - busy_before + idle - idle_before))
}

/// Bytes for each ID. An error when fewer IDs are remembered than requests were seen: then the figures are worth nothing.
fn remembered(expect: u32, empty: Stored, full: Stored) -> anyhow::Result<f64> {
    let ids = full.keys.saturating_sub(empty.keys);
    anyhow::ensure!(ids >= expect, "{expect} requests, but only {ids} ids remembered");
    Ok((full.bytes - empty.bytes) / f64::from(ids))
}
