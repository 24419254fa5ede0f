use super::*;
use proptest::prelude::*;

type Bytes<'a> = Option<&'a [u8]>;
type Headers<'a> = &'a [(&'a [u8], Bytes<'a>)];

const POSITION: Position = Position { partition: 3, offset: Offset(42), timestamp: -1 };

fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers) -> Record {
    Record::new("orders".into(), POSITION, key, value, headers)
}

/// Stands in for the JSON reader: the value is `pointer=bytes`.
fn json(value: &[u8], pointer: &str) -> Option<Vec<u8>> {
    value.strip_prefix(pointer.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec)
}

fn identified(sources: &[Source], record: &Record) -> Result<String, IdError> {
    identify(sources, record, &json).map(|id| WireId::of(&id).as_str().to_owned())
}

fn plain(bytes: &[u8]) -> MessageId {
    MessageId::Plain(bytes.into())
}

fn event(source: &[u8], id: &[u8]) -> MessageId {
    MessageId::CloudEvents { source: source.into(), id: id.into() }
}

fn default_sources() -> Vec<Source> {
    vec![Source::Header("message-id".into()), Source::CloudEvents, Source::Position]
}

#[test]
fn the_first_source_that_matches_wins() {
    let (position, event) = ("position:orders/3/42/-1", "ce:shop#7");
    let table: [(Headers, &str); 10] = [
        (&[(b"message-id", Some(b"m"))], "m"),
        (&[(b"ce_id", Some(b"7")), (b"message-id", Some(b"m")), (b"ce_source", Some(b"shop"))], "m"),
        (&[(b"ce_id", Some(b"7")), (b"ce_source", Some(b"shop"))], event),
        (&[(b"message-id", Some(b"")), (b"ce_id", Some(b"7")), (b"ce_source", Some(b"shop"))], event),
        (&[(b"message-id", None), (b"ce_id", Some(b"7")), (b"ce_source", Some(b"shop"))], event),
        (&[(b"message-id", Some(b"m")), (b"message-id", Some(b"m"))], "m"),
        (&[(b"message-id", None), (b"message-id", Some(b""))], position),
        (&[(b"ce_id", Some(b"7")), (b"ce_source", Some(b""))], position),
        (&[(b"ce_id", Some(b"7"))], position),
        (&[(b"Message-Id", Some(b"m"))], position),
    ];
    for (headers, id) in table {
        assert_eq!(identified(&default_sources(), &record(None, None, headers)).as_deref(), Ok(id), "{headers:?}");
    }
}

#[test]
fn key_and_json_match_only_when_they_hold_something() {
    let sources = [Source::JsonPointer("/id".into()), Source::Key];
    let table: [(Bytes, Bytes, Result<&str, IdError>); 6] = [
        (Some(b"k"), Some(b"/id=7"), Ok("7")),
        (Some(b"k"), Some(b"/id="), Ok("k")),
        (Some(b"k"), Some(b"nothing"), Ok("k")),
        (Some(b"k"), None, Ok("k")),
        (Some(b""), None, Err(IdError::Missing)),
        (None, Some(b"nothing"), Err(IdError::Missing)),
    ];
    for (key, value, expected) in table {
        let found = identified(&sources, &record(key, value, &[]));
        assert_eq!(found.as_deref().map_err(Clone::clone), expected, "{key:?} {value:?}");
    }
}

#[test]
fn an_id_header_that_stands_twice_with_different_values_is_ambiguous() {
    let table: [(Headers, &str); 4] = [
        (&[(b"message-id", Some(b"a")), (b"x", None), (b"message-id", Some(b"b"))], "message-id"),
        (&[(b"message-id", Some(b"a")), (b"message-id", None)], "message-id"),
        (&[(b"ce_id", Some(b"1")), (b"ce_id", Some(b"2")), (b"ce_source", Some(b"s"))], "ce_id"),
        (&[(b"ce_source", Some(b"s")), (b"ce_id", Some(b"1")), (b"ce_source", Some(b"t"))], "ce_source"),
    ];
    for (headers, name) in table {
        let error = identified(&default_sources(), &record(None, None, headers)).expect_err("ambiguous");
        assert_eq!(error, IdError::Ambiguous { header: name.into() });
        assert_eq!(error.reason(), DeadLetterReason::AmbiguousId);
    }
}

#[test]
fn an_id_may_be_as_long_as_the_cap_and_no_longer() {
    let sources = [Source::CloudEvents, Source::Key];
    for (length, expected) in [
        (LONGEST_ID, Ok(())),
        (LONGEST_ID + 1, Err(DeadLetterReason::Unreadable)),
        (1 << 20, Err(DeadLetterReason::Unreadable)),
    ] {
        let bytes = vec![b'x'; length];
        let by_key = record(Some(&bytes), None, &[]);
        let by_event = record(None, None, &[(b"ce_id", Some(&bytes[1..])), (b"ce_source", Some(b"s"))]);
        for record in [by_key, by_event] {
            let found = identify(&sources, &record, &json).map(|_| ()).map_err(|error| error.reason());
            assert_eq!(found, expected, "{length} bytes");
        }
    }
}

#[test]
fn no_source_is_a_missing_id() {
    let error = identified(&[Source::Key], &record(None, Some(b"v"), &[])).expect_err("missing");
    assert_eq!(error.reason(), DeadLetterReason::MissingId);
}

