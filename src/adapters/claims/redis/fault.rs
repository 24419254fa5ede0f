//! What a failure of Redis means: away, or refusing us; and whether the connection is worth keeping.

use redis::ServerError;

use super::config::Address;
use crate::ports::StoreError;

/// A failure, judged.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What the caller is told.
    pub(super) error: StoreError,
    /// Whether only a fresh connection can heal it.
    pub(super) reconnect: bool,
}

impl Fault {
    /// Away, and the connection with it.
    pub(super) fn away(node: &Address, what: impl std::fmt::Display) -> Self {
        Self { error: StoreError::Away(format!("{node}: {what}")), reconnect: true }
    }

    /// Refused until somebody changes something.
    pub(super) fn refused(node: &Address, what: impl std::fmt::Display) -> Self {
        Self { error: StoreError::Refused(format!("{node}: {what}")), reconnect: false }
    }

    /// Judges an error that Redis answered to one command.
    pub(super) fn answered(node: &Address, error: &ServerError) -> Self {
        Self::judged(node, error.code(), error.details().unwrap_or_default())
    }

    fn judged(node: &Address, code: &str, details: &str) -> Self {
        // Redis repeats the arguments of a command that it does not know; of AUTH they are secrets.
        let details = details.split(", with args").next().unwrap_or_default();
        let said = format!("{code} {details}");
        match code {
            "NOAUTH" | "WRONGPASS" => Self { reconnect: true, ..Self::refused(node, said) },
            "NOPERM" | "CROSSSLOT" | "DENIED" => Self::refused(node, said),
            "ERR" => Self::general(node, &said),
            // The server is there and says why it cannot: the connection stays.
            "OOM" | "LOADING" | "MISCONF" | "BUSY" | "TRYAGAIN" | "NOREPLICAS" => {
                Self { reconnect: false, ..Self::away(node, said) }
            }
            // READONLY, CLUSTERDOWN, MASTERDOWN, MOVED to a stranger, and what we do not know: look again who serves.
            _ => Self::away(node, said),
        }
    }

    fn general(node: &Address, said: &str) -> Self {
        let says = |words: &str| said.to_ascii_lowercase().contains(words);
        if says("unknown command") || says("syntax error") || says("unknown subcommand") {
            Self::refused(node, format!("{said} (redis 7.0 or newer, or valkey, is needed)"))
        } else if says("db index") || says("select is not allowed") || says("cluster support disabled") {
            Self::refused(node, said)
        } else if says("auth") && says("password") {
            Self { reconnect: true, ..Self::refused(node, said) }
        } else {
            Self::away(node, said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(said: &str) -> Fault {
        let (code, details) = said.split_once(' ').expect("a code and its details");
        Fault::judged(&Address { host: "redis".to_owned(), port: 6379 }, code, details)
    }

    #[test]
    fn away_is_what_heals_by_itself() {
        for (said, reconnect) in [
            ("READONLY You can't write against a read only replica.", true),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", true),
            ("CLUSTERDOWN The cluster is down", true),
            ("OOM command not allowed when used memory > 'maxmemory'.", false),
            ("LOADING Redis is loading the dataset in memory", false),
            ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", false),
            ("BUSY Redis is busy running a script.", false),
            ("TRYAGAIN Multiple keys request during rehashing of slot", false),
            ("NOREPLICAS Not enough good replicas to write.", false),
            ("ERR max number of clients reached", true),
            ("SOMETHING new", true),
        ] {
            let fault = judge(said);
            assert_eq!(fault.error, StoreError::Away(format!("redis:6379: {said}")));
            assert_eq!(fault.reconnect, reconnect, "{said}");
        }
    }

    #[test]
    fn arguments_that_redis_repeats_are_not_told() {
        let StoreError::Refused(why) = judge("ERR unknown command 'AUTH', with args beginning with: 'secret' ").error
        else {
            panic!("not refused");
        };
        assert!(why.contains("unknown command 'AUTH'") && !why.contains("secret"), "{why}");
    }

    #[test]
    fn refused_is_what_somebody_must_change() {
        for said in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'set' command",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "ERR syntax error",
            "ERR unknown command 'EVAL', with args beginning with: ",
            "ERR DB index is out of range",
            "ERR AUTH <password> called without any password configured for the default user.",
        ] {
            assert!(matches!(judge(said).error, StoreError::Refused(_)), "{said}");
        }
    }
}
