//! Not a measurement: gives a build that counts (scripts/build-static) what bridges are busy with.

use crate::introspection::about;
use crate::load::{self, Load};
use crate::messages::Messages;
use crate::peers::{Bridge, logins};
use crate::report::Report;
use crate::site::{Passport, Site, folder, login, refresh};
use crate::swap::Gateway;
use crate::{Wanted, upstream};

const LOGINS: usize = 6_000;
const REFRESHES: usize = 4_000;
const INTROSPECTIONS: usize = 4_000;
const CALLS: usize = 30_000;
const LARGE_CALLS: usize = 1_000;
const QUESTIONS: usize = 15_000;
/// Clients that log in, and UUIDs that are called with.
const CLIENTS: usize = 100;
const LIVE: usize = 1_000;

pub fn run(_: &Wanted, _: &mut Report) {
    let work = folder();
    let realm = upstream::realm();
    let site = Site::new(work.path(), "logins", realm);
    let bridge = Bridge::start(&site);
    let logins = logins(bridge.legacy, LOGINS, CLIENTS);
    load::run(&logins);
    let passport = Passport::invented();
    let refreshed = Messages::chained(vec![login(0, &passport); 2 * logins.connections], |token| refresh(0, token));
    load::run(&Load { messages: refreshed, requests: REFRESHES, ..logins });
    drop(bridge);

    let gateway = Gateway::start(work.path(), "calls", LIVE, None);
    load::run(&gateway.load(LIVE, CALLS));
    load::run(&gateway.asked(LIVE, QUESTIONS));
    load::run(&gateway.large(LARGE_CALLS));
    let questions = gateway.tokens.iter().map(|token| about(token)).collect::<Vec<_>>();
    load::run(&Load {
        to: gateway.bridge.legacy,
        messages: questions.into(),
        expect: "\"active\":true",
        ..gateway.load(LIVE, INTROSPECTIONS)
    });
}
