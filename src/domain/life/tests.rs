//! A record's life as sentences: what happened, and what must follow.

use super::*;
use crate::domain::record::Offset;
use crate::domain::time::Moment;
use crate::domain::verdict::Verdict;

const OURS: SessionId = SessionId([1; 16]);
const OTHER: SessionId = SessionId([2; 16]);
const PAYLOAD: Digest = Digest([7; 16]);
const ANOTHER_PAYLOAD: Digest = Digest([8; 16]);
const HERE: Position = Position { partition: 0, offset: Offset(5), timestamp: 1000 };
const ELSEWHERE: Position = Position { partition: 1, offset: Offset(9), timestamp: 1000 };

fn rules() -> Rules {
    Rules {
        app_timeout: Duration::from_secs(20),
        retry: RetryPolicy {
            attempts: Some(3),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
        },
        in_doubt: InDoubt::Repeat,
        id_reuse: IdReuse::DeadLetter,
        dead_letters: true,
        longest_wait: Duration::from_secs(1),
    }
}

/// Walks a life through events; keeps the effects of the last one.
struct Walk {
    life: Life,
    rules: Rules,
    session: SessionId,
    wall: u64,
    affords: bool,
    effects: Vec<Effect>,
}

impl Walk {
    fn with(rules: Rules) -> Self {
        let life = Life::new(HERE, PAYLOAD, false);
        Self { life, rules, session: OURS, wall: 1_000_000, affords: true, effects: Vec::new() }
    }

    fn new() -> Self {
        Self::with(rules())
    }

    fn on(mut self, event: Event) -> Self {
        let now = Now { moment: Moment(0), wall: UnixMillis(self.wall) };
        let scene = Scene { rules: &self.rules, session: self.session, now, chance: 0.5, affords: self.affords };
        let (life, effects) = step(self.life, event, &scene);
        (self.life, self.effects) = (life, effects.into_iter().collect());
        self
    }

    fn claimed() -> Self {
        Self::new().on(Event::Start).on(Event::Was(Stored::Nothing))
    }

    fn sending() -> Self {
        Self::claimed().on(Event::Slot)
    }

    fn answered(self, verdict: Verdict) -> Self {
        self.on(Event::Answered(Judgement { verdict, retry_after: None, status: None }))
    }

    fn effect(&self) -> Effect {
        self.effects[0]
    }

    fn ended(&self) -> Option<End> {
        match self.life.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    fn sent(&self) -> Option<(Delivery, u32)> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Send { delivery, attempt, .. } => Some((*delivery, *attempt)),
            _ => None,
        })
    }

    fn written(&self) -> ClaimValue {
        match self.effect() {
            Effect::Claim(value) | Effect::Mark(value) | Effect::Replace { value, .. } => value,
            other => panic!("{other:?} writes nothing"),
        }
    }
}

fn claimed_by(session: SessionId, position: Position, attempt: u32) -> ClaimValue {
    let spent = Spent { attempt, retries: 1, deadline: UnixMillis(5) };
    ClaimValue::Claimed { session, spent, in_doubt: false, position, digest: PAYLOAD }
}

fn letter_of(position: Position, attempts: u32, in_doubt: bool) -> SentBack {
    SentBack { source: (position.partition, position.offset), attempts, in_doubt }
}

fn dead_mark(position: Position, attempt: u32, in_doubt: bool) -> ClaimValue {
    ClaimValue::Dead { attempt, in_doubt, position, digest: PAYLOAD }
}

fn found(value: ClaimValue) -> Event {
    Event::Was(Stored::Value(value))
}

#[test]
fn a_new_message_is_claimed_sent_as_first_marked_and_delivered() {
    let walk = Walk::new().on(Event::Start);
    assert!(matches!(walk.effect(), Effect::Claim(ClaimValue::Claimed { session: OURS, .. })));
    let walk = walk.on(Event::Was(Stored::Nothing));
    assert_eq!(walk.effects, [Effect::Ready]);
    let walk = walk.on(Event::Slot);
    assert_eq!(walk.sent(), Some((Delivery::First, 1)));
    let walk = walk.answered(Verdict::Accepted);
    assert_eq!(walk.effects, [Effect::Mark(ClaimValue::Done { position: HERE, digest: PAYLOAD }), Effect::Accepted]);
    let mine = claimed_by(OURS, HERE, 1);
    assert_eq!(walk.on(found(mine)).ended(), Some(End::Delivered { overlap: false }));
}

#[test]
fn what_stands_under_the_key_decides() {
    let done = |position| ClaimValue::Done { position, digest: PAYLOAD };
    let dead = dead_mark(ELSEWHERE, 1, false);
    let duplicate = |cause| Some(End::Duplicate { cause, reused: false });
    let cases = [
        ("done, same position", done(HERE), duplicate(DuplicateCause::Redelivery)),
        ("done, another position", done(ELSEWHERE), duplicate(DuplicateCause::Producer)),
        ("dead", dead, duplicate(DuplicateCause::Producer)),
    ];
    for (what, value, end) in cases {
        assert_eq!(Walk::new().on(Event::Start).on(found(value)).ended(), end, "{what}");
    }
}

