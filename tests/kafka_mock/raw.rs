//! Requests in Kafka's own protocol, byte for byte: what no client library lets one send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Produces one record (Produce v3, acks=all) with these headers; `address` leads the partition.
pub fn produce(address: &str, topic: &str, partition: i32, value: &[u8], headers: &[(&[u8], &[u8])]) {
    produce_at(address, topic, partition, 1_000, value, headers);
}

/// The same at a time of its own, in Unix milliseconds.
pub fn produce_at(
    address: &str,
    topic: &str,
    partition: i32,
    timestamp: i64,
    value: &[u8],
    headers: &[(&[u8], &[u8])],
) {
    let batch = batch(&record(value, headers), timestamp);
    let mut body = Vec::new();
    body.extend_from_slice(&(-1_i16).to_be_bytes()); // no transaction
    body.extend_from_slice(&(-1_i16).to_be_bytes()); // acks
    body.extend_from_slice(&30_000_i32.to_be_bytes());
    one_partition(&mut body, topic, partition);
    body.extend_from_slice(&length(&batch));
    body.extend_from_slice(&batch);
    let answer = exchange(address, 0, 3, &body);
    // After correlation ID, topic count, name and partition count: partition, error.
    let error = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[error..error + 2], [0, 0], "produce refused");
}

/// Commits an offset with any bytes as metadata (`OffsetCommit` v2), as a client outside of the group does.
pub fn commit(address: &str, group: &str, topic: &str, partition: i32, next: i64, metadata: &[u8]) {
    let mut body = Vec::new();
    string(&mut body, group.as_bytes());
    body.extend_from_slice(&(-1_i32).to_be_bytes()); // no generation
    string(&mut body, b""); // no member
    body.extend_from_slice(&(-1_i64).to_be_bytes()); // kept as long as the broker says
    one_partition(&mut body, topic, partition);
    body.extend_from_slice(&next.to_be_bytes());
    string(&mut body, metadata);
    let answer = exchange(address, 8, 2, &body);
    assert_eq!(answer[answer.len() - 2..], [0, 0], "commit refused");
}

fn one_partition(body: &mut Vec<u8>, topic: &str, partition: i32) {
    body.extend_from_slice(&1_i32.to_be_bytes());
    string(body, topic.as_bytes());
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&partition.to_be_bytes());
}

fn exchange(address: &str, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend_from_slice(&api.to_be_bytes());
    request.extend_from_slice(&version.to_be_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes()); // correlation ID
    string(&mut request, b"raw");
    request.extend_from_slice(body);
    let mut stream = TcpStream::connect(address).expect("a connection to the broker");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.write_all(&length(&request)).expect("a request sent");
    stream.write_all(&request).expect("a request sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).expect("a size")];
    stream.read_exact(&mut answer).expect("a whole answer");
    answer
}

fn batch(record: &[u8], timestamp: i64) -> Vec<u8> {
    let mut checked = Vec::new();
    checked.extend_from_slice(&0_i16.to_be_bytes()); // attributes
    checked.extend_from_slice(&0_i32.to_be_bytes()); // last offset delta
    checked.extend_from_slice(&timestamp.to_be_bytes()); // first timestamp
    checked.extend_from_slice(&timestamp.to_be_bytes()); // last timestamp
    checked.extend_from_slice(&(-1_i64).to_be_bytes()); // producer ID
    checked.extend_from_slice(&(-1_i16).to_be_bytes()); // epoch
    checked.extend_from_slice(&(-1_i32).to_be_bytes()); // sequence
    checked.extend_from_slice(&1_i32.to_be_bytes()); // records
    checked.extend_from_slice(record);
    let mut rest = Vec::new();
    rest.extend_from_slice(&(-1_i32).to_be_bytes()); // leader epoch
    rest.push(2); // magic
    rest.extend_from_slice(&crc32c(&checked).to_be_bytes());
    rest.extend_from_slice(&checked);
    let mut batch = 0_i64.to_be_bytes().to_vec(); // base offset
    batch.extend_from_slice(&length(&rest));
    batch.extend_from_slice(&rest);
    batch
}

fn record(value: &[u8], headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut record = vec![0]; // attributes
    varint(&mut record, 0); // timestamp delta
    varint(&mut record, 0); // offset delta
    varint(&mut record, -1); // null key
    bytes(&mut record, value);
    varint(&mut record, i64::try_from(headers.len()).expect("few headers"));
    for (name, value) in headers {
        bytes(&mut record, name);
        bytes(&mut record, value);
    }
    let mut whole = Vec::new();
    bytes(&mut whole, &record);
    whole
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, i64::try_from(bytes.len()).expect("a short field"));
    out.extend_from_slice(bytes);
}

/// Zigzag, then seven bits at a time.
fn varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&i16::try_from(text.len()).expect("a short string").to_be_bytes());
    out.extend_from_slice(text);
}

fn length(bytes: &[u8]) -> [u8; 4] {
    i32::try_from(bytes.len()).expect("a short request").to_be_bytes()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
