//! One request as a Redis command, and Redis' answer to it in words of the port.

use std::time::Duration;

use redis::{Cmd, Value};

use super::config::Address;
use super::fault::Fault;
use super::keys::Keys;
use crate::domain::claim::{IdHash, SessionId, Stored};
use crate::domain::claim_codec::{decode, encode};
use crate::domain::past_codec::{HEADER, OWNED, Owner, header};
use crate::domain::record::TopicPartition;
use crate::ports::{ClaimCommand, ClaimReply, Keeping, StoredPast};

/// Compare-and-set, where "same" is what `claim_codec::is_same` says. Finding the new value itself is success: the
/// reply to an earlier try may have been lost. Sent whole each time (it is rare): a restarted or promoted server knows
/// no digest of it.
const COMPARE_AND_SET: &str = "\
local was = redis.call('GET', KEYS[1])
local function is(want)
  if was == want then return true end
  if not was or #was <= #want then return false end
  local theirs, ours = string.byte(was), string.byte(want)
  return theirs > ours and theirs - theirs % 16 == ours - ours % 16 and string.sub(was, 2, #want) == string.sub(want, 2)
end
if is(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) return 1 end
if is(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end
return was";
/// Makes the new header's owner the only one who may keep a past; what is of another version stays as it is, and so does
/// what is the owner's already.
const TAKE_PAST: &str = "\
local was = redis.call('GET', KEYS[1])
if not was then redis.call('SET', KEYS[1], ARGV[1]) return was end
local owned = tonumber(ARGV[2])
if #was >= #ARGV[1] and string.byte(was) == string.byte(ARGV[1])
  and string.sub(was, 1, owned) ~= string.sub(ARGV[1], 1, owned) then
  redis.call('SET', KEYS[1], ARGV[1] .. string.sub(was, #ARGV[1] + 1))
end
return was";
/// Keeps a past as `past_codec::fence` says: not over one of another owner, nor over a later one of the same. Bytes are
/// compared one by one, because Redis compares strings as its locale says.
const KEEP_PAST: &str = "\
local was, owned, header = redis.call('GET', KEYS[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if was and #was >= header and string.byte(was) == string.byte(ARGV[1]) then
  if string.sub(was, 1, owned) ~= string.sub(ARGV[1], 1, owned) then return 0 end
  for i = owned + 1, header do
    local stands, comes = string.byte(was, i), string.byte(ARGV[1], i)
    if stands > comes then return 1 end
    if stands < comes then break end
  end
end
redis.call('SET', KEYS[1], ARGV[1])
return 1";
/// Redis refuses an expiry whose end does not fit its clock: about 3,000 years are enough.
const LONGEST_KEEP_MS: u64 = 100_000_000_000_000;
/// Room for one command's arguments without growing: key and value are the long ones.
const COMMAND_BYTES: usize = 192;

/// What can be asked of the store about one key.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// One command of a batch.
    Claims(ClaimCommand),
    /// Makes a session's key. Plain `SET`: the ID is random, so a key that stands there is ours from an earlier try.
    Open(SessionId, Duration),
    /// Prolongs a session's key, if it is there.
    Renew(SessionId, Duration),
    /// Removes a session's key.
    Close(SessionId),
    /// Takes a partition's past over.
    TakePast(&'a TopicPartition, Owner),
    /// Keeps a partition's past.
    KeepPast(&'a TopicPartition, &'a [u8]),
    /// Tells how long a message's key still lives.
    Lifetime(IdHash),
}

impl Request<'_> {
    /// Writes the key it is about into `out`.
    pub(super) fn key(&self, keys: &Keys, out: &mut Vec<u8>) {
        match self {
            Self::Claims(
                ClaimCommand::Claim { id, .. }
                | ClaimCommand::Replace { id, .. }
                | ClaimCommand::Mark { id, .. }
                | ClaimCommand::Shorten { id, .. }
                | ClaimCommand::Look { id },
            )
            | Self::Lifetime(id) => keys.id(*id, out),
            Self::Claims(ClaimCommand::IsAlive { session })
            | Self::Open(session, _)
            | Self::Renew(session, _)
            | Self::Close(session) => {
                out.clear();
                out.extend_from_slice(keys.session(*session).as_bytes());
            }
            Self::TakePast(partition, _) | Self::KeepPast(partition, _) => {
                out.clear();
                out.extend_from_slice(keys.past(partition).as_bytes());
            }
        }
    }

    /// The command that asks it of `key`.
    pub(super) fn command(&self, key: &[u8]) -> Cmd {
        let mut cmd = Cmd::with_capacity(8, COMMAND_BYTES);
        match self {
            Self::Claims(ClaimCommand::Claim { value, keep, .. }) => {
                set(&mut cmd, key, &encode(value)).arg("NX").arg("GET").arg("PX").arg(millis(*keep))
            }
            Self::Claims(ClaimCommand::Mark { value, keep, .. }) => {
                set(&mut cmd, key, &encode(value)).arg("GET").arg("PX").arg(millis(*keep))
            }
            Self::Claims(ClaimCommand::Replace { expected, value, keep, .. }) => {
                cmd.arg("EVAL").arg(COMPARE_AND_SET).arg(1).arg(key);
                cmd.arg(encode(expected)).arg(encode(value)).arg(millis(*keep))
            }
            Self::Claims(ClaimCommand::Shorten { keep, .. }) => {
                cmd.arg("PEXPIRE").arg(key).arg(millis(*keep)).arg("LT")
            }
            Self::Claims(ClaimCommand::Look { .. }) => cmd.arg("GET").arg(key),
            Self::Claims(ClaimCommand::IsAlive { .. }) => cmd.arg("EXISTS").arg(key),
            Self::Open(_, lease) => set(&mut cmd, key, b"1").arg("PX").arg(millis(*lease)),
            Self::Renew(_, lease) => cmd.arg("PEXPIRE").arg(key).arg(millis(*lease)),
            Self::Close(_) => cmd.arg("DEL").arg(key),
            Self::TakePast(_, owner) => {
                cmd.arg("EVAL").arg(TAKE_PAST).arg(1).arg(key).arg(header(*owner, 0).as_slice()).arg(OWNED)
            }
            Self::KeepPast(_, past) => cmd.arg("EVAL").arg(KEEP_PAST).arg(1).arg(key).arg(*past).arg(OWNED).arg(HEADER),
            Self::Lifetime(_) => cmd.arg("PTTL").arg(key),
        };
        cmd
    }
}

fn set<'a>(cmd: &'a mut Cmd, key: &[u8], value: &[u8]) -> &'a mut Cmd {
    cmd.arg("SET").arg(key).arg(value)
}

/// Whole milliseconds, at least one: `PX 0` is an error.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_KEEP_MS)
}

