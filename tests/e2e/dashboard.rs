//! The dashboard's own script, run by node against a running bridge: what a person would see.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Bridge, Old, form, send};

/// Just enough of a browser for the page's script: elements by id that keep their text.
const BROWSER: &str = r#"
const [base, token] = process.argv.slice(1);
const made = (name) => ({
  name, text: "", below: [], className: "", value: "", heard: {},
  set textContent(text) { this.text = text; this.below = []; },
  get textContent() { return this.text + this.below.map((one) => one.textContent).join("|"); },
  append(...more) { this.below.push(...more); },
  replaceChildren(...all) { this.below = all; },
  addEventListener(what, hear) { this.heard[what] = hear; },
});
const ids = {};
const document = { getElementById: (id) => (ids[id] ??= made(id)), createElement: made };
const ask = globalThis.fetch;
const looks = { fetch: (path, how) => ask(base + path, how), document, setInterval: () => {} };
const script = require("fs").readFileSync(0, "utf8");
new Function(...Object.keys(looks), script)(...Object.values(looks));
const settled = async (seen) => { while (!seen()) await new Promise((done) => setTimeout(done, 20)); };
(async () => {
  await settled(() => ids.state?.text);
  const shown = () => Object.fromEntries(["state", "facts", "refused", "denied", "clients"].map((id) => [id, document.getElementById(id).below.length ? document.getElementById(id).below.map((one) => one.textContent) : document.getElementById(id).textContent]));
  const bare = shown();
  ids.token = document.getElementById("token");
  ids.token.value = "wrong";
  ids.ask.heard.submit({ preventDefault() {} });
  await settled(() => ids.denied.text);
  const denied = shown();
  ids.token.value = token;
  ids.ask.heard.submit({ preventDefault() {} });
  await settled(() => ids.denied.text === "" && ids.facts.below.length > bare.facts.length);
  console.log(JSON.stringify({ bare, denied, known: shown() }));
})();
"#;

const FORM: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded")];

/// What the page shows: before a token is typed, after a wrong one, and after the right one.
fn seen(bridge: &Bridge) -> serde_json::Value {
    let base = format!("http://127.0.0.1:{}/", bridge.ops);
    let script = send(bridge.ops, "GET", "/dashboard.js", &[], "");
    assert_eq!(script.status, 200);
    let mut node = Command::new("node");
    node.args(["-e", BROWSER, &base, Old::SECRET]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut node = node.spawn().expect("node runs; scripts/install test");
    node.stdin.take().unwrap().write_all(script.body.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stdout)))
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
    let shown = seen(&bridge);
    let text = |part: &serde_json::Value| part.to_string();
    assert!(text(&shown["bare"]["facts"]).contains("\"generation\",\"1\""), "{shown:#}");
    assert!(text(&shown["bare"]["clients"]).contains("test_api||0|0|0|invalid_request 2"), "{shown:#}");
    assert!(
        !text(&shown["bare"]["clients"]).contains("market_terminal"),
        "who is not counted is not told without the token"
    );
    assert_eq!(shown["denied"]["denied"], "the ops token is wrong or missing", "{shown:#}");
    let known = text(&shown["known"]["clients"]);
    assert!(
        known.contains("test_api|live|0|0|0|invalid_request 2") && known.contains("market_terminal|live|0|0|0|"),
        "{shown:#}"
    );
    assert!(known.contains("unknown||0|0|0|client_credentials 1"), "{shown:#}");
}
