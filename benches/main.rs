//! How fast the sidecar is beside bare loops: real Kafka, real Redis, everything on this machine (`make bench`).
//!
//! The binary starts itself again for the app under load and for the bare loops; what is measured is always a process
//! of its own. Progress goes to standard error, the tables to standard output.

#[path = "../tests/support/mod.rs"]
mod support;

mod app;
mod bare;
mod contender;
mod figures;
mod machine;
mod paced;
mod plan;
mod report;
mod rounds;
mod store;
mod trouble;
mod usage;
mod world;

use plan::Plan;
use report::Report;
use world::World;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["app", rest @ ..] => app::run(rest),
        ["bare", rest @ ..] => bare::run(rest),
        words if words.contains(&"--bench") => measure(),
        _ => {
            // `cargo test --all-targets` starts us too; a measurement is no test.
            eprintln!("run me by `cargo bench` or `make bench`");
            Ok(())
        }
    }
}

fn measure() -> anyhow::Result<()> {
    anyhow::ensure!(support::kafka_possible() && support::redis_possible(), "Kafka and Redis are needed: make install");
    let plan = Plan::from_environment()?;
    let world = World::build(&plan)?;
    let fast = rounds::measure(&world, &plan, &rounds::FAST);
    let slow = rounds::measure(&world, &plan, &rounds::SLOW);
    let paced = paced::measure(&world, &plan);
    let trouble = trouble::measure(&world, &plan);
    let report = Report { fast, slow, paced, trouble };
    println!("{}", machine::describe(&world)?);
    println!("{}", report.markdown(&plan));
    report.complete()
}
