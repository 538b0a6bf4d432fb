//! `passbridge serve` as a process: files that change, signals, and a health check over TLS.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use super::{out, run, talk};
use crate::support::pem::self_signed;
use crate::support::program::{Program, bare};
use crate::support::tls::{Authority, TlsFront};
use crate::support::{Connection, OLD_ID, OLD_SECRET, Plan, TOKEN, World, client, eventually, passport, post};

/// A running program; ended with the test.
struct Served {
    child: Child,
    ops: SocketAddr,
}

impl Served {
    fn begin(world: &World) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
        bare(command.current_dir(world.path()).arg("serve"));
        command.env("OLD_SECRET", "planted-old-secret").env("NEW_SECRET", "planted-new-secret");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).ok()?;
            (line["event"] == "started").then_some(line)
        });
        // Whoever writes a log that nobody reads is stopped by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let ops = started.expect("it starts")["ops"].as_str().unwrap().parse().unwrap();
        Self { child, ops }
    }

    /// Generation, number of clients, and whether the last load was taken.
    fn table(&self) -> (u64, u64, bool) {
        let reply = Connection::open(self.ops).ask(b"GET /readyz HTTP/1.1\r\nHost: ops\r\n\r\n");
        let mappings = reply.json("mappings");
        let number = |name: &str| mappings[name].as_u64().unwrap();
        (number("generation"), number("clients"), mappings["current"].as_bool().unwrap())
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn two(second: &str) -> String {
    client(OLD_ID, "") + &client(second, &format!("client_id = \"new-{second}\""))
}

#[test]
fn a_changed_file_is_taken_however_it_was_written_and_a_wrong_one_is_not() {
    let world = Plan::new().files();
    let served = Served::begin(&world);
    let path = |name: &str| world.path().join("mappings/clients").join(name);
    assert_eq!(served.table(), (1, 1, true));
    fs::write(path("all.toml"), two("truncated")).unwrap();
    eventually("truncated and written", || served.table() == (2, 2, true));
    fs::write(path(".all.toml.new"), client(OLD_ID, "")).unwrap();
    fs::rename(path(".all.toml.new"), path("all.toml")).unwrap();
    eventually("another renamed over it", || served.table() == (3, 1, true));
    fs::write(path("more.toml"), client("more", "client_id = \"new-more\"")).unwrap();
    eventually("a new file", || served.table() == (4, 2, true));
    fs::write(path("more.toml"), client("more", "stagee = \"live\"")).unwrap();
    eventually("a fault: the last good table stays", || served.table() == (4, 2, false));
    fs::remove_file(path("more.toml")).unwrap();
    eventually("mended", || served.table() == (5, 1, true));
    fs::create_dir(path("..1")).unwrap();
    fs::create_dir(path("..2")).unwrap();
    fs::write(path("..1/all.toml"), two("one")).unwrap();
    fs::write(path("..2/all.toml"), two("two") + &client("three", "client_id = \"three\"")).unwrap();
    symlink("..1", path("..data")).unwrap();
    symlink("..data/all.toml", path("new")).unwrap();
    fs::rename(path("new"), path("all.toml")).unwrap();
    eventually("a mounted ConfigMap", || served.table() == (6, 2, true));
    symlink("..2", path("..new")).unwrap();
    fs::rename(path("..new"), path("..data")).unwrap();
    eventually("its link swapped", || served.table() == (7, 3, true));
}

#[test]
fn the_configuration_and_secret_files_are_watched_too() {
    let mut world =
        Plan::new().without_clients().client(&client(OLD_ID, "client_secret = { file = \"new.secret\" }")).files();
    let secret = world.path().join("mappings/clients/new.secret");
    fs::write(&secret, "planted-before").unwrap();
    let served = Served::begin(&world);
    fs::write(&secret, "planted-after-it").unwrap();
    eventually("the secret", || served.table() == (2, 1, true));
    fs::remove_file(&secret).unwrap();
    eventually("the secret is gone", || served.table() == (2, 1, false));
    fs::write(&secret, "planted-again").unwrap();
    eventually("the secret is back", || served.table() == (3, 1, true));
    world.change("limits", "body", "\"8KiB\"");
    eventually("the configuration", || served.table() == (4, 1, true));
    world.change("limits", "body", "\"nothing\"");
    eventually("a fault in the configuration", || served.table() == (4, 1, false));
    served.signal("HUP");
    world.change("limits", "body", "\"8KiB\"");
    eventually("mended", || served.table().2);
}

#[test]
fn over_tls_health_looks_at_no_certificate_and_whoever_shows_a_token_at_the_one_of_the_configuration() {
    let material = "{ certificate = \"ops.pem\", key = \"ops.key\" }";
    let mut world = Plan::new().set("tls", "ops", material).set("ops", "token", "{ env = \"OLD_SECRET\" }").files();
    let put = |name: &str| {
        let (certificate, key) = self_signed(&["nowhere.example.org"]);
        fs::write(world.path().join(format!("{name}.pem")), certificate).unwrap();
        fs::write(world.path().join(format!("{name}.key")), key).unwrap();
    };
    put("ops");
    put("other");
    let served = Served::begin(&world);
    world.change("listen", "ops", &format!("\"{}\"", served.ops));
    let asked = run(&world, &["diff"], "");
    assert_eq!(asked.status.code(), Some(0), "{}{}", out(&asked), talk(&asked));
    let text = fs::read_to_string(world.config()).unwrap();
    fs::write(world.path().join("other.toml"), text.replace("ops.pem", "other.pem").replace("ops.key", "other.key"))
        .unwrap();
    let refused = run(&world, &["diff", "--config", "other.toml"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(talk(&refused).contains("another certificate"), "{}", talk(&refused));
    fs::write(world.path().join("clear.toml"), text.replace(&format!("[tls]\nops = {material}\n"), "")).unwrap();
    let refused = run(&world, &["diff", "--config", "clear.toml"], "");
    let words = format!("the bridge at {} answers over TLS, and the files have no `tls.ops`\n  hint: ", served.ops);
    assert!(refused.status.code() == Some(1) && talk(&refused).contains(&words), "{}", talk(&refused));
    let stage = ["client", "stage", OLD_ID, "retired", "--why", "a test", "--config", "clear.toml"];
    let moved = run(&world, &stage, "");
    assert!(moved.status.success() && talk(&moved).contains("has it, as generation"), "{}", talk(&moved));
    assert_healthy(&world, "as it was started");
    // Half of an exchange: the bridge goes on with the pair that it has.
    fs::copy(world.path().join("other.pem"), world.path().join("ops.pem")).unwrap();
    assert_healthy(&world, "another certificate on disk");
    fs::remove_file(world.path().join("ops.pem")).unwrap();
    assert_healthy(&world, "none on disk");
    let address = served.ops.to_string();
    let named = [("PASSBRIDGE__LISTEN__OPS", address.as_str()), ("PASSBRIDGE__TLS__OPS__CERTIFICATE", "ops.pem")];
    assert_eq!(asked_with(&world, "none.toml", &named), (Some(0), String::new()), "all by the environment");
    fs::write(world.path().join("bracket.toml"), "[tls.ops\ncertificate = \"ops.pem\"\n").unwrap();
    fs::write(world.path().join("latin.toml"), b"[tls.ops] # caf\xe9\n").unwrap();
    fs::write(world.path().join("taken-out.toml"), "").unwrap();
    for file in ["none.toml", "bracket.toml", "latin.toml", "taken-out.toml"] {
        assert_eq!(asked_with(&world, file, &named[..1]), (Some(0), String::new()), "{file}");
    }
    served.signal("TERM");
    let mut served = served;
    assert!(served.child.wait().unwrap().success(), "a drain ends with status 0");
}

#[track_caller]
fn assert_healthy(world: &World, why: &str) {
    let asked = run(world, &["health"], "");
    assert_eq!((asked.status.code(), talk(&asked).as_str()), (Some(0), ""), "{why}");
}

/// Status and words of `health` by a file of this name, with more in the environment.
fn asked_with(world: &World, file: &str, more: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
    bare(command.current_dir(world.path()).args(["health", "--config", file]));
    let asked = command.envs(more.iter().copied()).output().unwrap();
    (asked.status.code(), talk(&asked))
}

#[test]
fn what_is_wrong_with_the_files_says_nothing_about_the_bridge_that_runs() {
    let mut world = Plan::new().set("ops", "token", "{ file = \"ops.token\" }").files();
    let token = world.path().join("ops.token");
    fs::write(&token, "planted-ops-token").unwrap();
    let served = Served::begin(&world);
    world.change("listen", "ops", &format!("\"{}\"", served.ops));
    assert_healthy(&world, "as it was started");
    let good = fs::read_to_string(world.config()).unwrap();
    for wrong in [
        "[limit]\n",
        "[log]\nfilter = \"a=b=c\"\n",
        "[log]\nfilter = \"info\n",
        "[audit]\nenabled = flase\n[audit]\n",
        "[[\n",
        "passbridge\n",
    ] {
        fs::write(world.config(), good.clone() + wrong).unwrap();
        eventually("refused", || !served.table().2);
        assert_healthy(&world, wrong);
        fs::write(world.config(), format!("{wrong}{good}")).unwrap();
        assert_healthy(&world, wrong);
    }
    let commented = good.lines().map(|line| [line.as_bytes(), b" # \xee\n"].concat()).collect::<Vec<_>>().concat();
    fs::write(world.config(), commented).unwrap();
    eventually("refused", || !served.table().2);
    assert_healthy(&world, "comments as an old editor saves them");
    fs::write(world.config(), &good).unwrap();
    eventually("mended", || served.table().2);
    fs::remove_file(&token).unwrap();
    eventually("refused", || !served.table().2);
    assert_healthy(&world, "a secret is being exchanged");
}

#[test]
fn health_asks_where_the_environment_says_whatever_became_of_the_file_and_says_so_where_nobody_does() {
    let world = Plan::new().files();
    let served = Served::begin(&world);
    let address = served.ops.to_string();
    let asked = |file: &str, more: &[(&str, &str)]| asked_with(&world, file, more);
    let named = [("PASSBRIDGE__LISTEN__OPS", address.as_str())];
    fs::write(world.path().join("moved.toml"), "[listen]\nops = \"127.0.0.1:1\"\n").unwrap();
    fs::write(world.path().join("wrong.toml"), "[listen]\nops = \"127.0.0.1\"\n").unwrap();
    fs::write(world.path().join("binary.toml"), "\0\0\0").unwrap();
    fs::write(world.path().join("secure.toml"), "[tls.ops]\n").unwrap();
    fs::write(world.path().join("header.toml"), "[log]\n[listen\nops = \"127.0.0.1:1\"\n").unwrap();
    fs::write(world.path().join("slip.toml"), "[listen]\nops = 127.0.0.1:1\n").unwrap();
    for file in [
        "passbridge.toml",
        "moved.toml",
        "wrong.toml",
        "binary.toml",
        "secure.toml",
        "header.toml",
        "slip.toml",
        "none.toml",
    ] {
        assert_eq!(asked(file, &named), (Some(0), String::new()), "{file}");
    }
    let (status, words) = asked("moved.toml", &[]);
    assert!(status == Some(1) && words.contains("does not answer at 127.0.0.1:1"), "{words}");
    for (file, why) in [
        ("wrong.toml", "`listen.ops` is not an address"),
        ("binary.toml", "it has zero bytes"),
        ("header.toml", "not valid TOML"),
        ("slip.toml", "not valid TOML"),
        ("none.toml", "No such file"),
    ] {
        let (status, words) = asked(file, &[]);
        assert_eq!(status, Some(2), "{file}: {words}");
        assert!(words.contains(why) && words.contains("PASSBRIDGE__LISTEN__OPS"), "{file}: {words}");
    }
    let (status, words) = asked("none.toml", &[("PASSBRIDGE__LISTEN__OPS", "here")]);
    assert!(status == Some(2) && words.contains("$PASSBRIDGE__LISTEN__OPS: "), "{words}");
}

#[test]
fn whom_the_system_comes_to_trust_is_trusted_from_the_next_load_on() {
    let (before, next) = (Authority::new(), Authority::new());
    for (variable, name) in [("SSL_CERT_FILE", "bundle.pem"), ("SSL_CERT_DIR", "certificates")] {
        let mut world = Plan::new().files();
        let front = TlsFront::start(&next.shown("localhost", None), world.realm.address);
        world.change("realm", "urls", &format!("[\"{}/auth/realms/SSO\"]", front.url("localhost")));
        // A route of an API asks the same.
        world.change("gateway", "route", "[{ prefix = \"/api\", upstream = \"https://localhost:1\" }]");
        let named = world.path().join(name);
        let is_file = variable == "SSL_CERT_FILE";
        let bundle = if is_file { named.clone() } else { named.join("bundle.pem") };
        fs::create_dir_all(bundle.parent().unwrap()).unwrap();
        fs::write(&bundle, &before.pem).unwrap();
        let mut command = Command::new("env");
        command.arg(format!("{variable}={}", named.display())).arg(env!("CARGO_BIN_EXE_passbridge"));
        let program = Program::serve_by(&world, command);
        let login = || program.ask(&post(TOKEN, &passport(OLD_ID, OLD_SECRET))).status;
        assert_eq!(login(), 500);
        fs::write(&bundle, format!("{}{}", before.pem, next.pem)).unwrap();
        // A file that a variable names is looked at as those of the configuration are.
        if !is_file {
            program.signal("HUP");
        }
        eventually("its certificate is trusted", || login() == 200);
        // While it is being exchanged it may be empty: whoever was trusted is, and loads go on.
        let loads = program.lines("loaded").len();
        fs::write(&bundle, "").unwrap();
        program.signal("HUP");
        eventually("the files are loaded", || program.lines("loaded").len() > loads);
        assert_eq!((login(), program.lines("load_refused").len()), (200, 0));
    }
}

#[test]
fn a_start_tells_what_is_wrong_with_the_mappings_beside_what_is_wrong_with_the_configuration() {
    let mut world = Plan::new().files();
    world.change("listen", "legacy", "\"x\"");
    world.change_clients(&[client(OLD_ID, "unheard_of = 1")]);
    let mut program = Program::begin(&world, Command::new(env!("CARGO_BIN_EXE_passbridge")));
    assert_eq!(program.ended().code(), Some(2));
    let told = program.log();
    for words in
        ["`listen.legacy` is not an address", "unheard_of", "the configuration is refused; nothing was started"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
}
