//! The two sidecars: in this process, or as child processes of our own binary. Both are asked, aborted and stopped alike.

use std::sync::Arc;

use anyhow::Context;

use super::child::Child;
use super::planting::Gap;
use super::scrape::{self, Counters};
use crate::sidecar::{Sidecar, Stop};
use crate::telemetry::Metrics;

/// One sidecar.
pub(super) struct Member {
    /// The word in its app's URL.
    pub name: &'static str,
    body: Body,
}

enum Body {
    Inside { sidecar: Sidecar, stop: Stop, metrics: Arc<Metrics> },
    Child(Child),
}

/// What was found when a sidecar was aborted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aborted {
    pub counters: Counters,
    /// Whether they are its last ones: nobody can ask a process that was killed.
    pub last: bool,
}

impl Member {
    /// One that runs in this process.
    pub(super) fn inside(name: &'static str, (sidecar, stop): (Sidecar, Stop)) -> Self {
        let metrics = Arc::clone(sidecar.metrics());
        Self { name, body: Body::Inside { sidecar, stop, metrics } }
    }

    /// One that is a process of its own.
    pub(super) fn child(name: &'static str, child: Child) -> Self {
        Self { name, body: Body::Child(child) }
    }

    /// The gaps that it names as lost.
    pub(super) fn lost_gaps(&self) -> anyhow::Result<Vec<Gap>> {
        scrape::lost_gaps(match &self.body {
            Body::Inside { sidecar, .. } => sidecar.admin_addr(),
            Body::Child(child) => child.admin(),
        })
    }

    /// Its metrics, as operators see them.
    pub(super) fn page(&self) -> anyhow::Result<String> {
        match &self.body {
            Body::Inside { metrics, .. } => metrics.render(),
            Body::Child(child) => {
                scrape::fetch(child.admin()).with_context(|| format!("sidecar {} does not answer", self.name))
            }
        }
    }

    /// What it has counted so far.
    pub(super) fn counters(&self) -> anyhow::Result<Counters> {
        Ok(Counters::read(&self.page()?))
    }

    /// Ends it as a crash would: no drain, no release, no commit.
    pub(super) fn abort(self) -> anyhow::Result<Aborted> {
        match self.body {
            Body::Inside { sidecar, stop, metrics } => {
                stop.abort();
                sidecar.wait()?;
                let page = metrics.render()?;
                Ok(Aborted { counters: Counters::read(&page), last: true })
            }
            Body::Child(child) => {
                let page = scrape::fetch(child.admin())?;
                child.kill()?;
                Ok(Aborted { counters: Counters::read(&page), last: false })
            }
        }
    }

    /// Drains it and waits until it has ended; an error when it did not end as asked.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self.body {
            Body::Inside { sidecar, stop, .. } => {
                stop.gracefully();
                Ok(sidecar.wait()?)
            }
            Body::Child(child) => child.terminate(),
        }
    }

    /// Whether it has ended, though nobody asked it to.
    pub(super) fn has_ended(&mut self) -> bool {
        match &mut self.body {
            Body::Inside { sidecar, .. } => sidecar.has_ended(),
            Body::Child(child) => child.has_ended(),
        }
    }
}