#[test]
fn the_wire_form_is_the_one_of_the_specification() {
    let table = [
        (plain(b"order-1"), "order-1", "order-1"),
        (
            plain(b"a b%\r\n\0{\"\xC3\xA9~"),
            "a%20b%25%0D%0A%00{\"%C3%A9~",
            "a%2520b%2525%250D%250A%2500%7B%22%25C3%25A9~",
        ),
        (plain(b"a/b?c#d&e+f"), "a/b?c#d&e+f", "a%2Fb%3Fc%23d%26e%2Bf"),
        (plain(b"ce:shop#7"), "ce%3Ashop#7", "ce%253Ashop%237"),
        (plain(b"position:orders/3/42/-1"), "position%3Aorders/3/42/-1", "position%253Aorders%2F3%2F42%2F-1"),
        (plain(b"CE:x:y"), "CE:x:y", "CE:x:y"),
        (plain(b"ce"), "ce", "ce"),
        (event(b"/shop", b"7"), "ce:/shop#7", "ce:%2Fshop%237"),
        (event(b"a#b c", b"#"), "ce:a%23b%20c#%23", "ce:a%2523b%2520c%23%2523"),
        (MessageId::Position("orders".into(), POSITION), "position:orders/3/42/-1", "position:orders%2F3%2F42%2F-1"),
    ];
    for (id, wire, url) in table {
        let wire_id = WireId::of(&id);
        assert_eq!(wire_id.as_str(), wire);
        assert_eq!(wire_id.in_url(), url);
    }
}

#[test]
fn what_is_no_wire_form_is_read_as_none() {
    for text in
        ["", "a%2", "ce:", "ce:x", "ce:#x", "ce:x#", "ce:a#b#c", "position:", "position:t/0/1", "position:t/0/1/2/3"]
    {
        assert_eq!(WireId::parse(text), None, "{text:?}");
    }
    assert_eq!(WireId::parse("as people type it"), Some(plain(b"as people type it")));
}

#[test]
fn key_and_value_are_told_apart_in_the_digest() {
    let digest = |key, value| {
        let mut bytes = Vec::new();
        digest_input(&record(key, value, &[(b"traceparent", Some(b"00"))]), &mut |part| bytes.extend_from_slice(part));
        bytes
    };
    let payloads: [(Bytes, Bytes); 8] = [
        (None, None),
        (Some(b""), None),
        (None, Some(b"")),
        (Some(b""), Some(b"")),
        (Some(b"ab"), Some(b"c")),
        (Some(b"a"), Some(b"bc")),
        (Some(b"abc"), None),
        (None, Some(b"abc")),
    ];
    for (place, (key, value)) in payloads.iter().enumerate() {
        for (other_place, (other_key, other_value)) in payloads.iter().enumerate() {
            let same = digest(*key, *value) == digest(*other_key, *other_value);
            assert_eq!(same, place == other_place, "{key:?} {value:?} {other_key:?} {other_value:?}");
        }
    }
}

/// Short IDs over few letters: prefixes, separators and escapes meet often.
fn bytes() -> impl Strategy<Value = Box<[u8]>> {
    let letter = prop_oneof![6 => prop::sample::select(&b"ce:#/%2 3A\0\xFF"[..]), 1 => any::<u8>()];
    let raw = prop::collection::vec(letter, 1..8);
    let forged = (prop::sample::select(&["ce:", "position:", "ce%3A"][..]), raw.clone())
        .prop_map(|(prefix, rest)| [prefix.as_bytes(), &rest].concat());
    prop_oneof![3 => raw, 1 => forged].prop_map(Vec::into_boxed_slice)
}

fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        bytes().prop_map(MessageId::Plain),
        (bytes(), bytes()).prop_map(|(source, id)| MessageId::CloudEvents { source, id }),
        ("[a-z/#% ]{0,4}", 0..3_i32, -1..12_i64, -1..12_i64).prop_map(|(topic, partition, offset, timestamp)| {
            MessageId::Position(topic.into(), Position { partition, offset: Offset(offset), timestamp })
        }),
    ]
}

proptest! {
    #[test]
    fn the_wire_form_is_visible_ascii_and_reads_back_as_the_same_id(id in message_id()) {
        let wire = WireId::of(&id);
        prop_assert!(wire.as_str().bytes().all(is_visible));
        prop_assert_eq!(WireId::parse(wire.as_str()), Some(id));
    }

    #[test]
    fn two_ids_share_neither_wire_form_nor_hash_input(one in message_id(), other in message_id()) {
        prop_assert_eq!(WireId::of(&one) == WireId::of(&other), one == other);
        prop_assert_eq!(hash_input("n", "t", &one) == hash_input("n", "t", &other), one == other);
    }

    #[test]
    fn two_scopes_never_share_a_hash_input(a in "[a:/]{0,3}", b in "[a:/]{0,3}", c in "[a:/]{0,3}", d in "[a:/]{0,3}") {
        let id = plain(b"a");
        prop_assert_eq!(hash_input(&a, &b, &id) == hash_input(&c, &d, &id), (&a, &b) == (&c, &d));
    }

    #[test]
    fn in_a_url_nothing_ends_the_id_and_decoding_once_gives_the_idempotency_key(bytes in bytes()) {
        let wire = WireId::of(&MessageId::Plain(bytes.clone()));
        let url = wire.in_url();
        prop_assert!(url.bytes().all(|byte| is_visible(byte) && (byte == b'%' || !URL_ONLY.contains(&byte))));
        prop_assert_eq!(percent_decode(&url), Some(wire.as_str().as_bytes().to_vec()));
    }

    #[test]
    fn reading_a_wire_form_never_panics(text in any::<String>(), prefix in "(ce:|position:)?[a#/%0-9]{0,12}") {
        for text in [&text, &prefix] {
            if let Some(id) = WireId::parse(text) {
                prop_assert_eq!(WireId::parse(WireId::of(&id).as_str()), Some(id));
            }
        }
    }
}
