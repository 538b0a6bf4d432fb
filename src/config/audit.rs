//! `[audit]`.

use std::path::Path;
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
    let path = match store {
        Some(StoreSettings::Embedded { path, .. }) => path.join("audit"),
        Some(StoreSettings::Redis(_)) | None => directory.join("audit"),
    };
    let absent = AuditSettings { path, keep: KEEP, file_size: FILE_SIZE };
    let Some(mut section) = section else { return Some(absent) };
    let enabled = section.boolean("enabled", true);
    let path = section.filled("path", "a path").map_or(absent.path, |text| directory.join(text.value));
    let day = Duration::from_hours(24);
    let keep = section.duration_within("keep", absent.keep, day, day * 36_525);
    let file_size = section.size_within("file_size", 64 << 10, 1 << 30).unwrap_or(absent.file_size);
    section.finish();
    enabled.then_some(AuditSettings { path, keep, file_size })
}
