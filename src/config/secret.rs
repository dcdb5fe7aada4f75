//! Secret keys in files: hexadecimal digits, as `openssl rand -hex 32` prints them. Blank lines and lines
//! that begin with `#` do not count. What a file holds is never repeated anywhere.

use std::sync::Arc;

use aws_lc_rs::hmac;

use super::files::Sources;
use super::slot::Slot;
use crate::policy::code::Code;

/// Fewest bytes of a key: as many as its HMAC's digest (RFC 2104 section 3).
const MIN_KEY_BYTES: usize = 32;

/// Most bytes of a key: beyond the block of SHA-256 it would be hashed first and gain nothing.
const MAX_KEY_BYTES: usize = 64;

/// What a key file is, for problems.
const KEY_FILE: &str =
    "a file with a key of 32 to 64 bytes in hexadecimal, as `openssl rand -hex 32` makes one";

/// The HMAC-SHA-256 key that the text of a key file stands for.
pub fn parse(text: &[u8]) -> Option<hmac::Key> {
    let lines = std::str::from_utf8(text).ok()?.lines().map(str::trim);
    let digits: String = lines.filter(|line| !line.starts_with('#')).collect();
    let bytes = unhex(&digits)?;
    let good = (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&bytes.len());
    good.then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// The bytes that hexadecimal digits stand for.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(nibble(*high)? * 16 + nibble(*low)?).ok(),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// The key in the file that a slot names.
pub(super) fn read(slot: Slot<'_, String>, sources: &Sources) -> Option<Arc<hmac::Key>> {
    let at = slot.at.clone();
    let path = slot.required()?;
    let text = sources.file(&at, &path)?;
    let key = parse(text);
    if key.is_none() {
        at.refuse(Code::NoKeyInFile, "the file does not hold a key", KEY_FILE);
    }
    key.map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_hexadecimal_of_a_fair_length() {
        let key = "0123456789abcdef".repeat(4);
        for text in
            [key.clone(), format!("# for tests\n{key}\n"), format!("\n{}\n{}\r\n", &key[..32], &key[32..])]
        {
            assert!(parse(text.as_bytes()).is_some(), "{text:?}");
        }
        let short = "0123456789abcdef".repeat(3);
        let long = "0123456789abcdef".repeat(9);
        for text in
            ["", "# nothing", &short, &long, &key[1..], &format!("{}xy", &key[2..]), "0x00", &"é".repeat(32)]
        {
            assert!(parse(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(parse(&[0xff; 64]).is_none());
    }
}
