//! Plain texts that older YAML reads otherwise than the newer one.

/// What YAML 1.1 readers, still the most common, make of a plain text that YAML 1.2 readers take
/// otherwise. Two programs that read one file must not disagree about a country code or a file mode.
pub(super) fn old_reading(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" => return Some("true"),
        "n" | "no" | "off" => return Some("false"),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let bytes = digits.as_bytes();
    let all = |accept: fn(&u8) -> bool| !bytes.is_empty() && bytes.iter().all(accept);
    match bytes {
        [b'0', b'x' | b'o' | b'b', rest @ ..]
            if !rest.is_empty() && rest.iter().all(|b| b.is_ascii_hexdigit() || *b == b'_') =>
        {
            Some("a number that is not decimal")
        }
        [b'0', _, ..] if all(|b| b.is_ascii_digit() || *b == b'_') => Some("an octal number"),
        [b'0'..=b'9', ..] if digits.contains('_') && all(|b| b.is_ascii_digit() || *b == b'_') => {
            Some("a number without its underscores")
        }
        [b'1'..=b'9', ..] if digits.contains(':') && base_60(digits) => Some("a number to base 60"),
        [b'0'..=b'9', ..] if text.starts_with('+') && all(u8::is_ascii_digit) => Some("a number"),
        _ => None,
    }
}

fn base_60(digits: &str) -> bool {
    let mut parts = digits.split(':');
    let first = parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    first && parts.all(|part| part.len() <= 2 && part.parse::<u8>().is_ok_and(|number| number < 60))
}
