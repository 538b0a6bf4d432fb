//! TLS handshakes that fail: nobody but the operator can know who was turned away by them, and why.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::time::{Clock, Timestamp};
use crate::relay::BadCertificate;
use crate::telemetry::{Metrics, News, log};

/// What a record begins with in which hands are shaken (RFC 8446 section 5.1).
const RECORD: u8 = 22;

/// Why hands were not shaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cause {
    NoTls,
    NoCertificate,
    CertificateRefused,
    CallerRefused,
    NothingInCommon,
    BrokenOff,
    Slow,
    Broken,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::NoTls,
        Self::NoCertificate,
        Self::CertificateRefused,
        Self::CallerRefused,
        Self::NothingInCommon,
        Self::BrokenOff,
        Self::Slow,
        Self::Broken,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::NoTls => "no_tls",
            Self::NoCertificate => "no_certificate",
            Self::CertificateRefused => "certificate_refused",
            Self::CallerRefused => "caller_refused",
            Self::NothingInCommon => "nothing_in_common",
            Self::BrokenOff => "broken_off",
            Self::Slow => "slow",
            Self::Broken => "broken",
        }
    }
}

const SPOKEN: &str = "Spoken here are TLS 1.3, and 1.2 with ECDHE and AES-GCM or ChaCha20; put a proxy in front of callers that are older";

/// Why one failed, in words.
#[derive(Debug)]
pub(super) struct Failure {
    cause: Cause,
    detail: String,
}

impl Failure {
    fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }

    /// It was begun, and not done in time.
    pub(super) fn slow() -> Self {
        Self::new(Cause::Slow, "it was not done within `limits.head_timeout`")
    }

    /// What went wrong with a caller whose first byte was this.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "these are rustls' causes, and it explains the rare ones itself"
    )]
    pub(super) fn of(first: u8, error: &io::Error) -> Self {
        if first != RECORD {
            return Self::new(Cause::NoTls, "the caller speaks no TLS: clear text, or another protocol");
        }
        if let Some(bad) = BadCertificate::behind(error) {
            return Self::new(Cause::CertificateRefused, refused(&bad));
        }
        let Some(said) = error.get_ref().and_then(|held| (held as &(dyn Error + 'static)).downcast_ref()) else {
            return Self::new(Cause::BrokenOff, "the caller was gone in the middle of it");
        };
        match said {
            rustls::Error::NoCertificatesPresented => {
                Self::new(Cause::NoCertificate, "the caller showed no certificate, and `client_ca` asks for one")
            }
            rustls::Error::AlertReceived(alert) => {
                Self::new(Cause::CallerRefused, format!("the caller does not take what it is shown here: {alert:?}"))
            }
            rustls::Error::PeerIncompatible(why) => {
                Self::new(Cause::NothingInCommon, format!("no version or cipher is common to both: {why:?}. {SPOKEN}"))
            }
            rustls::Error::NoApplicationProtocol => {
                Self::new(Cause::NothingInCommon, "the caller asks for protocols that are not spoken here (ALPN)")
            }
            other => Self::new(Cause::Broken, other.to_string()),
        }
    }
}

fn refused(bad: &BadCertificate) -> String {
    match bad {
        BadCertificate::Expired => "the caller's certificate has expired".to_owned(),
        BadCertificate::NotYet => "the caller's certificate is not valid yet".to_owned(),
        BadCertificate::UnknownIssuer => "nobody in `client_ca` vouches for the caller's certificate".to_owned(),
        BadCertificate::Authority => "the caller's certificate is that of an authority (CA:TRUE)".to_owned(),
        BadCertificate::OtherName => "the caller's certificate is for another name".to_owned(),
        BadCertificate::Other(words) => format!("the caller's certificate cannot be trusted: {words}"),
    }
}

/// The failed handshakes of one listener.
#[derive(Debug)]
pub(super) struct Failures {
    listener: &'static str,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Of whom the log has told.
    news: News<(Cause, IpAddr)>,
}

impl Failures {
    pub(super) fn new(listener: &'static str, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        metrics.handshakes(listener, Cause::ALL.into_iter().map(Cause::word));
        Self { listener, clock, metrics, news: News::of_strangers() }
    }

    /// The certificate that the listener shows from now on ends then.
    pub(super) fn certificate(&self, ends: Timestamp) {
        self.metrics.certificate(self.listener, ends);
    }

    pub(super) fn tell(&self, address: IpAddr, Failure { cause, detail }: &Failure) {
        let count = self.metrics.handshake_failed(self.listener, cause.word());
        if self.news.is_news((*cause, address), self.clock.monotonic()) {
            log::handshake_failed(self.listener, (address, cause.word()), detail, count);
        }
    }
}
