//! What a seed means: how large the world is, what is planted in it and what may go wrong.

use std::time::Duration;

use kafka_once::domain::history::OnHistoryLoss;
use kafka_once::domain::lanes::Ordering;
use kafka_once::domain::life::InDoubt;
use kafka_once::domain::reasons::HistoryExtent;

use super::dice::Dice;

/// How the app finds repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppModel {
    /// Applies `first` without looking; looks only when told `possible-repeat`.
    Trusting,
    /// Stores topic and ID in its own transaction.
    Transactional,
}

/// What may go wrong before everything heals.
#[allow(clippy::struct_excessive_bools)] // each fault is on or off, in any combination
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The group moves partitions at any time.
    pub rebalance: bool,
    /// SIGTERM, and another process in its place.
    pub restart: bool,
    /// SIGKILL.
    pub crash: bool,
    /// SIGSTOP for longer or shorter than a lease.
    pub stall: bool,
    /// Lost replies, refusals and late executions of single commands.
    pub store_flaky: bool,
    /// The store is away as a whole for a while.
    pub store_away: bool,
    /// The store forgets everything.
    pub forget: bool,
    /// Another primary takes over that has not heard the last moments. Never drawn: only where a test asks for it.
    pub fail_over: bool,
    /// Verdicts other than accepted.
    pub app_fails: bool,
    /// Requests whose outcome stays unknown.
    pub app_unknown: bool,
    /// Requests go on in the app although their connection is closed.
    pub app_zombie: bool,
    /// The app refuses connections for a while.
    pub app_down: bool,
    /// The dead-letter topic refuses, or its acknowledgement gets lost.
    pub letters: bool,
    /// Commits are refused, late, or their answers get lost.
    pub commits: bool,
}

impl Faults {
    /// Whether a request can be in doubt only because the store forgot.
    pub fn only_forgetting_leaves_doubt(&self) -> bool {
        let gone = Self { forget: false, app_fails: false, ..*self };
        self.forget && gone.are_graceful()
    }

    /// Whether the store may lose something for good.
    pub fn may_forget(&self) -> bool {
        self.forget || self.fail_over
    }

    /// Whether every process ends as it should and every answer comes.
    pub fn are_graceful(&self) -> bool {
        let Self { rebalance: _, restart: _, commits: _, letters: _, .. } = *self;
        *self
            == Self {
                rebalance: self.rebalance,
                restart: self.restart,
                commits: self.commits,
                letters: self.letters,
                ..Self::default()
            }
    }
}

/// A lie of a neighbour, to prove that the checks bite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// None: the real thing.
    #[default]
    None,
    /// The store says that nothing stood there, whatever did.
    EveryClaimIsNew,
    /// The broker stores one offset more than was committed.
    CommitsOneTooFar,
    /// The store never lets a session die.
    SessionsLiveForEver,
    /// The store says that every other session is dead.
    SessionsLookDead,
    /// The store acknowledges marks without writing them.
    MarksAreNotWritten,
    /// The log hands over nothing more after a while, though it goes on.
    LogFallsSilent,
    /// The log never hands over some records.
    LogSkipsRecords,
    /// The dead-letter topic acknowledges what it did not store.
    LettersAreNotStored,
    /// Letters never say that an earlier request may have had its effect.
    LettersHideDoubt,
    /// The log counts a byte that nobody frees.
    HeldBytesLeak,
    /// The app sees a `possible-repeat` as `first`.
    DoubtIsHidden,
    /// The app is told attempt 1 every time.
    AttemptsStandStill,
    /// Records come without their keys, so that nothing keeps their order.
    KeysAreLost,
    /// The sidecars go on after a loss of memory although they were told to wait.
    NobodyWaits,
    /// Pasts are acknowledged at once, and kept when the commit has long been stored.
    PastsComeAfterCommits,
    /// The store says that no past was kept, whatever was.
    PastsAreNotRead,
    /// The store acknowledges pasts without writing them.
    PastsAreNotWritten,
    /// What was told as lost is only suspected again in the pasts that the store gives back.
    LossesAreForgotten,
    /// The store lets everybody keep a partition's past, whoever has it.
    PastsAreNotFenced,
}

/// Everything that is drawn before the world begins.
#[allow(clippy::struct_excessive_bools)] // each is one thing that a plan has or has not
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub hosts: u32,
    /// Topic and number of partitions.
    pub topics: Vec<(&'static str, i32)>,
    pub messages: u64,
    /// All messages stand in the log early on, instead of coming bit by bit.
    pub backlog: bool,
    pub keys: u64,
    pub faults: Faults,
    pub model: AppModel,
    pub in_doubt: InDoubt,
    pub on_history_loss: OnHistoryLoss,
    pub ordering: Ordering,
    pub max_in_flight: usize,
    pub max_open: u64,
    pub max_held: u64,
    pub attempts: Option<u32>,
    /// Whether a dead-letter topic is set.
    pub dead_letters: bool,
    /// How long marks and claims live.
    pub window: Duration,
    /// Whether some messages have no ID of their own, so that it is made from their position.
    pub positions: bool,
    /// How long the mark of such a message lives once its offset is committed.
    pub safe_mark_life: Duration,
    /// Whether messages are produced twice.
    pub duplicates: bool,
    /// Producers that number their messages; 0: nobody does.
    pub producers: u64,
    /// Wall clocks differ by so many milliseconds at most.
    pub skew: u64,
    /// The app's usual service time in milliseconds, at most.
    pub service: u64,
    /// At least so long.
    pub slow: Duration,
    /// How long records are produced and faults happen.
    pub trouble: Duration,
    /// Every app, or the store when that may go away, is away from the second second on, for so long.
    pub outage: Duration,
    pub sabotage: Sabotage,
}