#[test]
fn a_claim_of_a_live_session_is_waited_for_and_then_settles_as_in_flight_duplicate() {
    let walk = Walk::new().on(Event::Start).on(found(claimed_by(OTHER, ELSEWHERE, 1)));
    assert_eq!(walk.effects, [Effect::AskAlive(OTHER)]);
    let walk = walk.on(Event::Alive(OTHER, true));
    assert!(matches!(walk.effect(), Effect::Wake(wait) if wait <= rules().longest_wait));
    let walk = walk.on(Event::Timer);
    assert!(matches!(walk.effect(), Effect::Claim(_)), "asked again");
    let walk = walk.on(found(ClaimValue::Done { position: ELSEWHERE, digest: PAYLOAD }));
    assert_eq!(walk.ended(), Some(End::Duplicate { cause: DuplicateCause::InFlight, reused: false }));
}

#[test]
fn a_dead_sessions_claim_is_taken_over_in_doubt_with_the_next_attempt() {
    let theirs = claimed_by(OTHER, HERE, 4);
    let walk = Walk::new().on(Event::Start).on(found(theirs)).on(Event::Alive(OTHER, false));
    assert!(matches!(walk.effect(), Effect::Replace { expected, .. } if expected == theirs));
    let walk = walk.on(Event::Replaced).on(Event::Slot);
    assert_eq!(walk.sent(), Some((Delivery::PossibleRepeat, 5)));
}

#[test]
fn a_lost_reply_leaves_our_own_claim_ours_and_first() {
    let walk = Walk::new().on(Event::Start);
    let mine = walk.written();
    assert_eq!(walk.on(found(mine)).on(Event::Slot).sent(), Some((Delivery::First, 1)));
}

#[test]
fn a_claim_of_ours_without_an_open_record_is_stale() {
    let walk = Walk::new().on(Event::Start).on(found(claimed_by(OURS, HERE, 1)));
    assert_eq!(walk.effects, [Effect::AwaitTwin]);
    let walk = walk.on(Event::NoTwin).on(Event::Replaced).on(Event::Slot);
    assert_eq!(walk.sent(), Some((Delivery::PossibleRepeat, 2)));
}

#[test]
fn the_same_id_with_another_payload_is_not_a_duplicate() {
    let other = ClaimValue::Done { position: ELSEWHERE, digest: ANOTHER_PAYLOAD };
    let walk = Walk::new().on(Event::Start).on(found(other));
    assert_eq!(walk.effects, [Effect::DeadLetter { reason: DeadLetterReason::IdReuse, attempts: 0, in_doubt: false }]);
    let walk = walk.on(Event::LetterSent);
    assert_eq!(walk.ended(), Some(End::DeadLettered(DeadLetterReason::IdReuse)), "and its mark is never touched");

    let lenient = Rules { id_reuse: IdReuse::Duplicate, ..rules() };
    let walk = Walk::with(lenient).on(Event::Start).on(found(other));
    assert_eq!(walk.ended(), Some(End::Duplicate { cause: DuplicateCause::Producer, reused: true }));
}

#[test]
fn each_verdict_has_its_consequence() {
    let dead = Effect::DeadLetter { reason: DeadLetterReason::Refused, attempts: 1, in_doubt: false };
    assert_eq!(Walk::sending().answered(Verdict::Refused).effects, [Effect::Draw, dead]);
    for verdict in [Verdict::Failed, Verdict::Unknown, Verdict::Overloaded] {
        let walk = Walk::sending().answered(verdict);
        assert!(matches!(walk.effect(), Effect::Wake(_)), "{verdict}: tried again later");
        let walk = walk.on(Event::Timer);
        assert!(matches!(walk.effect(), Effect::Replace { .. }), "{verdict}: the next attempt is written first");
        let delivery = if verdict == Verdict::Unknown { Delivery::PossibleRepeat } else { Delivery::First };
        assert_eq!(walk.on(Event::Replaced).on(Event::Slot).sent(), Some((delivery, 2)), "{verdict}");
    }
    let walk = Walk::sending().answered(Verdict::Unavailable);
    assert_eq!(walk.effects, [Effect::Ready], "nothing was sent");
    assert_eq!(walk.on(Event::Slot).sent(), Some((Delivery::First, 1)), "so the number is still free");
}

#[test]
fn doubt_survives_later_answers_that_are_certain() {
    let again = |walk: Walk| walk.on(Event::Timer).on(Event::Replaced).on(Event::Slot);
    let walk = again(Walk::sending().answered(Verdict::Unknown));
    let walk = again(walk.answered(Verdict::Failed));
    assert_eq!(walk.sent(), Some((Delivery::PossibleRepeat, 3)));
}

#[test]
fn only_failed_and_unknown_answers_spend_retries_and_the_last_one_ends_on_the_dead_letter_topic() {
    let mut walk = Walk::sending();
    for verdict in [Verdict::Failed, Verdict::Overloaded, Verdict::Unknown, Verdict::Overloaded] {
        walk = walk.answered(verdict).on(Event::Timer).on(Event::Replaced).on(Event::Slot);
    }
    let walk = walk.answered(Verdict::Failed);
    let dead = Effect::DeadLetter { reason: DeadLetterReason::Exhausted, attempts: 5, in_doubt: true };
    assert_eq!(walk.effects, [Effect::Draw, dead]);
    let walk = walk.on(Event::LetterFailed);
    assert!(matches!(walk.effect(), Effect::Wake(_)), "a dead-letter failure is backpressure");
    let walk = walk.on(Event::Timer).on(Event::LetterSent);
    assert_eq!(walk.written(), dead_mark(HERE, 5, true));
    let walk = walk.on(Event::Replaced);
    assert_eq!(walk.ended(), Some(End::DeadLettered(DeadLetterReason::Exhausted)));
}

