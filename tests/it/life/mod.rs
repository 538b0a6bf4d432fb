//! The life of the UUIDs: refresh, renewal, revocation, the realm's own logouts, and what survives a crash.

mod blind;
mod bounds;
mod joined;
mod logout;
mod lost;
mod model;
mod refresh;
mod renewal;
mod revoke;
mod told;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::support::world::{INTROSPECT, REVOKE};
use crate::support::{Connection, Granting, Mood, OLD_ID, OLD_SECRET, Plan, RawReply, TOKEN, World, eventually, post};

/// Another client than the usual one, with the same secrets.
const OTHER: &str = "another-client";

/// A world whose realm's rotation is known to be so.
fn rotation(word: &str) -> Plan {
    Plan::new().set("realm", "rotation", &format!("\"{word}\""))
}

/// The same; its bridge ends without waiting for what is in flight.
fn mortal(word: &str) -> Plan {
    rotation(word).set("server", "drain", "\"0s\"")
}

/// A refresh of the usual client.
fn refreshing(uuid: &str) -> Vec<(&str, &str)> {
    refreshing_by(OLD_ID, uuid)
}

fn refreshing_by<'a>(client: &'a str, uuid: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("grant_type", "refresh_token"), ("client_id", client), ("client_secret", OLD_SECRET), ("refresh_token", uuid)]
}

#[track_caller]
fn refresh(world: &World, uuid: &str) -> RawReply {
    world.token(&refreshing(uuid))
}

/// A refresh that must succeed.
#[track_caller]
fn refreshed(world: &World, uuid: &str) -> (String, String) {
    let reply = refresh(world, uuid);
    assert_eq!(reply.status, 200, "{}", reply.body);
    pair(&reply)
}

/// The tokens of a reply.
#[track_caller]
fn pair(reply: &RawReply) -> (String, String) {
    (reply.text("access_token"), reply.text("refresh_token"))
}

/// A login of the usual client.
#[track_caller]
fn login(world: &World) -> (String, String) {
    pair(&world.login())
}

/// A refresh that is refused as the dialect refuses a refresh token.
#[track_caller]
fn refused(reply: &RawReply) {
    assert_eq!(reply.said(), (400, "invalid_grant".to_owned()), "{}", reply.body);
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3003113"));
}

#[track_caller]
fn server_error(reply: &RawReply) {
    assert_eq!(reply.said(), (500, "server_error".to_owned()), "{}", reply.body);
    assert_eq!(reply.header("x-ca-err").as_deref(), Some("3003000"));
}

/// Refresh requests that the realm has seen.
fn refreshes(world: &World) -> Vec<String> {
    let refreshes = world.realm.asked("token").into_iter();
    refreshes
        .filter(|seen| seen.field("grant_type").as_deref() == Some("refresh_token"))
        .map(|seen| seen.field("refresh_token").expect("a refresh token"))
        .collect()
}

/// Revokes a token of the usual client, which must succeed.
#[track_caller]
fn revoke(world: &World, uuid: &str) {
    let reply = world.ask(&post(REVOKE, &revoking(uuid)));
    assert_eq!((reply.status, reply.body.as_str()), (200, REVOKED));
}

const REVOKED: &str = "{\r\n  \"result\":\"revoked\"\r\n}";

fn revoking(uuid: &str) -> Vec<(&str, &str)> {
    vec![("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", uuid)]
}

/// The refresh tokens whose sessions the realm was told to end.
fn told(world: &World) -> Vec<String> {
    world.realm.asked("logout").iter().map(|seen| seen.field("refresh_token").expect("a refresh token")).collect()
}

/// Whether this note was counted so often for the usual client.
#[track_caller]
fn noted(world: &World, note: &str, times: f64) {
    let name = format!("passbridge_notes_total{{client=\"{OLD_ID}\",note=\"{note}\"}}");
    let counted = world.metric(&name);
    assert!((counted - times).abs() < f64::EPSILON, "{note}: {counted}");
}

/// A gate before the realm's next answer.
fn gated(world: &World, mood: Mood) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    world.realm.next_at("token", Mood::Gate(Arc::clone(&gate), Box::new(mood)));
    gate
}

/// Sends a token request and does not wait for its reply.
#[track_caller]
fn send(world: &World, fields: &[(&str, &str)]) -> Connection {
    let mut connection = world.connect();
    connection.write(&post(TOKEN, fields));
    connection
}

/// Reads the reply of a request that was sent.
#[track_caller]
fn reply(world: &World, mut connection: Connection) -> RawReply {
    let reply = connection.reply().expect("a reply");
    world.checked(reply)
}

/// Waits until the realm has been asked for so many refreshes.
#[track_caller]
fn until_asked(world: &World, refreshes_seen: usize) {
    eventually("the realm is asked", || refreshes(world).len() == refreshes_seen);
}

/// The bridge does a lot of other things.
#[track_caller]
fn meanwhile(world: &World) {
    for _ in 0..100 {
        refused(&refresh(world, "7c9e6679-7425-40de-944b-e07fc1f90ae7"));
    }
}

fn grant() -> Mood {
    Mood::Grant(Granting::default())
}

/// A grant whose JWT lives for a minute.
fn minutes() -> Granting {
    Granting { expires_in: 60, refresh_expires_in: Some(36_000), ..Granting::default() }
}

/// Asks about a token, and waits for no answer.
fn asking(world: &World, uuid: &str) -> Connection {
    let fields = [("client_id", OLD_ID), ("client_secret", OLD_SECRET), ("token", uuid)];
    let mut connection = world.connect();
    connection.write(&post(INTROSPECT, &fields));
    connection
}
