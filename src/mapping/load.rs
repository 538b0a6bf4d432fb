//! Loads the mapping directory, whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::client::{Read, Surroundings};
use super::dialect::Placed;
use super::parts::{self, Part};
use super::{Loaded, Place, client, dialect};
use crate::document::{Findings, Origin, Reader, parse, parse_part};
use crate::domain::dialect::Dialect;
use crate::domain::opaque::hexadecimal;
use crate::domain::table::{DEFAULT_DIALECT, Table};
use crate::secrets::files::{self, Unfit};
use crate::secrets::{Means, Sources};

/// The default dialect, for a mapping directory that has none of its own.
const SHIPPED: &str = include_str!("../../mappings/dialects/otk-passport.toml");

/// What is to be done about a file or a directory.
const READABLE: &str = "the bridge's user must be able to read it; `mappings.path` says where it is looked for";

/// No file of a mapping is longer.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Every dialect by its name; `None`: its file has errors, which are told once and not again at each client.
pub(super) type Dialects = BTreeMap<String, Option<Arc<Dialect>>>;

/// The text that a file of clients would have after a change that is not made yet.
#[derive(Clone, Copy)]
pub(super) struct Proposed<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

/// What a load reads, and the digest of it.
struct Shelf<'a> {
    hash: digest::Context,
    proposed: Option<Proposed<'a>>,
    findings: &'a Findings,
}

/// Loads `clients/*.toml` and `dialects/*.toml` below a directory. `None`: there are errors among the findings.
pub fn load<'m>(place: &Place, means: impl Into<Means<'m>>, findings: &Findings) -> Option<Loaded> {
    read(place, means.into(), None, findings).0
}

/// Loads the clients that have no fault of their own, for whoever asks about them alone. `None`: the dialects are not good enough.
pub fn load_in_part<'m>(place: &Place, means: impl Into<Means<'m>>, findings: &Findings) -> Option<Table> {
    gather(place, means.into(), None, findings).0.map(|loaded| loaded.table)
}

/// Loads, with one file as it would be after a change. The digest is there whatever is wrong.
pub(super) fn read(
    place: &Place,
    means: Means<'_>,
    proposed: Option<Proposed<'_>>,
    findings: &Findings,
) -> (Option<Loaded>, String) {
    let (loaded, digest) = gather(place, means, proposed, findings);
    (loaded.filter(|_| !findings.blocked()), digest)
}

fn gather(
    place: &Place,
    means: Means<'_>,
    proposed: Option<Proposed<'_>>,
    findings: &Findings,
) -> (Option<Loaded>, String) {
    let mut shelf = Shelf::new(proposed, findings);
    let dialects = dialects(place, &mut shelf);
    let clients_of = place.join("clients");
    let sources = Sources { directory: &clients_of, means };
    let clients = clients(Surroundings { dialects: &dialects, sources, old_server: place.old_server }, &mut shelf);
    compare(&clients, findings);
    let digest = shelf.digest();
    let loaded = || {
        let dialects: BTreeMap<_, _> =
            dialects.into_iter().filter_map(|(name, dialect)| Some((name, dialect?))).collect();
        let default = Arc::clone(dialects.get(DEFAULT_DIALECT)?);
        let clients = clients.into_iter().filter_map(|read| read.client).collect();
        Some(Loaded {
            table: Table::new(clients, dialects, default),
            digest: digest.clone(),
            footing: Arc::new(findings.footing()),
        })
    };
    (loaded(), digest)
}

/// The digest that a load of the files as they are now would have; nothing in them is looked at.
#[must_use]
pub fn digest(place: &Place) -> String {
    let findings = Findings::new();
    let mut shelf = Shelf::new(None, &findings);
    for path in dialect_files(place, &findings).into_iter().chain(client_files(place, &findings)) {
        let _digested = shelf.text(&path);
    }
    shelf.digest()
}

fn dialect_files(mappings: &Path, findings: &Findings) -> Vec<PathBuf> {
    files(&mappings.join("dialects"), false, findings)
}

/// The files of clients, by name.
pub(super) fn client_files(mappings: &Path, findings: &Findings) -> Vec<PathBuf> {
    files(&mappings.join("clients"), true, findings)
}

/// A file's text; `None`: a finding says why not.
pub(super) fn readable(path: &Path, findings: &Findings) -> Option<String> {
    let told = |Unfit { reason, hint }| {
        let origin = Origin::file(&path.to_string_lossy());
        findings.error("unreadable-file", &origin, format!("the file {reason}"), hint.unwrap_or_else(|| way_out(path)));
    };
    files::text(path, LONGEST, findings).map_err(told).ok()
}

/// What to do about a file that cannot be had.
fn way_out(path: &Path) -> &'static str {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => "a file must be there, or nothing: rename it, or take it away",
        Ok(metadata) if metadata.len() > LONGEST => "is it the right file? Spread what is in it over several",
        Ok(_) | Err(_) => READABLE,
    }
}

fn dialects(mappings: &Path, shelf: &mut Shelf<'_>) -> Dialects {
    let findings = shelf.findings;
    let mut dialects = BTreeMap::new();
    let read = |name: &str, file: &str, text: &str| {
        parse(file, text, findings).and_then(|table| dialect::placed(name, table, findings))
    };
    let files = dialect_files(mappings, findings);
    for path in &files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = shelf.text(path);
        let dialect = text.and_then(|text| read(&name, &path.to_string_lossy(), &text));
        dialects.insert(name.into_owned(), dialect);
    }
    if !files.iter().any(|path| path.file_stem().is_some_and(|stem| stem == DEFAULT_DIALECT)) {
        dialects.insert(DEFAULT_DIALECT.to_owned(), read(DEFAULT_DIALECT, "(shipped) otk-passport.toml", SHIPPED));
    }
    endpoints_of(&dialects, findings);
    dialects.into_iter().map(|(name, placed)| (name, placed.map(|placed| Arc::new(placed.dialect)))).collect()
}

