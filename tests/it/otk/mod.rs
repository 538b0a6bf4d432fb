//! The old server: passed on to, byte for byte, and what becomes of a client on its way from it to the realm.

mod bytes;
mod canary;
mod learned;
mod lost;
mod shadow;
mod stages;

use crate::support::{FakeOld, OLD_ID, Plan, RawReply, World, client};

/// A bridge in front of an old server, with one client at a stage.
fn world(old: &FakeOld, stage: &str) -> World {
    plan(old).client(&client(OLD_ID, &format!("stage = \"{stage}\""))).start()
}

fn plan(old: &FakeOld) -> Plan {
    Plan::new().without_clients().set("otk", "url", &format!("\"{}\"", old.url()))
}

/// Whether the old server said this.
fn is_old(reply: &RawReply) -> bool {
    reply.header("server").as_deref() == Some("Old-Gateway")
}
