//! What every store of claims must do, whatever it is made of: one suite for all adapters of the port `Claims`.
//!
//! Included by `#[path]`; the includer brings the crate as `once`.

use std::collections::HashSet;
use std::time::Duration;

use super::once::domain::claim::{ClaimValue, Digest, IdHash, SessionId, Spent, Stored};
use super::once::domain::past::{Landmark, Past};
use super::once::domain::past_codec::{self, Owner};
use super::once::domain::record::{NextOffset, Offset, Position, TopicPartition};
use super::once::domain::time::UnixMillis;
use super::once::ports::{ClaimBatch, ClaimCommand, ClaimReply, Claims, Keeping, StoredPast};

/// How long test keys live: longer than any test takes.
const KEEP: Duration = Duration::from_secs(3600);

/// One store and a hand that reaches behind its port.
pub trait World {
    type Store: Claims;

    /// Another client of the same store.
    async fn client(&self) -> Self::Store;
    /// Bytes that are no value of ours under an ID's key.
    async fn plant_garbage(&self, id: IdHash);
    /// A key of another type than we write.
    async fn plant_other_type(&self, id: IdHash);
    /// Bytes where a partition's past is kept.
    async fn plant_past(&self, partition: &TopicPartition, bytes: &[u8]);
    /// Everything is gone.
    async fn forget_all(&self);
    /// How long an ID's key has to live.
    async fn remaining(&self, id: IdHash) -> Option<Duration>;
    /// How long a session's key has to live.
    async fn session_remaining(&self, session: SessionId) -> Option<Duration>;
    /// Moves time to the end of an ID's key.
    async fn expire(&self, id: IdHash);
    /// Moves time to the end of a session's key.
    async fn expire_session(&self, session: SessionId);
}

/// Runs the whole suite against one store; each case uses IDs of its own.
pub async fn every_case<W: World>(world: &W) {
    a_claim_is_won_once(world).await;
    a_lost_reply_reads_back_our_own_claim(world).await;
    a_claim_that_expired_is_new_again(world).await;
    replace_compares_and_sets(world).await;
    a_claim_replaced_by_itself_lives_on(world).await;
    a_mark_is_written_over_whatever_stands_there(world).await;
    a_mark_is_shortened_and_never_prolonged(world).await;
    values_survive_byte_for_byte(world).await;
    a_session_lives_until_it_expires_or_is_closed(world).await;
    a_sentinel_is_made_once_and_anew_when_it_is_gone(world).await;
    a_foreign_value_spoils_only_its_own_command(world).await;
    batches_of_any_size_are_answered_in_order(world).await;
    of_two_clients_that_race_one_wins(world).await;
    a_past_is_kept_by_the_last_who_took_it_and_by_nobody_else(world).await;
    a_past_of_another_version_stays_until_it_is_overwritten(world).await;
    many_large_pasts_are_kept_and_taken_in_order(world).await;
}

/// A partition's past whose last settled record stood at `offset`.
fn past(owner: Owner, offset: i64) -> Vec<u8> {
    let mut past = Past::none(NextOffset(offset + 1));
    past.settled = Some(Landmark { offset: Offset(offset), timestamp: 7 });
    past_codec::encode(owner, u64::try_from(offset).expect("an offset"), &past)
}

/// The same as its next owner finds it, who has not written yet.
fn taken(owner: Owner, offset: i64) -> StoredPast {
    let mut past = past(owner, offset);
    past[..past_codec::HEADER].copy_from_slice(&past_codec::header(owner, 0));
    StoredPast::Bytes(past)
}

async fn take<C: Claims>(store: &C, partition: &TopicPartition, owner: Owner) -> StoredPast {
    let taken = store.take_pasts(vec![(partition.clone(), owner)]).await.expect("the store answers");
    taken.into_iter().next().expect("an answer for each")
}

async fn keep<C: Claims>(store: &C, partition: &TopicPartition, past: Vec<u8>) -> Keeping {
    store.keep_pasts(vec![(partition.clone(), past)]).await.expect("the store answers")[0]
}

