//! The stage canary: whose logins go to the realm, and when that goes so badly that none do any more (OPERATOR section 5).

use std::collections::VecDeque;

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::opaque::Fingerprint;
use super::time::Timestamp;

/// So many of the last logins at the realm are looked at.
const WINDOW: usize = 500;
/// Fewer decide nothing.
const LEAST: u64 = 50;

/// How a client is moved a part at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Of a hundred passports, so many log in at the realm; 1 to 99.
    pub percent: u8,
    /// Beyond so many per cent more refusals than at the old server, all go back there; 0 to 100.
    pub step_back_at: u8,
}

impl Canary {
    /// Whether this passport's logins go to the realm. The same answer for one passport at each login and in each process, and still
    /// yes where the percentage grows. The key is the client's secret at the realm, so that nobody outside can tell.
    #[must_use]
    pub fn takes(self, secret: &SecretString, passport: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"passbridge:canary:");
        context.update(passport.as_bytes());
        let tag = context.sign();
        let number = tag.as_ref().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        number % 100 < u64::from(self.percent)
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Logins that went to the realm.
    pub realm: u64,
    /// Those of them that got no tokens.
    pub without_tokens: u64,
    /// Logins that went to the old server at the same time.
    pub old: u64,
    /// Those of them that it refused.
    pub refused: u64,
}

impl Figures {
    /// Whether the realm does so much worse than the old server that logins go back there.
    #[must_use]
    pub fn too_bad(self, step_back_at: u8) -> bool {
        if self.realm < LEAST {
            return false;
        }
        let [realm, without, old, refused] =
            [self.realm, self.without_tokens, self.old.max(1), self.refused].map(i128::from);
        // without/realm - refused/old > step_back_at/100, in whole numbers.
        100 * (without * old - refused * realm) > i128::from(step_back_at) * realm * old
    }

    /// In words.
    #[must_use]
    pub fn sentence(self) -> String {
        let Self { realm, without_tokens, old, refused } = self;
        format!(
            "{without_tokens} of {realm} logins at the realm got no tokens, the old server refused {refused} of {old}"
        )
    }
}

/// That a client's logins went back to the old server by themselves. Kept until the client is staged again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepBack {
    /// The staging that it ended.
    pub staging: Fingerprint,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub figures: Figures,
}

/// The last logins of one client since it was staged.
#[derive(Debug, Default)]
pub struct Window {
    /// Of each login at the realm: whether it got no tokens, and what the old server had counted by then.
    realm: VecDeque<(bool, [u64; 2])>,
    without_tokens: u64,
    /// Logins at the old server and refusals by it, since the beginning.
    old: [u64; 2],
}

impl Window {
    /// A login went to the realm.
    pub fn at_the_realm(&mut self, got_tokens: bool) {
        self.realm.push_back((!got_tokens, self.old));
        self.without_tokens += u64::from(!got_tokens);
        if self.realm.len() > WINDOW
            && let Some((failed, _)) = self.realm.pop_front()
        {
            self.without_tokens -= u64::from(failed);
        }
    }

    /// A login went to the old server.
    pub fn at_the_old_server(&mut self, refused: bool) {
        let [logins, refusals] = &mut self.old;
        *logins += 1;
        *refusals += u64::from(refused);
    }

    /// What was counted since the oldest login at the realm that is looked at.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let [old, refused] = self.old;
        let [old_before, refused_before] = self.realm.front().map_or(self.old, |(_, before)| *before);
        Figures {
            realm: self.realm.len() as u64,
            without_tokens: self.without_tokens,
            old: old - old_before,
            refused: refused - refused_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(realm: u64, without_tokens: u64, old: u64, refused: u64) -> Figures {
        Figures { realm, without_tokens, old, refused }
    }

    #[test]
    fn it_takes_fifty_logins_and_more_than_the_difference_to_step_back() {
        for (counted, at, too_bad) in [
            (figures(49, 49, 0, 0), 0, false),
            (figures(50, 50, 0, 0), 2, true),
            (figures(50, 1, 0, 0), 2, false), // just so many is not over
            (figures(50, 2, 0, 0), 2, true),
            (figures(500, 60, 1_000, 100), 2, false), // 12 % less 10 %
            (figures(500, 61, 1_000, 100), 2, true),
            (figures(500, 0, 10, 10), 0, false),
            (figures(500, 500, u64::MAX, u64::MAX), 0, false), // nobody fares better elsewhere
            (figures(500, 500, 0, 0), 100, false),
        ] {
            assert_eq!(counted.too_bad(at), too_bad, "{counted:?} at {at}");
        }
    }

    #[test]
    fn the_last_five_hundred_are_looked_at_and_the_old_server_at_the_same_time() {
        let mut window = Window::default();
        for _ in 0..100 {
            window.at_the_old_server(true);
        }
        for _ in 0..10 {
            window.at_the_realm(false);
        }
        assert_eq!(window.figures(), figures(10, 10, 0, 0), "what was before does not count");
        for _ in 0..490 {
            window.at_the_old_server(false);
            window.at_the_realm(true);
        }
        assert_eq!(window.figures(), figures(500, 10, 490, 0));
        window.at_the_old_server(true);
        for _ in 0..10 {
            window.at_the_realm(true);
        }
        assert_eq!(
            window.figures(),
            figures(500, 0, 490, 1),
            "ten have left the window, with what was before the eleventh"
        );
    }

    #[test]
    fn a_passport_stays_on_its_side_and_a_greater_share_leaves_nobody_out() {
        let secret = SecretString::from("s");
        let canary = |percent| Canary { percent, step_back_at: 2 };
        let mut taken = 0;
        for number in 0..1_000 {
            let passport = format!("passport {number}");
            let few = canary(10).takes(&secret, &passport);
            taken += u32::from(few);
            assert_eq!(few, canary(10).takes(&secret, &passport));
            assert!(!few || canary(30).takes(&secret, &passport));
        }
        assert!((60..140).contains(&taken), "{taken} of 1000 at 10 %");
    }
}
