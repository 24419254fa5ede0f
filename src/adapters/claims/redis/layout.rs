//! The layout of a cluster: which primary owns which slot.

use redis::Value;

use super::config::Address;
use super::keys::SLOTS;

/// For each slot the index of its primary; `None`: nobody serves it.
pub(super) type Slots = Vec<Option<u16>>;

/// What a node says of its cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// In the order of their lowest slot.
    pub(super) primaries: Vec<Address>,
    /// Indices into them.
    pub(super) slots: Slots,
}

impl Layout {
    /// Reads the answer to `CLUSTER SLOTS`; `None` when it is none or no slot is assigned.
    pub(super) fn read(answer: &Value, seed: &Address) -> Option<Self> {
        let mut ranges = ranges(answer, seed)?;
        ranges.sort();
        let mut primaries: Vec<Address> = Vec::new();
        let mut slots = vec![None; usize::from(SLOTS)];
        for (first, last, address) in ranges {
            let index = primaries.iter().position(|known| *known == address).unwrap_or_else(|| {
                primaries.push(address);
                primaries.len() - 1
            });
            let index = u16::try_from(index).ok()?;
            slots.iter_mut().take(usize::from(last) + 1).skip(usize::from(first)).for_each(|slot| *slot = Some(index));
        }
        (!primaries.is_empty()).then_some(Self { primaries, slots })
    }
}

/// `CLUSTER SLOTS`: first slot, last slot, primary, replicas.
fn ranges(answer: &Value, seed: &Address) -> Option<Vec<(u16, u16, Address)>> {
    let Value::Array(ranges) = answer else { return None };
    let range = |range: &Value| {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice() else { return None };
        Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, address_of(primary, seed)?))
    };
    ranges.iter().map(range).collect()
}

/// Host and port; a node that does not know its own name stands where it was asked.
pub(super) fn address_of(parts: &[Value], asked: &Address) -> Option<Address> {
    let [host, port, ..] = parts else { return None };
    let port = match port {
        Value::Int(port) => u16::try_from(*port).ok()?,
        other => text(other)?.parse().ok()?,
    };
    let host = text(host).filter(|host| !host.is_empty() && *host != "?").unwrap_or(&asked.host);
    Some(Address { host: host.to_owned(), port })
}

/// An answer's text; `None` when it is none.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = Value::Array(vec![host, Value::Int(port), bulk("node ID")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    #[test]
    fn the_layout_of_a_cluster_is_read_whole_or_not_at_all() {
        let seed = Address { host: "seed".to_owned(), port: 1 };
        let at = |host: &str, port| Address { host: host.to_owned(), port };
        let answer = vec![
            range(0, 8191, bulk("10.0.0.1"), 7000),
            range(16383, 16383, bulk("10.0.0.1"), 7000),
            range(8192, 12000, Value::Nil, 7001), // it does not know its own name
        ];
        let expected = [at("10.0.0.1", 7000), at("seed", 7001)];
        let layout = Layout::read(&Value::Array(answer.clone()), &seed).expect("a layout");
        assert_eq!(layout.primaries, expected);
        let owners = [0, 8191, 8192, 12_000, 12_001, 16_383].map(|slot: usize| layout.slots[slot]);
        assert_eq!(owners, [Some(0), Some(0), Some(1), Some(1), None, Some(0)]);
        assert_eq!(Layout::read(&Value::Array(Vec::new()), &seed), None, "no slot is assigned");
        for odd in [range(-1, 5, bulk("a"), 1), range(0, 5, bulk("a"), 65_536), Value::Nil, Value::Array(vec![])] {
            let answer = Value::Array([&answer[..], &[odd]].concat());
            assert_eq!(Layout::read(&answer, &seed), None);
        }
    }
}
