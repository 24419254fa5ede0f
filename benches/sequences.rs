//! What following sequences costs for each record: `cargo bench --locked --bench sequences`.

use criterion::{BatchSize, Criterion, Throughput};
use kafka_once::domain::numbering::{Numbered, SequenceSource, number};
use kafka_once::domain::producers::Producers;
use kafka_once::domain::record::{Offset, Position, Record};
use kafka_once::domain::time::Now;

/// Producers that send in turn.
const PRODUCERS: u32 = 1_000;
/// Records of each.
const EACH: u32 = 10;

fn records() -> Vec<Record> {
    let sent = (0..EACH).flat_map(|number| (0..PRODUCERS).map(move |producer| (producer, number)));
    let record = |(at, (producer, number)): (i64, (u32, u32))| {
        let position = Position { partition: 0, offset: Offset(at), timestamp: 0 };
        let (producer, number) = (format!("producer-{producer}"), number.to_string());
        let headers: [(&[u8], Option<&[u8]>); 3] = [
            (b"message-id", Some(b"0123456789abcdef")),
            (b"producer-id", Some(producer.as_bytes())),
            (b"sequence", Some(number.as_bytes())),
        ];
        Record::new("t".into(), position, Some(b"key"), Some(b"value"), &headers)
    };
    (0..).zip(sent).map(record).collect()
}

fn sources() -> [SequenceSource; 2] {
    let (producer, number) = ("producer-id".to_owned(), "sequence".to_owned());
    [SequenceSource::Header { producer, number }, SequenceSource::CloudEvents]
}

/// Reading name and number of a record, and following them.
fn sequences(criterion: &mut Criterion) {
    let (records, sources) = (records(), sources());
    let mut group = criterion.benchmark_group("sequences");
    group.throughput(Throughput::Elements(u64::from(PRODUCERS * EACH)));
    group.bench_function("read and follow, 1,000 producers", |bencher| {
        bencher.iter_batched_ref(
            Producers::default,
            |producers| {
                for record in &records {
                    if let Numbered::As { producer, number } = number(&sources, record, &|_, _| None) {
                        producers.observe(&producer, number, record.position().offset, Now::default());
                    }
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    sequences(&mut criterion);
    criterion.final_summary();
}
