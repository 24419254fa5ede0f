//! `kafka-once redrive` where several letters, records or claims belong to one message.

use kafka_once::domain::claim::{ClaimValue, SessionId, Spent};
use kafka_once::domain::reasons::DeadLetterReason;
use kafka_once::domain::time::UnixMillis;

use crate::redrive::{assert_applied_once, assert_counts, requests};
use crate::support::letters::{Letter, Letters, dead};
use crate::support::load::stop;

/// The process died between the letter's acknowledgement and its mark, and a later owner gave the record up again.
#[test]
fn of_two_letters_of_one_record_the_doubt_is_told_whichever_is_sent() {
    let Some(letters) = Letters::new("redrive-copies") else { return };
    let first = |id, offset| Letter::new(id, id, offset);
    let again = |id, offset| {
        let reason = DeadLetterReason::Exhausted;
        Letter { reason, attempts: 7, in_doubt: true, ..Letter::new(id, id, offset) }
    };
    letters.write(&[first("left-out", 5), again("left-out", 5), first("alone", 6)]);
    assert_counts(&letters.redrive(&["--reason", "refused"]), &[("sent", 2), ("not_asked", 1)]);
    letters.write(&[first("settled", 7), again("settled", 7)]);
    assert_counts(&letters.redrive(&[]), &[("sent", 1), ("copies", 2), ("sent_before", 2)]);
    letters.refuse(false);
    let sidecar = letters.sidecar(&[]);
    letters.scene.await_applied(3);
    letters.await_settled();
    let expected = [("alone", false, 2), ("left-out", true, 8), ("settled", true, 8)];
    assert_eq!(requests(&letters, 0), expected.map(|(id, doubt, number)| (id.to_owned(), doubt, number)));
    stop(&sidecar);
}

/// The mark of the first record has expired; a producer's duplicate of the same message was given up after that.
#[test]
fn a_letter_whose_message_was_given_up_again_elsewhere_reaches_the_app() {
    let Some(letters) = Letters::new("redrive-elsewhere") else { return };
    let stood = |offset| (0, offset, 7_000);
    let older = Letter { reason: DeadLetterReason::Exhausted, stood: stood(5), ..Letter::new("x", "x", 0) };
    let newer = Letter { stood: stood(50), ..Letter::new("x", "x", 0) };
    letters.mark(&newer, dead);
    letters.write(&[older, newer]);
    assert_counts(&letters.redrive(&["--reason", "exhausted"]), &[("sent", 1), ("not_asked", 1)]);
    letters.refuse(false);
    let sidecar = letters.sidecar(&[]);
    assert_applied_once(&letters, std::iter::once("x".to_owned()));
    assert_counts(&letters.redrive(&[]), &[("done_since", 1), ("sent_before", 1)]);
    stop(&sidecar);
}

/// Its record's offset may be committed: then nobody but redrive would ever ask about it again.
#[test]
fn a_claim_whose_session_has_died_keeps_no_letter_and_is_taken_over_in_doubt() {
    let Some(letters) = Letters::new("redrive-orphan") else { return };
    let (session, in_doubt) = (SessionId([2; 16]), false);
    let spent = Spent { attempt: 3, retries: 1, deadline: UnixMillis(1) };
    letters.write(&[Letter::new("x", "x", 0)]);
    letters.mark(&Letter::new("x", "x", 0), |position, digest| ClaimValue::Claimed {
        session,
        spent,
        in_doubt,
        position,
        digest,
    });
    letters.live(session);
    assert_counts(&letters.redrive(&[]), &[("in_progress", 1)]);
    letters.die(session);
    assert_counts(&letters.redrive(&[]), &[("sent", 1)]);
    letters.refuse(false);
    let sidecar = letters.sidecar(&[]);
    letters.await_settled();
    assert_eq!(requests(&letters, 0), [("x".to_owned(), true, 4)]);
    stop(&sidecar);
}
