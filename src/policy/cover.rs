//! What a client has made up and people read all the same: the path, the host and the method of its request, as logs and books
//! may show them. Some programs put their credential into a path; what looks like one is covered.
//!
//! Tokens of cellgate's own admin plane are covered always, beside the shapes that the configuration names.
//!
//! A shape without a prefix (a session of 32 letters) says of no text that it is one, so it is not looked for here.

use std::borrow::Cow;

use http::Method;
use memchr::{memchr, memchr2};

use super::access::token;
use super::beginnings::beginnings;
use super::credential::CredentialRules;

/// Stands where something was covered.
pub const COVERED: &str = "{credential}";

/// What is said of a method that nobody has registered.
pub const OTHER_METHOD: &str = "other";

/// Stands where no method was read.
pub const UNREAD_METHOD: &str = "-";

/// Stands in the prefixes of nearly all kinds of tokens, those of cellgate's admin plane among them, and seldom elsewhere.
const MARK: u8 = b'_';

/// Shortest prefix that is looked for within a text: a shorter one is in any word.
const LEAST_PREFIX: usize = 3;

/// The methods that are registered, of IANA's list (RFC 9110 section 16.1.1): those of HTTP, of WebDAV and its relatives, and
/// what HTTP/2 and queries with a body have taken for themselves.
const METHODS: [&str; 41] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    "*",
];

/// How often a part may be percent-coded over and over: a proxy on the way does it once more.
const CODINGS: usize = 3;

/// A text whose parts between the separators are covered where they hold what looks like a credential, in any case and
/// percent-coded, too.
pub fn covered<'a>(rules: &CredentialRules, text: &'a str, separator: char) -> Cow<'a, str> {
    // What a part holds the whole holds, too: nearly all texts need no second look.
    if !holds_credential(rules, text) {
        return Cow::Borrowed(text);
    }
    let shown = |part| if holds_credential(rules, part) { COVERED } else { part };
    let parts: Vec<&str> = text.split(separator).map(shown).collect();
    Cow::Owned(parts.join(separator.encode_utf8(&mut [0; 4])))
}

/// A method as it may be shown: clients can make up as many as they like.
pub fn shown_method(method: &Method) -> &str {
    let text = method.as_str();
    // Those of nearly all requests; a search of the list would take as long as half a line of the access log.
    if matches!(*method, Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
        return text;
    }
    if METHODS.contains(&text) || text == UNREAD_METHOD { text } else { OTHER_METHOD }
}

/// Whether a text has somewhere the prefix of a shape, and so many characters of a token that it may be one. It may also be
/// cut off.
pub fn holds_credential(rules: &CredentialRules, text: &str) -> bool {
    let is_marked = |prefix: &[u8]| prefix.len() < LEAST_PREFIX || prefix.contains(&MARK);
    // Nearly every text is told by this alone, and many are looked at.
    if memchr2(MARK, b'%', text.as_bytes()).is_none()
        && rules.shapes.iter().all(|shape| is_marked(shape.prefix.as_bytes()))
    {
        return false;
    }
    in_any_coding(text, |text| {
        rules.shapes.iter().any(|shape| is_within(text, shape.prefix.as_bytes(), shape.min_len))
            || token::is_within(text)
    })
}

/// Whether a text has somewhere what looks like a token of cellgate's admin plane, or like the beginning of one.
pub fn holds_admin_token(text: &str) -> bool {
    in_any_coding(text, token::is_within)
}

fn in_any_coding(text: &str, is_within: impl Fn(&[u8]) -> bool) -> bool {
    if is_within(text.as_bytes()) {
        return true;
    }
    let mut coded = Cow::Borrowed(text.as_bytes());
    for _ in 0..CODINGS {
        if memchr(b'%', &coded).is_none() {
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
    let letters = |at: usize| text[at + prefix.len()..].iter().take_while(|byte| is_of_token(**byte)).count();
    prefix.len() >= LEAST_PREFIX
        && beginnings(text, prefix, min_len).any(|at| letters(at) + prefix.len() >= min_len)
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
    fn tokens_of_cellgate_itself_are_covered_whatever_the_configuration_says() {
        let token = token::minted([0xab; 32]);
        let coded: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for hidden in [&*token, &token.to_uppercase(), &format!("token={token}"), &token[..20], &coded] {
            for rules in [rules(), CredentialRules::default()] {
                assert_eq!(covered(&rules, &format!("/api/{hidden}/x"), '/'), "/api/{credential}/x");
            }
            assert!(holds_admin_token(hidden));
        }
        for shown in [&token[..19], &token[4..], "cga_report_of_last_month.pdf", "cga_", "%63ga"] {
            assert_eq!(covered(&CredentialRules::default(), shown, '/'), shown);
        }
    }

    #[test]
    fn methods_that_are_made_up_are_told_as_other() {
        let shown =
            |text: &str| Method::from_bytes(text.as_bytes()).map(|method| shown_method(&method).to_owned());
        for (text, expect) in [
            ("GET", "GET"),
            ("PROPFIND", "PROPFIND"),
            ("BASELINE-CONTROL", "BASELINE-CONTROL"),
            ("UPDATEREDIRECTREF", "UPDATEREDIRECTREF"),
            ("*", "*"),
            ("-", "-"),
            ("SECRETMETHOD", "other"),
            ("get", "other"),
            ("S3CRET", "other"),
            ("ABCDEFGHIJKLMNOPQR", "other"),
        ] {
            assert_eq!(shown(text).as_deref().ok(), Some(expect));
        }
    }
}
