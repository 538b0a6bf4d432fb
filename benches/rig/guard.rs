//! Checking an old secret: the first time a client shows it, and every time after.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use passbridge::document::Findings;
use passbridge::domain::client::{Credentials, Placement, Presented};
use passbridge::mapping::{self, Guard, GuardLimits, Rate, Snapshot};
use passbridge::secrets::Environment;
use passbridge::server::{SystemClock, SystemEntropy};
use secrecy::SecretString;

use crate::Wanted;
use crate::report::{Bar, Report};
use crate::rounds::Spread;
use crate::site::{SECRET, Site, folder, legacy_id};

const CLIENTS: usize = 10_000;
const AGAIN: usize = 100_000;

pub fn run(wanted: &Wanted, report: &mut Report) {
    let work = folder();
    let mut site = Site::new(work.path(), "guard", "http://127.0.0.1:1".to_owned());
    site.clients = CLIENTS;
    site.write();
    let environment = Environment::default();
    let loaded =
        mapping::load(&mapping::Place::new(site.folder.join("mappings")), &environment, &Findings::new()).unwrap();
    let snapshot = Snapshot::new(loaded, &SystemEntropy);
    let rate = Rate { count: u32::MAX, period: Duration::from_secs(60) };
    let limits = GuardLimits { per_client: rate, per_address: rate };
    let guard = Guard::new(limits, 1, Arc::new(SystemClock::new())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ask = |client: usize| {
        let reading = Credentials { id: legacy_id(client), secret: SecretString::from(SECRET) };
        let presented = Presented { placement: Placement::Parameters, readings: vec![reading] };
        let address = IpAddr::from([127, 0, 0, 1]);
        let begun = Instant::now();
        let known = runtime.block_on(guard.authenticate(&snapshot, &presented, address)).is_ok();
        let took = begun.elapsed();
        assert!(black_box(known));
        took.as_secs_f64() * 1e6
    };
    let first = Spread::of((0..wanted.rounds(60)).map(ask));
    report.spread("guard", "old secret, first time (argon2id)", "us", first, Bar::None);
    let known = wanted.rounds(60);
    let again = Spread::of((0..AGAIN).map(|number| ask(number % known)));
    report.spread("guard", "old secret, every time after", "us", again, Bar::AtMost(5.0));
}
