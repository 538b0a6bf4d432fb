//! What the store's tests share: a clock that is turned by hand, chance that can be repeated, families with their UUIDs.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use passbridge::domain::chance::Entropy;
use passbridge::domain::family::{
    AccessFate, AccessRecord, Family, FamilyId, FamilyState, Member, NewFamily, RefreshRecord,
};
use passbridge::domain::opaque::{Fingerprint, OpaqueToken, TokenShape, TokenUse};
use passbridge::domain::seal::{Binding, SealingKey};
use passbridge::domain::time::{Clock, Timestamp};
use passbridge::store::{StoreSettings, TokenStore};

pub const HOUR: Duration = Duration::from_secs(3600);
pub const BEGIN: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub struct ManualClock {
    day: AtomicU64,
    running: AtomicU64,
}

impl ManualClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { day: AtomicU64::new(BEGIN.millis()), running: AtomicU64::new(0) })
    }

    /// Time passes.
    pub fn pass(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap();
        self.day.fetch_add(millis, Ordering::SeqCst);
        self.running.fetch_add(millis, Ordering::SeqCst);
    }

    /// Somebody sets the time of day; no time passes.
    pub fn set(&self, day: Timestamp) {
        self.day.store(day.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.day.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.running.load(Ordering::SeqCst))
    }
}

/// Chance that begins anew with every seed (`SplitMix64`).
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    pub fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A store under test and what it was handed.
#[derive(Debug)]
pub struct World {
    pub store: TokenStore,
    pub clock: Arc<ManualClock>,
    pub chance: Seeded,
}

impl World {
    pub fn open(settings: &StoreSettings) -> Self {
        // As many as there are worlds: each is an instance.
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let clock = ManualClock::new();
        let store = TokenStore::open(settings, clock.clone()).unwrap();
        store.owned_by(OWNERS.fetch_add(1, Ordering::SeqCst));
        Self { store, clock, chance: Seeded::new(1) }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A login of the client `crm`, good for an hour from now.
    pub fn login(&self) -> Login {
        Login::new(&self.chance, self.now(), "crm")
    }

    /// A login that is kept already.
    pub async fn kept(&self) -> Login {
        let login = self.login();
        self.store.put(login.new.clone()).await.unwrap();
        login
    }
}

pub fn embedded(directory: &Path) -> StoreSettings {
    StoreSettings::Embedded { path: directory.to_owned(), cache_bytes: 8 << 20 }
}

/// A family as it is born, and the secrets that only its client knows.
#[derive(Clone, Debug)]
pub struct Login {
    pub new: NewFamily,
    pub key: SealingKey,
    pub access: Fingerprint,
    pub refresh: Fingerprint,
}

/// What the realm is supposed to have said, as its refresh token.
pub const REALM_REFRESH: &str = "eyJ.realm-refresh.sig";

/// The same, as its access token.
pub fn jwt_of(family: FamilyId) -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{family}.{}", "x".repeat(700))
}

impl Login {
    pub fn new(chance: &Seeded, now: Timestamp, client: &str) -> Self {
        let id = FamilyId::random(chance);
        let key = SealingKey::random(chance);
        let access = access_record(chance, id, client, &key, now);
        let refresh = refresh_record(chance, id, client, &key, (now, 0));
        let members = vec![
            Member { token_use: TokenUse::Access, fingerprint: access.0, until: access.1.until },
            Member { token_use: TokenUse::Refresh, fingerprint: refresh.0, until: refresh.1.until },
        ];
        let owner = Binding { purpose: "realm-refresh", owner: &id.0 };
        let family = Family {
            id,
            client: client.into(),
            born: now,
            scope: "client_registration".into(),
            session: Some(Fingerprint::of("session", &id.0)),
            user: Some(Fingerprint::of("user", b"90417")),
            renewal: Some(key.seal_token(&REALM_REFRESH.into(), owner, chance)),
            renewal_until: now.plus(HOUR),
            generation: 0,
            state: FamilyState::Resting,
            replay: None,
            members,
        };
        let (access_print, refresh_print) = (access.0, refresh.0);
        let new = NewFamily { family, access, refresh: Some(refresh) };
        Self { new, key, access: access_print, refresh: refresh_print }
    }

    pub fn id(&self) -> FamilyId {
        self.new.family.id
    }

    pub fn session(&self) -> Fingerprint {
        self.new.family.session.unwrap()
    }
}

/// A fresh access UUID's record, good for an hour.
pub fn access_record(
    chance: &Seeded,
    id: FamilyId,
    client: &str,
    key: &SealingKey,
    now: Timestamp,
) -> (Fingerprint, AccessRecord) {
    let token = OpaqueToken::mint(chance, TokenShape::Uuid, now);
    let under = SealingKey::of_token(&token, TokenUse::Access);
    let fate = AccessFate::Live {
        jwt: key.seal_token(&jwt_of(id).into(), Binding { purpose: "access-jwt", owner: &id.0 }, chance),
        jwt_since: now,
        jwt_until: now.plus(HOUR),
        key: key.wrap(&under, Binding { purpose: "access-key", owner: &id.0 }, chance).into(),
    };
    let scope = "client_registration".into();
    let record = AccessRecord { family: id, client: client.into(), scope, issued: now, until: now.plus(HOUR), fate };
    (token.fingerprint(TokenUse::Access), record)
}

/// A fresh refresh UUID's record, good for two hours.
pub fn refresh_record(
    chance: &Seeded,
    id: FamilyId,
    client: &str,
    key: &SealingKey,
    (now, generation): (Timestamp, u32),
) -> (Fingerprint, RefreshRecord) {
    let token = OpaqueToken::mint(chance, TokenShape::Uuid, now);
    let under = SealingKey::of_token(&token, TokenUse::Refresh);
    let key = key.wrap(&under, Binding { purpose: "refresh-key", owner: &id.0 }, chance);
    let record =
        RefreshRecord { family: id, client: client.into(), generation, key, issued: now, until: now.plus(2 * HOUR) };
    (token.fingerprint(TokenUse::Refresh), record)
}

/// Runs a test's future as a worker would.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
