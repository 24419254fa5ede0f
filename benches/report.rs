//! The tables, as Markdown.

use std::fmt::Write as _;

use crate::contender::{ALL, Contender};
use crate::figures::Sample;
use crate::plan::{IN_FLIGHT, PACE, PARTITIONS, Plan, VALUE_BYTES};
use crate::{paced, rounds, trouble};

/// Everything that was measured.
pub struct Report {
    /// Rounds with an app that answers at once.
    pub fast: Vec<rounds::Round>,
    /// Rounds with an app that takes its time.
    pub slow: Vec<rounds::Round>,
    /// Rounds at a set pace.
    pub paced: Vec<paced::Round>,
    /// Apps in trouble.
    pub trouble: trouble::Trouble,
}

impl Report {
    /// All tables.
    pub fn markdown(&self, plan: &Plan) -> String {
        let mut text = format!(
            "{} messages of {VALUE_BYTES} bytes, {PARTITIONS} partitions, {IN_FLIGHT} requests in flight. Medians of all \
             rounds, smallest and largest in parentheses; ratios are taken within each round. Measured between 10 % and \
             90 % of the requests, as the app sees them.\n\n",
            plan.messages,
        );
        for (load, rounds) in [(&rounds::FAST, &self.fast), (&rounds::SLOW, &self.slow)] {
            let _ = writeln!(text, "### App that takes {} ({} rounds)\n", load.name, rounds.len());
            throughput(&mut text, rounds);
        }
        let _ = writeln!(text, "### {PACE} messages a second ({} rounds)\n", self.paced.len());
        latency(&mut text, &self.paced);
        let _ = writeln!(text, "### Redis\n");
        self.redis(&mut text);
        text.push_str(&self.trouble.markdown());
        text
    }

    /// An error unless every contender got through every round.
    pub fn complete(&self) -> anyhow::Result<()> {
        let full = |runs: usize| runs == ALL.len();
        let rounds = self.fast.iter().chain(&self.slow).all(|round| full(round.len()));
        anyhow::ensure!(rounds && self.paced.iter().all(|round| full(round.len())), "not every run came to its end");
        Ok(())
    }

    fn redis(&self, text: &mut String) {
        text.push_str(
            "| app | commands per message | commands per round trip | Redis CPU s per 1,000 | bytes per remembered ID |\n\
             |---|---|---|---|---|\n",
        );
        for (load, rounds) in [(&rounds::FAST, &self.fast), (&rounds::SLOW, &self.slow)] {
            let of = |figure: fn(&rounds::Run) -> f64| sample(rounds, Contender::Once, figure);
            let bytes: Sample = runs(rounds, Contender::Once).filter_map(|run| run.bytes_per_id).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                load.name,
                of(|run| run.store.commands / 1_000.0).show_median(2),
                of(|run| run.store.commands / run.store.reads).show_median(1),
                of(|run| run.store.cpu).show_median(4),
                bytes.show_median(0),
            );
        }
    }
}

fn throughput(text: &mut String, rounds: &[rounds::Round]) {
    text.push_str(
        "| contender | msgs/s | ratio to bare, 3 headers | ratio to bare, our headers | CPU s per 1,000 | RSS MiB at most | \
         machine idle % |\n|---|---|---|---|---|---|---|\n",
    );
    for contender in ALL {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            contender.name(),
            sample(rounds, contender, |run| run.rate).show(0),
            ratio(rounds, contender, Contender::BareThree).show(2),
            ratio(rounds, contender, Contender::BareContract).show(2),
            sample(rounds, contender, |run| run.cpu).show_median(4),
            sample(rounds, contender, |run| run.peak_mib).show_median(0),
            sample(rounds, contender, |run| run.idle * 100.0).show_median(0),
        );
    }
    text.push('\n');
}

fn latency(text: &mut String, rounds: &[paced::Round]) {
    text.push_str(
        "| contender | p50 ms | p99 ms | CPU s per 1,000 | RSS MiB idle | CPU % of a core idle |\n|---|---|---|---|---|---|\n",
    );
    for contender in ALL {
        let of = |figure: fn(&paced::Run) -> f64| -> Sample {
            rounds.iter().filter_map(|round| round.get(&contender)).map(figure).collect()
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            contender.name(),
            of(|run| run.p50).show(2),
            of(|run| run.p99).show(2),
            of(|run| run.cpu).show_median(4),
            of(|run| run.idle_mib).show_median(1),
            of(|run| run.idle_cpu * 100.0).show_median(1),
        );
    }
    text.push('\n');
}

fn runs(rounds: &[rounds::Round], contender: Contender) -> impl Iterator<Item = &rounds::Run> {
    rounds.iter().filter_map(move |round| round.get(&contender))
}

fn sample(rounds: &[rounds::Round], contender: Contender, figure: impl Fn(&rounds::Run) -> f64) -> Sample {
    runs(rounds, contender).map(figure).collect()
}

/// How `contender` compares to `base` in each round that both came through.
fn ratio(rounds: &[rounds::Round], contender: Contender, base: Contender) -> Sample {
    let of = |round: &rounds::Round| Some(round.get(&contender)?.rate / round.get(&base)?.rate);
    rounds.iter().filter_map(of).collect()
}
