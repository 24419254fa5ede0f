//! What may come between, and what it means for the exit code; and how long Redis is waited for before it does.

use std::time::Duration;

use crate::adapters::kafka::TransactionError;
use crate::ports::StoreError;

/// How long Redis is waited for, and how long between two tries. Shorter than a transaction may last.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// What came between.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Whether something may have been changed before.
    pub half_way: bool,
    /// What, where, what to do.
    pub words: String,
}

impl Trouble {
    /// Nothing was changed.
    #[allow(clippy::needless_pass_by_value)] // an error at the end of its way, or a text
    pub(super) fn before(words: impl ToString) -> Self {
        Self { half_way: false, words: words.to_string() }
    }

    /// Of the producer.
    pub(super) fn of(error: &TransactionError, id: &str, topic: &str) -> Self {
        let again = "run it again: it goes on where this one stopped";
        let words = match error {
            TransactionError::Fenced => {
                "another kafka-once redrive of this namespace has begun, and goes on where this one stopped".to_owned()
            }
            TransactionError::Refused(_) => format!(
                "{error}; it needs Write and Describe on the transactional ID {id}, and Write on the dead-letter topic \
                 {topic} and on the source topics"
            ),
            TransactionError::Record { .. } => format!("{error}; check the settings of that topic, then {again}"),
            TransactionError::Hole(_) | TransactionError::Unknown(_) | TransactionError::Failed(_) => {
                format!("{error}; {again}")
            }
        };
        Self { half_way: true, words }
    }

    /// Nothing was changed, unless another run has taken over.
    pub(super) fn unchanged(self) -> Self {
        Self { half_way: false, ..self }
    }
}

/// Asks Redis, and again while it is away, within its patience.
pub(super) async fn patiently<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(StoreError::Away(_)) if tokio::time::Instant::now() < end => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}
