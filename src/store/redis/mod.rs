//! The store that several instances share: Redis or Valkey, single, by Sentinel, or as a cluster.
//!
//! Every key of a family but its index entries is in one hash slot, and no command crosses slots. Round trips:
//!
//! | operation | round trips |
//! |---|---|
//! | put | 2: records and indexes side by side, then the family's state |
//! | access, refresh, session | 1 |
//! | family | 1 |
//! | lease, renew, release | 1 each |
//! | commit of the state alone | 2: the state, a script |
//! | commit with records | 3: the state, records and indexes side by side, a script; 1 more where members are forgotten or end, or the family's end comes nearer |
//! | find | 1 for each of the 256 lists, 1 for each 500 families in one |
//! | end | 4: the state, its records side by side, tombstones, a script |
//!
//! Replication is asynchronous: a failover may lose what the last moments wrote, unless `wait` asks for replicas: as many as may be
//! promoted, else the one that is may lack what another confirmed.
//!
//! Must not: touch two slots by one command, keep a key of a family without an expiry where the family has an end, or hang.

mod clock;
mod end;
mod group;
mod keeping;
mod kept;
mod keys;
mod leases;
mod leftovers;
mod link;
mod memo;
mod scan;
mod scripts;
mod sentinel;
mod talk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, RedisError, Value, cmd};

use self::clock::Days;
pub use self::keeping::{Loss, Unseen, losses};
use self::leases::Unknown;
use self::leftovers::Place;
use self::link::Link;
pub use self::link::is_redis;
use self::scripts::Next;
use super::change::{Bundle, Change, Gathered, PendingRevocation, Version, Versioned};
use super::ending;
use super::error::{CommitError, StoreError};
use super::measures::Measures;
use super::record;
use super::settings::{RedisMode, RedisSettings, Wait};
use crate::domain::family::{AccessFate, AccessRecord, Family, FamilyId, Member, RefreshRecord};
use crate::domain::opaque::{Fingerprint, TokenUse};
use crate::domain::time::{Clock, Timestamp};

/// What is written today. Format 1 had no packed tokens; they are found as they are.
const FORMAT: u32 = 2;
const OLDEST: u32 = 1;

/// Families in Redis.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    clock: Arc<dyn Clock>,
    wait: Option<Wait>,
    closed: AtomicBool,
    measures: OnceLock<Measures>,
    writes: AtomicU64,
    failed: AtomicU64,
    /// Why it did not take the newest write.
    failure: ArcSwapOption<StoreError>,
    is_cluster: bool,
    leftovers: Mutex<Place>,
    days: Days,
    unknown: Unknown,
}

impl Redis {
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Connects, and sees to it that this is the format.
    pub fn open(settings: &RedisSettings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::connect(settings, clock, true)
    }

    /// Connects to what is there, and writes nothing.
    pub(super) fn open_source(settings: &RedisSettings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::connect(settings, clock, false)
    }

    fn connect(settings: &RedisSettings, clock: Arc<dyn Clock>, writes: bool) -> Result<Self, StoreError> {
        let path = || PathBuf::from(settings.urls.first().cloned().unwrap_or_default());
        let failed = |error: RedisError| StoreError::CannotOpen { path: path(), cause: Arc::new(error) };
        let link = Link::new(settings).map_err(failed)?;
        if settings.mode != RedisMode::Cluster && is_of_a_cluster(&link) {
            let what = (redis::ErrorKind::InvalidClientConfig, "the server is in cluster mode");
            return Err(failed(what.into()));
        }
        let mut asked = if writes { vec![claim()] } else { Vec::new() };
        asked.push(cmd("GET").arg(keys::FORMAT).to_owned());
        let answers = link.run_blocking(asked).map_err(failed)?;
        let found: Option<u32> = answers
            .into_iter()
            .next_back()
            .map_or(Ok(None), FromRedisValue::from_redis_value)
            .map_err(|error| failed(error.into()))?;
        match found {
            Some(OLDEST..FORMAT) if writes => {
                link.run_blocking(vec![cmd("SET").arg(keys::FORMAT).arg(FORMAT).to_owned()]).map_err(failed)?;
            }
            Some(OLDEST..=FORMAT) => {}
            Some(found) => return Err(StoreError::Format { path: path(), found, known: FORMAT }),
            None => return Err(StoreError::NotThere { path: path() }),
        }
        let days = Days::new(&*clock);
        days.heard(link.run_blocking(vec![clock::asked()]), clock.monotonic());
        Ok(Self {
            link,
            clock,
            wait: settings.wait,
            closed: AtomicBool::new(false),
            measures: OnceLock::new(),
            writes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failure: ArcSwapOption::empty(),
            is_cluster: settings.mode == RedisMode::Cluster,
            leftovers: Mutex::new(Place::BEGIN),
            days,
            unknown: Unknown::default(),
        })
    }