#[test]
fn without_a_dead_letter_topic_the_record_blocks_its_lane_until_an_operator_acts() {
    let walk = Walk { rules: Rules { dead_letters: false, ..rules() }, ..Walk::sending() };
    let walk = walk.answered(Verdict::Refused);
    assert_eq!(walk.effects, [Effect::Blocked(DeadLetterReason::Refused)]);
    let walk = walk.on(Event::Timer);
    assert_eq!(walk.effects, []);
    assert!(matches!(walk.on(Event::Unblock).effect(), Effect::Replace { .. }));
}

#[test]
fn a_record_wanted_back_is_released_with_what_it_has_spent() {
    let walk = Walk::sending().answered(Verdict::Failed).on(Event::Leave);
    let ClaimValue::Released { spent, in_doubt, .. } = walk.written() else { panic!("{:?}", walk.effects) };
    assert_eq!((spent.attempt, spent.retries, in_doubt), (1, 1, false));
    assert_eq!(walk.on(Event::Replaced).ended(), Some(End::Released));

    let released = ClaimValue::Released { spent, in_doubt: false, position: HERE, digest: PAYLOAD };
    let next = Walk::new().on(Event::Start).on(found(released)).on(Event::Replaced).on(Event::Slot);
    assert_eq!(next.sent(), Some((Delivery::First, 2)), "an answered attempt leaves no doubt");
}

#[test]
fn a_late_answer_after_a_revoke_still_counts() {
    let walk = Walk::sending().on(Event::Leave);
    assert_eq!(walk.effects, []);
    assert!(matches!(walk.answered(Verdict::Accepted).effect(), Effect::Mark(ClaimValue::Done { .. })));
    let walk = Walk::sending().on(Event::Leave).answered(Verdict::Unknown);
    assert!(matches!(walk.written(), ClaimValue::Released { in_doubt: true, .. }));
}

#[test]
fn a_value_given_back_never_comes_again() {
    let spent = Spent { attempt: 1, retries: 1, deadline: UnixMillis(5) };
    let given_back = ClaimValue::Released { spent, in_doubt: true, position: HERE, digest: PAYLOAD };
    let walk = Walk::new().on(Event::Start).on(found(given_back)).on(Event::Replaced).on(Event::Leave);
    let Effect::Replace { value: again, .. } = walk.effect() else { panic!("{:?} gives nothing back", walk.effects) };
    assert_ne!(again, given_back, "a take-over that is carried out late would win a second time");
    let fresh = Walk::claimed().on(Event::Leave).written();
    assert!(
        matches!(fresh, ClaimValue::Released { spent: Spent { attempt: 0, .. }, .. }),
        "nothing was sent: {fresh:?}"
    );
}

#[test]
fn a_claim_taken_back_is_never_the_value_that_was_given_back() {
    let first = Walk::claimed();
    let before = Walk::new().on(Event::Start).written();
    let given_back = first.on(Event::Leave).written();
    let again = Walk::new().on(Event::Start).on(found(given_back));
    let Effect::Replace { value, .. } = again.effect() else { panic!("{:?} takes nothing over", again.effects) };
    assert_ne!(value, before, "a release of the first claim that is carried out late would undo the second one");
    assert_eq!(again.on(Event::Replaced).on(Event::Slot).sent(), Some((Delivery::First, 1)), "nothing was sent before");
}

#[test]
fn a_claim_won_from_a_store_that_has_forgotten_meanwhile_is_in_doubt() {
    let mut asking = Walk::new().on(Event::Start);
    asking.life.doubt();
    let walk = asking.on(Event::Was(Stored::Nothing)).on(Event::Slot);
    assert_eq!(walk.sent(), Some((Delivery::PossibleRepeat, 1)));
}

#[test]
fn doubt_survives_a_claim_that_vanishes_while_it_is_taken_over() {
    let taking = Walk::new().on(Event::Start).on(found(claimed_by(OTHER, HERE, 3))).on(Event::Alive(OTHER, false));
    let walk = taking.on(Event::NotReplaced(Stored::Nothing)).on(Event::Was(Stored::Nothing)).on(Event::Slot);
    let sent = walk.sent().map(|(delivery, attempt)| (delivery, attempt > 3));
    assert_eq!(sent, Some((Delivery::PossibleRepeat, true)));
}

#[test]
fn a_request_that_is_cut_off_is_released_in_doubt() {
    let walk = Walk::sending().on(Event::CutOff);
    assert!(matches!(walk.written(), ClaimValue::Released { in_doubt: true, .. }));
}

#[test]
fn an_accepted_record_is_settled_at_the_deadline_though_its_mark_is_missing() {
    let walk = Walk::sending().answered(Verdict::Accepted).on(Event::CutOff);
    assert_eq!(walk.ended(), Some(End::Delivered { overlap: false }));
}

#[test]
fn after_a_fence_what_was_sent_is_in_doubt_even_if_the_store_forgot_the_claim() {
    let walk = Walk::sending().on(Event::Fenced);
    assert_eq!(walk.effects, [Effect::Restart]);
    let walk = Walk { session: OTHER, ..walk }.on(Event::Start).on(Event::Was(Stored::Nothing)).on(Event::Slot);
    assert_eq!(walk.sent(), Some((Delivery::PossibleRepeat, 2)), "and its attempt number is not used twice");
}