async fn a_past_is_kept_by_the_last_who_took_it_and_by_nobody_else<W: World>(world: &W) {
    let (old, new) = (world.client().await, world.client().await);
    let (first, second) = (Owner([1; 16]), Owner([2; 16]));
    let at = |partition| TopicPartition { topic: "past".into(), partition };
    assert_eq!(take(&old, &at(0), first).await, StoredPast::Nothing);
    assert_eq!(keep(&old, &at(0), past(first, 5)).await, Keeping::Kept);
    assert_eq!(take(&old, &at(1), first).await, StoredPast::Nothing, "each partition has its own");
    assert_eq!(take(&new, &at(0), second).await, StoredPast::Bytes(past(first, 5)));
    assert_eq!(keep(&old, &at(0), past(first, 6)).await, Keeping::NotOurs, "it has lost the partition");
    assert_eq!(take(&new, &at(0), second).await, taken(second, 5), "a lost reply");
    assert_eq!(keep(&new, &at(0), past(second, 9)).await, Keeping::Kept);
    assert_eq!(keep(&old, &at(0), past(first, 7)).await, Keeping::NotOurs);
    assert_eq!(keep(&new, &at(0), past(second, 8)).await, Keeping::Kept, "one that was on its way for long");
    assert_eq!(take(&new, &at(0), second).await, StoredPast::Bytes(past(second, 9)), "and the later one still stands");
    world.forget_all().await;
    assert_eq!(
        keep(&new, &at(0), past(second, 10)).await,
        Keeping::Kept,
        "who holds it goes on after a loss of memory"
    );
}

async fn a_past_of_another_version_stays_until_it_is_overwritten<W: World>(world: &W) {
    let store = world.client().await;
    let (at, owner) = (TopicPartition { topic: "other".into(), partition: 0 }, Owner([1; 16]));
    for foreign in [vec![9; 40], vec![1, 2, 3], Vec::new()] {
        world.plant_past(&at, &foreign).await;
        assert_eq!(take(&store, &at, owner).await, StoredPast::Bytes(foreign.clone()));
        assert_eq!(take(&store, &at, owner).await, StoredPast::Bytes(foreign), "a lost reply");
        assert_eq!(keep(&store, &at, past(owner, 1)).await, Keeping::Kept);
    }
}

async fn many_large_pasts_are_kept_and_taken_in_order<W: World>(world: &W) {
    let (store, owner) = (world.client().await, Owner([1; 16]));
    let at = |partition| TopicPartition { topic: "large".into(), partition };
    let large = |partition: i32| {
        let mut large = past(owner, i64::from(partition));
        large.resize(300 * 1024, 0);
        large
    };
    let all: Vec<_> = (0..10).map(|partition| (at(partition), owner)).collect();
    store.take_pasts(all.clone()).await.expect("taken");
    let kept = store.keep_pasts((0..10).map(|partition| (at(partition), large(partition))).collect()).await;
    assert_eq!(kept, Ok(vec![Keeping::Kept; 10]));
    let stored: Vec<_> = (0..10).map(|partition| StoredPast::Bytes(large(partition))).collect();
    assert_eq!(store.take_pasts(all).await, Ok(stored));
}

