//! A sealed value as text: armoured as age does it, or its bytes in base64, which is one line of a mapping file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::DoesNotOpen;

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";

/// Columns of armour.
const COLUMNS: usize = 64;

/// The bytes that a text stands for.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, DoesNotOpen> {
    let text = text.trim();
    let body = match text.strip_prefix(BEGIN) {
        Some(rest) => rest.strip_suffix(END).ok_or(DoesNotOpen::Malformed)?,
        None => text,
    };
    let digits: String = body.split_ascii_whitespace().collect();
    BASE64.decode(digits).map_err(|_| DoesNotOpen::Malformed)
}

/// In base64, in one line.
#[must_use]
pub fn encoded(sealed: &[u8]) -> String {
    BASE64.encode(sealed)
}

/// Armoured, as `age --armor` does it.
#[must_use]
pub fn armoured(sealed: &[u8]) -> String {
    let mut text = format!("{BEGIN}\n");
    for (index, digit) in BASE64.encode(sealed).chars().enumerate() {
        if index > 0 && index % COLUMNS == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    text + "\n" + END + "\n"
}
