//! What a client has made up and people read all the same: the path, the host and the method of its request, as logs and books
//! may show them. Some programs put their credential into a path; what looks like one is covered.
//!
//! A shape without a prefix (a session of 32 letters) says of no text that it is one, so it is not looked for here.

use std::borrow::Cow;

use super::credential::CredentialRules;

/// Stands where something was covered.
pub const COVERED: &str = "{credential}";

/// What is said of a method that nobody has registered.
pub const OTHER_METHOD: &str = "other";

/// Shortest prefix that is looked for within a text: a shorter one is in any word.
const LEAST_PREFIX: usize = 3;

/// Longest method that is registered (IANA's list): `UPDATEREDIRECTREF`.
const MAX_METHOD: usize = 17;

/// How often a part may be percent-coded over and over: a proxy on the way does it once more.
const CODINGS: usize = 3;

/// A text whose parts between the separators are covered where they hold what looks like a credential, in any case and
/// percent-coded, too.
pub fn covered<'a>(rules: &CredentialRules, text: &'a str, separator: char) -> Cow<'a, str> {
    if !text.split(separator).any(|part| holds_credential(rules, part)) {
        return Cow::Borrowed(text);
    }
    let shown = |part| if holds_credential(rules, part) { COVERED } else { part };
    let parts: Vec<&str> = text.split(separator).map(shown).collect();
    Cow::Owned(parts.join(separator.encode_utf8(&mut [0; 4])))
}

/// A method as it may be shown: clients can make up as many as they like. All that are registered are of capitals and
/// hyphens.
pub fn shown_method(method: &http::Method) -> &str {
    let text = method.as_str();
    let known =
        text.len() <= MAX_METHOD && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if known { text } else { OTHER_METHOD }
}

/// Whether a text has somewhere the prefix of a shape, and so many characters of a token that it may be one. It may also be
/// cut off.
pub fn holds_credential(rules: &CredentialRules, text: &str) -> bool {
    let is_within = |text: &[u8]| {
        rules.shapes.iter().any(|shape| is_within(text, shape.prefix.as_bytes(), shape.min_len))
    };
    if is_within(text.as_bytes()) {
        return true;
    }
    let mut coded = Cow::Borrowed(text.as_bytes());
    for _ in 0..CODINGS {
        if !coded.contains(&b'%') {
            return false;
        }
        coded = Cow::Owned(decoded(&coded));
        if is_within(&coded) {
            return true;
        }
    }
    false
}

fn is_within(text: &[u8], prefix: &[u8], min_len: usize) -> bool {
    let Some(last) =
        text.len().checked_sub(min_len.max(prefix.len())).filter(|_| prefix.len() >= LEAST_PREFIX)
    else {
        return false;
    };
    (0..=last).any(|at| {
        let (start, rest) = text[at..].split_at(prefix.len());
        start.eq_ignore_ascii_case(prefix)
            && rest.iter().take_while(|byte| is_of_token(**byte)).count() + prefix.len() >= min_len
    })
}

/// RFC 6750 section 2.1, without the slash, which parts paths.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+=".contains(&byte)
}

/// Each `%XX` as the byte that it stands for; what is none stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.first_chunk::<2>().filter(|_| *first == b'%');
        let coded = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(coded.unwrap_or(*first));
        rest = if coded.is_some() { &behind[2..] } else { behind };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::credential::TokenShape;
    use super::*;

    fn rules() -> CredentialRules {
        let shape = |prefix: &str, min_len, max_len| TokenShape { prefix: prefix.into(), min_len, max_len };
        let shapes = vec![shape("dbtc_", 20, 40), shape("", 32, 32), shape("ab", 4, 40)];
        CredentialRules { shapes, ..CredentialRules::default() }
    }

    #[test]
    fn what_looks_like_a_credential_is_covered_and_nothing_else() {
        let token = "dbtc_0123456789abcdef";
        let coded: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let twice = coded.replace('%', "%25");
        let endless = format!("dbtc_{}", "a".repeat(500));
        for hidden in [
            token,
            &token.to_uppercase(),
            "token=dbtc_0123456789abcdef",
            "dbtc_0123456789abcdef.json",
            "dbtc%5f0123456789abcdef",
            "my-dbtc_0123456789abcdef;x",
            "dbtc_dbtc_0123456789abcdef",
            &coded,
            &twice,
            &endless,
        ] {
            let path = format!("/api/{hidden}/x");
            assert_eq!(covered(&rules(), &path, '/'), "/api/{credential}/x", "{hidden}");
            assert_eq!(covered(&rules(), hidden, '/'), COVERED);
        }
        for shown in [
            "",
            "/",
            "/api/v2/accounts/1/jobs/7/",
            "/dbtc_/0123456789abcdef0123",
            "/dbtc_01234/5",
            "/dbtc_%",
            "/%zz%2",
            "/0123456789abcdef0123456789abcdef",
            "/abcdefgh",
        ] {
            assert_eq!(covered(&rules(), shown, '/'), shown);
        }
        assert_eq!(
            covered(&rules(), "dbtc_0123456789abcdef.cloud.getdbt.com", '.'),
            "{credential}.cloud.getdbt.com"
        );
        assert_eq!(covered(&CredentialRules::default(), token, '/'), token, "nothing is known of tokens");
    }

    #[test]
    fn methods_that_are_made_up_are_told_as_other() {
        let shown = |text: &str| {
            http::Method::from_bytes(text.as_bytes()).map(|method| shown_method(&method).to_owned())
        };
        for (text, expect) in [
            ("GET", "GET"),
            ("PROPFIND", "PROPFIND"),
            ("BASELINE-CONTROL", "BASELINE-CONTROL"),
            ("-", "-"),
            ("get", "other"),
            ("S3CRET", "other"),
            ("ABCDEFGHIJKLMNOPQR", "other"),
        ] {
            assert_eq!(shown(text).as_deref().ok(), Some(expect));
        }
    }
}
