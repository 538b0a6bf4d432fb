//! `passbridge replay`: captured requests again, their replies held against the captured ones.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::said::{Said, run};
use crate::support::pem::self_signed;
use crate::support::program::bare;
use crate::support::tls::{Authority, TlsFront};
use crate::support::{OLD_ID, OLD_SECRET, Plan, World, client, eventually};

const ACCESS: &str = "b018f31a-c2ef-4274-9fc8-7e3bf99dd3ba";
const REFRESH: &str = "304554d8-d1c0-45d5-935b-02f886104a79";
const NEXT_ACCESS: &str = "5c1f2d7e-0b5f-4f6e-8a0b-6f5c3b1d2e10";
const NEXT_REFRESH: &str = "0d9b8c7a-1234-4abc-9def-001122334455";

fn replay(world: &World, more: &[&str]) -> Said {
    let against = format!("http://{}", world.legacy());
    run(world, &[&["replay", "--against", &against], more].concat(), "")
}

/// Each captured request with what became of it.
fn outcomes(said: &Said) -> Vec<(String, String)> {
    let replies = said.json()["replies"].as_array().unwrap().clone();
    let name = |one: &Value| one["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    replies.iter().map(|one| (name(one), one["outcome"].as_str().unwrap().to_owned())).collect()
}

fn form(path: &str, fields: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: old.example.org\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{fields}",
        fields.len()
    )
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nPragma: no-cache\r\nServer: old\r\n\
         Content-Type: application/json;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn tokens(grant: &str, access: &str, refresh: &str) -> String {
    format!(
        "{{\r\n  \"grant_type\": \"{grant}\",\r\n  \"access_token\":\"{access}\",\r\n  \"token_type\":\"Bearer\",\r\n  \
         \"expires_in\":3600,\r\n  \"refresh_token\":\"{refresh}\",\r\n  \"scope\":\"client_registration\"\r\n}}"
    )
}

/// A login, its refresh, and the end of it, as an old server once answered them.
fn chain() -> [(&'static str, String, String); 3] {
    let who = format!("client_id={OLD_ID}&client_secret={OLD_SECRET}");
    let login = format!(
        "grant_type=passport&{who}&scope=client_registration&certificate=planted-certificate&algorithm=GOST&signature=planted%2Bsignature"
    );
    let refresh = format!("grant_type=refresh_token&{who}&refresh_token={REFRESH}");
    let revoke = format!("{who}&token={NEXT_ACCESS}&token_type_hint=access_token");
    [
        ("1-login", form("/auth/oauth/v2/token", &login), ok(&tokens("passport", ACCESS, REFRESH))),
        ("2-refresh", form("/auth/oauth/v2/token", &refresh), ok(&tokens("refresh_token", NEXT_ACCESS, NEXT_REFRESH))),
        ("3-revoke", form("/auth/oauth/v2/token/revoke", &revoke), ok("{\r\n  \"result\":\"revoked\"\r\n}")),
    ]
}

/// Writes the chain into a folder; each reply may be made another one.
fn written(world: &World, other: impl Fn(&str, String) -> String) -> PathBuf {
    let folder = world.path().join("captured");
    fs::create_dir_all(&folder).unwrap();
    for (name, request, reply) in chain() {
        fs::write(folder.join(format!("{name}.request")), request).unwrap();
        fs::write(folder.join(format!("{name}.reply")), other(name, reply)).unwrap();
    }
    folder
}

/// A request or a reply in chunks, as it went over the wire: so long ones that most UUIDs lie in two.
fn in_chunks(message: &str) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let head: Vec<_> = head.lines().filter(|line| !line.starts_with("Content-Length")).collect();
    let chunks = body.as_bytes().chunks(60).map(|chunk| {
        let text = std::str::from_utf8(chunk).unwrap();
        format!("{:x};of=us\r\n{text}\r\n", text.len())
    });
    let chunks: String = chunks.collect();
    format!("{}\r\nTransfer-Encoding: Chunked\r\n\r\n{chunks}0\r\nTrailer: 1\r\n\r\n", head.join("\r\n"))
}

fn site() -> World {
    let scopes = "scopes = { client_registration = \"client_registration\" }";
    Plan::new().without_clients().client(&client(OLD_ID, scopes)).start()
}

#[test]
fn a_captured_chain_goes_on_with_the_uuids_of_now() {
    let world = site();
    let folder = written(&world, |_, reply| reply);
    let said = replay(&world, &[folder.to_str().unwrap(), "--format", "json"]).fine();
    let same = |name: &str| (name.to_owned(), "same".to_owned());
    assert_eq!(outcomes(&said), ["1-login", "2-refresh", "3-revoke"].map(same));
    assert_eq!((&said.json()["same"], &said.json()["compared"]), (&json!(true), &json!(3)));
    eventually("all is in the audit", || world.audit().iter().any(|row| row["what"] == "revocation"));
    let mut rows = world.audit();
    rows.retain(|row| row["client"] == OLD_ID);
    let kinds: Vec<_> = rows.iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["login", "refresh", "revocation"]);
    assert!(rows[2]["notes"].is_null(), "it was known, and the client's own: {}", rows[2]);
    // Alone, nothing stands in the place of the captured UUID.
    let alone = replay(&world, &[folder.join("2-refresh.request").to_str().unwrap(), "--format", "json"]);
    assert_eq!((alone.status, outcomes(&alone)), (1, vec![("2-refresh".to_owned(), "different".to_owned())]));
}

