//! Message IDs and sequence numbers from any record: no panic, and an ID's wire form reads back as the same ID.
#![no_main]

use kafka_once::domain::identity::{Source, WireId, hash_input, identify};
use kafka_once::domain::numbering::{SequenceSource, number};
use kafka_once::domain::record::{Offset, Position, Record};
use kafka_once::pipeline::json_at;
use libfuzzer_sys::fuzz_target;

/// Takes a piece as long as its first byte says; an odd first byte means null.
fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&length, behind) = rest.split_first()?;
    let (piece, behind) = behind.split_at(usize::from(length / 2).min(behind.len()));
    *rest = behind;
    (length % 2 == 0).then_some(piece)
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let timestamp = i64::from_le_bytes(*rest.first_chunk().unwrap_or(&[0; 8]));
    let position = Position { partition: 3, offset: Offset(timestamp.rotate_left(13).max(0)), timestamp };
    let (key, value) = (piece(&mut rest), piece(&mut rest));
    let names: [&[u8]; 6] = [b"message-id", b"ce_id", b"ce_source", b"producer-id", b"sequence", b"ce_sequence"];
    let mut headers: Vec<(&[u8], Option<&[u8]>)> = Vec::new();
    while let Some(&which) = rest.first() {
        rest = &rest[1..];
        let name = names.get(usize::from(which) % 8).copied().or_else(|| piece(&mut rest)).unwrap_or_default();
        headers.push((name, piece(&mut rest)));
    }
    let record = Record::new("orders".into(), position, key, value, &headers);
    let json = |value: &[u8], pointer: &str| json_at(&serde_json::from_slice(value).ok()?, pointer);
    let header = |name: &str| Source::Header(name.to_owned());
    for source in [header("message-id"), Source::CloudEvents, Source::Key, Source::JsonPointer("/a/b".into()), Source::Position] {
        let Ok(id) = identify(&[source], &record, &json) else { continue };
        let wire = WireId::of(&id);
        assert!(wire.as_str().bytes().all(|byte| (0x21..=0x7E).contains(&byte)), "{wire:?}");
        let back = WireId::parse(wire.as_str()).expect("it reads back");
        assert_eq!(hash_input("n", "t", &back), hash_input("n", "t", &id), "{wire:?}");
    }
    let by_header = SequenceSource::Header { producer: "producer-id".into(), number: "sequence".into() };
    let by_json = SequenceSource::Json { producer: "/p".into(), number: "/n".into() };
    let _ = number(&[by_header, SequenceSource::CloudEvents, by_json], &record, &json);
});
