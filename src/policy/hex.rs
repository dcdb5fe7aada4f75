//! Lower-case hexadecimal text of bytes, without the machinery of `format!`: several ids are written for each request.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two digits for each byte.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let mut text = vec![0; 2 * bytes.len()];
    write_hex(bytes, &mut text);
    String::from_utf8(text).expect("digits are ASCII")
}

/// The same, into a place of that size.
pub fn write_hex(bytes: &[u8], place: &mut [u8]) {
    let (pairs, _) = place.as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(hex([]), "");
        let all: Vec<u8> = (0..=255).collect();
        let expected: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex(all), expected);
    }
}
