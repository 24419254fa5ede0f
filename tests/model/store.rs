//! The store of claims: what each command does, as `src/adapters/claims/memory.rs` does it and Redis too.

use kafka_once::domain::claim::{ClaimValue, SessionId, Stored};
use kafka_once::domain::history::History;
use kafka_once::domain::life::{Effect, Event};

/// A history, small: the number of the sentinel and that of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Past {
    pub sentinel: u8,
    pub primary: u8,
}

impl Past {
    /// As the domain knows it.
    pub fn history(self) -> History {
        History { sentinel: format!("{:x}", self.sentinel), replication: format!("{:x}", self.primary) }
    }
}

/// How much a fail-over loses of what was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lag {
    /// Nothing.
    None,
    /// The last write of each ID.
    One,
    /// Everything but the sentinel.
    All,
}

/// What the store holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// What stands under each ID.
    pub values: Vec<Stored>,
    /// What stood there before, as a replica may still hold it. Kept only where a fail-over may happen.
    before: Option<Vec<Stored>>,
    /// Keys of sessions.
    pub sessions: Vec<SessionId>,
    /// The sentinel; `None`: gone.
    pub sentinel: Option<u8>,
    made: u8,
    primary: u8,
}

impl Store {
    /// An empty one. `replicated`: it may fail over.
    pub fn new(ids: usize, replicated: bool) -> Self {
        let values = vec![Stored::Nothing; ids];
        let before = replicated.then(|| values.clone());
        Self { values, before, sessions: Vec::new(), sentinel: None, made: 0, primary: 0 }
    }

    /// Carries out one command for an ID; the answer as the life hears it.
    pub fn execute(&mut self, id: usize, command: &Effect) -> Event {
        let was = self.values[id];
        match *command {
            Effect::Claim(value) => {
                if was == Stored::Nothing {
                    self.write(id, value);
                }
                Event::Was(was)
            }
            Effect::Replace { expected, value } => match was {
                Stored::Value(there) if there == expected || there == value => {
                    self.write(id, value);
                    Event::Replaced
                }
                other => Event::NotReplaced(other),
            },
            Effect::Mark(value) => {
                self.write(id, value);
                Event::Was(was)
            }
            Effect::AskAlive(session) => Event::Alive(session, self.lives(session)),
            _ => unreachable!("no command to the store"),
        }
    }

    /// Whether a session's key stands there.
    pub fn lives(&self, session: SessionId) -> bool {
        self.sessions.contains(&session)
    }

    /// Makes a session's key.
    pub fn open(&mut self, session: SessionId) {
        if !self.lives(session) {
            self.sessions.push(session);
            self.sessions.sort_unstable();
        }
    }

    /// A session's key is removed, or expires.
    pub fn close(&mut self, session: SessionId) {
        self.sessions.retain(|one| *one != session);
    }

    /// Reads the history, and makes a sentinel that is gone anew.
    pub fn history(&mut self) -> Past {
        let made = self.made;
        let sentinel = *self.sentinel.get_or_insert(made + 1);
        self.made = made.max(sentinel);
        Past { sentinel, primary: self.primary }
    }

    /// The history as it stands; `None` while the sentinel is gone.
    pub fn known_history(&self) -> Option<Past> {
        self.sentinel.map(|sentinel| Past { sentinel, primary: self.primary })
    }

    /// Whether it has ever forgotten anything.
    pub fn has_forgotten(&self) -> bool {
        self.primary > 0 || self.made > u8::from(self.sentinel.is_some())
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.values.fill(Stored::Nothing);
        self.sessions.clear();
        self.sentinel = None;
    }

    /// A replica takes over that lags behind.
    pub fn fail_over(&mut self, lag: Lag) {
        self.primary += 1;
        match (lag, &self.before) {
            (Lag::One, Some(before)) => self.values.clone_from(before),
            (Lag::All, _) => {
                self.values.fill(Stored::Nothing);
                self.sessions.clear();
            }
            (Lag::None | Lag::One, _) => {}
        }
        self.before = Some(self.values.clone());
    }

    fn write(&mut self, id: usize, value: ClaimValue) {
        let was = std::mem::replace(&mut self.values[id], Stored::Value(value));
        if let Some(before) = self.before.as_mut().filter(|_| was != Stored::Value(value)) {
            before[id] = was;
        }
    }
}