#[test]
fn what_differs_is_shown_side_by_side_without_a_secret_and_the_chain_goes_on() {
    let world = site();
    let folder = written(&world, |name, reply| match name {
        "1-login" => reply.replace("3600", "3599").replace("200 OK", "201 Created").replace("Pragma: no-cache\r\n", ""),
        "3-revoke" => reply.replace("\r\n  \"result", "\n  \"result").replace("Length: 26", "Length: 25"),
        _ => reply,
    });
    let said = replay(&world, &[folder.to_str().unwrap()]);
    assert_eq!(said.status, 1, "{said:?}");
    for line in [
        "1-login: different\n  status: captured 201, replayed 200\n  pragma: captured (none), replayed no-cache\n",
        "    captured                            replayed\n",
        "      \"access_token\":\"{{uuid}}\",\\r        \"access_token\":\"{{uuid}}\",\\r\n",
        "      \"expires_in\":3599,\\r            |   \"expires_in\":3600,\\r\n",
        "2-refresh: same\n",
        "3-revoke: different\n  body, from byte 1 on:\n",
    ] {
        assert!(said.out.contains(line), "{line}\n{}", said.out);
    }
    assert!(said.err.contains(": 1 the same, 2 different, 0 unanswered, 0 skipped"), "{}", said.err);
    let json = replay(&world, &[folder.to_str().unwrap(), "--format", "json"]).json();
    let differences = json["replies"][0]["differences"].as_array().unwrap();
    let status = json!({"what": "status", "captured": "201", "replayed": "200", "byte": null, "note": null});
    assert_eq!(differences[0], status);
    assert_eq!((&differences[2]["what"], &differences[2]["byte"]), (&json!("body"), &json!(132)));
    let text = said.out + &json.to_string();
    for secret in [ACCESS, REFRESH, NEXT_ACCESS, OLD_SECRET, "planted-certificate", "planted+signature", "eyJ"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn a_uuid_that_is_not_the_one_of_before_is_said_to_be_another() {
    let world = site();
    let folder = written(&world, |_, reply| reply);
    let login = folder.join("1-login.request");
    let login = login.to_str().unwrap();
    // Two logins, and as the capture has it the same UUIDs for both.
    let said = replay(&world, &[login, login]);
    assert_eq!(said.status, 1, "{said:?}");
    for line in [
        "1-login: same\n",
        "1-login: different\n  body, from byte 50 on:\n",
        "      \"access_token\":\"{{uuid}}\",\\r    |   \"access_token\":\"{{another uuid}}\",\\r\n",
        "  note: another UUID is expected there: the one that stands for the captured one since an earlier place of the run\n",
    ] {
        assert!(said.out.contains(line), "{line}\n{}", said.out);
    }
    let json = replay(&world, &[login, login, "--format", "json"]).json();
    assert!(json["replies"][1]["differences"][0]["note"].as_str().unwrap().starts_with("another UUID is expected"));
    // The same name twice in one reply, as a place.
    let twice = chain()[0].2.replace(ACCESS, "{{uuid a}}").replace(REFRESH, "{{uuid a}}");
    fs::write(folder.join("1-login.reply"), twice).unwrap();
    let said = replay(&world, &[login]);
    assert!(said.out.contains("\"refresh_token\":\"{{another uuid}}\""), "{}", said.out);
    assert!(said.out.contains("  note: another UUID is expected there"), "{}", said.out);
}

#[test]
fn a_capture_is_what_went_over_the_wire_chunks_and_100_continue_and_all() {
    let world = site();
    let folder = written(&world, |name, reply| match name {
        "1-login" => format!("HTTP/1.1 100 Continue\r\n\r\n{}", in_chunks(&reply)),
        "3-revoke" => {
            format!("HTTP/1.1 100 Continue\r\nServer: old\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n{reply}")
        }
        _ => in_chunks(&reply),
    });
    for (name, request, _) in chain() {
        fs::write(folder.join(format!("{name}.request")), in_chunks(&request)).unwrap();
    }
    let said = replay(&world, &[folder.to_str().unwrap(), "--format", "json"]);
    let same = |name: &str| (name.to_owned(), "same".to_owned());
    assert_eq!(outcomes(&said), ["1-login", "2-refresh", "3-revoke"].map(same), "{}", said.out);
    eventually("the UUID of now was revoked", || {
        world.audit().iter().any(|row| row["what"] == "revocation" && row["notes"].is_null())
    });
    // Of a UUID that lies in two chunks nothing shows.
    let login = chain()[0].2.replace("3600", "3599");
    fs::write(folder.join("1-login.reply"), in_chunks(&login)).unwrap();
    let said = replay(&world, &[folder.join("1-login.request").to_str().unwrap()]);
    assert!(said.out.contains("\"expires_in\":3599,\\r            |   \"expires_in\":3600,\\r\n"), "{}", said.out);
    assert!(!said.out.contains(&ACCESS[..8]) && !said.out.contains(&ACCESS[28..]), "{}", said.out);
}

#[test]
fn a_capture_that_is_cut_is_told_and_is_no_reply_to_compare_with() {
    let world = site();
    let folder = written(&world, |_, reply| reply);
    let (_, request, reply) = &chain()[0];
    let file = |half: &str| folder.join(format!("1-login.{half}"));
    let told = |request: &str, reply: &str| {
        fs::write(file("request"), request).unwrap();
        fs::write(file("reply"), reply).unwrap();
        let said = replay(&world, &[file("request").to_str().unwrap(), "--format", "json"]);
        assert_eq!((said.status, outcomes(&said)[0].1.as_str()), (1, "skipped"), "{said:?}");
        said.json()["replies"][0]["why"].as_str().unwrap().to_owned()
    };
    let length = reply.split_once("\r\n\r\n").unwrap().1.len();
    let cut = &reply[..reply.len() - 5];
    let words = format!(
        "its captured reply is cut or was changed: its body has {} bytes, and its Content-Length says {length}",
        length - 5
    );
    assert_eq!(told(request, cut), words);
    let short = cut.replace(ACCESS, "{{uuid a}}");
    assert!(
        told(request, &short[..short.len() - 12])
            .starts_with("its captured reply is cut or was changed: its body has ")
    );
    let chunks = in_chunks(reply);
    for behind in [2, 30, 200] {
        assert_eq!(
            told(request, &chunks[..chunks.len() - behind]),
            "its captured reply is cut: its chunks have no end"
        );
    }
    let nothing = told(request, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(nothing, "its captured reply is cut: nothing follows `100 Continue`");
    for two in [format!("{reply}\n"), format!("{chunks}\n"), "HTTP/1.1 204 No Content\r\n\r\n\n".to_owned()] {
        assert!(told(request, &two).starts_with("its captured reply has 1 byte behind its end"), "{two}");
    }
    // A place in a chunk is none of its length.
    let place = told(request, &in_chunks(reply).replace("grant_type", "{{any a}}"));
    assert_eq!(place, "its captured reply cannot be read: a chunk does not end where its length says");
    // A reply to HEAD has a length and no body.
    fs::write(file("request"), "HEAD /auth/oauth/v2/token HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    fs::write(file("reply"), "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").unwrap();
    let said = replay(&world, &[file("request").to_str().unwrap(), "--format", "json"]);
    assert_eq!(outcomes(&said)[0].1, "different", "{said:?}");
    assert!(!said.out.contains("\"body\""), "{said:?}");
    // Places are as long as what stood there.
    for text in ["{{uuid a}}", "{{any a}}"] {
        fs::write(file("request"), request).unwrap();
        fs::write(file("reply"), reply.replace(ACCESS, text)).unwrap();
        replay(&world, &[file("request").to_str().unwrap()]).fine();
    }
}

#[test]
fn what_became_of_a_request_is_told_while_the_next_one_waits_for_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let reply = "HTTP/1.1 204 No Content\r\n\r\n";
    for name in ["a", "b"] {
        fs::write(folder.path().join(format!("{name}.request")), "GET / HTTP/1.1\r\n\r\n").unwrap();
        fs::write(folder.path().join(format!("{name}.reply")), reply).unwrap();
    }
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let against = format!("http://{}", server.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
    bare(&mut command).arg("replay").arg(folder.path()).args(["--against", &against]);
    let mut program = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut first, _) = server.accept().unwrap();
    first.write_all(reply.as_bytes()).unwrap();
    let (mut second, _) = server.accept().unwrap();
    let mut told = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = told.next().unwrap().unwrap();
    assert!(line.ends_with("/a: same"), "{line}");
    // The program waits still.
    second.set_nonblocking(true).unwrap();
    let mut asked = [0; 4096];
    let ended = loop {
        match second.read(&mut asked) {
            Ok(count) if count > 0 => {}
            other => break other,
        }
    };
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(second);
    let line = told.next().unwrap().unwrap();
    assert!(line.contains("/b: unanswered: "), "{line}");
    assert_eq!(program.wait().unwrap().code(), Some(1));
}

#[test]
fn a_certificate_that_is_not_believed_is_told_in_words() {
    let world = site();
    let folder = written(&world, |_, reply| reply);
    let (authority, other) = (Authority::new(), Authority::new());
    let ca = world.path().join("ca.pem");
    fs::write(&ca, &authority.pem).unwrap();
    let unanswered = |url: &str, words: &str| {
        let said =
            run(&world, &["replay", folder.to_str().unwrap(), "--against", url, "--ca", ca.to_str().unwrap()], "");
        assert!(said.status == 1 && said.out.contains(words), "{words}: {said:?}");
    };
    for (shown, words) in [
        (&authority.own, "that of an authority (CA:TRUE), which no server may show\n"),
        (&authority.shown("elsewhere.example.org", None), "its certificate is for another name"),
        (&authority.shown("127.0.0.1", Some(2001)), "its certificate has expired"),
        (&other.shown("127.0.0.1", None), "vouches for its certificate; `--ca FILE` names who does\n"),
    ] {
        let front = TlsFront::start(shown, world.legacy());
        unanswered(&front.url("127.0.0.1"), words);
    }
    unanswered(&format!("https://{}", world.legacy()), "it speaks no TLS; is it http://?");
}

#[test]
fn a_request_without_a_reply_is_skipped_and_the_others_are_sent() {
    let world = site();
    let folder = written(&world, |_, reply| reply);
    fs::remove_file(folder.join("2-refresh.reply")).unwrap();
    let said = replay(&world, &[folder.to_str().unwrap(), "--format", "json"]);
    let became: Vec<_> = outcomes(&said).into_iter().map(|(_, outcome)| outcome).collect();
    // What it would have handed out is unknown to the revocation, which is the same for any UUID.
    assert_eq!((became, said.status), (["same", "skipped", "same"].map(str::to_owned).to_vec(), 0), "{said:?}");
    assert_eq!(said.json()["replies"][1]["why"], "no .reply file with what was answered stands beside it");
    let alone = replay(&world, &[folder.join("2-refresh.request").to_str().unwrap()]);
    alone.refused(1, "nothing was compared");
    assert!(alone.out.contains("2-refresh: skipped: no .reply file"), "{alone:?}");
}

#[test]
fn a_har_file_is_a_capture_too() {
    let world = site();
    let entries = chain().map(|(_, request, reply)| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let (reply_head, reply_body) = reply.split_once("\r\n\r\n").unwrap();
        let headers = |head: &str| -> Value {
            let pairs = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
            pairs.map(|(name, value)| json!({"name": name, "value": value})).collect()
        };
        let posted = if path.ends_with("revoke") {
            let pairs = body.split('&').map(|pair| pair.split_once('=').unwrap());
            json!({"mimeType": "application/x-www-form-urlencoded",
                   "params": pairs.map(|(name, value)| json!({"name": name, "value": value})).collect::<Value>()})
        } else {
            json!({"mimeType": "application/x-www-form-urlencoded", "text": body})
        };
        json!({
            "request": {"method": "POST", "url": format!("https://old.example.org{path}"), "httpVersion": "HTTP/2",
                        "headers": headers(head), "postData": posted},
            "response": {"status": 200, "headers": headers(reply_head),
                         "content": {"size": reply_body.len(), "mimeType": "application/json", "text": reply_body}},
        })
    });
    let failed = json!({"request": {"method": "GET", "url": "https://old.example.org/x", "headers": []},
                        "response": {"status": 0, "headers": [], "content": {}}});
    let mut odd = [(); 5].map(|()| failed.clone());
    odd[0]["response"]["status"] = json!(-1);
    odd[1]["response"].as_object_mut().unwrap().remove("content");
    odd[2]["request"]["postData"] = json!({"mimeType": "text/plain", "text": null});
    odd[3] = json!(null);
    odd[4]["response"] = json!({"status": 200, "headers": [], "content": {"size": 26, "mimeType": "application/json"}});
    let path = world.path().join("browser.HAR");
    let log = json!({"log": {"version": "1.2", "entries": odd[..2].iter().chain(&entries).chain([&failed]).chain(&odd[2..]).cloned().collect::<Value>()}});
    // As some programs of Windows save it.
    fs::write(&path, format!("\u{feff}{log}")).unwrap();
    let said = replay(&world, &[path.to_str().unwrap(), "--format", "json"]).fine();
    let became: Vec<_> = outcomes(&said).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(became, ["skipped", "skipped", "same", "same", "same", "skipped", "skipped", "skipped", "skipped"]);
    let why = "its request, its reply or a body of theirs is not as HTTP Archive 1.2 has it";
    let second = &said.json()["replies"][1];
    assert!(second["name"].as_str().unwrap().ends_with("browser.HAR #2") && second["why"] == why, "{second}");
    assert_eq!(said.json()["replies"][8]["why"], "the body of its reply was not saved");
}

#[test]
fn the_golden_files_are_captures_and_what_needs_a_mood_or_a_past_is_skipped_with_a_note() {
    for dialect in ["otk-passport", "otk-old"] {
        let top = env!("CARGO_MANIFEST_DIR");
        let text = fs::read_to_string(format!("{top}/mappings/dialects/{dialect}.toml")).unwrap();
        let more = format!("dialect = \"{dialect}\"\nscopes = {{ client_registration = \"client_registration\" }}");
        let retired = client("retired-client", &format!("{more}\nstage = \"retired\""));
        let plan = Plan::new().without_clients().client(&client(OLD_ID, &more)).client(&retired);
        let world = plan.dialect(dialect, &text).start();
        let folder = format!("{top}/tests/golden/{dialect}");
        // The moment that their numbers are of.
        world.turn(3_600);
        // A login first, so that there are UUIDs to ask about.
        let first = format!("{folder}/login.request");
        let said = replay(&world, &[&first, &folder, "--format", "json"]);
        let outcomes = outcomes(&said);
        let different: Vec<_> =
            outcomes.iter().filter(|(_, outcome)| outcome != "same" && outcome != "skipped").collect();
        assert!(different.is_empty() && said.status == 0, "{different:?}\n{}", said.out);
        let skipped: Vec<&str> =
            outcomes.iter().filter(|(_, outcome)| outcome == "skipped").map(|(name, _)| name.as_str()).collect();
        let moods = fs::read_dir(&folder)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "realm"));
        assert_eq!(skipped.len(), moods.count() + 2, "those with `expired` and `used` besides: {skipped:?}");
        assert!(skipped.contains(&"refresh-used") && skipped.contains(&"introspect-expired"), "{skipped:?}");
    }
}