/// Reads the answer to one command of a batch.
pub(super) fn reply(command: &ClaimCommand, answer: &Value, node: &Address) -> Result<ClaimReply, Fault> {
    let stored = match (command, answer) {
        (ClaimCommand::IsAlive { .. }, Value::Int(count)) => return Ok(ClaimReply::Alive(*count > 0)),
        (ClaimCommand::Replace { .. }, Value::Int(_)) => return Ok(ClaimReply::Replaced),
        (ClaimCommand::Shorten { .. }, Value::Int(_)) => return Ok(ClaimReply::Shortened),
        (ClaimCommand::IsAlive { .. } | ClaimCommand::Shorten { .. }, Value::Nil | Value::BulkString(_)) => {
            return Err(strange(node, answer));
        }
        (_, Value::Nil) => Stored::Nothing,
        (_, Value::BulkString(bytes)) => decode(bytes).map_or(Stored::Foreign, Stored::Value),
        (_, Value::ServerError(error)) if error.code() == "WRONGTYPE" => Stored::Foreign,
        (_, other) => return Err(strange(node, other)),
    };
    Ok(match command {
        ClaimCommand::Replace { .. } => ClaimReply::NotReplaced(stored),
        _ => ClaimReply::Was(stored),
    })
}

/// Reads what stood where a past is kept.
pub(super) fn stored_past(answer: &Value, node: &Address) -> Result<StoredPast, Fault> {
    match answer {
        Value::Nil => Ok(StoredPast::Nothing),
        Value::BulkString(bytes) => Ok(StoredPast::Bytes(bytes.clone())),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(StoredPast::Foreign),
        other => Err(strange(node, other)),
    }
}

/// Reads what became of a past that was to be kept.
pub(super) fn keeping(answer: &Value, node: &Address) -> Result<Keeping, Fault> {
    match answer {
        Value::Int(0) => Ok(Keeping::NotOurs),
        Value::Int(_) => Ok(Keeping::Kept),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Keeping::Foreign),
        other => Err(strange(node, other)),
    }
}

/// Reads an answer that is a count.
pub(super) fn count(answer: &Value, node: &Address) -> Result<i64, Fault> {
    match answer {
        Value::Int(count) => Ok(*count),
        other => Err(strange(node, other)),
    }
}

/// An error, or an answer of a kind that no Redis gives to this command: then the connection is out of step.
pub(super) fn strange(node: &Address, answer: &Value) -> Fault {
    match answer {
        Value::ServerError(error) => Fault::answered(node, error),
        _ => Fault::away(node, "an answer of an unexpected kind"),
    }
}
