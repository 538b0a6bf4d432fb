//! Everything that this process logs, at `debug`: several bridges in one process share one log.

use std::io::{self, Write};
use std::sync::LazyLock;

use parking_lot::Mutex;
use passbridge::telemetry::log::Line;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

static LOG: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);

#[derive(Clone, Copy, Debug)]
struct Capture;

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Capture {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

/// Takes the log before a bridge does. Answers where it stands.
pub fn begin() -> usize {
    static BEGUN: LazyLock<()> = LazyLock::new(|| {
        let subscriber = tracing_subscriber::fmt()
            .event_format(Line)
            .with_writer(Capture)
            .with_env_filter(EnvFilter::new("debug"))
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("nobody logs before the capture");
    });
    LazyLock::force(&BEGUN);
    LOG.lock().len()
}

/// What was logged since then, by all bridges of this process.
pub fn since(begin: usize) -> String {
    String::from_utf8_lossy(&LOG.lock()[begin..]).into_owned()
}
