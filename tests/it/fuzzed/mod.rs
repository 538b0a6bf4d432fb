//! The fuzz targets (targets.rs) with their seeds, what was once found among them, and each seed damaged in many ways.

use std::path::{Path, PathBuf};

mod targets;

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn whatever_strangers_send_every_reader_keeps_what_it_promises() {
    for name in targets::names() {
        let target = targets::named(name).unwrap();
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seed");
        for (path, seed) in seeds {
            eprintln!("{}", path.display());
            target(&seed);
            // Each byte flipped, and cut before each byte; of a long seed only some.
            let step = seed.len() / 500 + 1;
            for at in (0..seed.len()).step_by(step) {
                target(&seed[..at]);
                let mut damaged = seed.clone();
                for other in [damaged[at] ^ 1, 0, b'%', 0xff] {
                    damaged[at] = other;
                    target(&damaged);
                }
            }
        }
    }
}
