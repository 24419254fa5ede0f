//! What an error of the client means for us: the end, a partition to look at, or a line in the log.

use rdkafka::error::RDKafkaErrorCode;

/// The fate of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Never heals: the process must end.
    Fatal,
    /// The cluster refuses us until somebody changes its or our settings.
    Refused,
    /// A topic is not there: at the start somebody has misspelt it, later somebody has deleted it.
    UnknownTopic,
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
        Code::Fatal | Code::FencedInstanceId => Fate::Fatal,
        Code::GroupAuthorizationFailed
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnsupportedSASLMechanism => Fate::Refused,
        // A password may be changed under a running client, and be put right again.
        Code::Authentication | Code::SaslAuthenticationFailed if !was_up => Fate::Refused,
        Code::UnknownTopicOrPartition | Code::UnknownTopic => Fate::UnknownTopic,
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
        assert_eq!(fate(RDKafkaErrorCode::Authentication, false), Fate::Refused);
        assert_eq!(fate(RDKafkaErrorCode::Authentication, true), Fate::Warn);
        assert_eq!(fate(RDKafkaErrorCode::GroupAuthorizationFailed, true), Fate::Refused);
    }

    #[test]
    fn outages_are_lived_through_and_missing_topics_have_a_fate_of_their_own() {
        let table = [
            (RDKafkaErrorCode::AllBrokersDown, Fate::AllBrokersDown),
            (RDKafkaErrorCode::BrokerTransportFailure, Fate::Note),
            (RDKafkaErrorCode::UnknownTopicOrPartition, Fate::UnknownTopic),
            (RDKafkaErrorCode::AutoOffsetReset, Fate::OutOfRange),
        ];
        for (code, expected) in table {
            assert_eq!(fate(code, true), expected, "{code:?}");
        }
    }
}
