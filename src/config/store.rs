//! `[store]`.

use crate::document::Reader;
use crate::secrets::Sources;
use crate::store::StoreSettings;

pub(super) fn read(section: Option<Reader<'_>>, sources: Sources<'_>) -> StoreSettings {
    let embedded =
        |path: &str, cache_bytes| StoreSettings::Embedded { path: sources.directory.join(path), cache_bytes };
    let absent = 64 << 20;
    let Some(mut section) = section else { return embedded("data", absent) };
    let _kind = section.word("kind", &[("embedded", ())]);
    let path = section.text("path").map_or_else(|| "data".to_owned(), |text| text.value);
    let cache = section.size("cache");
    if let Some(found) = cache.as_ref().filter(|found| found.value < 1 << 20) {
        section.bad_value("cache", &found.origin, "at least 1MiB");
    }
    section.finish();
    embedded(&path, cache.map_or(absent, |found| found.value))
}
