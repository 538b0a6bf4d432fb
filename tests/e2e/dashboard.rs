//! The dashboard's own script, run by node against a running bridge: what a person would see.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::store::line::signal;
use crate::support::{Answer, Bridge, Old, eventually, form, send};

/// Just enough of a browser for the page's script: elements by id that keep their text, a clock, and a timer that goes off when it is told to. For each
/// line of its input it says what is shown once the page has looked: `look`; `later N`, after so many seconds; `show TOKEN`, as typed in.
const BROWSER: &str = r#"
const [base, script] = process.argv.slice(1);
const made = (name) => ({
  name, text: "", below: [], className: "", value: "", heard: {},
  set textContent(text) { this.text = text; this.below = []; },
  get textContent() { return this.text + this.below.map((one) => one.textContent).join("|"); },
  append(...more) { this.below.push(...more); },
  replaceChildren(...all) { this.below = all; },
  addEventListener(what, hear) { this.heard[what] = hear; },
});
const ids = {};
const byId = (id) => (ids[id] ??= made(id));
let now = Date.UTC(2026, 0, 1), timer, looked;
const page = {
  fetch: (path, how) => fetch(base + path, how),
  document: { getElementById: byId, createElement: made },
  Date: class extends Date { static now() { return now; } },
  setTimeout: (look, wait) => { timer = look; looked(wait); return 1; },
  clearTimeout: () => { timer = undefined; },
  setInterval: undefined,
};
const shown = () => Object.fromEntries(["state", "as-of", "amiss", "facts", "refused", "denied", "clients"].map((id) =>
  [id, byId(id).below.length ? byId(id).below.map((one) => one.textContent) : byId(id).textContent]));
const once = async (begin) => {
  const limit = setTimeout(() => { console.error("the page looks and looks"); process.exit(1); }, 20000);
  const wait = await new Promise((done) => { looked = done; begin(); });
  clearTimeout(limit);
  console.log(JSON.stringify({ ...shown(), how: byId("state").className, wait }));
};
(async () => {
  await once(() => new Function(...Object.keys(page), script)(...Object.values(page)));
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    const [word, value] = line.split(" ");
    if (word === "later") now += 1000 * value;
    byId("token").value = value;
    await once(word === "show" ? () => byId("ask").heard.submit({ preventDefault() {} }) : timer);
  }
})();
"#;

const FORM: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded")];

/// The page in a browser.
struct Page {
    node: Child,
    told: ChildStdin,
    shown: BufReader<ChildStdout>,
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

impl Page {
    /// Opened at this port; and what it shows after its first look.
    fn open(ops: u16, script: &str) -> (Self, Value) {
        let mut node = Command::new("node");
        node.args(["-e", BROWSER, &format!("http://127.0.0.1:{ops}/"), script]).env("TZ", "UTC");
        let node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut node = node.expect("node runs; scripts/install test");
        let (told, shown) = (node.stdin.take().unwrap(), BufReader::new(node.stdout.take().unwrap()));
        let mut page = Self { node, told, shown };
        let first = page.read();
        (page, first)
    }

    fn of(bridge: &Bridge) -> (Self, Value) {
        let script = send(bridge.ops, "GET", "/dashboard.js", &[], "");
        assert_eq!(script.status, 200);
        Self::open(bridge.ops, &script.body)
    }

