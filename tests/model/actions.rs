//! What may happen, by name, and what it costs: steps of faults cost a fault, the rest is free.

use kafka_once::domain::claim::SessionId;
use kafka_once::domain::verdict::Verdict;

use super::scope::Faults;
use super::store::Lag;

/// One thing that happens. Numbers name a host first, then a record's token or a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    OpenSession(usize),
    /// The store forgets everything between the session's key and the history.
    OpenSessionAndForget(usize),
    Beat(usize),
    /// The store is asked for its history.
    Probe(usize),
    Fence(usize),
    Expire(SessionId),
    HearLost(usize, usize),
    Hear(usize, u8),
    /// The answer got lost: the command will be sent again.
    LoseAnswer(usize, u8),
    /// The store carries a command out and its answer arrives.
    Ask(usize, u8),
    /// The store carries a command out; its answer is on its way.
    AskSlowly(usize, u8),
    /// A command gets no answer, and may be carried out later; it will be sent again.
    AskTooLate(usize, u8),
    Timer(usize, u8),
    Slot(usize, u8),
    Answer(usize, u8, Verdict),
    /// The wall clock has passed the request's deadline.
    TimeOut(usize, u8),
    LookUp(usize, u8),
    /// The app looks; its answer is on its way.
    LookUpSlowly(usize, u8),
    Letter(usize, u8),
    /// The dead-letter topic has it, and says that it has not.
    LetterInDoubt(usize, u8),
    LetterRefused(usize, u8),
    Unblock(usize, u8),
    Committed(usize, usize),
    Commit(usize, usize),
    Begin(usize, usize),
    Take(usize, usize),
    Assign(usize, usize),
    Crash(usize),
    LeaseOver(usize),
    Terminate(usize),
    CutOff(usize),
    Revoke(usize, usize),
    Lose(usize, usize),
    Deadline(usize, usize),
    Forget,
    FailOver(Lag),
    Late(usize),
    Tick,
}

impl Action {
    /// Takes a fault from the budget; `false` for a step that is none.
    pub fn spends(self, left: &mut Faults) -> bool {
        let budget = match self {
            Self::Crash(_) => &mut left.crash,
            Self::LeaseOver(_) => &mut left.stall,
            Self::AskSlowly(..) | Self::AskTooLate(..) => &mut left.net,
            Self::Answer(_, _, verdict) if verdict != Verdict::Accepted => &mut left.app,
            Self::LookUpSlowly(..) | Self::LetterInDoubt(..) | Self::LetterRefused(..) => &mut left.app,
            Self::Terminate(_) | Self::Revoke(..) => &mut left.moves,
            Self::Lose(..) => &mut left.losses,
            Self::CutOff(_) | Self::Deadline(..) => &mut left.cuts,
            Self::Forget | Self::OpenSessionAndForget(_) => &mut left.forgets,
            Self::FailOver(_) => &mut left.fail_overs,
            _ => return false,
        };
        *budget = budget.saturating_sub(1);
        true
    }

    /// Whether it belongs to a world without faults.
    pub fn is_ordinary(self) -> bool {
        !matches!(self, Self::Late(_) | Self::Tick | Self::LoseAnswer(..)) && !self.spends(&mut Faults::default())
    }

    /// The host that acts, if one does.
    pub fn host(self) -> Option<usize> {
        match self {
            Self::OpenSession(at) | Self::OpenSessionAndForget(at) | Self::Beat(at) | Self::Probe(at) => Some(at),
            Self::Fence(at) | Self::Crash(at) | Self::LeaseOver(at) | Self::Terminate(at) | Self::CutOff(at) => {
                Some(at)
            }
            Self::Hear(at, _) | Self::LoseAnswer(at, _) | Self::Ask(at, _) | Self::AskSlowly(at, _) => Some(at),
            Self::AskTooLate(at, _) | Self::Timer(at, _) | Self::Slot(at, _) | Self::Answer(at, ..) => Some(at),
            Self::TimeOut(at, _) | Self::LookUp(at, _) | Self::LookUpSlowly(at, _) | Self::Letter(at, _) => Some(at),
            Self::LetterInDoubt(at, _) | Self::LetterRefused(at, _) | Self::Unblock(at, _) => Some(at),
            Self::HearLost(at, _)
            | Self::Lose(at, _)
            | Self::Committed(at, _)
            | Self::Commit(at, _)
            | Self::Begin(at, _)
            | Self::Take(at, _) => Some(at),
            Self::Assign(at, _) | Self::Revoke(at, _) | Self::Deadline(at, _) => Some(at),
            Self::Expire(_) | Self::Forget | Self::FailOver(_) | Self::Late(_) | Self::Tick => None,
        }
    }
}
