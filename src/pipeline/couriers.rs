//! The couriers: long-lived tasks, one connection to the app each, one request at a time.
//!
//! The last one to come back is the first to go again, so that connections nobody needs grow old and are closed.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Report;
use super::table::Token;
use crate::ports::{App, AppLine, Request};

/// All couriers. At most `ONCE_MAX_IN_FLIGHT`.
#[derive(Debug)]
pub(super) struct Couriers {
    lines: Vec<Line>,
    idle: Vec<u32>,
}

/// One courier; the run tells it from those that had its place before and were cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Courier {
    place: u32,
    run: u32,
}

#[derive(Debug)]
struct Line {
    run: u32,
    jobs: mpsc::Sender<(Token, Request)>,
    task: JoinHandle<()>,
}

impl Couriers {
    pub(super) fn new() -> Self {
        Self { lines: Vec::new(), idle: Vec::new() }
    }

    /// Requests that are open.
    pub(super) fn busy(&self) -> usize {
        self.lines.len() - self.idle.len()
    }

    /// Sends a request; its answer comes as [`Report::Answered`]. Returns who carries it.
    pub(super) fn send<A: App>(
        &mut self,
        app: &A,
        token: Token,
        request: Request,
        reports: &mpsc::UnboundedSender<Report>,
    ) -> Courier {
        let place = self.idle.pop().unwrap_or_else(|| {
            let place = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
            self.lines.push(start(app.line(), Courier { place, run: 0 }, reports.clone()));
            place
        });
        let line = &self.lines[place as usize];
        // An idle courier waits for its one job: there is always room.
        let sent = line.jobs.try_send((token, request));
        debug_assert!(sent.is_ok(), "an idle courier takes a job");
        Courier { place, run: line.run }
    }

    /// A courier is back. `false`: it was cancelled meanwhile, and its answer is not to be heard.
    pub(super) fn back(&mut self, courier: Courier) -> bool {
        let known = self.lines.get(courier.place as usize).is_some_and(|line| line.run == courier.run);
        if known {
            self.idle.push(courier.place);
        }
        known
    }

    /// Cancels an open request: its connection is closed, its answer will never come.
    pub(super) fn cancel<A: App>(&mut self, app: &A, courier: Courier, reports: &mpsc::UnboundedSender<Report>) {
        let Some(line) = self.lines.get_mut(courier.place as usize).filter(|line| line.run == courier.run) else {
            return;
        };
        line.task.abort();
        *line = start(app.line(), Courier { run: courier.run.wrapping_add(1), ..courier }, reports.clone());
        self.idle.push(courier.place);
    }
}

impl Drop for Couriers {
    fn drop(&mut self) {
        self.lines.iter().for_each(|line| line.task.abort());
    }
}

fn start<L: AppLine>(mut line: L, courier: Courier, reports: mpsc::UnboundedSender<Report>) -> Line {
    let (jobs, mut inbox) = mpsc::channel::<(Token, Request)>(1);
    let task = tokio::spawn(async move {
        while let Some((token, request)) = inbox.recv().await {
            let answer = line.deliver(&request).await;
            if reports.send(Report::Answered { token, courier, answer }).is_err() {
                return;
            }
        }
    });
    Line { run: courier.run, jobs, task }
}
