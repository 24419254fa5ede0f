//! Apps in trouble: one that collapses under too many requests at once, and one that hangs on one key of many.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;

use crate::app::{App, Order};
use crate::contender::once;
use crate::plan::{IN_FLIGHT, Plan};
use crate::world::{FILLED, World, of_hung_key};

/// So many requests at once the app can take.
const CROWD: u32 = 16;

/// Fixed settings of `ONCE_MAX_IN_FLIGHT` that the limit found by itself is compared with.
const FIXED: [u32; 4] = [8, CROWD, 2 * CROWD, IN_FLIGHT];

const RUN: Duration = Duration::from_secs(120);

/// What was measured, in messages a second.
#[derive(Debug, Default)]
pub struct Trouble {
    /// By upper bound, in the order in which they were run; the last one is far above what the app can take.
    collapse: Vec<(u32, f64)>,
    /// Without and with a key that hangs.
    hang: Option<(f64, f64)>,
}

/// Runs both, once.
pub fn measure(world: &World, plan: &Plan) -> Trouble {
    let mut trouble = Trouble::default();
    for bound in FIXED {
        let order =
            Order { work: Duration::from_millis(10), expect: plan.messages / 10, crowd: CROWD, ..Order::default() };
        let settings = [("ONCE_MAX_IN_FLIGHT", bound.to_string())];
        match run(world, &order, &format!("collapse-{bound}"), &settings) {
            Ok(rate) => {
                eprintln!("bench: collapse above {CROWD}, at most {bound}: {rate:.0} msgs/s");
                trouble.collapse.push((bound, rate));
            }
            Err(error) => eprintln!("bench: collapse above {CROWD}, at most {bound}: FAILED: {error:#}"),
        }
    }
    match hang(world, plan) {
        Ok(rates) => trouble.hang = Some(rates),
        Err(error) => eprintln!("bench: one key hangs: FAILED: {error:#}"),
    }
    trouble
}

fn hang(world: &World, plan: &Plan) -> anyhow::Result<(f64, f64)> {
    let messages = plan.messages / 4;
    let rest = messages - of_hung_key(messages);
    // Low water stands at the first message that hangs: the bound is where the others would be held up.
    let settings = [("ONCE_MAX_OPEN_RECORDS", plan.messages.to_string())];
    let order = Order { work: Duration::from_millis(10), expect: rest, ..Order::default() };
    let without = run(world, &order, "hang-not", &settings)?;
    let with = run(world, &Order { hangs: true, ..order }, "hang", &settings)?;
    eprintln!("bench: one key of many hangs: {with:.0} msgs/s, {without:.0} without");
    Ok((without, with))
}

fn run(world: &World, order: &Order, group: &str, settings: &[(&'static str, String)]) -> anyhow::Result<f64> {
    world.store().flush()?;
    let app = App::start(order)?;
    let running = once(world, FILLED, group, app.address(), settings)?;
    let seen = app.await_done(RUN).with_context(|| running.tail())?;
    Ok(f64::from(seen.requests) / seen.took.as_secs_f64()) // killed, not stopped: an app that hangs would be waited for
}

impl Trouble {
    /// Both tables.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "\n### App that collapses above {CROWD} requests at once\n\n\
             10 ms for each request, beyond {CROWD} at once longer by the square of the excess. The sidecar adapts below its \
             upper bound `ONCE_MAX_IN_FLIGHT`.\n\n| `ONCE_MAX_IN_FLIGHT` | messages/s | of the best |\n|---|---|---|\n"
        );
        let best = self.collapse.iter().map(|(_, rate)| *rate).fold(f64::MIN, f64::max);
        for (bound, rate) in &self.collapse {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {bound} | {rate:.0} | {:.2} |", rate / best);
        }
        text.push_str("\n### One key of many never answered\n\n");
        if let Some((without, with)) = self.hang {
            let _ = writeln!(
                text,
                "10,007 keys, 10 ms for each request: {without:.0} messages/s, {with:.0} of the others when one key hangs: {:.2}.",
                with / without
            );
        }
        text
    }
}