    /// Keeps a family with its records. Its state comes last: nobody knows the UUIDs before.
    pub(super) async fn import(&self, bundle: &Bundle) -> Result<(), StoreError> {
        let Bundle { family, access, refresh } = bundle;
        let forgotten = ending::remembered_until(family);
        let mut commands = self.tokens(access, refresh, forgotten);
        commands.extend(family.session.map(|session| self.leads_to(family, &session)));
        commands.push(listed(family.id, forgotten));
        self.write(commands, false).await?;
        let key = keys::state(family.id);
        let mut state = cmd("HSET");
        state.arg(&key).arg("v").arg(1).arg("d").arg(record::encode(key.as_bytes(), family));
        let mut commands = vec![state];
        let ttl = self.ttl(ending::kept_until(family));
        commands.extend(ttl.map(|ttl| cmd("PEXPIRE").arg(&key).arg(ttl).to_owned()));
        self.write(commands, true).await.map(drop)
    }

    /// Records of tokens, each kept until its family is forgotten: past its own end it opens nothing, and still names the family.
    fn tokens(
        &self,
        access: &[(Fingerprint, AccessRecord)],
        refresh: &[(Fingerprint, RefreshRecord)],
        forgotten: Timestamp,
    ) -> Vec<Cmd> {
        let ttl = self.ttl(forgotten);
        let access = access.iter().map(|(fingerprint, value)| {
            let key = keys::token(TokenUse::Access, fingerprint);
            scripts::keep(&key, &marked(&key, value, matches!(value.fate, AccessFate::Over(_))), ttl)
        });
        let refresh = refresh.iter().map(|(fingerprint, value)| {
            let key = keys::token(TokenUse::Refresh, fingerprint);
            scripts::keep(&key, &marked(&key, value, value.is_over()), ttl)
        });
        access.chain(refresh).collect()
    }

    /// Has the records of these stay until then.
    fn stay(&self, members: &[Member], forgotten: Timestamp) -> Vec<Cmd> {
        let ttl = self.ttl(forgotten);
        let stays = |member: &Member| {
            let key = keys::token(member.token_use, &member.fingerprint);
            ttl.map_or_else(|| cmd("PERSIST").arg(&key).to_owned(), |ttl| cmd("PEXPIRE").arg(&key).arg(ttl).to_owned())
        };
        members.iter().map(stays).collect()
    }

    pub(super) fn waits_for_replicas(&self) -> bool {
        self.wait.is_some()
    }

    pub(super) async fn access(&self, fingerprint: &Fingerprint) -> Result<Option<AccessRecord>, StoreError> {
        self.token(&keys::token(TokenUse::Access, fingerprint)).await
    }

    pub(super) async fn refresh(&self, fingerprint: &Fingerprint) -> Result<Option<RefreshRecord>, StoreError> {
        self.token(&keys::token(TokenUse::Refresh, fingerprint)).await
    }

