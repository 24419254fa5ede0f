//! Transactions, as `redrive` needs them: all of one or nothing, and a word for each way in which it may come to nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_once::adapters::kafka::{Outgoing, TransactionError, Transactions};
use kafka_once::domain::record::Record;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::cluster::Cluster;
use crate::driver::Driver;

const PATIENCE: Duration = Duration::from_secs(30);

fn start(cluster: &Cluster) -> Transactions {
    let quick = BTreeMap::from([("retry.backoff.ms".to_owned(), "10".to_owned())]);
    Transactions::start(&cluster.bootstrap, &quick, "once-redrive-billing").expect("let in")
}

fn send(transactions: &Transactions, cluster: &Cluster, value: &str) -> Result<(), TransactionError> {
    transactions.begin()?;
    let value = Some(value.as_bytes());
    let (topic, headers) = (cluster.topic.as_str(), Vec::new());
    transactions.send(&Outgoing { topic, partition: Some(0), timestamp: None, key: None, value, headers })?;
    transactions.flush()
}

/// What stands on the topic, told by a record that comes last.
fn values(cluster: &Cluster, transactions: &Transactions) -> Vec<String> {
    send(transactions, cluster, "last").and_then(|()| transactions.commit(PATIENCE)).expect("committed");
    let mut log = Driver::start(cluster.config(&[]));
    log.begun(1);
    let mut values = Vec::new();
    while values.last().is_none_or(|value| value != "last") {
        let text = |record: &Record| String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
        values.extend(log.records(1).iter().map(text));
    }
    log.leave();
    values
}

/// What was not sent because of it says only that it was purged; the refusal is told all the same.
#[test]
fn a_right_that_is_missing_is_a_refusal_wherever_it_is_asked_for() {
    for api in [RDKafkaApiKey::AddPartitionsToTxn, RDKafkaApiKey::Produce] {
        let cluster = Cluster::mock(1);
        let transactions = start(&cluster);
        cluster.controls().request_errors(api, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        let refused = send(&transactions, &cluster, "denied");
        assert!(matches!(refused, Err(TransactionError::Refused(_))), "{refused:?}");
        transactions.abort();
    }
}

/// Whatever else was in it; and the next transaction is none the worse for it.
#[test]
fn a_record_that_its_topic_does_not_take_is_told_from_a_cluster_that_takes_nothing() {
    for refused in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
    ] {
        let cluster = Cluster::mock(1);
        let transactions = start(&cluster);
        cluster.controls().request_errors(RDKafkaApiKey::Produce, &[refused]);
        let found = send(&transactions, &cluster, "refused");
        let of_it = matches!(&found, Err(TransactionError::Record { topic, why }) if *topic == cluster.topic && !why.is_empty());
        assert!(of_it, "{refused:?}: {found:?}");
        transactions.abort();
        let next = || send(&transactions, &cluster, "taken").and_then(|()| transactions.commit(PATIENCE));
        let taken = next().or_else(|error| {
            assert!(matches!(error, TransactionError::Hole(_)), "{refused:?}: {error:?}");
            transactions.abort();
            next()
        });
        taken.expect("committed");
        assert_eq!(values(&cluster, &transactions), ["taken", "last"]);
    }
}

#[test]
fn a_commit_is_asked_for_again_while_nobody_knows() {
    let cluster = Cluster::mock(1);
    let transactions = start(&cluster);
    let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    cluster.controls().request_errors(RDKafkaApiKey::EndTxn, &[loading; 5]);
    send(&transactions, &cluster, "once").and_then(|()| transactions.commit(PATIENCE)).expect("committed");
    assert_eq!(values(&cluster, &transactions), ["once", "last"]);
}

#[test]
fn a_commit_that_nobody_answers_is_neither_done_nor_undone() {
    let cluster = Cluster::mock(1);
    let transactions = start(&cluster);
    send(&transactions, &cluster, "who knows").expect("acknowledged");
    cluster.controls().broker_down(1).expect("it is down");
    let unknown = transactions.commit(Duration::from_millis(200));
    assert!(matches!(unknown, Err(TransactionError::Unknown(_))), "{unknown:?}");
    cluster.controls().broker_up(1).expect("it is up");
    transactions.commit(PATIENCE).expect("committed after all");
}

#[test]
fn a_producer_whose_name_was_taken_knows_it() {
    for fenced in
        [RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]
    {
        let cluster = Cluster::mock(1);
        let transactions = start(&cluster);
        send(&transactions, &cluster, "older").expect("acknowledged");
        cluster.controls().request_errors(RDKafkaApiKey::EndTxn, &[fenced]);
        assert_eq!(transactions.commit(PATIENCE), Err(TransactionError::Fenced), "{fenced:?}");
    }
}
