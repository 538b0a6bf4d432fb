//! The realm's tokens, packed for keeping: their JSON plain and shortened by LZ4, their signature as bytes. Half of what they are.
//!
//! A token is kept for as long as its UUID lives, by the hundred thousand, and what Keycloak writes into it is the same words
//! again and again: so a fixed dictionary has them beforehand. It comes out byte for byte as it went in; what would not, because
//! it is no JWT or spells its base64 otherwise, is kept as it came. Sealing comes after packing, so the length of what is kept tells a
//! little of how usual a token's claims are, and nothing else (docs/adr/0012).

use std::sync::LazyLock;

use base64::engine::Simd;
use base64::engine::general_purpose::NO_PAD;
use base64::{Engine as _, encoded_len};
use lz4_flex::block::{compress_with_dict, decompress_into_with_dict};

use super::wiped::Wiped;

/// The first byte: what follows is a token as it came. Tokens of stores that knew no packing have no such byte, and begin with none
/// of the two.
const AS_IT_CAME: u8 = 0;

/// The first byte: what follows are three lengths, JSON under LZ4, and a signature.
const PACKED: u8 = 1;

/// Each of two bytes: of the header's JSON, of header and claims together, and of both under LZ4.
const LENGTHS: usize = 3;

/// What Keycloak writes into its tokens, in the order in which it does. Kept tokens open with this one alone: another dictionary is
/// another first byte.
const DICTIONARY: &[u8] = br#"{"alg":"HS512","typ" : "JWT","kid" : "{"alg":"RS256","typ" : "JWT","kid" : "{"exp":17,"iat":17,"auth_time":17,"jti":"trrtcc:onrtrt:onrtro:","iss":"https:///auth/realms/SSO","aud":"https:///auth/realms/SSO","sub":"f:","typ":"Refresh","azp":"","sid":"","scope":"2F_CA_Auth openid offline_access service_account roles acr web-origins basic email profile client_registration"},"aud":["realm-management","broker","ca","account"],"sub":"","typ":"Bearer","azp":"","session_state":"","sid":"","acr":"1","allowed-origins":["https://"],"realm_access":{"roles":["default-roles-sso","offline_access","uma_authorization"]},"resource_access":{"account":{"roles":["manage-account","manage-account-links","view-profile"]}},"scope":"2F_CA_Auth email profile client_registration","email_verified":true,"esb":{"client_registration":{"user_agent":"PUBLIC_API"}},"name":"","preferred_username":"","given_name":"","session_state":"","family_name":"","email":"@example.org"}"#;

static BASE64URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// A token as it is kept.
pub(super) fn pack(token: &[u8]) -> Wiped<Vec<u8>> {
    packed(token).filter(|packed| packed.len() <= token.len()).unwrap_or_else(|| {
        let mut kept = Wiped::new(Vec::with_capacity(1 + token.len()));
        kept.push(AS_IT_CAME);
        kept.extend_from_slice(token);
        kept
    })
}

fn packed(token: &[u8]) -> Option<Wiped<Vec<u8>>> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // Room for all that comes: no part is left behind where it grows.
    let mut text = Wiped::new(Vec::with_capacity(token.len()));
    BASE64URL.decode_vec(header, &mut text).ok()?;
    let header = text.len();
    BASE64URL.decode_vec(claims, &mut text).ok()?;
    let short = Wiped::new(compress_with_dict(&text, DICTIONARY));
    let mut kept = Wiped::new(Vec::with_capacity(1 + 2 * LENGTHS + token.len()));
    kept.push(PACKED);
    for length in [header, text.len(), short.len()] {
        kept.extend_from_slice(&u16::try_from(length).ok()?.to_le_bytes());
    }
    kept.extend_from_slice(&short);
    BASE64URL.decode_vec(signature, &mut kept).ok()?;
    Some(kept)
}

/// Writes a kept token as it came behind what the bytes are already. `None`: it is none, and the bytes stay as they were.
pub(super) fn unpack(kept: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    match kept.split_first() {
        Some((&PACKED, packed)) => return spell(packed, bytes),
        Some((&AS_IT_CAME, token)) => bytes.extend_from_slice(token),
        _ => bytes.extend_from_slice(kept),
    }
    Some(())
}

