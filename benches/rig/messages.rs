//! What a load sends: always the same, or what came of the answers before.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// The bytes that are sent, one message after the other.
#[derive(Clone)]
pub enum Messages {
    /// Taken in turn, again and again.
    InTurn(Arc<Vec<Vec<u8>>>),
    /// Each answer has the token of a later one.
    Chained(Arc<Chain>),
}

/// Logins that go on: whoever was answered asks again with the refresh token of the answer, once all the others have had their turn.
pub struct Chain {
    waiting: Mutex<VecDeque<Vec<u8>>>,
    refresh: fn(&str) -> Vec<u8>,
}

impl From<Vec<Vec<u8>>> for Messages {
    fn from(messages: Vec<Vec<u8>>) -> Self {
        Self::InTurn(messages.into())
    }
}

impl Messages {
    /// Begins with these logins; more than there are connections.
    pub fn chained(logins: Vec<Vec<u8>>, refresh: fn(&str) -> Vec<u8>) -> Self {
        Self::Chained(Arc::new(Chain { waiting: Mutex::new(logins.into()), refresh }))
    }

    pub fn next(&self, number: usize) -> Cow<'_, [u8]> {
        match self {
            Self::InTurn(all) => Cow::Borrowed(&all[number % all.len()]),
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