/// Of two dialects that have another endpoint at one path, one would never be asked there.
fn endpoints_of(dialects: &BTreeMap<String, Option<Placed>>, findings: &Findings) {
    let mut known: HashMap<&str, (&str, &dialect::Path)> = HashMap::new();
    let default = dialects.get(DEFAULT_DIALECT).into_iter().flatten();
    for placed in default.chain(dialects.values().flatten()) {
        for path in &placed.paths {
            let (dialect, first) = *known.entry(&path.text.value).or_insert((&placed.dialect.name, path));
            if first.endpoint != path.endpoint {
                let other = format!("`endpoints.{}` in the dialect `{dialect}`", first.key);
                dialect::clash(path, &other, findings);
            }
        }
    }
}

fn clients(around: Surroundings<'_>, shelf: &mut Shelf<'_>) -> Vec<Read> {
    let (directory, findings) = (around.sources.directory, shelf.findings);
    let paths = shelf.clients(directory);
    let texts = paths.iter().filter_map(|path| Some((Arc::from(path.to_string_lossy()), shelf.text(path)?)));
    let texts: Vec<(Arc<str>, String)> = texts.collect();
    let parts: Vec<(&Arc<str>, Part<'_>)> =
        texts.iter().flat_map(|(file, text)| parts::of(text).into_iter().map(move |part| (file, part))).collect();
    let read = |(file, part): &(&Arc<str>, Part<'_>)| {
        let findings = Findings::new();
        let clients = read_part(file, part, around, &findings);
        (clients, findings)
    };
    let mut clients = Vec::new();
    for (read, found) in parts::each(&parts, read) {
        clients.extend(read);
        findings.absorb(found);
    }
    if clients.is_empty() && !findings.blocked() {
        let hint = "add a file; mappings/README.md shows how";
        let origin = Origin::file(&directory.to_string_lossy());
        findings.warning("no-clients", &origin, "no file here maps a client: nobody can log in", hint);
    }
    clients
}

fn read_part(file: &Arc<str>, part: &Part<'_>, around: Surroundings<'_>, findings: &Findings) -> Vec<Read> {
    // A name of its own: threads that count one together get into each other's way.
    let file = Arc::from(&**file);
    let Some(table) = parse_part(&file, part.text, part.lines_before, findings) else { return Vec::new() };
    let mut reader = Reader::new(table, "", findings);
    let clients = reader.sections("client").into_iter().map(|entry| client::read(entry, around)).collect();
    reader.finish();
    clients
}

impl<'a> Shelf<'a> {
    fn new(proposed: Option<Proposed<'a>>, findings: &'a Findings) -> Self {
        Self { hash: digest::Context::new(&digest::SHA256), proposed, findings }
    }

    /// Of all texts that were taken from it.
    fn digest(self) -> String {
        hexadecimal(self.hash.finish().as_ref()).collect()
    }

    /// The files of clients, with the one that a change would add.
    fn clients(&self, directory: &Path) -> Vec<PathBuf> {
        let mut files = files(directory, true, self.findings);
        if let Some(proposed) = self.proposed
            && !files.iter().any(|path| path == proposed.path)
        {
            files.push(proposed.path.to_owned());
            files.sort();
        }
        files
    }

    fn text(&mut self, path: &Path) -> Option<String> {
        let proposed = self.proposed.filter(|proposed| proposed.path == path);
        let text = match proposed {
            Some(proposed) => proposed.text.to_owned(),
            None => readable(path, self.findings)?,
        };
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let name = path.file_name().unwrap_or_default();
        for part in [folder.as_encoded_bytes(), name.as_encoded_bytes(), text.as_bytes()] {
            self.hash.update(&(part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
        Some(text)
    }
}

/// The files of a directory, which need not be there if it is not `required`.
fn files(directory: &Path, required: bool, findings: &Findings) -> Vec<PathBuf> {
    files::list(directory, findings).unwrap_or_else(|error| {
        if required || error.kind() != ErrorKind::NotFound {
            let origin = Origin::file(&directory.to_string_lossy());
            findings.error(
                "unreadable-file",
                &origin,
                format!("the directory cannot be read: {}", files::words(&error)),
                READABLE,
            );
        }
        Vec::new()
    })
}

/// What only shows when clients are held side by side. A client with faults of its own counts too. The other's place is in the
/// hint: it moves with every line above it, and the sentence says what is wrong wherever that stands.
fn compare(clients: &[Read], findings: &Findings) {
    let mut by_old: HashMap<&str, &Origin> = HashMap::with_capacity(clients.len());
    let mut by_new: HashMap<&str, &Origin> = HashMap::with_capacity(clients.len());
    for read in clients {
        if let Some(old) = &read.legacy_id
            && let Some(first) = by_old.insert(&old.value, &old.origin)
        {
            let message = format!("the client `{}` is mapped twice", old.value);
            let hint = format!("leave one of the two: the first one is at {first}");
            findings.error("duplicate-client", &old.origin, message, hint);
        }
        if let Some(new) = &read.client_id
            && let Some(first) = by_new.insert(&new.value, &new.origin)
        {
            let message = format!("the new client `{}` serves two old ones", new.value);
            let hint = format!("intended? The realm cannot tell this one from the one at {first}");
            findings.warning("shared-client", &new.origin, message, hint);
        }
    }
}
