//! The scripts: each touches the keys of one slot, and each does its whole work or nothing.

use redis::{Arg, Cmd, cmd};

use crate::domain::family::FamilyId;

use super::keys;
use super::leases::Question;

/// What nobody has said yet.
const CLAIM: &str = "return redis.call('SET', KEYS[1], ARGV[1], 'NX')";

/// A token's record, unless one that is over stands there: an end is never undone. 79 is `O`.
const KEEP: &str = r"
local there = redis.call('GETRANGE', KEYS[1], 0, 0)
if there == 'O' then return 0 end
if ARGV[2] == '' then redis.call('SET', KEYS[1], ARGV[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1";

/// A lease and its fence, if nobody has one; or if whoever asks is the one who has it and does not know. It is kept as its fence, a space and the name of the
/// question that got it: by that name it is found where the answer was lost and the question comes again, however late, and it stays what it
/// is. One that somebody has flown under is followed by another. A fence outlives its family by an hour, or its lease where there is no family.
const LEASE: &str = r"
local there = redis.call('GET', KEYS[1])
if there then
  local fence, name = string.match(there, '^(%d+) ?(.*)$')
  if name == ARGV[2] and name ~= '' then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    return tonumber(fence)
  end
  if fence ~= ARGV[3] then return 0 end
end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[2], 'PX', ARGV[1])
local ttl = redis.call('PTTL', KEYS[3])
if ttl == -2 then ttl = tonumber(ARGV[1]) end
if ttl > 0 then redis.call('PEXPIRE', KEYS[2], ttl + 3600000) end
return fence";

/// A lease for longer, if it is still ours.
const RENEW: &str = r"
if string.match(redis.call('GET', KEYS[1]) or '', '^%d+') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// A lease given back, if it is still ours.
const RELEASE: &str = r"
if string.match(redis.call('GET', KEYS[1]) or '', '^%d+') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// A revocation that the realm has heard, if no other one has taken its place.
const TOLD: &str = r"
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])";

/// A family's next state, if it is still in the expected one and no newer lease was granted.
/// Answers 0 done, 1 conflict, 2 fenced, 3 unknown.
///
/// In a cluster it is sent again by itself where its connection broke before the answer. Then the next state is there, and it is
/// this very record, under the name of this very attempt: done. Two who end a login for the same cause at the same time write the
/// same record, each under a name of its own: one has ended it.
const COMMIT: &str = r"
local version = redis.call('HGET', KEYS[1], 'v')
if not version then return 3 end
if version == tostring(tonumber(ARGV[1]) + 1) and redis.call('HGET', KEYS[1], 'w') == ARGV[5]
  and redis.call('HGET', KEYS[1], 'd') == ARGV[3] then return 0 end
if version ~= ARGV[1] then return 1 end
if ARGV[2] ~= '' and tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[2]) then return 2 end
redis.call('HSET', KEYS[1], 'v', tostring(tonumber(version) + 1), 'd', ARGV[3], 'w', ARGV[5])
if ARGV[4] == '' then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[4]) + 3600000)
end
return 0";

/// A memo in place of what was read, if that is there yet; without it, if nothing is. Sent again by itself it finds its own: done.
const MEMO: &str = r"
local there = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if there ~= ARGV[2] and there ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1";

/// Before a script: it may write though Redis has no room left.
const THOUGH_FULL: &str = "#!lua flags=allow-oom\n";

/// Any command of one key.
const ANY: &str = "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))";

fn eval(script: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script.trim_start()).arg(keys.len()).arg(keys);
    command
}

pub(super) fn claim(key: &str, value: u32) -> Cmd {
    let mut command = eval(CLAIM, &[key.to_owned()]);
    command.arg(value);
    command
}

pub(super) fn keep(key: &str, record: &[u8], ttl: Option<u64>) -> Cmd {
    let mut command = eval(KEEP, &[key.to_owned()]);
    command.arg(record).arg(text(ttl));
    command
}

pub(super) fn lease(family: FamilyId, ttl: u64, question: &Question) -> Cmd {
    let mut command = eval(LEASE, &[keys::lease(family), keys::fence(family), keys::state(family)]);
    command.arg(ttl).arg(&question.name).arg(text(question.flown));
    command
}

pub(super) fn renew(family: FamilyId, fence: u64, ttl: u64) -> Cmd {
    let mut command = eval(RENEW, &[keys::lease(family)]);
    command.arg(fence).arg(ttl);
    command
}

pub(super) fn release(family: FamilyId, fence: u64) -> Cmd {
    let mut command = eval(RELEASE, &[keys::lease(family)]);
    command.arg(fence);
    command
}

pub(super) fn told(family: FamilyId, word: &[u8]) -> Cmd {
    let mut command = eval(TOLD, &[keys::OUTBOX.to_owned()]);
    command.arg(family.to_string()).arg(word);
    command
}

pub(super) fn memo(name: &str, before: &[u8], record: &[u8]) -> Cmd {
    let mut command = eval(MEMO, &[keys::MEMOS.to_owned()]);
    command.arg(name).arg(before).arg(record);
    command
}

/// A command of one key, or a script, as one that is done though Redis has no room left.
pub(super) fn though_full(command: &Cmd) -> Cmd {
    let simple = |word| if let Arg::Simple(word) = word { Some(word) } else { None };
    let words: Vec<&[u8]> = command.args_iter().filter_map(simple).collect();
    let mut done = cmd("EVAL");
    match words.as_slice() {
        [b"EVAL", script, rest @ ..] => done.arg([THOUGH_FULL.as_bytes(), script].concat()).arg(rest),
        [name, key, rest @ ..] => done.arg(format!("{THOUGH_FULL}{ANY}")).arg(1).arg(key).arg(name).arg(rest),
        [] | [_] => return command.clone(),
    };
    done
}

/// A family's next state: what is expected, and what shall be.
pub(super) struct Next<'a> {
    pub(super) family: FamilyId,
    pub(super) expected: u64,
    pub(super) fence: Option<u64>,
    pub(super) record: &'a [u8],
    pub(super) ttl: Option<u64>,
}

/// Nobody else names an attempt so, and whoever tries again takes another name.
pub(super) fn commit(next: &Next<'_>, attempt: &str) -> Cmd {
    let mut command = eval(COMMIT, &[keys::state(next.family), keys::fence(next.family)]);
    command.arg(next.expected).arg(text(next.fence)).arg(next.record).arg(text(next.ttl)).arg(attempt);
    command
}

fn text(number: Option<u64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}