#[test]
fn without_a_url_it_is_the_legacy_listener_by_its_own_certificate() {
    let (certificate, key) = self_signed(&["127.0.0.1"]);
    let tls = "{ certificate = \"server.pem\", key = \"server.key\" }";
    let scopes = "scopes = { client_registration = \"client_registration\" }";
    let mut world = Plan::new().without_clients().client(&client(OLD_ID, scopes)).set("tls", "legacy", tls).files();
    fs::write(world.path().join("server.pem"), certificate).unwrap();
    fs::write(world.path().join("server.key"), key).unwrap();
    world.begin();
    let folder = written(&world, |_, reply| reply);
    let folder = folder.to_str().unwrap();
    let address = world.legacy();
    world.change("listen", "legacy", &format!("\"{address}\""));
    run(&world, &["replay", folder], "").fine();
    let (url, ca) = (format!("https://{address}/"), world.path().join("server.pem"));
    run(&world, &["replay", folder, "--against", &url, "--ca", ca.to_str().unwrap()], "").fine();
    fs::write(world.path().join("other.pem"), self_signed(&["127.0.0.1"]).0).unwrap();
    let ca = world.path().join("other.pem");
    let said = run(&world, &["replay", folder, "--against", &url, "--ca", ca.to_str().unwrap()], "");
    assert!(
        said.status == 1 && said.out.contains("1-login: unanswered: ") && said.err.contains("3 unanswered"),
        "{said:?}"
    );
}

