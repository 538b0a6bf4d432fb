//! What the realm was told, and repeats in its errors: Keycloak names the scopes that it does not know, and an authenticator of the site's own may
//! say anything. What is a secret of it is to stand in no line of ours. Pure.

use secrecy::{ExposeSecret, SecretString};

use crate::domain::grant::RealmRequest;
use crate::domain::opaque::OpaqueToken;

/// So many bytes of a value make it out. What is shorter could be any word.
const TELLING: usize = 12;
/// Fields whose words an operator looks for, and that are no secret.
const OPEN: [&str; 4] = ["grant_type", "scope", "algorithm", "client_id"];

/// What a request holds that nobody else is to read.
#[derive(Default)]
pub struct Sent<'a> {
    secret: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Sent<'a> {
    /// With a request for a grant.
    pub fn of(request: &'a RealmRequest, secret: &'a SecretString) -> Self {
        let hidden = request.fields.iter().filter(|(name, _)| !OPEN.contains(&name.as_str()));
        Self { secret: secret.expose_secret(), values: hidden.map(|(_, value)| value.as_str()).collect() }
    }

    /// With a logout.
    pub fn with(secret: &'a SecretString, refresh_token: &'a SecretString) -> Self {
        Self { secret: secret.expose_secret(), values: vec![refresh_token.expose_secret()] }
    }

    /// Whether a word is of that: a value, a piece of one between its blanks, or a piece of that. A UUID is somebody's token, whoever sent it.
    pub fn holds(&self, word: &str) -> bool {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        let all = self.values.iter().copied().chain([self.secret]);
        let mut pieces = all.flat_map(|value| value.split(' ')).filter(|piece| piece.len() >= TELLING);
        let is_secret = !self.secret.is_empty() && (bare == self.secret || word == self.secret);
        is_secret
            || pieces.any(|piece| word.contains(piece) || bare.len() >= TELLING && piece.contains(bare))
            || OpaqueToken::parse(bare).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_whole_and_in_pieces_and_other_words_are_none() {
        let signature = format!("{} {} g==", "tyeYHlQNJOzSj", "gOd61KFPIfz86sO774AOFdLgpgoR7ns00I0ME9xSkeoVb5Dv45mV");
        let sent = Sent { secret: "New+&=%/é", values: vec![&signature] };
        for word in [
            "New+&=%/é",
            "'New+&=%/é'",
            "tyeYHlQNJOzSj",
            "(signature=tyeYHlQNJOzSj)",
            "\"FPIfz86sO774AOF\",",
            "token:gOd61KFPIfz86sO774AOFdLgpgoR7ns00I0ME9xSkeoVb5Dv45mV",
            "<1b0e0000-0000-4000-8000-00000000abcd>",
        ] {
            assert!(sent.holds(word), "{word}");
        }
        for word in ["Invalid", "signature", "credentials", "g==", "", "New", "authentication_required"] {
            assert!(!sent.holds(word), "{word}");
        }
        assert!(!Sent::default().holds(""));
    }
}
