//! PURE: who answers a request while there is an old server, the bridge or that one (OPERATOR section 5).
//!
//! ```text
//!                     at the door: whom does it name?             known: whose secret it proved to have
//! login, anything     nobody known: as `unknown_clients` says     legacy, shadow: old server; live, retired: bridge
//! refresh             all before `live`: old server              as at the door; of a retired client: bridge
//! revoke, introspect  else: bridge, which proves who it is        as at the door, whatever the stage
//! ... with a UUID that the bridge made, or a login that the canary has chosen: always the bridge
//! ```

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;

use crate::domain::client::{Client, Stage};
use crate::domain::dialect::{Dialect, Endpoint, Grant, GrantKind};
use crate::domain::form::Form;
use crate::legacy::glance::Glance;
use crate::otk::UnknownClients;

/// More texts than anybody means in one request.
pub(super) const MOST_TOKENS: usize = 8;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// This program, with the realm behind it.
    Bridge,
    /// The old server, unchanged.
    OldServer,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// New tokens.
    Login,
    /// Something that no dialect knows.
    Odd,
    /// The next pair.
    Refresh,
    /// The end of a token, or news of it.
    About,
}

/// A request as it looks before anybody has proved anything.
#[derive(Debug)]
pub(super) struct Look {
    /// The ids that it has, known or not.
    pub(super) ids: Vec<String>,
    /// The clients that it names and that there are.
    pub(super) named: Vec<Arc<Client>>,
    /// It names one of them, and nobody else, known or not.
    is_of_one: bool,
    /// What is asked for.
    pub(super) ask: Ask,
    /// The different texts that stand where a UUID belongs, of a crowd [`MOST_TOKENS`] and one; none at a login.
    pub(super) tokens: Vec<String>,
    /// Whose passport a login carries.
    pub(super) passport: Option<String>,
}

impl Look {
    /// Makes out what can be made out. `client` finds clients by their old ids.
    pub(super) fn at<'t>(
        glance: &Glance,
        endpoint: Endpoint,
        dialects: &[Arc<Dialect>],
        client: impl Fn(&str) -> Option<&'t Arc<Client>>,
    ) -> Self {
        let named: Vec<_> = glance.ids.iter().filter_map(|id| client(id)).cloned().collect();
        let ids = glance.ids.clone();
        let is_of_one = matches!(named.as_slice(), [only] if glance.names_nobody_but(&only.legacy_id));
        let mut look = Self { ids, named, is_of_one, ask: Ask::Odd, tokens: Vec::new(), passport: None };
        match endpoint {
            Endpoint::Revoke | Endpoint::Introspect => {
                (look.ask, look.tokens) = (Ask::About, texts(&glance.pairs, ["token"]));
            }
            Endpoint::Token => {
                let own = look.only().and_then(|client| dialects.iter().find(|it| it.name == client.dialect.name));
                look.at_a_grant(&glance.pairs, own.map_or(dialects, slice::from_ref));
            }
            Endpoint::Api | Endpoint::Authz => {}
        }
        look
    }

    /// The one client that it names, where a mapping has it.
    pub(super) fn only(&self) -> Option<&Arc<Client>> {
        self.named.first().filter(|_| self.is_of_one)
    }

    fn at_a_grant(&mut self, pairs: &Form, dialects: &[Arc<Dialect>]) {
        let grants: Vec<&Grant> = dialects.iter().flat_map(|dialect| grants(pairs, dialect)).collect();
        let fields: BTreeSet<&str> =
            grants.iter().filter(|it| it.kind == GrantKind::Refresh).map(|grant| grant.refresh_field().0).collect();
        if !fields.is_empty() {
            (self.ask, self.tokens) = (Ask::Refresh, texts(pairs, fields));
        }
        // Who asks for both, in body and query, asks for new tokens.
        if let Some(grant) = grants.iter().find(|grant| grant.kind == GrantKind::Login) {
            self.ask = Ask::Login;
            self.passport = grant.passport_field().and_then(|name| pairs.values(name).next()).map(str::to_owned);
        }
    }
}

