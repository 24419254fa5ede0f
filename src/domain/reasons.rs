//! The closed sets of words that metrics, logs, `/status` and headers share.

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every member, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that stands in metrics, logs, `/status` and headers.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// How a record ended.
    Outcome {
        /// The app accepted it (or had applied it already) and the mark is stored.
        Delivered => "delivered",
        /// Another record with the same message ID was settled before.
        Duplicate => "duplicate",
        /// It stands on the dead-letter topic, acknowledged.
        DeadLettered => "dead_lettered",
    }
}

words! {
    /// Why a duplicate was one.
    DuplicateCause {
        /// The same position came again: this group had settled it before.
        Redelivery => "redelivery",
        /// Another position holds the same message: its producer sent it twice.
        Producer => "producer",
        /// It waited for an open record with the same ID, and that one was settled.
        InFlight => "in_flight",
    }
}

words! {
    /// Why intake of a partition (or of all) is paused.
    PauseReason {
        /// The app refuses connections or is not ready.
        AppUnavailable => "app_unavailable",
        /// Redis does not answer, or cannot store.
        StoreUnavailable => "store_unavailable",
        /// Open records or held bytes are at their maximum.
        Bound => "bound",
        /// A record that fails again and again, or waits for something else, holds the partition's bound.
        RetryBlocked => "retry_blocked",
        /// The budget of dead letters is spent.
        DeadLetterBudget => "dead_letter_budget",
        /// The dead-letter topic does not take records.
        DeadLetterFailed => "dead_letter_failed",
        /// A record must be dead-lettered and no topic is set.
        DeadLetterTopicUnset => "dead_letter_topic_unset",
        /// Redis lost its memory, and the operator wants to look first.
        HistoryLost => "history_lost",
        /// Records were lost upstream, and the operator wants to look first.
        Loss => "loss",
        /// `POST /pause`.
        Operator => "operator",
        /// Nothing new is taken: shutdown, `/drain` or a revoke.
        Draining => "draining",
    }
}

words! {
    /// Why a record was dead-lettered.
    DeadLetterReason {
        /// The app refused it for good.
        Refused => "refused",
        /// The retries are spent.
        Exhausted => "exhausted",
        /// No source of a message ID matched.
        MissingId => "missing_id",
        /// The ID header stands twice with different values.
        AmbiguousId => "ambiguous_id",
        /// The same message ID with another payload.
        IdReuse => "id_reuse",
        /// In doubt, and `ONCE_IN_DOUBT=dead-letter`.
        InDoubt => "in_doubt",
        /// Above `ONCE_MAX_MESSAGE_BYTES`.
        TooLarge => "too_large",
        /// A bad header, over a cap, or a foreign value under its key in Redis.
        Unreadable => "unreadable",
    }
}

words! {
    /// What took records away before they were read.
    LossCause {
        /// Sequence numbers of a producer that never arrived.
        Sequence => "sequence",
        /// The broker deleted them before they were read.
        Retention => "retention",
        /// The log is shorter than it was, or another one.
        Truncation => "truncation",
    }
}

words! {
    /// How much of its memory Redis may have lost.
    HistoryExtent {
        /// Everything: the sentinel is gone or another.
        All => "all",
        /// The last moments: another primary answers.
        Recent => "recent",
    }
}

words! {
    /// How one commit request ended.
    CommitResult {
        /// The broker acknowledged it.
        Ok => "ok",
        /// A rebalance is under way; the assignment stays and a later commit says the same.
        Rebalancing => "rebalancing",
        /// The assignment is no longer ours.
        NotOwner => "not_owner",
        /// Any other refusal; tried again with the next interval.
        Failed => "failed",
    }
}