    async fn token<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        token_in(key, self.read(cmd("GET").arg(key).to_owned()).await?)
    }

    pub(super) async fn family(&self, family: FamilyId) -> Result<Option<Versioned<Family>>, StoreError> {
        let key = keys::state(family);
        state_in(&key, self.read(cmd("HMGET").arg(&key).arg("v").arg("d").to_owned()).await?)
    }

    pub(super) async fn session(&self, session: &Fingerprint) -> Result<Option<FamilyId>, StoreError> {
        let key = keys::session(session);
        let Some(bytes) = bytes(self.read(cmd("GET").arg(&key).to_owned()).await?) else { return Ok(None) };
        record::decode(key.as_bytes(), &bytes).map(Some).map_err(|damage| corrupt(&key, damage))
    }

    pub(super) async fn commit(&self, change: Change) -> Result<(), CommitError> {
        let removals = change.removed();
        let Change { expected: Version(expected), fence, family, access, refresh, .. } = change;
        let before = self.family(family.id).await?.ok_or(CommitError::Unknown)?;
        if before.version.0 != expected {
            return Err(CommitError::Conflict);
        }
        let forgotten = ending::remembered_until(&family);
        let until_now = ending::remembered_until(&before.value);
        let is_over = |(_, record): &(Fingerprint, AccessRecord)| matches!(record.fate, AccessFate::Over(_));
        let (over, live): (Vec<_>, Vec<_>) = access.into_iter().partition(is_over);
        let mut commands = self.tokens(&live, &refresh, forgotten);
        let led = |family: &Family| (family.session, ending::session_until(family));
        let leads = family.session.filter(|_| led(&family) != led(&before.value));
        commands.extend(leads.map(|session| self.leads_to(&family, &session)));
        if forgotten != until_now {
            commands.push(listed(family.id, forgotten));
        }
        if forgotten > until_now {
            commands.extend(self.stay(&before.value.members, forgotten));
        }
        if !commands.is_empty() {
            self.write(commands, false).await?;
        }
        let record = record::encode(keys::state(family.id).as_bytes(), &family);
        let ttl = self.ttl(ending::kept_until(&family));
        let next = Next { family: family.id, expected, fence, record: &record, ttl };
        self.next(&next).await?;
        // Only now: a client whose refresh came to nothing goes on with the UUIDs that it has.
        let mut gone = if forgotten < until_now { self.stay(&before.value.members, forgotten) } else { Vec::new() };
        gone.extend(self.tokens(&over, &[], forgotten));
        gone.extend(removals.iter().map(forget));
        let moved = before.value.session.filter(|session| family.session != Some(*session));
        gone.extend(moved.map(|session| cmd("DEL").arg(keys::session(&session)).to_owned()));
        if !gone.is_empty() && self.write(gone.clone(), false).await.is_err() {
            // The change has happened, and nobody makes it again; each of these may be done twice.
            self.write(gone, false).await?;
        }
        Ok(())
    }

    async fn next(&self, next: &Next<'_>) -> Result<(), CommitError> {
        let answers = self.write(vec![scripts::commit(next, &self.unknown.attempt())], true).await?;
        became(next.family, answers)
    }

    async fn number(&self, command: Cmd) -> Result<u64, StoreError> {
        let answers = self.write(vec![command], false).await?;
        answers
            .into_iter()
            .next()
            .map_or(Ok(0), u64::from_redis_value)
            .map_err(|_| corrupt("an answer of Redis", record::Damage::Shape))
    }

    pub(super) async fn outbox_put(&self, pending: &PendingRevocation) -> Result<(), StoreError> {
        let put = cmd("HSET").arg(keys::OUTBOX).arg(pending.family.to_string()).arg(word(pending)).to_owned();
        self.write_an_end(vec![put], true).await.map(drop)
    }

    pub(super) async fn outbox(&self) -> Result<Gathered<PendingRevocation>, StoreError> {
        let answer = self.read(cmd("HVALS").arg(keys::OUTBOX).to_owned()).await;
        self.beat(answer.as_ref().err()).await;
        let answer = answer?;
        let records: Vec<Vec<u8>> =
            FromRedisValue::from_redis_value(answer).map_err(|_| corrupt(keys::OUTBOX, record::Damage::Shape))?;
        let mut outbox = Gathered::default();
        for bytes in records {
            let word = record::decode(keys::OUTBOX.as_bytes(), &bytes).map_err(|damage| corrupt(keys::OUTBOX, damage));
            if let Some((family, client, sealed, until)) = outbox.sound(word)? {
                outbox.records.push(PendingRevocation { family, client, sealed, until });
            }
        }
        Ok(outbox)
    }

    pub(super) async fn outbox_delete(&self, told: &PendingRevocation) -> Result<(), StoreError> {
        self.write(vec![scripts::told(told.family, &word(told))], false).await.map(drop)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Has a session of the realm lead to its family, as long as there is something for a logout to end.
    fn leads_to(&self, family: &Family, session: &Fingerprint) -> Cmd {
        let key = keys::session(session);
        let mut command = cmd("SET");
        command.arg(&key).arg(record::encode(key.as_bytes(), &family.id));
        if let Some(ttl) = self.ttl(ending::session_until(family)) {
            command.arg("PX").arg(ttl);
        }
        command
    }

    /// Milliseconds until then, at least one; nothing where it never comes. A clock that leaps ahead makes it no shorter.
    fn ttl(&self, until: Timestamp) -> Option<u64> {
        let until = until.ends()?;
        // 139 years at most: Redis refuses what its own clock, in milliseconds, cannot add to.
        let now = self.days.counted_from(self.clock.now(), self.clock.monotonic());
        Some(until.millis().saturating_sub(now.millis()).clamp(1, 1 << 42))
    }
}

