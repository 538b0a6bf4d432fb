//! TLS of the legacy listener: spoken, asked for a client's certificate, exchanged on reload.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Connection, OLD_ID, OLD_SECRET, Plan, TOKEN, World, passport, post};

struct Made {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

fn make() -> Made {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    Made {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
        key_der: made.signing_key.serialize_der(),
    }
}

fn world(server: &Made, client_ca: Option<&Made>) -> World {
    let ca = client_ca.map_or_else(String::new, |_| ", client_ca = \"ca.pem\"".to_owned());
    let tls = format!("{{ certificate = \"server.pem\", key = \"server.key\"{ca} }}");
    let mut world = Plan::new().set("tls", "legacy", &tls).files();
    put(&world, server);
    if let Some(ca) = client_ca {
        fs::write(world.path().join("ca.pem"), &ca.certificate).unwrap();
    }
    world.begin();
    world
}

fn put(world: &World, server: &Made) {
    fs::write(world.path().join("server.pem"), &server.certificate).unwrap();
    fs::write(world.path().join("server.key"), &server.key).unwrap();
}

/// Logs in over TLS; nothing where the other side is not whom we trust, or does not trust us.
fn login(world: &World, trusted: &Made, own: Option<&Made>) -> Option<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::try_from(own.key_der.clone()).unwrap();
            config.with_client_auth_cert(vec![own.der.clone()], key).unwrap()
        }
    };
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = StreamOwned::new(client, TcpStream::connect(world.legacy()).unwrap());
    let mut connection = Connection::over(stream);
    if !connection.write(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))) {
        return None;
    }
    connection.reply().map(|reply| world.checked(reply).status)
}

#[test]
fn a_login_over_tls_is_a_login() {
    let server = make();
    let world = world(&server, None);
    assert_eq!(login(&world, &server, None), Some(200));
    assert_eq!(login(&world, &make(), None), None, "a client that trusts another does not speak to us");
}

#[test]
fn a_clients_certificate_is_asked_for_where_a_ca_is_configured() {
    let (server, ca) = (make(), make());
    let world = world(&server, Some(&ca));
    assert_eq!(login(&world, &server, Some(&ca)), Some(200));
    assert_eq!(login(&world, &server, None), None);
    assert_eq!(login(&world, &server, Some(&make())), None);
}

#[test]
fn a_reload_shows_the_next_certificate_and_a_wrong_one_is_refused() {
    let (first, second) = (make(), make());
    let world = world(&first, None);
    put(&world, &second);
    world.running().reload().unwrap();
    assert_eq!(login(&world, &second, None), Some(200));
    fs::write(world.path().join("server.key"), &first.key).unwrap();
    let findings = world.running().reload().unwrap_err();
    assert_eq!(findings[0].code, "unfit-certificate", "{findings:?}");
    assert_eq!(login(&world, &second, None), Some(200), "the last good one is shown");
}