#[test]
fn a_claim_that_became_old_is_renewed_before_it_is_sent() {
    let walk = Walk { wall: 1_000_000 + 30_000, ..Walk::claimed() }.on(Event::Slot);
    let ClaimValue::Claimed { spent, .. } = walk.written() else { panic!("{:?}", walk.effects) };
    assert_eq!(spent.attempt, 1, "nothing was sent under the old deadline");
    assert_eq!(walk.on(Event::Replaced).on(Event::Slot).sent(), Some((Delivery::First, 1)));
}

#[test]
fn in_doubt_the_app_is_asked_only_after_the_earlier_deadline_and_a_no_makes_it_first_again() {
    let lookup = Rules { in_doubt: InDoubt::Lookup, ..rules() };
    let theirs = ClaimValue::Claimed {
        session: OTHER,
        spent: Spent { attempt: 1, retries: 0, deadline: UnixMillis(1_005_000) },
        in_doubt: false,
        position: HERE,
        digest: PAYLOAD,
    };
    let taken =
        Walk::with(lookup).on(Event::Start).on(found(theirs)).on(Event::Alive(OTHER, false)).on(Event::Replaced);
    let early = taken.on(Event::Slot);
    assert_eq!(early.effects, [Effect::Wake(Duration::from_secs(5) + CLOCK_MARGIN)]);
    let margin = u64::try_from(CLOCK_MARGIN.as_millis()).expect("short");
    let later = Walk { wall: 1_005_000 + margin - 1, ..early.on(Event::Timer) }.on(Event::Slot);
    assert_eq!(later.effects, [Effect::Wake(Duration::from_millis(1))]);
    let asking = Walk { wall: 1_005_000 + margin, ..later.on(Event::Timer) }.on(Event::Slot);
    assert_eq!(asking.effects, [Effect::LookUp]);
    let absent = asking.on(Event::LookedUpAbsent).on(Event::Slot);
    assert_eq!(absent.sent(), Some((Delivery::First, 2)));
}

#[test]
fn a_lookup_that_says_applied_settles_without_a_request() {
    let lookup = Rules { in_doubt: InDoubt::Lookup, ..rules() };
    let walk = Walk::with(lookup).on(Event::Start).on(found(claimed_by(OTHER, HERE, 1))).on(Event::Alive(OTHER, false));
    let walk = walk.on(Event::Replaced).on(Event::Slot);
    assert_eq!(walk.effects, [Effect::LookUp]);
    assert!(matches!(walk.on(Event::LookedUpApplied).effect(), Effect::Mark(ClaimValue::Done { .. })));
}

#[test]
fn in_doubt_a_person_decides_when_the_settings_say_so() {
    let person = Rules { in_doubt: InDoubt::DeadLetter, ..rules() };
    let walk = Walk::with(person).on(Event::Start).on(found(claimed_by(OTHER, HERE, 1))).on(Event::Alive(OTHER, false));
    let walk = walk.on(Event::Replaced).on(Event::Slot);
    assert_eq!(walk.effect(), Effect::DeadLetter { reason: DeadLetterReason::InDoubt, attempts: 1, in_doubt: true });
}

#[test]
fn a_mark_over_another_sessions_claim_is_an_overlap() {
    let marking = || Walk::sending().answered(Verdict::Accepted);
    let cases = [
        (Stored::Nothing, false),
        (Stored::Value(claimed_by(OURS, HERE, 1)), false),
        (Stored::Value(ClaimValue::Done { position: HERE, digest: PAYLOAD }), false),
        (Stored::Value(claimed_by(OTHER, HERE, 2)), true),
        (Stored::Value(claimed_by(OURS, ELSEWHERE, 1)), true),
        (Stored::Foreign, true),
    ];
    for (before, overlap) in cases {
        assert_eq!(marking().on(Event::Was(before)).ended(), Some(End::Delivered { overlap }), "{before:?}");
    }
}

#[test]
fn an_event_that_does_not_fit_changes_nothing() {
    let late =
        [Event::Slot, Event::Timer, Event::Replaced, Event::LetterSent, Event::Alive(OTHER, false), Event::NoTwin];
    for event in late {
        let before = Walk::sending();
        let life = before.life;
        let after = before.on(event);
        assert_eq!((after.life, after.effects.len()), (life, 0), "{event:?}");
    }
}

#[test]
fn an_answer_about_another_session_takes_nothing_over() {
    const THIRD: SessionId = SessionId([3; 16]);
    let waiting = Walk::new().on(Event::Start).on(found(claimed_by(OTHER, HERE, 1)));
    let life = waiting.life;
    let after = waiting.on(Event::Alive(THIRD, false));
    assert_eq!((after.life, after.effects.len()), (life, 0));
}

#[test]
fn a_leaving_record_never_blocks_it_is_given_back() {
    let walk = Walk { rules: Rules { dead_letters: false, ..rules() }, ..Walk::sending() };
    let walk = walk.on(Event::Leave).answered(Verdict::Refused);
    assert!(matches!(walk.written(), ClaimValue::Released { in_doubt: false, .. }));
}

#[test]
fn a_blocked_record_is_claimed_anew_after_a_fence() {
    let walk = Walk { rules: Rules { dead_letters: false, ..rules() }, ..Walk::sending() };
    let walk = walk.answered(Verdict::Refused).on(Event::Fenced);
    assert_eq!((walk.life.state, walk.effects.as_slice()), (State::Waiting, [Effect::Restart].as_slice()));
}

