//! The judgement on one attempt.

use std::time::Duration;

use super::reasons::words;

/// What a request says of earlier attempts (`Once-Delivery`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// No earlier request for this message can have had its effect.
    First,
    /// An earlier attempt may have had its effect.
    PossibleRepeat,
}

impl Delivery {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::PossibleRepeat => "possible-repeat",
        }
    }

    /// What to say of a message of which an earlier request may have had its effect, or none.
    pub fn of(in_doubt: bool) -> Self {
        if in_doubt { Self::PossibleRepeat } else { Self::First }
    }

    /// Reads the header's value.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::First, Self::PossibleRepeat].into_iter().find(|delivery| delivery.as_str() == text)
    }
}

/// What the app may say over its status (`Once-Verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overrule {
    /// The effect happened.
    Accepted,
    /// It never will.
    Refused,
    /// It did not happen; try again.
    Failed,
}

impl Overrule {
    /// Reads the value of `Once-Verdict`, whatever its case and the space around it; `None` for any other word.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        [("accepted", Self::Accepted), ("refused", Self::Refused), ("failed", Self::Failed)]
            .into_iter()
            .find_map(|(word, overrule)| value.eq_ignore_ascii_case(word.as_bytes()).then_some(overrule))
    }
}

/// What came of a request, before judgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A whole answer came.
    Status {
        /// The HTTP status.
        code: u16,
        /// `Once-Verdict`, when it holds one of its three words.
        overrule: Option<Overrule>,
        /// `Retry-After`, from now, when it can be read.
        retry_after: Option<Duration>,
    },
    /// No connection: nothing of the request was sent. The text says why.
    NotSent(String),
    /// The request may have been sent, and no whole answer came. The text says why.
    NoAnswer(String),
}

words! {
    /// The judgement on one attempt.
    Verdict {
        /// The effect happened: mark done, settle.
        Accepted => "accepted",
        /// It never will: dead-letter at once.
        Refused => "refused",
        /// It did not happen: try again.
        Failed => "failed",
        /// Not now: try again later, with fewer at once.
        Overloaded => "overloaded",
        /// Nothing was sent: pause until the app is back.
        Unavailable => "unavailable",
        /// It may have happened: try again, in doubt.
        Unknown => "unknown",
    }
}

impl Verdict {
    /// Whether it spends one of `ONCE_RETRY_ATTEMPTS`.
    pub fn spends_retry(self) -> bool {
        match self {
            Self::Failed | Self::Unknown => true,
            Self::Accepted | Self::Refused | Self::Overloaded | Self::Unavailable => false,
        }
    }

    /// Whether the effect may have happened without our knowing: the next request is a possible repeat.
    pub fn leaves_doubt(self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Accepted | Self::Refused | Self::Failed | Self::Overloaded | Self::Unavailable => false,
        }
    }
}

/// A verdict, with what else of the answer matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// How long the app asks us to wait, not yet bounded. Only an overloaded app is heard.
    pub retry_after: Option<Duration>,
    /// The HTTP status, when a whole answer came.
    pub status: Option<u16>,
}

/// Judges one attempt. `Once-Verdict` stands over any status.
pub fn judge(answer: &Answer) -> Judgement {
    let (verdict, retry_after, status) = match answer {
        Answer::Status { code, overrule, retry_after } => {
            let verdict = overrule.map_or_else(|| by_status(*code), by_overrule);
            (verdict, retry_after.filter(|_| verdict == Verdict::Overloaded), Some(*code))
        }
        Answer::NotSent(_) => (Verdict::Unavailable, None, None),
        Answer::NoAnswer(_) => (Verdict::Unknown, None, None),
    };
    Judgement { verdict, retry_after, status }
}

fn by_overrule(overrule: Overrule) -> Verdict {
    match overrule {
        Overrule::Accepted => Verdict::Accepted,
        Overrule::Refused => Verdict::Refused,
        Overrule::Failed => Verdict::Failed,
    }
}

/// The table of the contract. A status outside 200..=599 ends no request (1xx) or has no meaning: a broken answer.
fn by_status(code: u16) -> Verdict {
    match code {
        200..=299 => Verdict::Accepted,
        408 | 425 | 429 | 503 => Verdict::Overloaded,
        300..=399 | 401 | 403 | 404 | 405 | 407 | 409 | 423 | 500..=599 => Verdict::Failed,
        400..=499 => Verdict::Refused,
        _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Option<Duration> = Some(Duration::from_secs(3));

    fn answer(code: u16, overrule: Option<Overrule>) -> Answer {
        Answer::Status { code, overrule, retry_after: WAIT }
    }

    /// The table of the specification, spelled out status by status: the first row that names a status counts.
    fn table(code: u16) -> Verdict {
        let named: [(&[u16], Verdict); 3] = [
            (&[400, 410, 413, 415, 422, 431], Verdict::Refused),
            (&[401, 403, 404, 405, 407, 409, 423], Verdict::Failed),
            (&[408, 425, 429, 503], Verdict::Overloaded),
        ];
        let classes = [
            Verdict::Unknown,
            Verdict::Unknown,
            Verdict::Accepted,
            Verdict::Failed,
            Verdict::Refused,
            Verdict::Failed,
            Verdict::Unknown,
        ];
        let row = named.into_iter().find(|(codes, _)| codes.contains(&code));
        row.map_or(classes[usize::from(code / 100)], |(_, verdict)| verdict)
    }

    #[test]
    fn every_status_is_judged_by_the_table() {
        for code in 99..=600 {
            let judgement = judge(&answer(code, None));
            assert_eq!(judgement.verdict, table(code), "status {code}");
            assert_eq!(judgement.status, Some(code));
            assert_eq!(judgement.retry_after.is_some(), judgement.verdict == Verdict::Overloaded, "status {code}");
        }
    }

    #[test]
    fn the_app_may_overrule_any_status() {
        let overrules = [
            (Overrule::Accepted, Verdict::Accepted),
            (Overrule::Refused, Verdict::Refused),
            (Overrule::Failed, Verdict::Failed),
        ];
        for code in 100..=599 {
            for (overrule, verdict) in overrules {
                let expected = Judgement { verdict, retry_after: None, status: Some(code) };
                assert_eq!(judge(&answer(code, Some(overrule))), expected, "status {code}");
            }
        }
    }

    #[test]
    fn without_an_answer_only_a_request_that_was_not_sent_leaves_no_doubt() {
        for (answer, verdict, doubt) in [
            (Answer::NotSent("refused".into()), Verdict::Unavailable, false),
            (Answer::NoAnswer("timeout".into()), Verdict::Unknown, true),
        ] {
            assert_eq!(judge(&answer), Judgement { verdict, retry_after: None, status: None });
            assert_eq!(verdict.leaves_doubt(), doubt);
        }
    }

    #[test]
    fn only_failed_and_unknown_spend_a_retry() {
        let spending: Vec<&str> =
            Verdict::ALL.iter().filter(|verdict| verdict.spends_retry()).map(|verdict| verdict.as_str()).collect();
        assert_eq!(spending, ["failed", "unknown"]);
    }

    #[test]
    fn an_overrule_is_read_whatever_its_case_and_anything_else_is_none() {
        for (value, overrule) in [
            (&b"accepted"[..], Some(Overrule::Accepted)),
            (b" Refused\t", Some(Overrule::Refused)),
            (b"FAILED", Some(Overrule::Failed)),
            (b"", None),
            (b"overloaded", None),
            (b"accepted, refused", None),
            (b"\xff", None),
        ] {
            assert_eq!(Overrule::parse(value), overrule, "{value:?}");
        }
    }
}
