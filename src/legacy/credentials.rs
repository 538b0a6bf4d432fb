//! Who says to be calling: body, HTTP Basic, or (where the mapping allows it) the query.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};

use super::form;
use crate::domain::client::{Credentials, Placement, Presented};
use crate::domain::dialect::CredentialFields;
use crate::domain::form::Form;
use crate::domain::refusal::{Cause, Refusal};
use crate::domain::wiped::Wiped;

/// Finds the credentials of a request.
///
/// # Errors
/// There are none, or two that contradict each other.
pub fn find(
    fields: &CredentialFields,
    authorization: Option<&[u8]>,
    parameters: &Form,
    query: Option<&Form>,
) -> Result<Presented, Refusal> {
    let in_parameters = parameters.value(&fields.id);
    // Whoever has shown who it is by parameters may say anything else there: some HTTP libraries put a `Bearer` on whatever they send.
    let counts = |header: &&[u8]| is_basic(header) || in_parameters.or_else(|| query?.value(&fields.id)).is_none();
    if let Some(header) = authorization.filter(counts) {
        let readings = basic(header).ok_or_else(|| {
            Refusal::client(Cause::ClientCredentials, "the Authorization header is not readable Basic")
        })?;
        let agrees = |id: &str| readings.iter().any(|reading| reading.id == id);
        let same_secret = |secret: &str| readings.iter().any(|reading| reading.secret.expose_secret() == secret);
        if in_parameters.is_some_and(|id| !agrees(id))
            || parameters.value(&fields.secret).is_some_and(|secret| !same_secret(secret))
        {
            return Err(Refusal::client(
                Cause::InvalidRequest,
                "the Authorization header and the parameters name different credentials",
            ));
        }
        return Ok(Presented { placement: Placement::Basic, readings });
    }
    let (placement, form) = match (in_parameters, query) {
        (Some(_), _) | (None, None) => (Placement::Parameters, parameters),
        (None, Some(query)) => (Placement::Query, query),
    };
    let id = form.value(&fields.id).ok_or_else(missing)?;
    let secret = form.value(&fields.secret).unwrap_or_default();
    Ok(Presented { placement, readings: vec![Credentials { id: id.to_owned(), secret: SecretString::from(secret) }] })
}

/// Nobody says who asks.
pub(super) fn missing() -> Refusal {
    Refusal::client(Cause::ClientCredentials, "the request carries no client credentials")
}

fn is_basic(header: &[u8]) -> bool {
    header.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
}

/// Some write no padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads `Basic base64(id:secret)`: as it is, and form-decoded where that is something else. What is no UTF-8 is Latin-1, as it was once (RFC 7617).
pub(super) fn basic(header: &[u8]) -> Option<Vec<Credentials>> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, encoded) = text.split_once([' ', '\t'])?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = zeroize::Zeroizing::new(BASE64.decode(encoded.trim()).ok()?);
    let text = match std::str::from_utf8(&decoded) {
        Ok(text) => Wiped::new(text.to_owned()),
        Err(_) => Wiped::new(decoded.iter().copied().map(char::from).collect::<String>()),
    };
    let (id, secret) = text.split_once(':')?;
    let mut readings = vec![Credentials { id: id.to_owned(), secret: SecretString::from(secret) }];
    // A secret of its own at once, so that it is wiped though it is the same.
    let decoded = (form::decode(id.as_bytes()), form::decode(secret.as_bytes()).map(SecretString::from));
    if let (Ok(other_id), Ok(other_secret)) = decoded
        && (other_id != id || other_secret.expose_secret() != secret)
    {
        readings.push(Credentials { id: other_id, secret: other_secret });
    }
    Some(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> CredentialFields {
        CredentialFields { id: "client_id".to_owned(), secret: "client_secret".to_owned() }
    }

    fn found(
        authorization: Option<&str>,
        body: &str,
        query: Option<&str>,
    ) -> Result<(Placement, Vec<(String, String)>), Cause> {
        let query = query.map(|query| form::parse(query.as_bytes()).unwrap());
        let presented =
            find(&fields(), authorization.map(str::as_bytes), &form::parse(body.as_bytes()).unwrap(), query.as_ref());
        let plain = |reading: Credentials| (reading.id, reading.secret.expose_secret().to_owned());
        presented
            .map(|found| (found.placement, found.readings.into_iter().map(plain).collect()))
            .map_err(|refusal| refusal.cause)
    }

    fn pair(id: &str, secret: &str) -> (String, String) {
        (id.to_owned(), secret.to_owned())
    }

    #[test]
    fn the_body_speaks_before_the_query() {
        let both = found(None, "client_id=a&client_secret=b", Some("client_id=c&client_secret=d"));
        assert_eq!(both, Ok((Placement::Parameters, vec![pair("a", "b")])));
        assert_eq!(
            found(None, "x=1", Some("client_id=c&client_secret=d")),
            Ok((Placement::Query, vec![pair("c", "d")]))
        );
    }

    #[test]
    fn basic_counts_as_it_is_and_form_decoded() {
        let header = format!("basic {}", BASE64.encode("l7xx:a%2Bb"));
        assert_eq!(
            found(Some(&header), "", None),
            Ok((Placement::Basic, vec![pair("l7xx", "a%2Bb"), pair("l7xx", "a+b")]))
        );
        let plain = format!("Basic {}", BASE64.encode("l7xx:a:b"));
        assert_eq!(found(Some(&plain), "client_id=l7xx", None), Ok((Placement::Basic, vec![pair("l7xx", "a:b")])));
    }

    #[test]
    fn basic_is_read_without_padding_behind_any_blank_and_in_latin_1() {
        for header in
            ["Basic bDd4eDpzZWNyZXQ", "Basic bDd4eDpzZWNyZXQ=", "basic\tbDd4eDpzZWNyZXQ", "BASIC   bDd4eDpzZWNyZXQ= "]
        {
            assert_eq!(found(Some(header), "", None), Ok((Placement::Basic, vec![pair("l7xx", "secret")])), "{header}");
        }
        let latin = format!("Basic {}", BASE64.encode(b"l7xx:p\xe4ss"));
        assert_eq!(found(Some(&latin), "", None), Ok((Placement::Basic, vec![pair("l7xx", "p\u{e4}ss")])));
    }

    #[test]
    fn what_contradicts_itself_or_cannot_be_read_is_refused() {
        let header = format!("Basic {}", BASE64.encode("l7xx:secret"));
        assert_eq!(found(Some(&header), "client_id=other", None), Err(Cause::InvalidRequest));
        assert_eq!(found(Some(&header), "client_secret=other", None), Err(Cause::InvalidRequest));
        assert_eq!(found(Some("Bearer x"), "", None), Err(Cause::ClientCredentials));
        assert_eq!(found(Some("Basic !!!"), "client_id=a&client_secret=b", None), Err(Cause::ClientCredentials));
        assert_eq!(found(None, "client_secret=b", None), Err(Cause::ClientCredentials));
    }
}
