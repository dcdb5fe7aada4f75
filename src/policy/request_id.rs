//! The id of a request that client, cell and logs share: the client's own where it is one that may be repeated, else 128 random
//! bits.

use std::ops::Deref;

use http::{HeaderMap, HeaderValue};

use super::cover::holds_credential;
use super::credential::CredentialRules;
use super::forwarding::X_REQUEST_ID;
use super::hex::write_hex;
use super::text::{Slate, Text};

/// Fewest and most bytes of a client's own: long enough to be unique, short enough for a log line.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=128;

/// Letters, digits, `.`, `_` and `-`; a field value already, which cell and client are both sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Text);

impl RequestId {
    /// Of random bits.
    pub fn fresh(random: u128, slate: &mut Slate) -> Self {
        let mut digits = [0; 32];
        write_hex(&random.to_be_bytes(), &mut digits);
        Self(slate.text(std::str::from_utf8(&digits).expect("digits are ASCII")))
    }

    /// The client's own, when it is one that is safe to repeat in logs, and no credential by these rules.
    pub fn said(headers: &HeaderMap, rules: &CredentialRules) -> Option<Self> {
        let mut values = headers.get_all(X_REQUEST_ID).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let text = value.to_str().ok()?;
        let of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_safe = LENGTHS.contains(&text.len()) && text.bytes().all(of_id);
        (is_safe && !holds_credential(rules, text)).then(|| Self(text.into()))
    }

    /// As a field has it.
    pub fn value(&self) -> HeaderValue {
        self.0.value().expect("letters and digits are a valid field value")
    }

    /// As what outlives the request has it.
    pub fn into_text(self) -> Text {
        self.0
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::credential::TokenShape;
    use super::*;

    #[test]
    fn a_request_id_is_kept_only_when_it_is_safe_to_repeat() {
        let shape = TokenShape { prefix: "dbtc_".into(), min_len: 20, max_len: 40 };
        let rules = CredentialRules { shapes: vec![shape], ..CredentialRules::default() };
        let check = |given: &[&str], kept: bool| {
            let mut headers = HeaderMap::new();
            for id in given {
                headers.append(X_REQUEST_ID, id.parse().unwrap());
            }
            let said = RequestId::said(&headers, &rules);
            assert_eq!(said.as_deref(), given.first().copied().filter(|_| kept), "{given:?}");
        };
        check(&["0193c1aa-good.id_1"], true);
        check(&[], false);
        check(&["short"], false);
        check(&["dbtc_0123456789abcdef"], false);
        check(&["with space in it"], false);
        check(&["{\"json\":true}"], false);
        check(&[&"a".repeat(128)], true);
        check(&[&"a".repeat(129)], false);
        check(&["0193c1aa-1", "0193c1aa-2"], false);
    }

    #[test]
    fn one_of_our_own_has_all_its_bits() {
        let id = RequestId::fresh(0x1a << 120 | 0xff, &mut Slate::default());
        assert_eq!(&*id, "1a0000000000000000000000000000ff");
        assert_eq!(id.value(), &*id);
    }
}