fn id(case: u8, number: u32) -> IdHash {
    let mut bytes = [case; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    IdHash(bytes)
}

fn session(case: u8, number: u8) -> SessionId {
    let mut bytes = [case; 16];
    bytes[15] = number;
    SessionId(bytes)
}

fn position(offset: i64) -> Position {
    Position { partition: 3, offset: Offset(offset), timestamp: 1_700_000_000_000 }
}

fn claimed(by: u8, attempt: u32) -> ClaimValue {
    ClaimValue::Claimed {
        session: session(0, by),
        spent: Spent { attempt, retries: 0, deadline: UnixMillis(1_700_000_000_000) },
        in_doubt: false,
        position: position(1),
        digest: Digest([9; 16]),
    }
}

fn done(offset: i64) -> ClaimValue {
    ClaimValue::Done { position: position(offset), digest: Digest([9; 16]) }
}

fn was(value: ClaimValue) -> ClaimReply {
    ClaimReply::Was(Stored::Value(value))
}

const WAS_NOTHING: ClaimReply = ClaimReply::Was(Stored::Nothing);
const WAS_FOREIGN: ClaimReply = ClaimReply::Was(Stored::Foreign);

fn claim(id: IdHash, value: ClaimValue) -> ClaimCommand {
    ClaimCommand::Claim { id, value, keep: KEEP }
}

fn mark(id: IdHash, value: ClaimValue) -> ClaimCommand {
    ClaimCommand::Mark { id, value, keep: KEEP }
}

fn replace(id: IdHash, expected: ClaimValue, value: ClaimValue) -> ClaimCommand {
    ClaimCommand::Replace { id, expected, value, keep: KEEP }
}

fn look(id: IdHash) -> ClaimCommand {
    ClaimCommand::Look { id }
}

async fn batch<C: Claims>(store: &C, commands: Vec<ClaimCommand>) -> ClaimBatch {
    let asked = commands.len();
    let answer = store.batch(commands).await.expect("the store answers");
    assert_eq!(answer.replies.len(), asked, "one reply for each command");
    answer
}

async fn ask<C: Claims>(store: &C, command: ClaimCommand) -> ClaimReply {
    batch(store, vec![command]).await.replies[0]
}

fn assert_kept(remaining: Option<Duration>) {
    assert!(remaining.is_some_and(|left| !left.is_zero() && left <= KEEP), "expires in {remaining:?}");
}

async fn a_claim_is_won_once<W: World>(world: &W) {
    let (store, id) = (world.client().await, id(1, 0));
    assert_eq!(ask(&store, look(id)).await, WAS_NOTHING);
    assert_eq!(ask(&store, claim(id, claimed(1, 1))).await, WAS_NOTHING, "the first claim is new");
    assert_kept(world.remaining(id).await);
    assert_eq!(ask(&store, claim(id, claimed(2, 1))).await, was(claimed(1, 1)), "the second sees who holds it");
    assert_eq!(ask(&store, look(id)).await, was(claimed(1, 1)), "and has changed nothing");
}

async fn a_lost_reply_reads_back_our_own_claim<W: World>(world: &W) {
    let (store, id) = (world.client().await, id(2, 0));
    assert_eq!(ask(&store, claim(id, claimed(1, 1))).await, WAS_NOTHING);
    assert_eq!(ask(&store, claim(id, claimed(1, 1))).await, was(claimed(1, 1)), "the same claim sent again");
}

async fn a_claim_that_expired_is_new_again<W: World>(world: &W) {
    let (store, id) = (world.client().await, id(3, 0));
    assert_eq!(ask(&store, claim(id, claimed(1, 1))).await, WAS_NOTHING);
    world.expire(id).await;
    assert_eq!(ask(&store, look(id)).await, WAS_NOTHING);
    assert_eq!(ask(&store, claim(id, claimed(2, 1))).await, WAS_NOTHING);
    assert_eq!(ask(&store, mark(id, done(1))).await, was(claimed(2, 1)));
    world.expire(id).await;
    assert_eq!(ask(&store, look(id)).await, WAS_NOTHING, "a mark expires too");
}

async fn replace_compares_and_sets<W: World>(world: &W) {
    let (store, id) = (world.client().await, id(4, 0));
    let (old, new, other) = (claimed(1, 1), claimed(2, 2), claimed(3, 3));
    let table = [
        (replace(id, old, new), ClaimReply::NotReplaced(Stored::Nothing), "nothing stands there"),
        (look(id), WAS_NOTHING, "and nothing was made"),
        (claim(id, old), WAS_NOTHING, ""),
        (replace(id, other, new), ClaimReply::NotReplaced(Stored::Value(old)), "something else stands there"),
        (look(id), was(old), "and still does"),
        (replace(id, old, new), ClaimReply::Replaced, "the expected stands there"),
        (look(id), was(new), "now the new one does"),
        (replace(id, old, new), ClaimReply::Replaced, "sent again after a lost reply"),
        (replace(id, old, other), ClaimReply::NotReplaced(Stored::Value(new)), "too late"),
        (look(id), was(new), "nothing changed"),
    ];
    for (command, reply, what) in table {
        assert_eq!(ask(&store, command).await, reply, "{what}");
    }
    assert_kept(world.remaining(id).await);
}

async fn a_claim_replaced_by_itself_lives_on<W: World>(world: &W) {
    let (store, id) = (world.client().await, id(15, 0));
    let (ours, other) = (claimed(1, 1), claimed(2, 1));
    let kept = |value| replace(id, value, value);
    assert_eq!(ask(&store, kept(ours)).await, ClaimReply::NotReplaced(Stored::Nothing));
    assert_eq!(ask(&store, look(id)).await, WAS_NOTHING, "what is gone is not made anew");
    let short = ClaimCommand::Claim { id, value: ours, keep: KEEP / 2 };
    assert_eq!(ask(&store, short).await, WAS_NOTHING);
    assert_eq!(ask(&store, kept(other)).await, ClaimReply::NotReplaced(Stored::Value(ours)));
    assert!(world.remaining(id).await.is_some_and(|left| left <= KEEP / 2), "another's is not prolonged");
    assert_eq!(ask(&store, kept(ours)).await, ClaimReply::Replaced);
    assert!(world.remaining(id).await.is_some_and(|left| left > KEEP / 2 && left <= KEEP));
    assert_eq!(ask(&store, look(id)).await, was(ours), "and is the same");
}

async fn a_mark_is_written_over_whatever_stands_there<W: World>(world: &W) {
    let store = world.client().await;
    let dead = ClaimValue::Dead { attempt: 1, in_doubt: false, position: position(2), digest: Digest([8; 16]) };
    assert_eq!(ask(&store, claim(id(5, 0), claimed(1, 1))).await, WAS_NOTHING);
    for (number, value, before, what) in [
        (0, done(1), was(claimed(1, 1)), "over our claim"),
        (1, done(1), WAS_NOTHING, "over nothing"),
        (1, done(1), was(done(1)), "again after a lost reply"),
        (1, dead, was(done(1)), "over another's mark"),
    ] {
        assert_eq!(ask(&store, mark(id(5, number), value)).await, before, "{what}");
        assert_eq!(ask(&store, look(id(5, number))).await, was(value), "{what}");
        assert_kept(world.remaining(id(5, number)).await);
    }
    assert_eq!(ask(&store, claim(id(5, 1), claimed(1, 1))).await, was(dead), "a claim sees the mark");
}

async fn a_mark_is_shortened_and_never_prolonged<W: World>(world: &W) {
    let (store, id) = (world.client().await, id(16, 0));
    let shorten = |keep| ClaimCommand::Shorten { id, keep };
    assert_eq!(ask(&store, shorten(KEEP)).await, ClaimReply::Shortened, "nothing stands there");
    assert_eq!(ask(&store, look(id)).await, WAS_NOTHING, "and nothing is made");
    assert_eq!(ask(&store, mark(id, done(1))).await, WAS_NOTHING);
    assert_eq!(ask(&store, shorten(KEEP / 2)).await, ClaimReply::Shortened);
    assert!(world.remaining(id).await.is_some_and(|left| left <= KEEP / 2));
    assert_eq!(ask(&store, shorten(KEEP)).await, ClaimReply::Shortened);
    assert!(world.remaining(id).await.is_some_and(|left| left <= KEEP / 2), "not prolonged");
    assert_eq!(ask(&store, look(id)).await, was(done(1)), "and is the same");
    assert_eq!(ask(&store, mark(id, done(1))).await, was(done(1)));
    assert!(world.remaining(id).await.is_some_and(|left| left > KEEP / 2), "a mark that is written again lives whole");
}

async fn values_survive_byte_for_byte<W: World>(world: &W) {
    let store = world.client().await;
    let odd = [*b"\0\r\n$-1\r\n*{}\xff\xfe\x80\"\0", [0; 16], [0xff; 16]];
    for (number, bytes) in odd.into_iter().enumerate() {
        let spent = Spent { attempt: u32::MAX, retries: u32::MAX, deadline: UnixMillis(u64::MAX) };
        let position = Position { partition: i32::MAX, offset: Offset(i64::MAX), timestamp: -1 };
        let digest = Digest(bytes);
        let released = ClaimValue::Released { spent, in_doubt: true, position, digest };
        let claimed = ClaimValue::Claimed { session: SessionId(bytes), spent, in_doubt: true, position, digest };
        let id = IdHash(bytes);
        assert_eq!(ask(&store, claim(id, claimed)).await, WAS_NOTHING, "{number}");
        assert_eq!(ask(&store, replace(id, claimed, released)).await, ClaimReply::Replaced, "{number}");
        assert_eq!(ask(&store, look(id)).await, was(released), "{number}");
    }
}

async fn a_session_lives_until_it_expires_or_is_closed<W: World>(world: &W) {
    let (store, other) = (world.client().await, world.client().await);
    let session = session(6, 1);
    let alive = || async { ask(&other, ClaimCommand::IsAlive { session }).await };
    assert_eq!(alive().await, ClaimReply::Alive(false));
    assert_eq!(store.renew_session(session, KEEP).await, Ok(false), "what never was cannot be renewed");
    assert_eq!(alive().await, ClaimReply::Alive(false), "and is not made by it");
    assert_eq!(store.open_session(session, KEEP / 2).await, Ok(()));
    assert_eq!(store.open_session(session, KEEP / 2).await, Ok(()), "sent again after a lost reply");
    assert_eq!(alive().await, ClaimReply::Alive(true));
    assert!(world.session_remaining(session).await.is_some_and(|left| left <= KEEP / 2));
    assert_eq!(store.renew_session(session, KEEP).await, Ok(true));
    assert!(world.session_remaining(session).await.is_some_and(|left| left > KEEP / 2 && left <= KEEP));
    world.expire_session(session).await;
    assert_eq!(alive().await, ClaimReply::Alive(false), "its lease has ended");
    assert_eq!(store.renew_session(session, KEEP).await, Ok(false));
    assert_eq!(alive().await, ClaimReply::Alive(false), "a renewal does not bring it back");
    assert_eq!(store.open_session(session, KEEP).await, Ok(()));
    assert_eq!(store.close_session(session).await, Ok(()));
    assert_eq!(alive().await, ClaimReply::Alive(false));
    assert_eq!(store.close_session(session).await, Ok(()), "closed is closed");
}

async fn a_sentinel_is_made_once_and_anew_when_it_is_gone<W: World>(world: &W) {
    let (one, two) = (world.client().await, world.client().await);
    world.forget_all().await;
    assert_eq!(batch(&one, vec![claim(id(7, 0), claimed(1, 1))]).await.sentinel, None, "nobody has made one");
    let first = one.history().await.expect("a history");
    assert_eq!(first.sentinel.len(), 32);
    assert!(first.sentinel.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(two.history().await.as_ref(), Ok(&first), "another client sees the same");
    for commands in [vec![], vec![look(id(7, 0))]] {
        assert_eq!(batch(&two, commands).await.sentinel.as_ref(), Some(&first.sentinel), "and so does a batch");
    }
    world.forget_all().await;
    let forgotten = batch(&two, vec![look(id(7, 0))]).await;
    assert_eq!(forgotten, ClaimBatch { replies: vec![WAS_NOTHING], sentinel: None }, "it went with all the rest");
    let second = two.history().await.expect("a history");
    assert_ne!(second.sentinel, first.sentinel, "the new one is another");
    assert_eq!(batch(&one, vec![]).await.sentinel, Some(second.sentinel));
}

async fn a_foreign_value_spoils_only_its_own_command<W: World>(world: &W) {
    let store = world.client().await;
    world.plant_garbage(id(8, 0)).await;
    world.plant_other_type(id(8, 1)).await;
    let answer = batch(
        &store,
        vec![
            claim(id(8, 2), claimed(1, 1)),
            claim(id(8, 0), claimed(1, 1)),
            claim(id(8, 1), claimed(1, 1)),
            replace(id(8, 0), claimed(1, 1), done(1)),
            replace(id(8, 1), claimed(1, 1), done(1)),
            look(id(8, 0)),
            look(id(8, 1)),
            mark(id(8, 1), done(1)),
            look(id(8, 1)),
            look(id(8, 2)),
        ],
    )
    .await;
    let not_replaced = ClaimReply::NotReplaced(Stored::Foreign);
    let expected = [
        WAS_NOTHING,
        WAS_FOREIGN,
        WAS_FOREIGN,
        not_replaced,
        not_replaced,
        WAS_FOREIGN,
        WAS_FOREIGN,
        WAS_FOREIGN,
        WAS_FOREIGN,
        was(claimed(1, 1)),
    ];
    assert_eq!(answer.replies, expected);
    assert_eq!(ask(&store, mark(id(8, 0), done(1))).await, WAS_FOREIGN, "a mark says what it was written over");
}

async fn batches_of_any_size_are_answered_in_order<W: World>(world: &W) {
    let store = world.client().await;
    for (case, size) in [(9, 0), (10, 1), (11, 64), (12, 1000)] {
        let claims = |by| (0..size).map(|number| claim(id(case, number), claimed(by, number))).collect();
        let first = batch(&store, claims(1)).await.replies;
        assert!(first.iter().all(|reply| *reply == WAS_NOTHING), "{size} new ones");
        let expected: Vec<_> = (0..size).map(|number| was(claimed(1, number))).collect();
        assert_eq!(batch(&store, claims(2)).await.replies, expected, "{size} in order");
    }
    let same = id(13, 0);
    let answer =
        batch(&store, vec![claim(same, claimed(1, 1)), claim(same, claimed(2, 1)), mark(same, done(5)), look(same)]);
    let expected = [WAS_NOTHING, was(claimed(1, 1)), was(claimed(1, 1)), was(done(5))];
    assert_eq!(answer.await.replies, expected, "commands of one key take effect in their order");
}

async fn of_two_clients_that_race_one_wins<W: World>(world: &W) {
    let (one, two) = (world.client().await, world.client().await);
    let claims = |by: u8| (0..200).map(|number| claim(id(14, number), claimed(by, 1))).collect::<Vec<_>>();
    let (first, second) = tokio::join!(batch(&one, claims(1)), batch(&two, claims(2)));
    let wins = |replies: &[ClaimReply]| -> HashSet<usize> {
        (0..replies.len()).filter(|index| replies[*index] == WAS_NOTHING).collect()
    };
    let (first, second) = (wins(&first.replies), wins(&second.replies));
    assert!(first.is_disjoint(&second), "nobody wins what the other has won");
    assert_eq!(first.len() + second.len(), 200, "and each has a winner");
}
