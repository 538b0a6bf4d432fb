//! Every block of commands in the documents for operators runs as it stands, one after the other, beside a running bridge.
//!
//! ```` ```sh ```` runs and ends well; ```` ```console ```` shows commands behind `$` and what they say (`...` stands for anything);
//! ```` ```toml ```` is a mapping file that `check` takes; ```` ```sh elsewhere: FILE ```` is tested by that file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::program::{Program, bare};
use crate::support::{Granting, Mood, NEW_SECRET, OLD_ID, OLD_SECRET, Plan, World, client, passport, post};

/// Each document with how many blocks of it run, and how many are tested elsewhere: so that none gets lost.
const DOCUMENTS: [(&str, usize, usize); 3] =
    [("docs/OPERATIONS.md", 6, 2), ("docs/MIGRATION.md", 9, 2), ("mappings/README.md", 4, 1)];

struct Block {
    info: String,
    line: usize,
    text: String,
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The fenced blocks of a document, and its other lines.
fn parts(text: &str) -> (Vec<Block>, Vec<(usize, &str)>) {
    let (mut blocks, mut others, mut open) = (Vec::new(), Vec::new(), None::<Block>);
    for (line, content) in (1..).zip(text.lines()) {
        match (content.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => open = Some(Block { info: info.to_owned(), line, text: String::new() }),
            (None, Some(block)) => block.text.extend([content, "\n"]),
            (None, None) => others.push((line, content)),
        }
    }
    assert!(open.is_none(), "a block has no end");
    (blocks, others)
}

/// A bridge as the documents have it: the ops token and the identity are files, a login has been made, and what the commands name
/// is there.
struct Site {
    world: World,
    program: Program,
    recipient: String,
}

impl Site {
    fn new() -> Self {
        let scopes = "scopes = { client_registration = \"client_registration\" }";
        let plan = Plan::new().without_clients().client(&client(OLD_ID, scopes));
        let plan =
            plan.set("ops", "token", "{ file = \"ops.token\" }").set("secrets", "identity", "{ file = \"age.key\" }");
        let world = plan.files();
        let write = |name: &str, text: &str| {
            let path = world.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("ops.token", "planted-ops-token\n");
        let key = Command::new(env!("CARGO_BIN_EXE_passbridge")).args(["secret", "keygen"]).output().unwrap();
        let key = String::from_utf8(key.stdout).unwrap();
        write("age.key", &key);
        write(
            "partners.csv",
            "legacy_id,legacy_secret,client_id,client_secret\npartner-a,planted-a,new_a,planted-new-a\n",
        );
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/otk-passport");
        for name in ["login.request", "login.reply", "refresh.request", "refresh.reply"] {
            write(&format!("captured/{name}"), &fs::read_to_string(golden.join(name)).unwrap());
        }
        fs::create_dir(world.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_passbridge"), world.path().join("bin/passbridge")).unwrap();
        let program = Program::serve(&world);
        let login = program.ask(&post("/auth/oauth/v2/token", &passport(OLD_ID, OLD_SECRET)));
        assert_eq!(login.status, 200, "{}", login.body);
        let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
        Self { world, program, recipient }
    }

    /// Runs commands as the document's reader would.
    fn bash(&self, commands: &str) -> Output {
        // `doctor` looks for a realm that asks for a passport; the others for one that grants.
        let url = self.world.realm.url();
        let described = format!("{{\"issuer\":\"{url}\"}}");
        self.world.realm.usually_at("openid-configuration", Mood::answer(200, "application/json", &described));
        self.world.realm.usually_at("introspect", Mood::answer(200, "application/json", "{\"active\":false}"));
        self.world.realm.usually_at(
            "token",
            if commands.contains("passbridge doctor") {
                Mood::Refuse(400, "invalid_request", "Missing parameter: certificate")
            } else {
                Mood::Grant(Granting::default())
            },
        );
        if commands.contains("token find --client partner-a") {
            let login = self.program.ask(&post("/auth/oauth/v2/token", &passport("partner-a", "planted-a")));
            assert_eq!(login.status, 200, "{}", login.body);
        }
        let mut command = Command::new("bash");
        bare(command.args(["-euo", "pipefail", "-c", commands]).current_dir(self.world.path()));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.world.path().join("bin").display());
        command
            .env("PATH", path)
            .env("HOME", self.world.path())
            .env("OLD_SECRET", OLD_SECRET)
            .env("NEW_SECRET", NEW_SECRET);
        command.env("NEXT_SECRET", "planted-next").env("RECIPIENT", &self.recipient).env("TEST_API_SECRET", NEW_SECRET);
        command.env("PASSBRIDGE__LISTEN__OPS", self.program.ops.to_string());
        command.env("PASSBRIDGE__LISTEN__LEGACY", self.program.legacy.to_string());
        let output = command.output().unwrap();
        let said = said(&output);
        for secret in [OLD_SECRET, NEW_SECRET, "planted-", "eyJ"] {
            assert!(!said.contains(secret), "{commands}\n{said}");
        }
        output
    }

    fn run(&self, name: &str, block: &Block) {
        let place = format!("{name}:{}", block.line);
        match block.info.as_str() {
            "sh" => {
                let output = self.bash(&block.text);
                assert!(output.status.success(), "{place}\n{}\n{}", block.text, said(&output));
            }
            "console" => self.console(&place, &block.text),
            "toml" => self.mapping(&place, &block.text),
            other => panic!("{place}: nobody knows what to do with a block of `{other}`"),
        }
    }

    fn console(&self, place: &str, text: &str) {
        let mut steps = text.split("$ ").skip(1).peekable();
        assert!(steps.peek().is_some(), "{place} has no command");
        for step in steps {
            let (command, shown) = step.split_once('\n').unwrap();
            let output = self.bash(command);
            let (said, mut from) = (said(&output), 0);
            for line in shown.lines().filter(|line| *line != "...") {
                let found = said[from..].find(line).unwrap_or_else(|| panic!("{place}: {line}\nis not said:\n{said}"));
                from += found + line.len();
            }
        }
    }

    /// Is taken by `check`, in the place of what is there.
    fn mapping(&self, place: &str, text: &str) {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path: PathBuf = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("passbridge.toml", "[realm]\nurls = [\"http://127.0.0.1:1/realms/SSO\"]\n");
        write("mappings/clients/a.toml", text);
        let check = format!("passbridge --config '{}/passbridge.toml' check", directory.path().display());
        let output = self.bash(&check);
        assert!(output.status.success(), "{place}\n{}", said(&output));
    }
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn every_block_of_commands_runs_as_it_stands() {
    for (name, runs, elsewhere) in DOCUMENTS {
        let site = Site::new();
        let text = document(name);
        let (blocks, _) = parts(&text);
        let is_elsewhere = |block: &&Block| block.info.contains("elsewhere");
        let is_told = |block: &&Block| ["sh", "console", "toml"].contains(&block.info.split(' ').next().unwrap());
        let told: Vec<&Block> = blocks.iter().filter(is_told).collect();
        let counted = told.iter().copied().filter(is_elsewhere).count();
        assert_eq!((told.len() - counted, counted), (runs, elsewhere), "{name}: blocks that run, and tested elsewhere");
        for block in told {
            match block.info.split_once(" elsewhere: ") {
                None => site.run(name, block),
                Some((_, file)) => {
                    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
                    assert!(path.exists(), "{name}:{}: there is no {file}", block.line);
                }
            }
        }
    }
}

#[test]
fn no_command_stands_in_a_block_that_nobody_runs() {
    for (name, _, _) in DOCUMENTS {
        let text = document(name);
        let (blocks, others) = parts(&text);
        for (line, content) in others {
            let is_indented = content.starts_with("    ");
            assert!(!is_indented || !content.contains("passbridge "), "{name}:{line}: put it between ```sh and ```");
        }
        for block in blocks.iter().filter(|block| block.info.is_empty() || block.info == "text") {
            assert!(!block.text.contains("passbridge "), "{name}:{}: say what kind of block it is", block.line);
        }
    }
}

/// Every command as it is typed, without `passbridge`, and whether it takes an argument that is no option.
fn commands() -> BTreeMap<String, bool> {
    let mut known = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(above) = open.pop() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passbridge"));
        let help =
            String::from_utf8(command.args(above.split_whitespace()).arg("--help").output().unwrap().stdout).unwrap();
        let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap();
        known.insert(
            above.clone(),
            usage.split(' ').any(|word| word.starts_with('<') || word.starts_with('[') && word != "[OPTIONS]"),
        );
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap();
        for line in listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = line.split_whitespace().next().unwrap();
            if name != "help" {
                open.push(format!("{above} {name}").trim().to_owned());
            }
        }
    }
    known
}

#[test]
fn every_command_that_a_document_names_is_one() {
    let known = commands();
    assert!(known.contains_key("client stage") && known.contains_key("serve"), "{known:?}");
    for name in [
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/OPERATIONS.md",
        "docs/MIGRATION.md",
        "docs/CONFIG.md",
        "mappings/README.md",
    ] {
        for span in document(name).split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("passbridge ")) {
            let words: Vec<&str> =
                span.split_whitespace().take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())).collect();
            let Some(first) = words.first() else { continue };
            assert!(known.contains_key(*first), "{name}: `passbridge {span}`");
            let has_more = known.keys().any(|command| command.starts_with(&format!("{first} ")));
            let command =
                words.get(1).filter(|_| has_more).map_or((*first).to_owned(), |second| format!("{first} {second}"));
            let takes = known.get(&command).unwrap_or_else(|| panic!("{name}: `passbridge {span}`"));
            let behind = span.split_whitespace().nth(command.split(' ').count());
            let is_argument = behind.is_some_and(|word| word.starts_with(|first: char| first.is_ascii_alphanumeric()));
            assert!(*takes || !is_argument, "{name}: `passbridge {span}`: it takes no such argument");
        }
    }
}