/// When [`Plan::outage`] begins.
pub const OUTAGE_FROM: Duration = Duration::from_secs(2);
/// How long one request may take.
pub const APP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a session lives without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(3);
/// How long one command to the store may take.
pub const STORE_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a drain may take.
pub const DRAIN: Duration = Duration::from_secs(4);
/// How long the group waits for a member's heartbeat.
pub const GROUP_SESSION: Duration = Duration::from_secs(2);
/// How long a number may come late.
pub const GAP_GRACE: Duration = Duration::from_secs(3);
/// How long the log waits for a partition that the group wants back.
pub const REVOKE: Duration = Duration::from_secs(5);
/// Within this time of peace every record must be settled.
const PATIENCE: Duration = Duration::from_secs(90);
/// The same where the store forgot and each record waits for a whole request before the app is asked about it.
const PATIENCE_FOR_LOOKUPS: Duration = Duration::from_secs(600);
/// How long it takes until a watchdog barks, and more.
const PATIENCE_FOR_WATCHDOGS: Duration = Duration::from_secs(400);

impl Plan {
    /// What this seed means.
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, "plan");
        let faults = match seed % 8 {
            0 => Faults::default(),
            1 => Faults { rebalance: true, restart: true, commits: dice.percent(50), ..Faults::default() },
            _ => any(&dice),
        };
        let in_doubt = dice.pick(&[InDoubt::Repeat, InDoubt::Repeat, InDoubt::Lookup, InDoubt::DeadLetter]);
        // After a loss of memory each look-up waits for a whole request: a backlog would take hours.
        let backlog = dice.percent(20) && !(in_doubt == InDoubt::Lookup && faults.forget);
        Self {
            seed,
            backlog,
            hosts: 2 + u32::from(dice.percent(40)),
            topics: dice.pick(&[&[("orders", 2)][..], &[("orders", 4)], &[("orders", 2), ("bills", 1)]]).to_vec(),
            messages: if backlog { 200 + dice.below(400) } else { 40 + dice.below(120) },
            keys: dice.pick(&[1, 4, 4, 20]),
            faults,
            model: dice.pick(&[AppModel::Trusting, AppModel::Transactional]),
            in_doubt,
            on_history_loss: Dice::new(seed, "history").pick(&[OnHistoryLoss::Continue, OnHistoryLoss::Pause]),
            ordering: dice.pick(&[Ordering::Key, Ordering::Key, Ordering::Partition, Ordering::None, Ordering::None]),
            max_in_flight: usize::try_from(dice.pick(&[1, 2, 8, 64])).expect("small"),
            max_open: dice.pick(&[2, 10, 100, 1000, 1000]),
            max_held: dice.pick(&[3_000, 100_000, 10_000_000]),
            attempts: dice.pick(&[Some(3), Some(10), None]),
            dead_letters: true,
            window: Duration::from_secs(24 * 3600),
            positions: Dice::new(seed, "positions").percent(30),
            safe_mark_life: Dice::new(seed, "short").pick(&[Duration::from_secs(3), Duration::from_secs(8 * 60)]),
            duplicates: true,
            producers: Dice::new(seed, "producers").pick(&[0, 0, 1, 2, 4]),
            skew: dice.pick(&[0, 50, 3_000]),
            service: if backlog { 20 } else { dice.pick(&[1, 20, 20, 300]) },
            slow: Duration::ZERO,
            trouble: dice.millis(4_000, 16_000),
            outage: Duration::ZERO,
            sabotage: Sabotage::None,
        }
    }

    /// Whether sidecars must wait for an operator when the store forgot everything.
    pub fn waits_for_operator(&self) -> bool {
        self.on_history_loss.waits(HistoryExtent::All, self.in_doubt)
    }

    /// Within this time of peace every record must be settled.
    pub fn patience(&self) -> Duration {
        if self.sabotage == Sabotage::LogFallsSilent {
            return PATIENCE_FOR_WATCHDOGS;
        }
        let slow = self.in_doubt == InDoubt::Lookup && self.faults.forget;
        if slow { PATIENCE_FOR_LOOKUPS } else { PATIENCE }
    }

    /// The same world, and one of its neighbours lies.
    pub fn sabotaged(self, sabotage: Sabotage) -> Self {
        Self { sabotage, ..self }
    }

    /// The same world with other faults.
    pub fn with(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }
}

fn any(dice: &Dice) -> Faults {
    let likely = dice.pick(&[15, 35, 60]);
    let on = || dice.percent(likely);
    Faults {
        rebalance: on(),
        restart: on(),
        crash: on(),
        stall: on(),
        store_flaky: on(),
        store_away: on(),
        forget: on(),
        fail_over: false,
        app_fails: on(),
        app_unknown: on(),
        app_zombie: on(),
        app_down: on(),
        letters: on(),
        commits: on(),
    }
}
