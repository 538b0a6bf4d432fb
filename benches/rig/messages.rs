//! What a load sends: always the same, or what came of the answers before.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The bytes that are sent, one message after the other. A load goes on where the one before, of which it is a clone, has stopped.
#[derive(Clone)]
pub enum Messages {
    /// Taken in turn, and again once all were sent.
    InTurn(Arc<InTurn>),
    /// Each answer has the token of a later one.
    Chained(Arc<Chain>),
}

/// Messages, and how many were sent.
pub struct InTurn {
    all: Vec<Vec<u8>>,
    sent: AtomicUsize,
}

/// Numbers below this, drawn one by one as chance would, and the same for every build.
pub fn drawn(among: usize) -> impl Iterator<Item = usize> {
    (0_u64..).map(move |number| usize::try_from(mixed(number) % among as u64).unwrap_or_default())
}

/// `SplitMix64`: what stands at this place of a row that looks like chance.
pub const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Logins that go on: whoever was answered asks again with the refresh token of the answer, once all the others have had their turn.
pub struct Chain {
    waiting: Mutex<VecDeque<Vec<u8>>>,
    refresh: fn(&str) -> Vec<u8>,
}

impl From<Vec<Vec<u8>>> for Messages {
    fn from(messages: Vec<Vec<u8>>) -> Self {
        Self::InTurn(Arc::new(InTurn { all: messages, sent: AtomicUsize::new(0) }))
    }
}

impl Messages {
    /// Begins with these logins; more than there are connections.
    pub fn chained(logins: Vec<Vec<u8>>, refresh: fn(&str) -> Vec<u8>) -> Self {
        Self::Chained(Arc::new(Chain { waiting: Mutex::new(logins.into()), refresh }))
    }

    pub fn next(&self) -> Cow<'_, [u8]> {
        match self {
            Self::InTurn(messages) => {
                let number = messages.sent.fetch_add(1, Ordering::Relaxed);
                Cow::Borrowed(&messages.all[number % messages.all.len()])
            }
            Self::Chained(chain) => Cow::Owned(chain.waiting.lock().pop_front().expect("a login that nobody uses")),
        }
    }

    pub fn answered(&self, answer: &[u8]) {
        match self {
            Self::InTurn(_) => {}
            Self::Chained(chain) => {
                let next = (chain.refresh)(&refresh_token(answer));
                chain.waiting.lock().push_back(next);
            }
        }
    }
}

fn refresh_token(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let (_, rest) = text.split_once("\"refresh_token\":\"").expect("an answer with a refresh token");
    rest.split('"').next().unwrap_or_default().to_owned()
}