#[test]
fn a_claim_won_before_the_loss_of_memory_was_noticed_is_in_doubt() {
    let mut walk = Walk::claimed();
    walk.life.doubt();
    assert_eq!(walk.on(Event::Slot).sent(), Some((Delivery::PossibleRepeat, 1)));
}

#[test]
fn a_claim_rests_in_the_store_exactly_while_nothing_about_it_is_on_its_way() {
    let sending = Walk::sending();
    let written = Walk::new().on(Event::Start).written();
    let blocked =
        Walk { rules: Rules { dead_letters: false, ..rules() }, ..Walk::sending() }.answered(Verdict::Refused);
    for (what, walk, rests) in [
        ("waiting", Walk::new(), false),
        ("claiming", Walk::new().on(Event::Start), false),
        ("claimed", Walk::claimed(), true),
        ("sending", sending, true),
        ("backing off", Walk::sending().answered(Verdict::Failed), true),
        ("on its way to the dead-letter topic", Walk::sending().answered(Verdict::Refused), true),
        ("blocked", blocked, true),
        ("renewing", Walk::sending().answered(Verdict::Failed).on(Event::Timer), false),
        ("marking", Walk::sending().answered(Verdict::Accepted), false),
        ("releasing", Walk::claimed().on(Event::Leave), false),
    ] {
        assert_eq!(walk.life.resting_claim(), rests.then_some(written), "{what}");
    }
}

#[test]
fn dead_is_never_written_over_what_another_session_wrote_while_the_letter_was_on_its_way() {
    let sent = || Walk::sending().answered(Verdict::Refused).on(Event::Fenced).on(Event::LetterSent);
    let dead = dead_mark(HERE, 1, false);
    let over_ours = |effect| matches!(effect, Effect::Replace { expected: ClaimValue::Claimed { session: OURS, .. }, value } if value == dead);
    assert!(over_ours(sent().effect()), "{:?}", sent().effects);
    let ended = Some(End::DeadLettered(DeadLetterReason::Refused));
    for stands in [ClaimValue::Done { position: ELSEWHERE, digest: PAYLOAD }, claimed_by(OTHER, HERE, 2), dead] {
        let walk = sent().on(Event::NotReplaced(Stored::Value(stands)));
        assert_eq!((walk.ended(), walk.effects.len()), (ended, 1), "{stands:?} is left as it is");
    }
    let walk = sent().on(Event::NotReplaced(Stored::Nothing));
    assert_eq!(walk.effects, [Effect::Claim(dead)], "only where nothing stands");
    assert_eq!(walk.on(found(claimed_by(OTHER, HERE, 2))).ended(), ended);
}

#[test]
fn another_hosts_deadline_is_trusted_with_a_margin_and_our_own_without() {
    let lookup = Rules { in_doubt: InDoubt::Lookup, ..rules() };
    let ours = Walk::with(lookup).on(Event::Start).on(Event::Was(Stored::Nothing)).on(Event::Slot);
    let waits = Walk { wall: 1_020_000, ..ours }.answered(Verdict::Unknown).on(Event::Timer).on(Event::Replaced);
    assert_eq!(waits.on(Event::Slot).effects, [Effect::LookUp], "our own clock says that the time is over");
}

#[test]
fn what_the_app_gives_up_beyond_its_budget_blocks_and_is_tried_again_with_the_retries_it_has_spent() {
    for (verdict, reason) in
        [(Verdict::Refused, DeadLetterReason::Refused), (Verdict::Failed, DeadLetterReason::Exhausted)]
    {
        let mut walk = Walk::sending();
        walk.rules.retry.attempts = Some(1);
        let affordable = walk.answered(verdict);
        assert_eq!(affordable.effects, [Effect::Draw, Effect::DeadLetter { reason, attempts: 1, in_doubt: false }]);
        let mut walk = Walk::sending();
        (walk.rules.retry.attempts, walk.affords) = (Some(1), false);
        let walk = walk.answered(verdict);
        assert_eq!(walk.effects, [Effect::Blocked(reason)]);
        let walk = walk.on(Event::Probe).on(Event::Replaced).on(Event::Slot);
        assert_eq!(walk.sent(), Some((Delivery::First, 2)));
        let walk = walk.answered(Verdict::Failed);
        assert_eq!(walk.effects.len(), 1, "{:?}", walk.effects);
        match reason {
            DeadLetterReason::Exhausted => assert_eq!(walk.effects, [Effect::Blocked(reason)], "it has none left"),
            _ => assert_eq!(walk.effects, [Effect::Blocked(DeadLetterReason::Exhausted)]),
        }
        let accepted = walk.on(Event::Probe).on(Event::Replaced).on(Event::Slot).answered(Verdict::Accepted);
        assert!(matches!(accepted.effect(), Effect::Mark(_)));
    }
}

#[test]
fn a_letter_that_was_not_taken_costs_the_budget_no_second_time_and_what_is_no_answer_costs_it_nothing() {
    let walk = Walk::sending().answered(Verdict::Refused).on(Event::LetterFailed);
    assert!(matches!(walk.effect(), Effect::Wake(_)));
    let walk = walk.on(Event::Timer);
    assert_eq!(walk.effects, [Effect::DeadLetter { reason: DeadLetterReason::Refused, attempts: 1, in_doubt: false }]);
    let mut walk = Walk::new();
    walk.affords = false;
    let walk = walk.on(Event::Unfit(DeadLetterReason::MissingId));
    assert_eq!(
        walk.effects,
        [Effect::DeadLetter { reason: DeadLetterReason::MissingId, attempts: 0, in_doubt: false }]
    );
}

