//! The spine, from the outside: what a legacy client sends and hears, and what the realm is asked.

mod bytes;
mod credentials;
mod introspect;
mod login;
mod promise;
mod scopes;
