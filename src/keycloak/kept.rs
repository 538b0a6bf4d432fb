//! The connections that are kept to the realm, and how old they become: its name may have moved since, and one that is always in use never finds out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::{Client, Request, Response};

use super::client::{RealmSettings, Unusable, http};
use crate::domain::time::millis;
use crate::lifecycle::aside;
use crate::relay::OLD;

/// One worker's.
#[derive(Debug)]
pub(super) struct Kept {
    settings: Arc<RealmSettings>,
    clients: Arc<ArcSwap<Clients>>,
    /// Since when those are used that are in use: milliseconds of the monotonic clock.
    since: AtomicU64,
}

/// Connections end with their client, once what is under way has.
#[derive(Debug)]
struct Clients {
    used: Client,
    /// The former one, until this one has reached the realm.
    former: Option<Client>,
}

impl Clients {
    fn of(used: Client) -> Arc<Self> {
        Arc::new(Self { used, former: None })
    }
}

impl Kept {
    /// None yet.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub(super) fn new(settings: &RealmSettings, now: Duration) -> Result<Self, Unusable> {
        let clients = Arc::new(ArcSwap::new(Clients::of(http(settings, false)?)));
        Ok(Self { settings: Arc::new(settings.clone()), clients, since: AtomicU64::new(millis(now)) })
    }

    /// Asks over one of them, or a new one. Where none can be opened any more, as the name is not found, one that is old is better than none, and then
    /// for as long again.
    pub(super) async fn ask(&self, question: Request, now: Duration) -> reqwest::Result<Response> {
        let clients = self.clients(now);
        let Some((former, again)) = clients.former.as_ref().zip(question.try_clone()) else {
            return clients.used.execute(question).await;
        };
        let (used, answer) = match clients.used.execute(question).await {
            Err(error) if error.is_connect() => (former, former.execute(again).await),
            answered => (&clients.used, answered),
        };
        // One that opens none either is no better: nobody waits for both again.
        let is_better = !answer.as_ref().is_err_and(reqwest::Error::is_connect);
        self.clients.store(Clients::of(if is_better { used } else { &clients.used }.clone()));
        answer
    }

    /// Those in use. Whoever finds them old has others made aside, since files may be read for it, and asks over these.
    fn clients(&self, now: Duration) -> Arc<Clients> {
        let there = self.clients.load_full();
        let (since, now) = (self.since.load(Ordering::Relaxed), millis(now));
        let is_claimed = || self.since.compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now.saturating_sub(since) >= millis(OLD) && is_claimed() {
            let (settings, clients, used) = (Arc::clone(&self.settings), Arc::clone(&self.clients), there.used.clone());
            aside(move || {
                // What cannot be made now is tried when as much time has passed again.
                if let Ok(newer) = http(&settings, false) {
                    // Both are waited for within the time of one answer.
                    let former = Some(used).filter(|_| settings.connect_timeout * 2 < settings.timeout);
                    clients.store(Arc::new(Clients { used: newer, former }));
                }
            });
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::atomic::AtomicUsize;
    use std::thread::spawn;

    use reqwest::Method;
    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::lifecycle::within;

    /// What is made aside is there by then.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Answers whoever comes, so many connections and no more; and how many came.
    #[expect(clippy::disallowed_methods, reason = "a server that a test plays, which ends with the process")]
    fn server(most: usize) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (counted, mut listening) = (Arc::clone(&came), Some(listener));
        spawn(move || {
            for left in (0..most).rev() {
                let (mut stream, _) = listening.as_ref().unwrap().accept().unwrap();
                listening.take_if(|_| left == 0);
                counted.fetch_add(1, Ordering::SeqCst);
                spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    while let Some(Ok(line)) = lines.next() {
                        if line.is_empty() {
                            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                        }
                    }
                });
            }
        });
        (address, came)
    }

    struct Asking {
        runtime: Runtime,
        kept: Kept,
        url: String,
    }

    impl Asking {
        fn of(address: SocketAddr) -> Self {
            Self::within(address, Duration::from_secs(2))
        }

        fn within(address: SocketAddr, connect_timeout: Duration) -> Self {
            crate::server::provide_tls();
            let settings = RealmSettings {
                urls: vec![format!("http://{address}/realms/a")],
                timeout: Duration::from_secs(10),
                connect_timeout,
                public_url: None,
                trusted: None,
                system: None,
            };
            let kept = Kept::new(&settings, Duration::ZERO).unwrap();
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            Self { runtime, kept, url: format!("http://{address}/") }
        }

        fn ask(&self, now: u64) {
            let question = Request::new(Method::GET, self.url.parse().unwrap());
            self.runtime.block_on(async {
                let answer = self.kept.ask(question, Duration::from_secs(now)).await;
                assert_eq!(answer.unwrap().status(), 204, "at {now} s");
                // What holds the connection sees that it may be kept.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            });
        }

        /// Waits until others are there to be asked over.
        fn has_made_others(&self) -> bool {
            within(PATIENCE, || self.kept.clients.load().former.is_some())
        }
    }

    #[test]
    fn a_realm_that_is_always_asked_is_asked_over_no_connection_that_is_older_than_five_minutes() {
        let (address, came) = server(9);
        let asking = Asking::of(address);
        for (number, begun) in [(1, 0), (2, 300), (3, 600)] {
            for later in [1, 150, 299] {
                asking.ask(begun + later);
                assert_eq!(came.load(Ordering::SeqCst), number, "{later} s later");
            }
            asking.ask(begun + 300);
            assert!(asking.has_made_others());
        }
    }

    #[test]
    fn a_realm_that_nobody_reaches_is_waited_for_once_and_nothing_was_sent() {
        // One that has no time for both goes by the new ones alone; one that has finds out once that the old ones are no better.
        for (connect_timeout, tries) in [(Duration::from_secs(6), 0), (Duration::from_secs(1), 1)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let asking = Asking::within(listener.local_addr().unwrap(), connect_timeout);
            drop(listener);
            let before = asking.kept.clients.load_full();
            let fails = |now| {
                let question = Request::new(Method::GET, asking.url.parse().unwrap());
                let answer = asking.runtime.block_on(asking.kept.ask(question, Duration::from_secs(now)));
                assert!(answer.unwrap_err().is_connect());
            };
            fails(300);
            assert!(within(PATIENCE, || !Arc::ptr_eq(&before, &asking.kept.clients.load())));
            assert_eq!(asking.kept.clients.load().former.iter().count(), tries);
            fails(301);
            assert!(asking.kept.clients.load().former.is_none());
        }
    }

    #[test]
    fn an_old_connection_is_better_than_none_and_then_for_as_long_again() {
        // Nobody else gets in.
        let (address, came) = server(1);
        let asking = Asking::of(address);
        for begun in [0, 300, 600] {
            asking.ask(begun + 1);
            assert!(asking.kept.clients.load().former.is_none(), "nobody tries it for long");
            asking.ask(begun + 300);
            assert!(asking.has_made_others());
        }
        assert_eq!(came.load(Ordering::SeqCst), 1);
    }
}
