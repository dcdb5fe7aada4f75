//! Which bytes may stand where in a head: character classes of RFC 9110 and what to do with them.

/// Visible ASCII: `!` to `~`.
#[inline]
pub(super) const fn is_visible(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e)
}

/// `tchar` of RFC 9110 section 5.6.2.
#[inline]
pub(super) const fn is_token(byte: u8) -> bool {
    TOKENS[byte as usize]
}

/// A look-up costs less than a dozen comparisons, and every byte of a name pays for it.
const TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        tokens[byte] = is_tchar(byte as u8);
        byte += 1;
    }
    tokens
};

const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A byte of a field value: HTAB, SP, visible ASCII or obs-text (RFC 9110 section 5.5).
#[inline]
pub(super) const fn is_field_content(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..=0xff)
}

/// Looks at every byte even after a wrong one: without an early end, many are compared at once.
#[inline]
pub(super) fn all(bytes: &[u8], is_right: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |right, byte| right & is_right(*byte))
}

/// Without the blanks around it (RFC 9110 section 5.6.3 OWS).
#[inline]
pub(super) fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