    /// What it shows after one more look, begun by this word.
    fn after(&mut self, word: &str) -> Value {
        writeln!(self.told, "{word}").unwrap();
        self.read()
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.shown.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the page shows nothing: {line}"))
    }
}

fn text(part: &Value) -> String {
    part.to_string()
}

#[track_caller]
fn is_well(shown: &Value) {
    assert_eq!([&shown["state"], &shown["how"], &shown["amiss"]], ["is well", "good", ""], "{shown:#}");
}

#[test]
fn a_person_sees_the_state_each_clients_stage_and_refusals_by_cause() {
    const CLIENTS: [Old; 2] = [Old::of("test_api"), Old::of("market_terminal")];
    let token = "[ops]\ntoken = { file = \"mappings/clients/old.secret\" }";
    let bridge = Bridge::configured("http://127.0.0.1:1/realms/none", &CLIENTS, "", token);
    for secret in [Old::SECRET, Old::SECRET, "wrong"] {
        let fields =
            [("client_id", "test_api"), ("client_secret", secret), ("grant_type", "passport"), ("algorithm", "RSA")];
        assert_ne!(send(bridge.legacy, "POST", "/auth/oauth/v2/token", &FORM, &form(&fields)).status, 200);
    }
    let (mut page, bare) = Page::of(&bridge);
    assert!(text(&bare["facts"]).contains("\"generation\",\"1\""), "{bare:#}");
    assert!(text(&bare["clients"]).contains("test_api||0|0|0|invalid_request 2|"), "{bare:#}");
    assert!(!text(&bare["clients"]).contains("market_terminal"), "who is not counted is not told without the token");
    assert_eq!(page.after("show wrong")["denied"], "the ops token is wrong or missing");
    let known = page.after(&format!("show {}", Old::SECRET));
    assert_eq!(known["denied"], "");
    let clients = text(&known["clients"]);
    assert!(
        clients.contains("test_api|live|0|0|0|invalid_request 2|") && clients.contains("market_terminal|live|0|0|0||"),
        "{known:#}"
    );
    assert!(clients.contains("unknown||0|0|0|client_credentials 1|"), "{known:#}");
}

/// A server at a port of its own that answers each path with what this says of it.
fn server(says: impl Fn(&str) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 16 * 1024];
            let count = stream.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..count]);
            let _gone = stream.write_all(says(head.split(' ').nth(1).unwrap_or_default()).as_bytes());
        }
    });
    port
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// With the fields of a passport, which this realm never reads.
fn login(bridge: &Bridge, certificate: &str) -> Answer {
    let fields =
        [("grant_type", "passport"), ("certificate", certificate), ("algorithm", "RSA"), ("signature", "c2ln")];
    bridge.post("/auth/oauth/v2/token", "test_api", &fields)
}

#[test]
fn nothing_is_well_while_logins_fail_and_what_is_over_fades_within_a_minute() {
    let realm = server(|_| answer("503 Service Unavailable", ""));
    let url = format!("http://127.0.0.1:{realm}/realms/none");
    let bridge = Bridge::configured(&url, &[Old::of("test_api")], "", "");
    assert_eq!(login(&bridge, "Zmlyc3Q=").status, 500);
    let (mut page, first) = Page::of(&bridge);
    assert_eq!([&first["state"], &first["how"]], ["asks once more ...", ""], "one look cannot tell: {first:#}");
    assert_eq!(first["as-of"], "As of 00:00:00 GMT+0000");
    is_well(&page.after("later 5"));
    assert_eq!(login(&bridge, "c2Vjb25k").status, 500);
    assert_eq!(login(&bridge, "dGhpcmQ=").status, 500);
    for wait in [5, 5, 45] {
        let shown = page.after(&format!("later {wait}"));
        assert_eq!([&shown["state"], &shown["how"]], ["serves, and deserves a look", "bad"], "{shown:#}");
        assert_eq!(shown["amiss"], json!(["requests refused, fault upstream: 2 (test_api 2)"]), "{shown:#}");
        assert_eq!(shown["clients"], json!(["test_api||0|0|0|server_error 3|server_error 2"]), "{shown:#}");
    }
    let over = page.after("later 10");
    is_well(&over);
    assert_eq!(over["clients"], json!(["test_api||0|0|0|server_error 3|"]), "{over:#}");
    assert_eq!(over["as-of"], "As of 00:01:10 GMT+0000; what grew, since 00:00:10 GMT+0000");
    // Somebody's own doing is no fault of anybody else's.
    assert_eq!(bridge.post("/auth/oauth/v2/token", "test_api", &[("grant_type", "passport")]).status, 400);
    is_well(&page.after("later 5"));
}

fn is_stopped(process: u32) -> bool {
    let mut threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().map_while(Result::ok);
    threads.all(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") T ")))
}

#[test]
fn a_bridge_that_hangs_does_not_answer_and_one_that_goes_on_is_well_again() {
    let bridge = Bridge::configured("http://127.0.0.1:1/realms/none", &[Old::of("test_api")], "", "");
    let (mut page, _) = Page::of(&bridge);
    is_well(&page.after("later 5"));
    signal("-STOP", bridge.id());
    eventually("none of its threads goes on", || is_stopped(bridge.id()));
    for _ in 0..2 {
        let shown = page.after("later 5");
        assert_eq!([&shown["state"], &shown["how"]], ["does not answer", "bad"], "{shown:#}");
        assert!(text(&shown["as-of"]).contains("As of 00:00:05"), "what stands below is old: {shown:#}");
    }
    signal("-CONT", bridge.id());
    let shown = page.after("later 5");
    is_well(&shown);
    assert_eq!(shown["wait"], 5000);
}

const SCRIPT: &str = include_str!("../../src/ops/dashboard/dashboard.js");

