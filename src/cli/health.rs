//! `passbridge health`: asks the running bridge's ops listener, for health checks of containers that hold nothing else.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{Format, NO, WRONG_USE, show};
use crate::config;
use crate::document::Findings;
use crate::secrets::Environment;

/// For each step of the question.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ready: 0. Not ready or not there: 1.
pub(super) fn run(path: &Path, environment: &Environment) -> ExitCode {
    let findings = Findings::new();
    let Some(config) = config::load(path, environment, &findings) else {
        let _ = show::findings(&findings.into_sorted(), Format::Human, &mut anstream::stderr());
        return ExitCode::from(WRONG_USE);
    };
    if config.tls.ops.is_some() {
        show::complain("the ops listener speaks TLS, which this command does not");
        return ExitCode::from(WRONG_USE);
    }
    match ask(reachable(config.listen.ops)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            show::complain("the bridge is not ready");
            ExitCode::from(NO)
        }
        Err(error) => {
            show::complain(&format!("the bridge does not answer at {}: {error}", config.listen.ops));
            ExitCode::from(NO)
        }
    }
}

/// Where to ask a listener that listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let here = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(if address.ip().is_unspecified() { here } else { address.ip() }, address.port())
}

fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(head.ends_with(b" 200"))
}
