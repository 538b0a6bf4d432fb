//! The golden files: every pair of tests/golden, byte for byte (tests/golden/README.md).

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::pattern::{Values, filled, matches};
use crate::support::raw::header;
use crate::support::world::OLD_ID;
use crate::support::{Mood, OLD_SECRET, Plan, World, client, passport};

const COMPARED: [&str; 6] = ["content-type", "cache-control", "pragma", "www-authenticate", "x-ca-err", "allow"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A world whose one client speaks this shipped dialect, has a login, and had one that is over.
fn world(dialect: &str) -> (World, Values) {
    let text = fs::read_to_string(format!("{}/mappings/dialects/{dialect}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let more = format!("dialect = \"{dialect}\"\nscopes = {{ client_registration = \"client_registration\" }}");
    let world = Plan::new()
        .without_clients()
        .client(&client(OLD_ID, &more))
        .client(&client("retired-client", &format!("{more}\nstage = \"retired\"")))
        .dialect(dialect, &text)
        .start();
    let mut values = Values::new();
    let reply = world.login();
    values.insert("expired".to_owned(), reply.text("access_token"));
    values.insert("used".to_owned(), reply.text("refresh_token"));
    let refresh = [("grant_type", "refresh_token"), ("client_id", OLD_ID), ("client_secret", OLD_SECRET)];
    let used = reply.text("refresh_token");
    let reply = world.token(&[&refresh[..], &[("refresh_token", &used)]].concat());
    assert_eq!(reply.status, 200, "{}", reply.body);
    world.turn(3600);
    let reply = world.token(&passport(OLD_ID, OLD_SECRET));
    values.insert("access".to_owned(), reply.text("access_token"));
    values.insert("refresh".to_owned(), reply.text("refresh_token"));
    (world, values)
}

fn text(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

fn mood(path: &Path) -> Option<Mood> {
    let text = path.exists().then(|| text(path))?;
    let (status, body) = text.split_once('\n').expect("a status, then the body");
    Some(Mood::answer(status.trim().parse().expect("a status"), "application/json", body))
}

/// What differs; nothing where the reply is as it must be.
fn difference(world: &World, request: &Path, known: &Values) -> Option<String> {
    let request_text = text(request);
    let expected = text(&request.with_extension("reply"));
    // A pair brings values of its own, and keeps what it may use of the login before.
    let mut values = known.clone();
    if !request_text.contains("{{") {
        values.clear();
    }
    let realm = request.with_extension("realm");
    if realm.exists() && text(&realm).starts_with("refuse") {
        world.realm.close();
    } else if let Some(mood) = mood(&realm) {
        world.realm.next(mood);
    }
    let reply = world.connect().ask(filled(&request_text, known).as_bytes());
    world.plant(&reply);
    if realm.exists() && text(&realm).starts_with("refuse") {
        world.realm.listen();
    }
    let (head, body) = expected.split_once("\r\n\r\n").expect("an empty line behind the head");
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != reply.status.to_string() {
        return Some(format!("status {} in place of {status}: {}", reply.status, reply.body));
    }
    for name in COMPARED {
        let (wanted, found) = (header(head, name), reply.header(name));
        if wanted != found {
            return Some(format!("{name}: {found:?} in place of {wanted:?}"));
        }
    }
    if let Some(length) = header(head, "content-length") {
        assert_eq!(length, filled_length(body).to_string(), "{}: its length is wrong", request.display());
    }
    reply.check();
    matches(body, &reply.body, &mut values).err()
}

/// The length of a body whose UUIDs are 36 characters.
fn filled_length(body: &str) -> usize {
    let places = body.matches("{{uuid ").count();
    let in_places: usize =
        body.split("{{uuid ").skip(1).map(|rest| "{{uuid ".len() + rest.find("}}").unwrap() + "}}".len()).sum();
    body.len() - in_places + places * 36
}

fn hold(dialect: &str) -> usize {
    let (world, values) = world(dialect);
    let mut requests: Vec<PathBuf> = fs::read_dir(folder().join(dialect))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "request"))
        .collect();
    requests.sort();
    let differences: Vec<String> = requests
        .iter()
        .filter_map(|path| difference(&world, path, &values).map(|text| format!("{}: {text}", path.display())))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    requests.len()
}

#[test]
fn every_golden_pair_is_answered_byte_for_byte() {
    for entry in fs::read_dir(folder()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let dialect = entry.file_name().into_string().unwrap();
        assert!(hold(&dialect) > 0, "{dialect} has no request");
    }
}

#[test]
fn no_file_of_the_golden_folder_lacks_its_other_half() {
    for entry in fs::read_dir(folder()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        for path in fs::read_dir(entry.path()).unwrap().map(|entry| entry.unwrap().path()) {
            for other in ["request", "reply"] {
                assert!(path.with_extension(other).exists(), "{} has no {other}", path.display());
            }
        }
    }
}

#[test]
fn the_captured_401_is_102_bytes_long() {
    let reply = text(&folder().join("otk-passport/wrong-secret.reply"));
    assert_eq!(header(&reply, "content-length").as_deref(), Some("102"));
    assert_eq!(reply.split_once("\r\n\r\n").unwrap().1.len(), 102);
}

#[test]
fn the_seeds_reply_stands_in_the_files_as_it_stands_in_the_document() {
    let reply = text(&folder().join("otk-passport/login.reply"));
    let expected = "{\r\n  \"grant_type\": \"passport\",\r\n  \"access_token\":\"{{uuid a}}\",\r\n  \"token_type\":\"Bearer\",\r\n  \"expires_in\":3600,\r\n  \"refresh_token\":\"{{uuid r}}\",\r\n  \"scope\":\"client_registration\"\r\n}";
    assert_eq!(reply.split_once("\r\n\r\n").unwrap().1, expected);
}
