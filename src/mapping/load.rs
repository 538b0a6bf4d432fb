//! Loads the mapping directory, whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::client::Read;
use super::hash::Parameters;
use super::{Loaded, client, dialect};
use crate::document::{Findings, Origin, Reader, parse};
use crate::domain::client::LegacySecret;
use crate::domain::dialect::Dialect;
use crate::domain::table::{DEFAULT_DIALECT, Table};
use crate::secrets::{Environment, Sources};

/// The default dialect, for a mapping directory that has none of its own.
const SHIPPED: &str = include_str!("../../mappings/dialects/otk-passport.toml");

/// No file of a mapping is longer.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Loads `clients/*.toml` and `dialects/*.toml` below a directory. `None`: there are errors among the findings.
pub fn load(directory: &Path, environment: &Environment, findings: &Findings) -> Option<Loaded> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let dialects = dialects(directory, &mut hash, findings);
    let clients = clients(directory, &dialects, environment, &mut hash, findings);
    compare(&clients, findings);
    if findings.blocked() {
        return None;
    }
    let default = Arc::clone(dialects.get(DEFAULT_DIALECT)?);
    let digest = hexadecimal(hash.finish().as_ref());
    let clients = clients.into_iter().map(|read| read.client).collect();
    Some(Loaded { table: Table::new(clients, dialects, default), digest })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn dialects(directory: &Path, hash: &mut digest::Context, findings: &Findings) -> BTreeMap<String, Arc<Dialect>> {
    let mut dialects = BTreeMap::new();
    let mut read = |name: &str, file: &str, text: &str| match parse(file, text) {
        Ok(table) => {
            if let Some(dialect) = dialect::read(name, table, findings) {
                dialects.insert(name.to_owned(), Arc::new(dialect));
            }
        }
        Err(finding) => findings.push(finding),
    };
    let files = files(&directory.join("dialects"), false, findings);
    for path in &files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(text) = text(path, hash, findings) {
            read(&name, &path.to_string_lossy(), &text);
        }
    }
    if !files.iter().any(|path| path.file_stem().is_some_and(|stem| stem == DEFAULT_DIALECT)) {
        read(DEFAULT_DIALECT, "(shipped) otk-passport.toml", SHIPPED);
    }
    dialects
}

fn clients(
    directory: &Path,
    dialects: &BTreeMap<String, Arc<Dialect>>,
    environment: &Environment,
    hash: &mut digest::Context,
    findings: &Findings,
) -> Vec<Read> {
    let directory = directory.join("clients");
    let mut clients = Vec::new();
    for path in files(&directory, true, findings) {
        let Some(text) = text(&path, hash, findings) else { continue };
        let table = match parse(&path.to_string_lossy(), &text) {
            Ok(table) => table,
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        let sources = Sources { directory: &directory, environment };
        let mut file = Reader::new(table, "", findings);
        let entries = file.sections("client");
        file.finish();
        clients.extend(entries.into_iter().filter_map(|entry| client::read(entry, dialects, sources)));
    }
    clients
}

/// The `.toml` files of a directory by name. Hidden files, as editors and Kubernetes leave them, are none of ours.
fn files(directory: &Path, required: bool, findings: &Findings) -> Vec<PathBuf> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            if required {
                let origin = Origin::file(&directory.to_string_lossy());
                findings.error("unreadable-file", &origin, format!("the directory cannot be read: {error}"), None);
            }
            return Vec::new();
        }
    };
    let ours = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "toml")
            && !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.')
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(ours).collect();
    paths.sort();
    paths
}

fn text(path: &Path, hash: &mut digest::Context, findings: &Findings) -> Option<String> {
    let origin = Origin::file(&path.to_string_lossy());
    let unreadable = |reason: String| findings.error("unreadable-file", &origin, reason, None);
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > LONGEST => {
            unreadable("the file is longer than 256 MiB".to_owned());
            return None;
        }
        Ok(_) | Err(_) => {}
    }
    match fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => {
            for part in [path.file_name().unwrap_or_default().as_encoded_bytes(), text.as_bytes()] {
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            Some(text)
        }
        Ok(Err(_)) => {
            unreadable("the file is not UTF-8".to_owned());
            None
        }
        Err(error) => {
            unreadable(format!("the file cannot be read: {error}"));
            None
        }
    }
}

/// What only shows when clients are held side by side.
fn compare(clients: &[Read], findings: &Findings) {
    let mut by_old: HashMap<&str, &Origin> = HashMap::with_capacity(clients.len());
    let mut by_new: HashMap<&str, &Origin> = HashMap::with_capacity(clients.len());
    for read in clients {
        let client = &read.client;
        if let Some(first) = by_old.insert(&client.legacy_id, &read.legacy_id) {
            let message = format!("the client `{}` is mapped twice; the first time at {first}", client.legacy_id);
            findings.error("duplicate-client", &read.legacy_id, message, "leave one of the two".to_owned());
        }
        if let Some(first) = by_new.insert(&client.client_id, &read.client_id) {
            let message =
                format!("the new client `{}` serves two old ones; the other one at {first}", client.client_id);
            findings.warning("shared-client", &read.client_id, message, None);
        }
    }
}

/// The cost of most of a table's hashes; the default where there is none.
pub(super) fn usual_parameters(table: &Table) -> Parameters {
    let mut counted: HashMap<Parameters, usize> = HashMap::new();
    for secret in table.clients().flat_map(|client| &client.legacy_secrets) {
        if let LegacySecret::Hash(hash) = secret
            && let Ok(parameters) = Parameters::of(hash)
        {
            *counted.entry(parameters).or_default() += 1;
        }
    }
    counted
        .into_iter()
        .max_by_key(|(parameters, count)| (*count, *parameters))
        .map(|(parameters, _)| parameters)
        .unwrap_or_default()
}