/// Whose claim stands there, if one does.
pub fn holder(stored: &Stored) -> Option<SessionId> {
    match stored {
        Stored::Value(ClaimValue::Claimed { session, .. }) => Some(*session),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use kafka_once::adapters::claims::memory::Memory;
    use kafka_once::domain::claim::{Digest, IdHash, Spent};
    use kafka_once::domain::record::{Offset, Position};
    use kafka_once::domain::time::{Moment, UnixMillis};
    use kafka_once::ports::{ClaimCommand, ClaimReply, Claims};
    use proptest::prelude::*;

    use super::*;

    const ID: IdHash = IdHash([7; 16]);
    const KEEP: Duration = Duration::from_secs(1);

    #[derive(Clone, Debug)]
    enum Step {
        Ask(Effect),
        Open(SessionId),
        Close(SessionId),
        Forget,
        History,
    }

    fn value() -> impl Strategy<Value = ClaimValue> {
        let (position, digest) = (Position { partition: 0, offset: Offset(1), timestamp: 2 }, Digest([3; 16]));
        let spent = |attempt| Spent { attempt, retries: 0, deadline: UnixMillis(9) };
        let claimed = move |(session, attempt)| ClaimValue::Claimed {
            session,
            spent: spent(attempt),
            in_doubt: false,
            position,
            digest,
        };
        let released = ClaimValue::Released { spent: spent(1), in_doubt: true, position, digest };
        prop_oneof![
            (session(), 1_u32..3).prop_map(claimed),
            Just(released),
            Just(ClaimValue::Done { position, digest }),
            Just(ClaimValue::Dead { attempt: 1, in_doubt: false, position, digest }),
        ]
    }

    fn session() -> impl Strategy<Value = SessionId> {
        (1_u8..3).prop_map(|number| SessionId([number; 16]))
    }

    fn a_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => value().prop_map(|value| Step::Ask(Effect::Claim(value))),
            4 => (value(), value()).prop_map(|(expected, value)| Step::Ask(Effect::Replace { expected, value })),
            1 => value().prop_map(|value| Step::Ask(Effect::Mark(value))),
            2 => session().prop_map(|session| Step::Ask(Effect::AskAlive(session))),
            1 => session().prop_map(Step::Open),
            1 => session().prop_map(Step::Close),
            1 => Just(Step::Forget),
            1 => Just(Step::History),
        ]
    }

    fn command(effect: Effect) -> ClaimCommand {
        match effect {
            Effect::Claim(value) => ClaimCommand::Claim { id: ID, value, keep: KEEP },
            Effect::Replace { expected, value } => ClaimCommand::Replace { id: ID, expected, value, keep: KEEP },
            Effect::Mark(value) => ClaimCommand::Mark { id: ID, value, keep: KEEP },
            Effect::AskAlive(session) => ClaimCommand::IsAlive { session },
            other => unreachable!("{other:?} is no command"),
        }
    }

    fn said(effect: Effect, reply: ClaimReply) -> Event {
        match (reply, effect) {
            (ClaimReply::Was(stored), _) => Event::Was(stored),
            (ClaimReply::Replaced, _) => Event::Replaced,
            (ClaimReply::NotReplaced(stored), _) => Event::NotReplaced(stored),
            (ClaimReply::Alive(alive), Effect::AskAlive(session)) => Event::Alive(session, alive),
            (ClaimReply::Alive(_), other) => unreachable!("{other:?} asks for no session"),
            (ClaimReply::Shortened, other) => unreachable!("{other:?} shortens no mark"),
        }
    }

    async fn compare(steps: Vec<Step>) {
        let (mut model, memory) = (Store::new(1, false), Memory::new(Arc::new(|| Moment(0)), 1));
        let mut histories = Vec::new();
        for step in steps {
            match step {
                Step::Ask(effect) => {
                    let batch = memory.batch(vec![command(effect)]).await.expect("memory is never away");
                    assert_eq!(model.execute(0, &effect), said(effect, batch.replies[0]), "{effect:?}");
                    assert_eq!(model.sentinel.is_some(), batch.sentinel.is_some());
                }
                Step::Open(session) => {
                    memory.open_session(session, KEEP).await.expect("memory is never away");
                    model.open(session);
                }
                Step::Close(session) => {
                    memory.close_session(session).await.expect("memory is never away");
                    model.close(session);
                }
                Step::Forget => {
                    memory.forget_all();
                    model.forget();
                }
                Step::History => {
                    histories.push((memory.history().await.expect("memory is never away"), model.history()));
                }
            }
        }
        for (one, other) in histories.iter().zip(histories.iter().skip(1)) {
            assert_eq!(one.0 == other.0, one.1 == other.1, "both see the same losses of memory");
        }
    }

    proptest! {
        #[test]
        fn the_models_store_answers_as_the_real_one_does(steps in prop::collection::vec(a_step(), 0..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(compare(steps));
        }
    }
}