/// Whether a server that is asked for itself alone has a part of the keys. One that does not let itself be asked has all of them.
fn is_of_a_cluster(link: &Link) -> bool {
    let said = link.run_blocking(vec![cmd("INFO").arg("cluster").to_owned()]).ok();
    let said = said.and_then(|answers| answers.into_iter().next()).and_then(|said| String::from_redis_value(said).ok());
    said.is_some_and(|said| said.contains("cluster_enabled:1"))
}

/// Says which format this is, where nobody does. By a script, as all that is kept: a server that takes none, or not from us, is no store.
fn claim() -> Cmd {
    scripts::claim(keys::FORMAT, FORMAT)
}

/// What became of a change.
fn became(family: FamilyId, answers: Vec<Value>) -> Result<(), CommitError> {
    match answers.into_iter().next().map(u8::from_redis_value) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(1)) => Err(CommitError::Conflict),
        Some(Ok(2)) => Err(CommitError::Fenced),
        Some(Ok(3)) => Err(CommitError::Unknown),
        Some(_) | None => Err(corrupt(&keys::state(family), record::Damage::Shape).into()),
    }
}

/// A revocation as it waits.
fn word(pending: &PendingRevocation) -> Vec<u8> {
    let PendingRevocation { family, client, sealed, until } = pending;
    record::encode(keys::OUTBOX.as_bytes(), &(family, client, sealed, until))
}

/// A family in an answer to `HMGET key v d`.
fn state_in(key: &str, answer: Value) -> Result<Option<Versioned<Family>>, StoreError> {
    let (version, bytes): (Option<u64>, Option<Vec<u8>>) =
        FromRedisValue::from_redis_value(answer).map_err(|_| corrupt(key, record::Damage::Shape))?;
    let (Some(version), Some(bytes)) = (version, bytes) else { return Ok(None) };
    let value = record::decode(key.as_bytes(), &bytes).map_err(|damage| corrupt(key, damage))?;
    Ok(Some(Versioned { value, version: Version(version) }))
}

/// Removes the record of a UUID.
fn forget(member: &Member) -> Cmd {
    cmd("DEL").arg(keys::token(member.token_use, &member.fingerprint)).to_owned()
}

/// The record of a token in an answer.
fn token_in<T: serde::de::DeserializeOwned>(key: &str, answer: Value) -> Result<Option<T>, StoreError> {
    let Some(bytes) = bytes(answer) else { return Ok(None) };
    let (_mark, record) = bytes.split_first().ok_or_else(|| corrupt(key, record::Damage::Short))?;
    record::decode(key.as_bytes(), record).map(Some).map_err(|damage| corrupt(key, damage))
}

/// A record with a mark before it that scripts can read: `O` over, `L` live.
fn marked<T: serde::Serialize>(key: &str, value: &T, over: bool) -> Vec<u8> {
    let mut bytes = vec![if over { b'O' } else { b'L' }];
    bytes.extend(record::encode(key.as_bytes(), value));
    bytes
}

/// Enters a family into its list, by when it is forgotten. A score is a double: exact to the millisecond for 285,000 years.
fn listed(family: FamilyId, forgotten: Timestamp) -> Cmd {
    let score = forgotten.ends().map_or_else(|| "+inf".to_owned(), |at| at.millis().to_string());
    cmd("ZADD").arg(keys::list_of(family)).arg(score).arg(family.to_string()).to_owned()
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    Option::from_redis_value(value).ok().flatten()
}

fn corrupt(what: &str, damage: record::Damage) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), cause: Arc::new(damage) }
}
