//! The threads that verify hashes: few, with a short queue, so that a flood waits for itself and for nobody else.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use argon2::Argon2;
use parking_lot::Mutex;
use password_hash::PasswordVerifier;
use password_hash::phc::PasswordHash;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

/// Callers that may wait. Each costs some 20 ms of one thread, so the last one waits for about three seconds.
const WAITING: usize = 128;

enum Check {
    Hash { index: usize, hash: String, secret: SecretString },
    Clear { index: usize, expected: SecretString, secret: SecretString },
    Decoy { hash: String, secret: SecretString },
}

/// What is to be verified for one caller.
#[derive(Default)]
pub(super) struct Work(Vec<Check>);

impl Work {
    pub(super) fn hash(&mut self, index: usize, hash: &str, secret: &SecretString) {
        self.0.push(Check::Hash { index, hash: hash.to_owned(), secret: secret.clone() });
    }

    pub(super) fn clear(&mut self, index: usize, expected: &SecretString, secret: &SecretString) {
        self.0.push(Check::Clear { index, expected: expected.clone(), secret: secret.clone() });
    }

    /// Costs what a hash costs, and is never right.
    pub(super) fn decoy(&mut self, hash: &str, secret: &SecretString) {
        self.0.push(Check::Decoy { hash: hash.to_owned(), secret: secret.clone() });
    }

    pub(super) fn hashes(&self) -> u64 {
        self.0.iter().filter(|check| !matches!(check, Check::Clear { .. })).count() as u64
    }

    /// The reading that is right. Every check is made, whatever the others said.
    fn done(self) -> Option<usize> {
        let mut right = None;
        for check in self.0 {
            match check {
                Check::Hash { index, hash, secret } if verifies(&hash, &secret) => right = right.or(Some(index)),
                Check::Clear { index, expected, secret } if same(&expected, &secret) => right = right.or(Some(index)),
                Check::Decoy { hash, secret } => {
                    let _never_right = std::hint::black_box(verifies(&hash, &secret));
                }
                Check::Hash { .. } | Check::Clear { .. } => {}
            }
        }
        right
    }
}

fn verifies(hash: &str, secret: &SecretString) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(secret.expose_secret().as_bytes(), &hash).is_ok())
}

fn same(expected: &SecretString, secret: &SecretString) -> bool {
    expected.expose_secret().as_bytes().ct_eq(secret.expose_secret().as_bytes()).into()
}

struct Job {
    work: Work,
    answer: oneshot::Sender<Option<usize>>,
}

/// The threads.
#[derive(Debug)]
pub(super) struct Pool(SyncSender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Pool {
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Job>(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            #[expect(
                clippy::disallowed_methods,
                reason = "hashing blocks; these threads end when the guard is dropped"
            )]
            Builder::new().name(format!("secrets-{number}")).spawn(move || work(&receiver))?;
        }
        Ok(Self(sender))
    }

    /// Queues the work; `None` where too much waits already.
    pub(super) fn run(&self, work: Work) -> Option<oneshot::Receiver<Option<usize>>> {
        let (answer, receiver) = oneshot::channel();
        self.0.try_send(Job { work, answer }).ok().map(|()| receiver)
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        let Ok(job) = receiver.lock().recv() else { return };
        // Whoever asked may have gone while this waited.
        if !job.answer.is_closed() {
            let _ = job.answer.send(job.work.done());
        }
    }
}
