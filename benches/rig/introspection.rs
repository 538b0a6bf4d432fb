//! Introspection, the whole request: does it cost more when many families live?

use std::path::Path;
use std::sync::Arc;

use passbridge::document::Findings;
use passbridge::domain::client::Client;
use passbridge::domain::grant::{RealmGrant, RealmRefresh};
use passbridge::domain::issue::{self, Asked, Moment};
use passbridge::domain::time::Clock;
use passbridge::mapping;
use passbridge::secrets::Environment;
use passbridge::server::{SystemClock, SystemEntropy};
use passbridge::store::{StoreSettings, TokenStore};
use secrecy::SecretString;
use std::time::Duration;

use crate::Wanted;
use crate::jwt;
use crate::load::{self, Load};
use crate::messages::{Messages, drawn};
use crate::peers::Bridge;
use crate::report::{Bar, Report};
use crate::rounds::{self, Contestant, Round, Spread};
use crate::site::{INTROSPECT, Live, SECRET, Site, folder, legacy_id, lives, post};

/// What a bridge does with a full store once it has started is over by then.
const STARTED: Duration = Duration::from_secs(60);

const REQUESTS: usize = 8_000;
/// Of a large store, those that are asked about where only some are busy.
pub const HOT: usize = 50_000;
/// Requests prepared of each kind: as many as are asked before and in all rounds, so that none comes again sooner than chance has it.
pub const MESSAGES: usize = 320_000;
/// Asked before the rounds, so that a cache is as full as it gets.
const BEFORE: usize = 150_000;
/// The same of a hot set, so that it is hot: what is asked about for the second time of late comes into a full cache. Each of it comes again soon
/// enough for the prepared requests to be asked twice.
const BEFORE_HOT: usize = 600_000;
/// Families that are written together.
const TOGETHER: usize = 256;

struct Lived {
    bridge: Bridge,
    uniform: Messages,
    hot: Messages,
}

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let lived: Vec<_> = lives(wanted.large).into_iter().map(|of| (live(work.path(), of), of.2)).collect();
    let mut contestants = Vec::new();
    for (lived, name) in &lived {
        for messages in [&lived.uniform, &lived.hot] {
            let load = Load {
                to: lived.bridge.legacy,
                connections: 64,
                requests: REQUESTS,
                messages: messages.clone(),
                pause: None,
                expect: "\"active\":true",
            };
            contestants.push(Contestant { name, process: &lived.bridge.process, load });
        }
    }
    compare(wanted, report, ("introspection", "asked about"), &contestants);
}

/// Does it cost more when many live? Of each store there are two contestants, whose load is about any of them and about a hot set; the
/// first store is what the others are compared with. The hot sets have rounds of their own: nobody asks about the others meanwhile.
pub fn compare(wanted: &Wanted, report: &mut Report, (chapter, done): (&str, &str), contestants: &[Contestant<'_>]) {
    for (first, busy, bar, before) in [(0, "any", 1.3, BEFORE), (1, "hot", 1.15, BEFORE_HOT)] {
        let alike: Vec<_> = contestants.iter().skip(first).step_by(2).cloned().collect();
        for contestant in &alike {
            rounds::rest(contestant.process, STARTED);
            load::run(&Load { requests: before, ..contestant.load.clone() });
        }
        let all = rounds::run(&alike, wanted.rounds(12));
        let [least, ..] = &*all else { panic!("a store is compared with a small one") };
        for (contestant, rounds) in alike.iter().zip(&all) {
            let what = format!("{chapter}: {} live, {busy} of them {done}", contestant.name);
            report.spread(chapter, &what, "CPU us/request", Spread::over(rounds, Round::cost), Bar::None);
            if !std::ptr::eq(rounds, least) {
                let ratio = Spread::ratio(rounds, least, Round::cost);
                report.spread(chapter, &format!("{what} / 1 k live"), "ratio", ratio, Bar::AtMost(bar));
            }
        }
    }
}

/// A bridge whose store holds so many live families, and requests about them.
fn live(work: &Path, (count, store_further, name): Live) -> Lived {
    let site = Site { store_further, ..Site::new(work, &format!("live {name}"), "http://127.0.0.1:1".to_owned()) };
    let tokens = filled(&site, count);
    let chosen = |among: usize| -> Messages {
        drawn(among).take(MESSAGES).map(|index| about(&tokens[index])).collect::<Vec<_>>().into()
    };
    let (uniform, hot) = (chosen(count), chosen(count.min(HOT)));
    Lived { bridge: Bridge::start(&site), uniform, hot }
}

/// Writes a site's files and so many live families into its store; answers the access UUIDs.
pub fn filled(site: &Site, count: usize) -> Vec<String> {
    eprintln!("bench: writes {count} families");
    site.write();
    let loaded =
        mapping::load(&mapping::Place::new(site.folder.join("mappings")), &Environment::default(), &Findings::new())
            .unwrap();
    let client = loaded.table.client(&legacy_id(0)).unwrap();
    fill(site, client, count)
}

/// The question about a token.
pub fn about(token: &str) -> Vec<u8> {
    post(INTROSPECT, &[("client_id", &legacy_id(0)), ("client_secret", SECRET), ("token", token)])
}

/// Fills the store of a site; answers the access UUIDs.
fn fill(site: &Site, client: &Arc<Client>, count: usize) -> Vec<String> {
    let settings = StoreSettings::Embedded { path: site.store.clone(), cache_bytes: 64 << 20 };
    let clock = Arc::new(SystemClock::new());
    let store = TokenStore::open(&settings, clock.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut tokens = Vec::with_capacity(count);
    runtime.block_on(async {
        while tokens.len() < count {
            let portion = TOGETHER.min(count - tokens.len());
            let issued: Vec<_> = (tokens.len()..tokens.len() + portion)
                .map(|number| {
                    let asked = Asked { client, grant_type: "passport", scope: Some("client_registration") };
                    let now = clock.now();
                    let moment =
                        Moment { given: now, now, believed: now, was_set_back: false, entropy: &SystemEntropy };
                    issue::mint(asked, &grant(number), moment)
                })
                .collect();
            tokens.extend(issued.iter().map(|issued| issued.reply.access.expose().to_owned()));
            let puts = issued.into_iter().map(|issued| store.put(issued.family));
            futures_util::future::try_join_all(puts).await.unwrap();
        }
        store.close().await;
    });
    tokens
}

fn grant(number: usize) -> RealmGrant {
    let life = Duration::from_secs(3600);
    RealmGrant {
        access_token: SecretString::from(jwt::access(number)),
        access_life: life,
        refresh: Some(RealmRefresh { token: SecretString::from(jwt::refresh(number)), life: Some(life) }),
        scope: Some("2F_CA_Auth client_registration profile email".to_owned()),
        session: Some(format!("{number:032x}")),
        user: Some("90417".to_owned()),
    }
}
