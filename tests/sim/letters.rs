//! The dead-letter topic: it may refuse, and its acknowledgement may get lost.

use std::sync::Arc;

use kafka_once::domain::reasons::DeadLetterReason;
use kafka_once::ports::{DeadLetter, DeadLetters};
use tokio::time::{Instant, sleep};

use super::app::{message_of, payload_of};
use super::host::Host;
use super::plan::Sabotage;
use super::truth::Letter;
use super::world::World;

/// One process' producer.
pub struct SimLetters {
    world: Arc<World>,
    host: Arc<Host>,
}

impl SimLetters {
    /// The producer of a process.
    pub fn new(world: &Arc<World>, host: &Arc<Host>) -> Self {
        Self { world: Arc::clone(world), host: Arc::clone(host) }
    }

    fn store(&self, letter: &DeadLetter) {
        if self.world.plan.sabotage == Sabotage::LettersAreNotStored {
            return;
        }
        let record = &letter.record;
        let message = letter.id.as_ref().map(|id| message_of(record, id));
        let at = (record.topic_partition(), record.position().offset.0);
        let mut truth = self.world.truth();
        if letter.reason == DeadLetterReason::InDoubt {
            truth.goes_on_in_doubt(self.host.number, &format!("the letter of {message:?}"));
        }
        let in_doubt = letter.in_doubt && self.world.plan.sabotage != Sabotage::LettersHideDoubt;
        truth.letter(at, Letter { message, payload: payload_of(record), reason: letter.reason, in_doubt });
    }
}

impl DeadLetters for SimLetters {
    async fn send(&self, letter: DeadLetter) -> Result<(), String> {
        self.host.gate().await;
        let dice = &self.world.dice.letters;
        sleep(dice.millis(1, 5)).await;
        let flaky = self.world.may(|faults| faults.letters);
        let away = self.world.weather().letters_away_until > Instant::now() || (flaky && dice.percent(20));
        if away {
            self.host.gate().await;
            return Err("no leader".to_owned());
        }
        self.store(&letter);
        sleep(dice.millis(1, 5)).await;
        self.host.gate().await;
        if flaky && dice.percent(20) { Err("acknowledgement lost".to_owned()) } else { Ok(()) }
    }
}