#[test]
fn while_it_leaves_a_record_beyond_the_budget_is_given_back() {
    let mut walk = Walk::sending().on(Event::Leave);
    walk.affords = false;
    let walk = walk.answered(Verdict::Refused);
    assert!(matches!(walk.effect(), Effect::Replace { value: ClaimValue::Released { .. }, .. }));
}

/// A life that was sent back and asks for its claim.
fn back(rules: Rules, letter: SentBack, position_made: bool) -> Walk {
    let mut walk = Walk::with(rules);
    walk.life = walk.life.sent_back(letter, position_made);
    walk.on(Event::Start)
}

/// What a life that was sent back finds under its key, taken over where that has to be, and then has its turn.
fn takes(walk: Walk, before: Stored) -> Walk {
    let walk = walk.on(Event::Was(before));
    let walk = match walk.life.state {
        State::TakingOver { .. } => walk.on(Event::Replaced),
        _ => walk,
    };
    walk.on(Event::Slot)
}

fn is_given_up(walk: &Walk) -> bool {
    matches!(walk.effect(), Effect::DeadLetter { reason: DeadLetterReason::InDoubt, .. })
}

#[test]
fn what_a_person_has_sent_back_in_doubt_is_repeated_also_where_doubt_goes_to_a_person_until_there_is_another_doubt() {
    let person = Rules { in_doubt: InDoubt::DeadLetter, ..rules() };
    let asks = || back(person, letter_of(ELSEWHERE, 3, true), false);
    let mark = || Stored::Value(dead_mark(ELSEWHERE, 3, true));
    for before in [Stored::Nothing, mark()] {
        let sent = takes(asks(), before);
        assert_eq!(sent.sent(), Some((Delivery::PossibleRepeat, 4)));
        let again = |walk: Walk| walk.on(Event::Timer).on(Event::Replaced).on(Event::Slot);
        let busy = again(takes(asks(), before).answered(Verdict::Overloaded));
        assert_eq!(busy.sent(), Some((Delivery::PossibleRepeat, 5)), "no doubt is new");
        let failed = again(busy.answered(Verdict::Failed));
        assert_eq!(failed.sent(), Some((Delivery::PossibleRepeat, 6)), "no doubt is new");
        assert!(is_given_up(&again(sent.answered(Verdict::Unknown))), "that is another doubt");
    }
    let fenced = takes(asks(), mark()).on(Event::Fenced).on(Event::Start);
    assert!(is_given_up(&takes(fenced, Stored::Nothing)), "a request was open");

    let mut forgotten = Walk::with(person);
    forgotten.life = Life::new(HERE, PAYLOAD, true).sent_back(letter_of(ELSEWHERE, 3, true), false);
    assert!(is_given_up(&takes(forgotten.on(Event::Start), Stored::Nothing)), "nobody knew of that doubt");
    let mut doubted = asks();
    doubted.life.doubt();
    assert!(is_given_up(&takes(doubted, Stored::Nothing)), "nor of that");
    let stale = asks().on(found(claimed_by(OTHER, HERE, 4))).on(Event::Alive(OTHER, false)).on(Event::Replaced);
    assert!(is_given_up(&stale.on(Event::Slot)), "it may have been sent");
}

#[test]
fn what_is_sent_back_and_given_back_before_it_was_sent_counts_no_request() {
    let person = Rules { in_doubt: InDoubt::DeadLetter, ..rules() };
    let asks = || back(person, letter_of(ELSEWHERE, 3, true), false);
    for before in [Stored::Nothing, Stored::Value(dead_mark(ELSEWHERE, 3, true))] {
        let walk = asks().on(Event::Was(before));
        let walk = if before == Stored::Nothing { walk } else { walk.on(Event::Replaced) };
        let released = walk.on(Event::Leave).written();
        assert!(matches!(released, ClaimValue::Released { spent: Spent { attempt: 3, .. }, in_doubt: true, .. }));
        assert_eq!(takes(asks(), Stored::Value(released)).sent(), Some((Delivery::PossibleRepeat, 4)));
    }
}