fn readiness(ready: bool, current: bool, [realm, store, audit]: [&str; 3]) -> String {
    let refused: &[&str] = if current { &[] } else { &["<b>error</b>"] };
    let mappings = json!({"generation": 1, "digest": "d", "clients": 1, "current": current, "refused": refused});
    json!({"ready": ready, "mappings": mappings, "realm": realm, "store": store, "audit": audit}).to_string()
}

#[test]
fn whatever_is_not_as_it_should_be_has_a_line_of_its_own_with_its_clients() {
    let good = || readiness(true, true, ["reachable", "writable", "writing"]);
    let told = Arc::new(Mutex::new([good(), String::new()]));
    let says = Arc::clone(&told);
    let port = server(move |path| answer("200 OK", &says.lock()[usize::from(path == "/metrics")]));
    let metrics = |text: &str| told.lock()[1] = format!("# HELP x y\n{text}# EOF\n");
    let quiet = "passbridge_faults_total{client=\"a\",fault=\"client\"} 9\npassbridge_faults_total{client=\"a\",fault=\"operator\"} 7\n\
                 passbridge_canary_stepped_back{client=\"a\"} 0\npassbridge_revocations_untold 0\npassbridge_log_lost_total 3\n";
    metrics(quiet);
    let (mut page, _) = Page::open(port, SCRIPT);
    is_well(&page.after("later 5"));

    let many = |n: usize| format!("passbridge_faults_total{{client=\"c{n}\",fault=\"ourselves\"}} {n}\n");
    let many = (10..22).map(many).collect::<Vec<_>>().concat();
    metrics(&format!(
        "{quiet}passbridge_old_server_total{{client=\"a\",answer=\"2xx\"}} 4\npassbridge_old_server_total{{client=\"a\",answer=\"5xx\"}} 2\n\
         passbridge_old_api_total{{answer=\"5xx\"}} 1\npassbridge_api_answers_cut_total 1\npassbridge_audit_lost_total 1\n\
         passbridge_api_servers_passed_over_total{{server=\"http://api:1\"}} 1\npassbridge_connections_turned_away_total 1\n\
         passbridge_connections_not_accepted_total 1\n{many}"
    ));
    let lines = json!([
        "answers 5xx of the old server: 2 (a 2)",
        "answers 5xx of the old API: 1",
        "answers of APIs that broke off: 1",
        "records of the audit that found no room: 1",
        "times that a server of a route was passed over: 1 (http://api:1 1)",
        "connections turned away: 1",
        "connections not accepted, for want of open files or memory: 1",
        "requests refused, fault ourselves: 186 (c21 21, c20 20, c19 19, c18 18, c17 17, c16 16, c15 15, c14 14, c13 13, c12 12, and 2 more)",
    ]);
    assert_eq!(page.after("later 5")["amiss"], lines);

    // Started anew: its counts are all of now. What it was before fades as ever.
    metrics("passbridge_faults_total{client=\"a\",fault=\"operator\"} 8\npassbridge_log_lost_total 1\n");
    let anew = page.after("later 70");
    assert_eq!(anew["amiss"], json!(["requests refused, fault operator: 8 (a 8)", "lines of the log left out: 1"]));

    // What stands so does not fade.
    metrics(
        "passbridge_canary_stepped_back{client=\"a\"} 1\npassbridge_canary_stepped_back{client=\"<i>\\\"b\\\"\"} 1\n\
         passbridge_canary_stepped_back{client=\"c\"} 0\npassbridge_revocations_untold 4\n",
    );
    page.after("later 70");
    let stands = page.after("later 70");
    let lines = ["canaries stepped back: 2 (a 1, <i>\"b\" 1)", "revocations that the realm has not heard yet: 4"];
    assert_eq!(stands["amiss"], json!(lines), "as text, letter for letter");

    metrics("");
    told.lock()[0] = readiness(true, false, ["unreachable", "refusing", "failing"]);
    let shown = page.after("later 70");
    assert_eq!([&shown["state"], &shown["how"]], ["serves, and deserves a look", "bad"]);
    let lines = [
        "the realm cannot be reached",
        "the store takes no writes",
        "the audit cannot be written",
        "the last load of the mappings was refused",
    ];
    assert_eq!(shown["amiss"], json!(lines));
    assert_eq!(shown["refused"], json!(["<b>error</b>"]));
    told.lock()[0] = readiness(false, true, ["reachable", "writable", "off"]);
    assert_eq!(page.after("later 5")["state"], "drains");
    told.lock()[0] = good();
    is_well(&page.after("later 5"));
}