/// The grants of a dialect that a request asks for.
fn grants<'d>(pairs: &Form, dialect: &'d Dialect) -> Vec<&'d Grant> {
    pairs.values("grant_type").filter_map(|word| dialect.grants.get(word)).collect()
}

/// Nobody has proved anything yet, and a body has room for thousands: no more of them than it takes to see that they are a crowd.
fn texts<'n>(pairs: &Form, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for name in names {
        for text in pairs.values(name) {
            if texts.len() <= MOST_TOKENS && !texts.iter().any(|known| known == text) {
                texts.push(text.to_owned());
            }
        }
    }
    texts
}

/// Before anybody has proved anything. `ours`: it carries a UUID that the bridge made, or is a login that the canary has chosen.
pub(super) fn at_the_door(look: &Look, unknown: UnknownClients, ours: bool) -> Side {
    let is_old = match (look.named.is_empty(), unknown) {
        (true, UnknownClients::Pass) => true,
        (true, UnknownClients::Refuse) => false,
        // Who names two clients of two minds is nobody's to pass on: the bridge says what is wrong with it.
        (false, _) => look.named.iter().all(|client| client.stage.needs_old_server()),
    };
    if is_old && !ours { Side::OldServer } else { Side::Bridge }
}

/// Once the sender has proved to the bridge who it is.
pub(super) fn once_known(stage: Stage, ask: Ask, ours: bool) -> Side {
    let is_old = match (stage, ask) {
        (Stage::Legacy | Stage::Shadow | Stage::Canary, _)
        | (Stage::Live, Ask::Refresh | Ask::About)
        | (Stage::Retired, Ask::About) => true,
        (Stage::Live, Ask::Login | Ask::Odd) | (Stage::Retired, Ask::Login | Ask::Odd | Ask::Refresh) => false,
    };
    if is_old && !ours { Side::OldServer } else { Side::Bridge }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legacy::glance::glance;
    use crate::legacy::request::Incoming;
    use crate::mapping::dialect::shipped;

    /// A request at the token endpoint, over both shipped dialects.
    fn look(body: &str) -> Look {
        let dialects = ["otk-passport", "otk-old"].map(shipped);
        let (uri, headers) = (http::Uri::from_static("/t"), http::HeaderMap::new());
        let incoming = Incoming { method: &http::Method::POST, uri: &uri, headers: &headers, body: body.as_bytes() };
        Look::at(&glance(&dialects, &incoming), Endpoint::Token, &dialects, |_| None)
    }

    #[test]
    fn a_text_is_looked_up_once_and_of_a_crowd_no_more_than_it_takes_to_see_that() {
        let asks = "grant_type=refresh_token&".repeat(1_000);
        let twice = "refresh_token=a&refresh_token=b&".repeat(500);
        assert_eq!(look(&format!("{asks}{twice}")).tokens.len(), 2);
        let crowd = (0..500).map(|number| format!("refresh_token={number}&")).collect::<Vec<_>>().concat();
        assert_eq!(look(&format!("{asks}{crowd}")).tokens.len(), MOST_TOKENS + 1);
    }

    #[test]
    fn what_the_bridge_made_is_the_bridges_whatever_the_stage() {
        for stage in Stage::WORDS.map(|(_, stage)| stage) {
            for ask in [Ask::Refresh, Ask::About] {
                assert_eq!(once_known(stage, ask, true), Side::Bridge, "{stage:?} {ask:?}");
            }
        }
    }

    #[test]
    fn a_uuid_of_the_old_server_goes_there_and_a_login_as_the_stage_says() {
        let sides = |stage| [Ask::Login, Ask::Refresh, Ask::About].map(|ask| once_known(stage, ask, false));
        assert_eq!(sides(Stage::Legacy), [Side::OldServer; 3]);
        assert_eq!(sides(Stage::Shadow), [Side::OldServer; 3]);
        assert_eq!(sides(Stage::Canary), [Side::OldServer; 3]);
        assert_eq!(once_known(Stage::Canary, Ask::Login, true), Side::Bridge, "a chosen one");
        assert_eq!(sides(Stage::Live), [Side::Bridge, Side::OldServer, Side::OldServer]);
        assert_eq!(sides(Stage::Retired), [Side::Bridge, Side::Bridge, Side::OldServer]);
    }
}