#[test]
fn what_is_no_capture_is_refused_with_what_to_name() {
    let world = Plan::new().files();
    let path = |name: &str| world.path().join(name).to_str().unwrap().to_owned();
    let refused = |file: &str, words: &str| {
        let said = run(&world, &["replay", &path(file), "--against", "http://127.0.0.1:1"], "");
        said.refused(2, words);
        said.refused(2, "\n  hint: ");
    };
    refused("nothing.request", "hint: name NAME.request");
    fs::create_dir(world.path().join("empty")).unwrap();
    refused("empty", "has no NAME.request in it");
    fs::write(world.path().join("bad.har"), "{\"log\": 1}").unwrap();
    refused("bad.har", "is no HAR file (line 1");
    fs::File::create(world.path().join("long.har")).unwrap().set_len((16 << 20) + 1).unwrap();
    refused("long.har", "is longer than 16 MiB");
    fs::write(world.path().join("a.request"), "POST / HTTP/1.1\n\n").unwrap();
    fs::write(world.path().join("a.reply"), "HTTP/1.1 200 OK\r\n\r\n").unwrap();
    refused("a.request", "its head must end with an empty line");
    fs::write(world.path().join("a.reply"), "hello").unwrap();
    refused("a.reply", "is no reply of HTTP/1.x");
    fs::write(world.path().join("a.request"), "POST / HTTP/1.1\r\n\r\n").unwrap();
    fs::write(world.path().join("a.reply"), "HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let said = run(&world, &["replay", &path("a.request"), "--against", "http://127.0.0.1:1"], "");
    assert!(said.status == 1 && said.out.contains("a: unanswered: 127.0.0.1:1: "), "{said:?}");
    fs::write(world.path().join("a.realm"), "refuse").unwrap();
    let said = run(&world, &["replay", &path("a.request"), "--against", "http://127.0.0.1:1"], "");
    said.refused(1, "nothing was compared");
    run(&world, &["replay", &path("a.request"), "--against", "ftp://a"], "").refused(2, "http://HOST:PORT");
    let trusting = |ca: &str| run(&world, &["replay", &path("a.request"), "--against", "https://a", "--ca", ca], "");
    trusting("nowhere.pem").refused(2, "\n  hint: ");
    trusting(&path("a.reply")).refused(2, "\n  hint: ");
    run(&world, &["replay"], "").refused(2, "required");
}
