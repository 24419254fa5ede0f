//! Failpoints: named boundaries in a record's life at which a test lets this very process die or freeze.
//!
//! Only with the cargo feature `failpoints`, which no build that ships has; without it, passing one is nothing.
//! `FAILPOINTS=mark_due=kill@100` kills the process (SIGKILL, as a crash would) when it passes there for the 100th
//! time; `freeze` stops it (SIGSTOP) until somebody lets it go on; `panic` panics. Several stand side by side with commas.

macro_rules! failpoints {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A boundary in a record's life.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Failpoint {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Failpoint {
            /// All of them, in the order in which a record passes them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// Its name in `FAILPOINTS`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

failpoints! {
    /// The claim will be asked for.
    ClaimDue = "claim_due",
    /// The store has answered; nothing has followed.
    ClaimAnswered = "claim_answered",
    /// A dead session's claim, a released one or the mark of its own letter will be taken over.
    TakeOverDue = "take_over_due",
    /// It is taken over; nothing has followed.
    TakeOverAnswered = "take_over_answered",
    /// The number of another attempt will be written.
    AttemptDue = "attempt_due",
    /// It is written; nothing has followed.
    AttemptAnswered = "attempt_answered",
    /// The request will be sent: the lease was looked at.
    RequestDue = "request_due",
    /// The whole request is written; no answer is heard. Questions to the app pass here too.
    RequestSent = "request_sent",
    /// A 2xx is heard; the mark will be sent.
    MarkDue = "mark_due",
    /// The mark stands in the store; nothing has followed.
    MarkAnswered = "mark_answered",
    /// The dead-letter topic has acknowledged; the mark will be sent.
    DeadMarkDue = "dead_mark_due",
    /// The claim will be given back.
    ReleaseDue = "release_due",
    /// It is given back; nothing has followed.
    ReleaseAnswered = "release_answered",
    /// Offsets will be committed.
    CommitDue = "commit_due",
    /// They are committed; nothing has followed.
    Committed = "committed",
    /// Letters sent back and their markers are acknowledged, within their transaction, which is open.
    RedriveProduced = "redrive_produced",
    /// The transaction is committed; nothing has followed.
    RedriveCommitted = "redrive_committed",
}

/// The process passes here.
#[inline]
pub fn pass(point: Failpoint) {
    #[cfg(feature = "failpoints")]
    armed::pass(point);
    let _ = point;
}

/// The same for what may stand at no boundary.
#[inline]
pub fn pass_any(point: Option<Failpoint>) {
    if let Some(point) = point {
        pass(point);
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Failpoint;

    /// After a freeze's signal was sent, every thread has got it within this time.
    const SETTLE: Duration = Duration::from_millis(100);

    enum Action {
        Kill,
        Freeze,
        Panic,
    }

    /// What happens at a failpoint, and at which passing.
    pub(super) struct Armed {
        point: Failpoint,
        action: Action,
        at: u64,
        passed: AtomicU64,
    }

    pub(super) fn pass(point: Failpoint) {
        static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();
        for armed in ARMED.get_or_init(environment).iter().filter(|armed| armed.point == point) {
            if armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.at {
                armed.strike();
            }
        }
    }

    impl Armed {
        fn strike(&self) {
            eprintln!("failpoint {} strikes at passing {}", self.point.as_str(), self.at);
            let (signal, settle) = match self.action {
                Action::Kill => (Signal::KILL, Duration::MAX),
                Action::Freeze => (Signal::STOP, SETTLE),
                Action::Panic => std::panic::panic_any("a failpoint"),
            };
            if let Err(error) = kill_process(getpid(), signal) {
                refuse(&format!("no signal could be sent: {error}"));
            }
            // This thread goes no further before the signal has reached it; after a kill, never.
            std::thread::sleep(settle);
        }
    }

    fn environment() -> Vec<Armed> {
        let text = std::env::var("FAILPOINTS").unwrap_or_default();
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(|part| parse(part).unwrap_or_else(|| refuse(&format!("FAILPOINTS: {part} is none")))).collect()
    }

    /// `NAME=kill@N`, `NAME=freeze@N` or `NAME=panic@N`.
    pub(super) fn parse(text: &str) -> Option<Armed> {
        let (name, what) = text.split_once('=')?;
        let (action, at) = what.split_once('@')?;
        let point = Failpoint::ALL.iter().copied().find(|point| point.as_str() == name)?;
        let action = match action {
            "kill" => Action::Kill,
            "freeze" => Action::Freeze,
            "panic" => Action::Panic,
            _ => return None,
        };
        let at = at.parse().ok().filter(|at| *at > 0)?;
        Some(Armed { point, action, at, passed: AtomicU64::new(0) })
    }

    /// A test that believes in a failpoint that is none must not go on.
    fn refuse(why: &str) -> ! {
        eprintln!("{why}");
        std::process::exit(2)
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::armed::parse;

    #[test]
    fn only_a_known_point_a_known_action_and_a_positive_number_arm_a_failpoint() {
        assert!(
            ["claim_due=kill@1", "committed=freeze@30", "mark_due=panic@2"].iter().all(|text| parse(text).is_some())
        );
        let wrong = ["", "claim_due", "claim_due=kill", "claim_due=kill@0", "claim=kill@1", "claim_due=exit@1"];
        assert!(wrong.iter().all(|text| parse(text).is_none()));
    }
}
