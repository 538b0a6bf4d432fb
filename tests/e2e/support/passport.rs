//! The test realm's Passport and a client that signs: the Java program of `keycloak/`, asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::OnceLock;

use parking_lot::Mutex;

use serde_json::{Value, json};

use super::process::{begin_for_good, bound_to_us, repository};

/// What is to be signed.
#[derive(Clone, Debug)]
pub struct Wish {
    pub user: &'static str,
    pub algorithm: &'static str,
    pub expires_in: i64,
    pub issued_in: i64,
    pub signature_length: u32,
    pub flaw: &'static str,
}

impl Default for Wish {
    fn default() -> Self {
        Self { user: "90417", algorithm: "RSA", expires_in: 600, issued_in: 0, signature_length: 0, flaw: "none" }
    }
}

/// A passport with its signature.
#[derive(Clone, Debug)]
pub struct Passport {
    pub certificate: String,
    pub algorithm: String,
    pub signature: String,
}

struct Tool(ChildStdin, BufReader<ChildStdout>);

impl Passport {
    pub fn of(wish: &Wish) -> Self {
        static TOOL: OnceLock<Mutex<Tool>> = OnceLock::new();
        let mut tool = TOOL.get_or_init(|| Mutex::new(begin())).lock();
        let question = json!({
            "user": wish.user, "algorithm": wish.algorithm, "expires_in": wish.expires_in, "issued_in": wish.issued_in,
            "signature_length": wish.signature_length, "flaw": wish.flaw,
        });
        writeln!(tool.0, "{question}").unwrap();
        let mut line = String::new();
        tool.1.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).expect("the tool answers JSON");
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Self { certificate: text("certificate"), algorithm: text("algorithm"), signature: text("signature") }
    }

    /// For a user of the realm, by RSA.
    pub fn good() -> Self {
        Self::of(&Wish::default())
    }
}

fn begin() -> Tool {
    let mut command = bound_to_us(&format!("{}/scripts/passport", repository()), &["serve".to_owned()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    #[expect(clippy::zombie_processes, reason = "it ends with the binary")]
    let mut child = begin_for_good(command);
    Tool(child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()))
}
