//! What is said on a letter and on a marker is read back, and nothing else is taken for it.

use super::*;
use crate::domain::record::Position;

const SAID: [(&str, &str); 11] = [
    (ERROR, "refused"),
    (DETAIL, "said no"),
    (STATUS, "422"),
    (ATTEMPTS, "2"),
    (DELIVERY, "first"),
    (MESSAGE_ID, "a%20b"),
    (NAMESPACE, "billing"),
    (SOURCE_TOPIC, "orders"),
    (SOURCE_PARTITION, "3"),
    (SOURCE_OFFSET, "42"),
    (AT, "2026-01-31T21:59:59.000Z"),
];

fn record(own: &[(&str, &str)], said: &[(&str, &str)], value: &[u8]) -> Record {
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        own.iter().chain(said).map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
    let position = Position { partition: 0, offset: Offset(7), timestamp: 0 };
    Record::new("dead".into(), position, Some(b"k"), Some(value), &headers)
}

#[test]
fn what_is_said_is_read_and_the_records_own_headers_are_left_whatever_their_names() {
    for own in [&[][..], &[("h", "1"), ("once-at", "mine")], &[("once-error", "x"), ("once-redriven", "0/1")], &SAID] {
        let record = record(own, &SAID, b"v");
        let letter = Letter::read(&record).expect("a letter");
        let left: Vec<_> = letter.headers(&record).map(|(name, _)| name.to_vec()).collect();
        let expected: Vec<_> = own.iter().map(|(name, _)| name.as_bytes().to_vec()).collect();
        assert_eq!(left, expected);
        assert_eq!((letter.reason.as_str(), letter.topic.as_str()), ("refused", "orders"));
        assert_eq!((letter.partition, letter.offset, letter.namespace.as_deref()), (3, Offset(42), Some("billing")));
        assert_eq!(letter.id, Some(MessageId::Plain(b"a b".as_slice().into())));
        assert!(!letter.value_left && Marker::read(&record).is_none());
    }
}

#[test]
fn what_may_be_absent_is_and_what_must_stand_there_does() {
    for (place, (name, _)) in SAID.iter().enumerate() {
        let mut said = SAID.to_vec();
        said.remove(place);
        let optional = [STATUS, DELIVERY, MESSAGE_ID, NAMESPACE].contains(name);
        assert_eq!(Letter::read(&record(&[("h", "1")], &said, b"v")).is_some(), optional, "{name}");
    }
    for (name, value) in [(SOURCE_OFFSET, "x"), (SOURCE_PARTITION, "1.5"), (MESSAGE_ID, "%4"), (ATTEMPTS, "4294967296")]
    {
        let said = SAID.map(|(known, old)| (known, if known == name { value } else { old }));
        assert_eq!(Letter::read(&record(&[], &said, b"v")), None, "{name}");
    }
    assert_eq!(Letter::read(&record(&[], &SAID, b"v").with_unreadable("a header")), None);
    let behind = [&SAID[..], &[("more", "x")]].concat();
    assert_eq!(Letter::read(&record(&[], &behind, b"v")), None, "ours come last");
}

#[test]
fn a_value_that_was_left_behind_is_told_from_an_empty_one() {
    let detail = format!("said no; {VALUE_LEFT}");
    let said = SAID.map(|(name, value)| (name, if name == DETAIL { detail.as_str() } else { value }));
    for (said, value, left) in [(&said, &b""[..], true), (&said, b"v", false), (&SAID, b"", false)] {
        assert_eq!(Letter::read(&record(&[], said, value)).map(|letter| letter.value_left), Some(left));
    }
}

#[test]
fn a_marker_reads_back_and_nothing_else_is_one() {
    let marker = Marker { partition: 2, offset: Offset(9), record: [0x0a; 16] };
    let headers = marker.headers("now".to_owned());
    let said: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(said[0], (REDRIVEN, "2/9"));
    assert_eq!(Marker::read(&record(&[], &said, b"")), Some(marker));
    assert_eq!(Letter::read(&record(&[], &said, b"")), None);
    assert_eq!(Marker::read(&record(&[("h", "1")], &said, b"")), None, "a header of somebody else's");
    assert_eq!(Marker::read(&record(&said, &SAID, b"")), None, "a letter of such a record");
    assert_eq!(Marker::read(&record(&[], &said[..2], b"")), None);
}