/// The mark of its own letter is taken over; whoever else finds that mark is a duplicate.
#[test]
fn what_is_sent_back_goes_on_counting_where_its_letter_stopped() {
    let settled = |cause| Some(End::Duplicate { cause, reused: false });
    for (in_doubt, delivery) in [(false, Delivery::First), (true, Delivery::PossibleRepeat)] {
        let letter = letter_of(ELSEWHERE, 3, in_doubt);
        let asks = || back(rules(), letter, false);
        let over = asks().on(found(dead_mark(ELSEWHERE, 3, in_doubt)));
        assert!(matches!(over.effect(), Effect::Replace { expected: ClaimValue::Dead { .. }, .. }));
        assert_eq!(over.on(Event::Replaced).on(Event::Slot).sent(), Some((delivery, 4)));
        let forgotten = takes(asks(), Stored::Nothing);
        assert_eq!(forgotten.sent(), Some((delivery, 4)), "whatever Redis has forgotten");
        let refused = forgotten.answered(Verdict::Refused);
        let again = Effect::DeadLetter { reason: DeadLetterReason::Refused, attempts: 4, in_doubt };
        assert_eq!(refused.effects, [Effect::Draw, again]);

        let redelivered = asks().on(found(dead_mark(HERE, 3, in_doubt))).ended();
        let own = back(rules(), letter_of(HERE, 3, in_doubt), false).on(found(dead_mark(HERE, 3, in_doubt))).ended();
        assert_eq!([redelivered, own], [settled(DuplicateCause::Redelivery); 2]);
        let behind = Position { offset: Offset(10), ..ELSEWHERE };
        for other in [dead_mark(behind, 3, in_doubt), ClaimValue::Done { position: ELSEWHERE, digest: PAYLOAD }] {
            assert_eq!(asks().on(found(other)).ended(), settled(DuplicateCause::Producer), "{other:?}");
        }
        let position = ELSEWHERE;
        let other = ClaimValue::Dead { attempt: 3, in_doubt, position, digest: ANOTHER_PAYLOAD };
        let effect = asks().on(found(other)).effect();
        assert!(matches!(effect, Effect::DeadLetter { reason: DeadLetterReason::IdReuse, .. }));
    }
}

/// There may be a later letter of the same record than the one that was sent back: the mark is of the last one.
#[test]
fn what_the_mark_of_a_letter_says_counts_beside_what_the_letter_said() {
    for (letter, mark, sent) in [
        (letter_of(ELSEWHERE, 1, false), dead_mark(ELSEWHERE, 11, true), (Delivery::PossibleRepeat, 12)),
        (letter_of(ELSEWHERE, 11, true), dead_mark(ELSEWHERE, 1, false), (Delivery::PossibleRepeat, 12)),
        (letter_of(ELSEWHERE, 1, false), dead_mark(ELSEWHERE, 2, false), (Delivery::First, 3)),
    ] {
        assert_eq!(takes(back(rules(), letter, false), Stored::Value(mark)).sent(), Some(sent), "{letter:?} {mark:?}");
    }
}

/// A lookup that comes while the last request may still be at work could say "not applied" too early.
#[test]
fn what_is_sent_back_in_doubt_is_looked_up_once_its_last_request_is_surely_over() {
    let lookup = Rules { in_doubt: InDoubt::Lookup, ..rules() };
    for before in [Stored::Nothing, Stored::Value(dead_mark(ELSEWHERE, 3, true))] {
        let mut walk = takes(back(lookup, letter_of(ELSEWHERE, 3, true), false), before);
        assert!(matches!(walk.effect(), Effect::Wake(_)), "{:?}", walk.effects);
        walk.wall += 30_000;
        assert_eq!(walk.on(Event::Timer).on(Event::Slot).effects, [Effect::LookUp]);
    }
}

/// The app knows its first request by another ID, whatever it says of this one.
#[test]
fn what_is_sent_back_in_doubt_under_a_new_id_is_never_looked_up_by_that() {
    let lookup = Rules { in_doubt: InDoubt::Lookup, ..rules() };
    let sent = || takes(back(lookup, letter_of(ELSEWHERE, 3, true), true), Stored::Nothing);
    assert_eq!(sent().sent(), Some((Delivery::PossibleRepeat, 4)));
    for verdict in [Verdict::Overloaded, Verdict::Failed, Verdict::Unknown] {
        let mut walk = sent().answered(verdict);
        walk.wall += 30_000;
        let again = walk.on(Event::Timer).on(Event::Replaced).on(Event::Slot);
        assert_eq!(again.sent(), Some((Delivery::PossibleRepeat, 5)), "{verdict}");
    }
    let certain = takes(back(lookup, letter_of(ELSEWHERE, 3, false), true), Stored::Nothing);
    let mut doubted = certain.answered(Verdict::Unknown);
    doubted.wall += 30_000;
    let again = doubted.on(Event::Timer).on(Event::Replaced).on(Event::Slot);
    assert_eq!(again.effects, [Effect::LookUp], "that doubt is of a request under this ID");
}

/// What was sent under a key that somebody else writes over, nobody knows.
#[test]
fn a_letter_of_a_record_whose_key_is_not_ours_is_in_doubt() {
    let foreign = || Stored::Foreign;
    let letter = |attempts| Effect::DeadLetter { reason: DeadLetterReason::Unreadable, attempts, in_doubt: true };
    assert_eq!(Walk::new().on(Event::Start).on(Event::Was(foreign())).effects, [letter(0)]);
    let released = Spent { attempt: 2, retries: 1, deadline: UnixMillis(5) };
    let released = ClaimValue::Released { spent: released, in_doubt: false, position: HERE, digest: PAYLOAD };
    let taking = Walk::new().on(Event::Start).on(found(released)).on(Event::NotReplaced(foreign()));
    assert!(
        matches!(taking.effect(), Effect::DeadLetter { attempts: 2 | 3, in_doubt: true, .. }),
        "{:?}",
        taking.effects
    );
    let renewing = Walk::sending().answered(Verdict::Failed).on(Event::Timer).on(Event::NotReplaced(foreign()));
    assert!(matches!(renewing.effect(), Effect::DeadLetter { attempts: 1 | 2, in_doubt: true, .. }));
}