fn spell(packed: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let (lengths, packed) = packed.split_first_chunk::<{ 2 * LENGTHS }>()?;
    let (lengths, []) = lengths.as_chunks::<2>() else { return None };
    let &[header, both, short] = <&[_; LENGTHS]>::try_from(lengths).ok()?;
    let [header, both, short] = [header, both, short].map(|length| usize::from(u16::from_le_bytes(length)));
    let (short, signature) = packed.split_at_checked(short)?;
    let mut text = Wiped::new(vec![0; both]);
    if decompress_into_with_dict(short, &mut text, DICTIONARY).ok()? != both {
        return None;
    }
    let (header, claims) = text.split_at_checked(header)?;
    let parts = [header, claims, signature];
    let letters: usize = parts.iter().map(|part| encoded_len(part.len(), false)).sum::<Option<_>>()?;
    let before = bytes.len();
    bytes.resize(before + letters + parts.len() - 1, b'.');
    let mut at = before;
    for part in parts {
        // There is room for all of it.
        at += 1 + BASE64URL.encode_slice(part, bytes.get_mut(at..).unwrap_or_default()).unwrap_or_default();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The claims of a user of no realm, as Keycloak 26 writes them.
    const CLAIMS: &str = r#"{"exp":1764000000,"iat":1763996400,"jti":"onrtro:3e7d9c0b-5a3c-4a3e-9a50-7f6be7f1c2d4","iss":"https://sso.example.org/realms/SSO","aud":"account","sub":"4f1c2a3e-0c6e-4f77-9d5e-2f8f4c7d1a11","typ":"Bearer","azp":"test_api","sid":"9b3ffe4a-0000-4987-a279-a8d13bbf2b35","acr":"1","allowed-origins":["/*"],"realm_access":{"roles":["default-roles-sso","offline_access","uma_authorization"]},"resource_access":{"account":{"roles":["manage-account","manage-account-links","view-profile"]}},"scope":"profile email","email_verified":true,"name":"Анна Ветрова","preferred_username":"90417","given_name":"Анна","family_name":"Ветрова","email":"vetrova@example.org"}"#;

    const PACKED_EARLIER: &str = "AQ8AtAIYAQq3AxV9egMxNjQwAQAFggNANjM5ORUABHsDA20D_RUzZTdkOWMwYi01YTNjLTRhM2UtOWE1MC03ZjZiZTdmMWMyZDSRA0dzc28uhgARL78CBHoDApsDBr4BAooDEDRLAABeAPALMGM2ZS00Zjc3LTlkNWUtMmY4ZjRjN2QxYTGWAgBQBA3UAoV0ZXN0X2FwackCkDliM2ZmZTRhLeMA_wgtNDk4Ny1hMjc5LWE4ZDEzYmJmMmIzNe0CDUAvKiJdkwIP5wKoBNYCAhoCAyICDcgCA3YC_wjQkNC90L3QsCDQktC10YLRgNC-0LLQsKUCBVw5MDQxN6oCBEQADZ8CDVQAApMAozoidmV0cm92YUAuAmAub3JnIn1zaWduYXR1cmU";

    fn jwt(header: &str, claims: &str, signature: &[u8]) -> String {
        [header.as_bytes(), claims.as_bytes(), signature].map(|part| BASE64URL.encode(part)).join(".")
    }

    fn usual() -> String {
        let header = r#"{"alg":"RS256","typ" : "JWT","kid" : "rLKhNMWcLwRxvDWfeMVAwo1lHGGhd3xGyj4v0YbFH5I"}"#;
        let signature: Vec<u8> = (0..=255_u8).map(|byte| byte.wrapping_mul(167)).collect();
        jwt(header, CLAIMS, &signature)
    }

    fn unpacked(kept: &[u8]) -> Option<String> {
        let mut bytes = b"Bearer ".to_vec();
        match unpack(kept, &mut bytes) {
            Some(()) => Some(String::from_utf8(bytes.split_off(7)).unwrap()),
            None => {
                assert_eq!(bytes, b"Bearer ", "they stay as they were");
                None
            }
        }
    }

    #[test]
    fn a_token_as_keycloak_signs_it_is_kept_in_less_than_half_and_comes_out_as_it_was() {
        let token = usual();
        let kept = pack(token.as_bytes());
        assert_eq!(kept.first(), Some(&PACKED));
        assert!(kept.len() * 2 < token.len(), "{} of {}", kept.len(), token.len());
        assert_eq!(unpacked(&kept).unwrap(), token);
    }

    #[test]
    fn whatever_a_realm_calls_a_token_comes_out_as_it_went_in() {
        let usual = usual();
        let (head, signature) = usual.rsplit_once('.').unwrap();
        let long = jwt("{}", &format!(r#"{{"roles":"{}"}}"#, "a role, ".repeat(20_000)), b"signature");
        let odd = [
            String::new(),
            "\0\u{1}".to_owned(),
            "opaque".to_owned(),
            "..".to_owned(),
            "e30.e30.".to_owned(),
            "e30.e30".to_owned(),
            "a.b.c.d.e".to_owned(),
            format!("{usual}="),
            format!("{usual}.{signature}"),
            // Bits that no decoder looks at.
            format!("{head}.{}", "_".repeat(342)),
            format!("{head}.{}", signature.replace('A', "+")),
            jwt("", "", &[7; 64]),
            jwt("no JSON", &"x".repeat(3), b""),
            long,
        ];
        for token in odd {
            let kept = pack(token.as_bytes());
            assert!(kept.len() <= token.len() + 1, "{} of {}", kept.len(), token.len());
            assert_eq!(unpacked(&kept).unwrap(), token);
        }
    }

    #[test]
    fn a_token_that_was_kept_before_tokens_were_packed_comes_out() {
        assert_eq!(unpacked(usual().as_bytes()).unwrap(), usual());
    }

    /// Whoever changes the dictionary, or how it is used, makes tokens unreadable that are kept.
    #[test]
    fn a_token_that_an_earlier_build_packed_comes_out() {
        let kept = BASE64URL.decode(PACKED_EARLIER).unwrap();
        assert_eq!(unpacked(&kept).unwrap(), jwt(r#"{"alg":"HS512"}"#, CLAIMS, b"signature"));
    }

    #[test]
    fn what_is_no_packed_token_is_refused_and_never_a_panic() {
        let (token, kept) = (usual(), pack(usual().as_bytes()));
        for length in 1..kept.len() {
            assert_ne!(unpacked(&kept[..length]).as_ref(), Some(&token), "cut to {length}");
        }
        for (at, bit) in (1..kept.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = kept.to_vec();
            changed[at] ^= 1 << bit;
            let parts = unpacked(&changed).map(|token| token.split('.').count());
            assert!(parts.is_none_or(|parts| parts == 3), "bit {bit} of byte {at}");
        }
        assert_eq!(unpacked(&[PACKED, 0, 0, 255, 255, 0, 0]), None);
    }
}