#[test]
fn copies_of_a_letter_have_one_record_and_other_letters_another() {
    let digest = Digest([1; 16]);
    let input = |said: &[(&str, &str)]| Letter::read(&record(&[], said, b"v")).expect("a letter").record_input(digest);
    let with =
        |name: &str, value: &'static str| input(&SAID.map(|(own, old)| (own, if own == name { value } else { old })));
    assert_eq!(input(&SAID), with(AT, "later"));
    assert_eq!(input(&SAID), with(ATTEMPTS, "7"));
    for name in [SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET, MESSAGE_ID, NAMESPACE] {
        assert_ne!(input(&SAID), with(name, "4"), "{name}");
    }
    let letter = |value| Letter::read(&record(&[], &SAID, value)).expect("a letter");
    assert_eq!(letter(b"v").source_input(), letter(b"").source_input(), "also where nobody has read the value");
    assert_ne!(letter(b"v").record_input(digest), letter(b"v").record_input(Digest([2; 16])));
}

#[test]
fn a_letter_says_whether_it_is_in_doubt_and_one_that_does_not_say_may_be() {
    for (said, in_doubt) in
        [(Some("first"), false), (Some("possible-repeat"), true), (Some("second"), true), (None, true)]
    {
        let mut all = SAID.to_vec();
        match said {
            Some(said) => all[4].1 = said,
            None => drop(all.remove(4)),
        }
        assert_eq!(Letter::read(&record(&[], &all, b"v")).map(|letter| letter.in_doubt), Some(in_doubt), "{said:?}");
    }
}

#[test]
fn what_is_said_on_a_record_that_is_sent_back_is_read_by_its_own_namespace_only() {
    let letter = Letter::read(&record(&[("h", "1")], &SAID, b"v")).expect("a letter");
    let source = (letter.partition, letter.offset);
    let said = SentBack { source, attempts: letter.attempts, in_doubt: letter.in_doubt }.headers("billing");
    let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let back = record(&[("h", "1")], &said, b"v");
    let expected = SentBack { source: (3, Offset(42)), attempts: 2, in_doubt: false };
    assert_eq!(SentBack::read(&back, "billing"), Some(expected));
    assert_eq!(SentBack::read(&back, "shipping"), None);
    for left_out in 0..said.len() {
        let mut part = said.clone();
        part.remove(left_out);
        assert_eq!(SentBack::read(&record(&[], &part, b"v"), "billing"), None, "without {}", said[left_out].0);
    }
    assert_eq!(SentBack::read(&record(&[], &SAID, b"v"), "billing"), None, "a letter");
    assert_eq!(SentBack::read(&record(&[], &[], b"v"), "billing"), None);

    // It goes on as its producer wrote it.
    let plain = back.without_last_headers(SentBack::HEADERS);
    let written = record(&[("h", "1")], &[], b"v");
    assert!(plain.headers().eq(written.headers()));
    assert_eq!(
        (plain.key(), plain.value(), plain.payload_bytes()),
        (Some(&b"k"[..]), Some(&b"v"[..]), written.payload_bytes())
    );
    assert_eq!(plain.held_bytes(), written.held_bytes());
}

#[test]
fn numbers_beyond_all_measure_leave_room_to_go_on_counting() {
    let said = SAID.map(|(name, old)| (name, if name == ATTEMPTS { "4294967295" } else { old }));
    let letter = Letter::read(&record(&[], &said, b"v")).expect("a letter");
    assert_eq!(letter.attempts, MOST_ATTEMPTS);
    let said = SentBack { source: (3, Offset(42)), attempts: letter.attempts, in_doubt: false }.headers("billing");
    let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(SentBack::read(&record(&[], &said, b"v"), "billing").map(|back| back.attempts), Some(MOST_ATTEMPTS));
}