/// What the store forgot is noticed late now and then: whatever follows on a request under way says what is known by then.
#[test]
fn doubt_that_comes_while_a_request_is_open_is_told_by_what_follows_on_it() {
    let doubted = |mut walk: Walk| {
        walk.life.doubt();
        walk
    };
    let again = doubted(Walk::sending()).answered(Verdict::Failed).on(Event::Timer).on(Event::Replaced);
    assert_eq!(again.on(Event::Slot).sent(), Some((Delivery::PossibleRepeat, 2)));
    let letter = Effect::DeadLetter { reason: DeadLetterReason::Refused, attempts: 1, in_doubt: true };
    assert_eq!(doubted(Walk::sending()).answered(Verdict::Refused).effects, [Effect::Draw, letter]);
    let failed = doubted(Walk::sending().answered(Verdict::Refused)).on(Event::LetterFailed).on(Event::Timer);
    assert_eq!(failed.effects, [letter], "the letter that is written again says so");
    let mut blocked = Walk::with(Rules { dead_letters: false, ..rules() }).on(Event::Start);
    blocked = doubted(blocked.on(Event::Was(Stored::Nothing)).on(Event::Slot).answered(Verdict::Refused));
    let again = blocked.on(Event::Unblock).on(Event::Replaced).on(Event::Slot);
    assert_eq!(again.sent(), Some((Delivery::PossibleRepeat, 2)));
    let released = ClaimValue::Released { spent: Spent::default(), in_doubt: false, position: HERE, digest: PAYLOAD };
    let taking = doubted(Walk::new().on(Event::Start).on(found(released))).on(Event::Replaced).on(Event::Slot);
    assert_eq!(taking.sent(), Some((Delivery::PossibleRepeat, 1)));
}

/// The topic refuses, and the partition went to somebody else, who waits for this claim.
#[test]
fn a_letter_that_is_not_taken_while_its_record_leaves_is_given_back() {
    let failed = |leaves: bool| {
        let walk = Walk::sending().answered(Verdict::Failed).on(Event::Timer).on(Event::Replaced).on(Event::Slot);
        let walk = walk.answered(Verdict::Refused);
        let walk = if leaves { walk.on(Event::Leave) } else { walk };
        assert!(matches!(walk.life.state, State::DeadLettering { .. }), "what has begun is finished");
        walk.on(Event::LetterFailed)
    };
    assert!(matches!(failed(false).effects[..], [Effect::Wake(_)]));
    let walk = failed(true);
    let ClaimValue::Released { spent, in_doubt, .. } = walk.written() else { panic!("{:?}", walk.effects) };
    assert_eq!((spent.attempt, spent.retries, in_doubt), (2, 1, false), "with what it has spent");
    assert_eq!(walk.on(Event::Replaced).ended(), Some(End::Released));

    let unfit = || Walk::new().on(Event::Unfit(DeadLetterReason::MissingId)).on(Event::Leave);
    assert_eq!(unfit().on(Event::LetterFailed).ended(), Some(End::Released), "there is no claim to give back");
    assert_eq!(unfit().on(Event::LetterSent).ended(), Some(End::DeadLettered(DeadLetterReason::MissingId)));
}

#[test]
fn what_a_record_waits_for_is_known_also_where_it_spends_no_retry() {
    let waits = |walk: &Walk| walk.life.waits_for(walk.rules.in_doubt);
    let again = |walk: Walk| walk.on(Event::Timer).on(Event::Replaced);
    for walk in [Walk::new(), Walk::claimed(), Walk::sending(), Walk::sending().answered(Verdict::Unavailable)] {
        assert_eq!(waits(&walk), None, "{:?}", walk.life.state);
    }
    let failed = again(Walk::sending().answered(Verdict::Failed));
    assert_eq!(waits(&failed), Some(Wait::Retry(1)));
    let put_off = again(failed.on(Event::Slot).answered(Verdict::Overloaded));
    assert_eq!(waits(&put_off), Some(Wait::PutOff(1)), "the last answer counts");
    let sent = put_off.on(Event::Slot);
    assert_eq!(waits(&sent), Some(Wait::PutOff(1)));
    assert_eq!(waits(&sent.answered(Verdict::Failed)), Some(Wait::Retry(2)));

    let held = Walk::new().on(Event::Start).on(found(claimed_by(OTHER, ELSEWHERE, 1))).on(Event::Alive(OTHER, true));
    assert_eq!(waits(&held), Some(Wait::Session));
    assert_eq!(waits(&held.on(Event::Timer)), Some(Wait::Session), "it just looks again");

    let lookup = Rules { in_doubt: InDoubt::Lookup, ..rules() };
    let asking = || {
        let walk = Walk::with(lookup).on(Event::Start).on(found(claimed_by(OTHER, HERE, 1)));
        walk.on(Event::Alive(OTHER, false)).on(Event::Replaced).on(Event::Slot)
    };
    assert_eq!(waits(&asking()), Some(Wait::Lookup));
    let unclear = asking().on(Event::LookedUpUnclear);
    assert_eq!(waits(&unclear), Some(Wait::Lookup));
    assert_eq!(waits(&unclear.on(Event::Timer)), Some(Wait::Lookup));
    assert_eq!(waits(&asking().on(Event::LookedUpAbsent).on(Event::Slot)), Some(Wait::Retry(1)), "spent by the other");

    let blocked = Walk { rules: Rules { dead_letters: false, ..rules() }, ..Walk::sending() };
    assert_eq!(waits(&blocked.answered(Verdict::Refused)), Some(Wait::GivenUp(DeadLetterReason::Refused)));
}
