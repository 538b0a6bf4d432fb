//! PURE: what a flight asks the realm, in the realm's words.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::flight::{Plan, Purpose};
use crate::domain::dialect::{Dialect, Grant, GrantKind};
use crate::domain::family::Family;
use crate::domain::grant::RealmRequest;
use crate::domain::issue::{REALM_REFRESH, binding};
use crate::domain::refusal::Refusal;
use crate::domain::scope;
use crate::domain::wiped::Wiped;

/// The question in the realm's words; `None` where the realm gave no refresh token.
pub(super) fn of(plan: &Plan, family: &Family) -> Result<Option<RealmRequest>, Refusal> {
    let Some(sealed) = &family.renewal else { return Ok(None) };
    let token = plan.data_key.open_token(sealed, binding(REALM_REFRESH, &family.id))?;
    let (grant, address, scope) = match &plan.purpose {
        Purpose::Rotate(wish) => {
            (plan.client.dialect.grants.get(&wish.grant_type), Some(wish.address), wish.realm_scope.clone())
        }
        Purpose::Renew(wish) => {
            let narrowed = (wish.scope != family.scope).then(|| scope::to_realm(&plan.client, &wish.scope));
            (None, None, narrowed.filter(|scope| !scope.is_empty()))
        }
    };
    let mut fields = fixed(&plan.client.dialect, grant);
    fields.push(("refresh_token".to_owned(), Wiped::new(token.expose_secret().to_owned())));
    fields.extend(scope.map(|scope| ("scope".to_owned(), Wiped::new(scope))));
    Ok(Some(RealmRequest { client: Arc::clone(&plan.client), kind: GrantKind::Refresh, fields, address }))
}

/// What the dialect adds to a refresh by this grant, to a renewal by its first one; the plain grant where it has none.
fn fixed(dialect: &Dialect, asked: Option<&Grant>) -> Vec<(String, Wiped<String>)> {
    let refresh = || dialect.grants.values().find(|grant: &&Grant| grant.kind == GrantKind::Refresh);
    match asked.or_else(refresh) {
        Some(grant) => grant.fixed.iter().map(|(name, value)| (name.clone(), Wiped::new(value.clone()))).collect(),
        None => vec![("grant_type".to_owned(), Wiped::new("refresh_token".to_owned()))],
    }
}
