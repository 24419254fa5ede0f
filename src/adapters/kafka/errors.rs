//! What an error of the client means for us: the end, a partition to look at, or a line in the log.

use rdkafka::error::RDKafkaErrorCode;

/// The fate of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Never heals: the process must end.
    Fatal,
    /// No broker answers.
    AllBrokersDown,
    /// A partition's next offset is not in its log any more: somebody must look where to go on.
    OutOfRange,
    /// The client goes on by itself; an operator may want to know.
    Warn,
    /// The client goes on by itself.
    Note,
}

/// Judges an error; `was_up` tells whether a broker has ever let us in.
pub(super) fn fate(code: RDKafkaErrorCode, was_up: bool) -> Fate {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Fatal
        | Code::FencedInstanceId
        | Code::GroupAuthorizationFailed
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnsupportedSASLMechanism => Fate::Fatal,
        // A password may be changed under a running client, and be put right again.
        Code::Authentication | Code::SaslAuthenticationFailed if !was_up => Fate::Fatal,
        Code::AllBrokersDown => Fate::AllBrokersDown,
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Fate::OutOfRange,
        Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve => Fate::Note,
        _ => Fate::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_is_final_only_before_anybody_let_us_in() {
        assert_eq!(fate(RDKafkaErrorCode::Authentication, false), Fate::Fatal);
        assert_eq!(fate(RDKafkaErrorCode::Authentication, true), Fate::Warn);
        assert_eq!(fate(RDKafkaErrorCode::GroupAuthorizationFailed, true), Fate::Fatal);
    }

    #[test]
    fn outages_and_missing_topics_are_lived_through() {
        let table = [
            (RDKafkaErrorCode::AllBrokersDown, Fate::AllBrokersDown),
            (RDKafkaErrorCode::BrokerTransportFailure, Fate::Note),
            (RDKafkaErrorCode::UnknownTopicOrPartition, Fate::Warn),
            (RDKafkaErrorCode::AutoOffsetReset, Fate::OutOfRange),
        ];
        for (code, expected) in table {
            assert_eq!(fate(code, true), expected, "{code:?}");
        }
    }
}
