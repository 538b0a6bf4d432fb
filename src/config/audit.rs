//! `[audit]`.

use std::path::{self, Component, Path, PathBuf};
use std::time::Duration;

use crate::document::Reader;
use crate::store::StoreSettings;
use crate::telemetry::audit::AuditSettings;

const KEEP: Duration = Duration::from_hours(90 * 24);
const FILE_SIZE: u64 = 64 << 20;

/// `None`: off. Where nothing is said it stands in the embedded store's directory, or beside the configuration.
pub(super) fn read(
    section: Option<Reader<'_>>,
    directory: &Path,
    store: Option<&StoreSettings>,
) -> Option<AuditSettings> {
    let of_the_store = match store {
        Some(StoreSettings::Embedded { path, .. }) => Some(path),
        Some(StoreSettings::Redis(_)) | None => None,
    };
    let path = of_the_store.map_or(directory, PathBuf::as_path).join("audit");
    let absent = AuditSettings { path, keep: KEEP, file_size: FILE_SIZE };
    let Some(mut section) = section else { return Some(absent) };
    let enabled = section.boolean("enabled", true);
    let named = section.filled("path", "a path");
    let path = named.as_ref().map_or(absent.path, |text| directory.join(&text.value));
    let is_taken = || of_the_store.is_some_and(|store| placed(store) == placed(&path));
    if let Some(named) = named.filter(|_| enabled && is_taken()) {
        // Each has a file in it by which it is one process's.
        let message = format!("`{}` is the directory of the store", section.path("path"));
        let hint = "leave it out, and it is `audit` in there; or name another";
        section.findings().error("bad-value", &named.origin, message, hint);
    }
    let day = Duration::from_hours(24);
    let keep = section.duration_within("keep", absent.keep, day, day * 36_525);
    let file_size = section.size_within("file_size", 64 << 10, 1 << 30).unwrap_or(absent.file_size);
    section.finish();
    enabled.then_some(AuditSettings { path, keep, file_size })
}

/// One place, however it is written: as the machine has it, or as far as the text tells where it has none there yet.
fn placed(path: &Path) -> PathBuf {
    let plain = || {
        let mut plain = PathBuf::new();
        for part in path::absolute(path).as_deref().unwrap_or(path).components() {
            if part != Component::ParentDir || !plain.pop() {
                plain.push(part);
            }
        }
        plain
    };
    path.canonicalize().unwrap_or_else(|_| plain().canonicalize().unwrap_or_else(|_| plain()))
}
