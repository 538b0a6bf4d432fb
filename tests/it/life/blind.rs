//! Nothing that lies in the store's directory is a token, and nothing in it opens one.

use std::path::Path;

use passbridge::domain::family::Family;
use passbridge::store::{Find, TokenStore};
use secrecy::ExposeSecret;

use super::{login, refreshed, revoke, rotation};
use crate::support::{NEW_SECRET, OLD_ID, OLD_SECRET, World, eventually};

/// All bytes of all files.
fn bytes(directory: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(bytes(&path)) } else { files.push(std::fs::read(path).unwrap()) }
    }
    files
}

fn contains(files: &[Vec<u8>], secret: &[u8]) -> bool {
    files.iter().any(|file| file.windows(secret.len()).any(|window| window == secret))
}

/// What whoever has the files has: the last of the families, by its client's name.
async fn found(store: &TokenStore) -> Family {
    store.find(Find::Client(OLD_ID.to_owned()), 10).await.unwrap().records.pop().unwrap()
}

/// A world in which everything has happened that leaves something behind.
fn lived() -> (World, Vec<String>) {
    let mut world = rotation("on").start();
    let mut secrets = Vec::new();
    let mut keep = |pair: &(String, String)| secrets.extend([pair.0.clone(), pair.1.clone()]);
    let one = login(&world);
    keep(&one);
    let two = refreshed(&world, &one.1);
    keep(&two);
    world.turn(3540);
    assert!(world.active(&two.0)); // renewed underneath
    let other = login(&world);
    keep(&other);
    world.realm.close();
    revoke(&world, &other.0); // waits in the outbox
    world.restart(); // and everything is in the files
    secrets.extend(world.realm.tokens());
    secrets.extend([OLD_SECRET, NEW_SECRET, "planted-certificate", "90417"].map(str::to_owned));
    (world, secrets)
}

#[test]
fn no_file_of_the_store_contains_a_token_a_secret_or_a_name() {
    let (world, secrets) = lived();
    let files = bytes(&world.store());
    assert!(files.iter().map(Vec::len).sum::<usize>() > 1_000);
    assert!(contains(&files, OLD_ID.as_bytes()), "what may be read can be read: the search works");
    for secret in &secrets {
        assert!(!contains(&files, secret.as_bytes()), "{secret}");
        if let Ok(uuid) = uuid::Uuid::parse_str(secret) {
            assert!(!contains(&files, uuid.as_bytes()), "the raw bytes of {secret}");
        }
        // A part of a JWT tells as much.
        for part in secret.split('.').filter(|part| part.len() > 30) {
            assert!(!contains(&files, part.as_bytes()), "{part}");
        }
    }
    assert!(!contains(&files, b"eyJ"));
}

#[test]
fn a_copy_of_the_files_opens_nothing_without_a_uuid_and_everything_with_it() {
    use passbridge::domain::family::AccessFate;
    use passbridge::domain::issue::{ACCESS_JWT, ACCESS_KEY, REALM_REFRESH, binding};
    use passbridge::domain::opaque::{OpaqueToken, TokenUse};
    use passbridge::domain::seal::SealingKey;

    let world = rotation("on").start();
    let (access, uuid) = login(&world);
    let store = &world.running().bridge().store;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let family = runtime.block_on(found(store));
    let member = family.members.iter().find(|member| member.token_use == TokenUse::Access).unwrap();
    let record = runtime.block_on(store.access(&member.fingerprint)).unwrap().unwrap();
    let AccessFate::Live { jwt, key, .. } = &record.fate else { panic!("it lives") };
    let guesses = [
        member.fingerprint.as_bytes().to_vec(),
        member.fingerprint.to_string().into_bytes(),
        family.id.0.to_vec(),
        family.id.to_string().into_bytes(),
        family.client.as_bytes().to_vec(),
        NEW_SECRET.as_bytes().to_vec(),
        OLD_SECRET.as_bytes().to_vec(),
        uuid.clone().into_bytes(),
    ];
    for guess in &guesses {
        for purpose in ["wrap access", "wrap refresh", "reply", "outbox"] {
            if guess == uuid.as_bytes() && purpose == "wrap refresh" {
                continue;
            }
            let guessed = SealingKey::derive(guess, purpose);
            assert!(guessed.unwrap_key(key.wrapped(), binding(ACCESS_KEY, &family.id)).is_err());
            assert!(guessed.open(jwt, binding(ACCESS_JWT, &family.id)).is_err());
        }
    }
    let token = OpaqueToken::parse(&access).unwrap();
    let data_key = SealingKey::of_token(&token, TokenUse::Access)
        .unwrap_key(key.wrapped(), binding(ACCESS_KEY, &family.id))
        .unwrap();
    let opened = data_key.open_token(jwt, binding(ACCESS_JWT, &family.id)).unwrap();
    assert_eq!(opened.expose_secret(), world.realm.tokens()[0]);
    let renewal = family.renewal.as_ref().unwrap();
    assert!(
        data_key.open_token(renewal, binding(ACCESS_JWT, &family.id)).is_err(),
        "each value is bound to what it is"
    );
    assert!(data_key.open_token(renewal, binding(REALM_REFRESH, &family.id)).is_ok());
}

#[test]
fn what_is_over_keeps_nothing_of_the_realm() {
    use passbridge::domain::family::AccessFate;
    use passbridge::domain::opaque::TokenUse;

    let world = rotation("on").start();
    let (access, _) = login(&world);
    revoke(&world, &access);
    eventually("the realm is told", || super::told(&world).len() == 1);
    let store = &world.running().bridge().store;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let family = runtime.block_on(found(store));
    assert!(family.is_over() && family.renewal.is_none());
    for member in &family.members {
        match member.token_use {
            TokenUse::Access => {
                let record = runtime.block_on(store.access(&member.fingerprint)).unwrap().unwrap();
                assert!(matches!(record.fate, AccessFate::Over(_)));
            }
            TokenUse::Refresh => {
                let record = runtime.block_on(store.refresh(&member.fingerprint)).unwrap().unwrap();
                assert!(record.key.as_bytes().is_empty());
            }
        }
    }
}
