//! Our own routing cookie: a browser on a legacy host keeps it beside the session cookie of its cell, so
//! that a replica that has never seen the session still knows whose it is.
//!
//! It names an account and proves nothing but that one of us gave it to somebody whom that account's cell
//! had just let in. It is no credential, never teaches one, and the cell checks the session as before.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue};

use super::gate;
use super::identify::cookie_values;
use super::ids::{AccountId, Label};
use super::seal;

/// How a browser is given the cookie, and by which keys it is known again.
#[derive(Debug)]
pub struct RoutingCookie {
    /// Begins with `__Host-`: a browser takes it over https only, for this host alone (RFC 6265bis section
    /// 4.1.3.2).
    pub name: Box<str>,
    /// The first signs, all verify; never empty.
    pub keys: Vec<CookieKey>,
    /// How long one holds, in seconds.
    pub max_age_secs: u64,
}

/// A key that signs routing cookies.
#[derive(Clone)]
pub struct CookieKey {
    /// Names the key in the cookie; rotates.
    pub id: Label,
    /// HMAC-SHA-256 key.
    pub key: Arc<hmac::Key>,
}

/// What a cookie that holds says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose the browser was.
    pub account: AccountId,
    /// When it was given, in seconds since the Unix epoch.
    pub issued: u64,
}

/// Why a cookie says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// Not of our form, or of another version.
    #[error("the cookie is malformed; expected v1.<key id>.<account>.<issued>.<signature>")]
    Malformed,
    /// Signed with a key that is not configured any more, or not yet.
    #[error("the cookie names an unknown key")]
    UnknownKey,
    /// Not signed with this key: one of its fields is another than it was.
    #[error("the signature is not of this cookie")]
    Mismatch,
    /// Older than it may be, or from the future.
    #[error("the cookie has expired, or clocks differ")]
    NotNow,
}

impl RoutingCookie {
    /// The value of a cookie that is given at `now`.
    pub fn sign(&self, account: AccountId, now: u64) -> Option<String> {
        let CookieKey { id, key } = self.keys.first()?;
        let held = Held { account, issued: now };
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(key, canonical(id.as_str(), held).as_bytes()));
        Some(format!("{VERSION}.{id}.{account}.{now}.{tag}"))
    }

    /// What a cookie's value says at `now`.
    ///
    /// # Errors
    /// [`CookieError`]: it says nothing.
    pub fn verify(&self, value: &[u8], now: u64) -> Result<Held, CookieError> {
        let (key_id, held, tag) = parse(value).ok_or(CookieError::Malformed)?;
        let key = self.keys.iter().find(|key| key.id.as_str() == key_id).ok_or(CookieError::UnknownKey)?;
        // Compares in constant time.
        hmac::verify(&key.key, canonical(key_id, held).as_bytes(), &tag)
            .map_err(|_| CookieError::Mismatch)?;
        let from_now = held.issued <= now.saturating_add(seal::TOLERANCE_SECS);
        let young = now.saturating_sub(held.issued) < self.max_age_secs;
        if from_now && young { Ok(held) } else { Err(CookieError::NotNow) }
    }

    /// What the cookie of a request says. Which of two that differ a browser meant is not known.
    pub fn read(&self, headers: &HeaderMap, now: u64) -> Option<Held> {
        let mut values = cookie_values(headers, self.name.as_bytes());
        let value = values.next()?;
        let one = values.all(|other| other == value);
        self.verify(value, now).ok().filter(|_| one)
    }

    /// Whether a browser need not be given another one for `account` yet: half of the time is left.
    pub fn is_fresh(&self, held: Held, account: AccountId, now: u64) -> bool {
        held.account == account && now.saturating_sub(held.issued) < self.max_age_secs / 2
    }

    /// The `Set-Cookie` that gives a browser one. Nothing but a page of this host, opened over https, sends
    /// it back; scripts cannot read it.
    pub fn set_cookie(&self, account: AccountId, now: u64) -> Option<HeaderValue> {
        let (name, value, max_age) = (&self.name, self.sign(account, now)?, self.max_age_secs);
        let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={max_age}");
        HeaderValue::try_from(text).ok()
    }

    /// Whether a `Set-Cookie` is one of this name: only we may give it.
    pub fn is_set_by(&self, set_cookie: &HeaderValue) -> bool {
        let pair = set_cookie.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii() == self.name.as_bytes()
    }

    /// The Cookie fields of a request without this cookie, every other byte as it was; `None` where it is not
    /// among them.
    pub fn without(&self, headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
        cookie_values(headers, self.name.as_bytes()).next()?;
        let others = |field: &HeaderValue| {
            let ours = |pair: &&[u8]| {
                let name = pair.trim_ascii().strip_prefix(self.name.as_bytes());
                name.is_some_and(|rest| rest.starts_with(b"="))
            };
            let pairs = field.as_bytes().split(|byte| *byte == b';');
            let kept: Vec<&[u8]> = pairs.filter(|pair| !ours(pair)).collect();
            let joined = kept.join(&b';');
            // Without the first pair, the blank after it would be the first byte.
            HeaderValue::from_bytes(joined.trim_ascii_start()).ok().filter(|field| !field.is_empty())
        };
        Some(headers.get_all(COOKIE).iter().filter_map(others).collect())
    }
}

/// Whether a cache that several people share may keep an answer, and with it a cookie that is for one of
/// them (RFC 9111 sections 5.2.2.9 and 5.2.2.10).
pub fn may_be_shared(answer: &HeaderMap) -> bool {
    gate::members(answer, &CACHE_CONTROL).any(|directive| {
        let name = directive.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
    })
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is signed: a first line that no other use of a key has, then every field by name. No field holds a
/// line break, so no two cookies have the same text.
fn canonical(key_id: &str, held: Held) -> String {
    let Held { account, issued } = held;
    format!("cellgate-routing-cookie-{VERSION}\nkid={key_id}\naccount={account}\nissued={issued}")
}

/// The parts of a value, each in its only spelling.
fn parse(value: &[u8]) -> Option<(&str, Held, Vec<u8>)> {
    let mut parts = std::str::from_utf8(value).ok()?.split('.');
    (parts.next()? == VERSION).then_some(())?;
    let key_id = parts.next()?;
    let account = AccountId::parse(parts.next()?.as_bytes()).ok()?;
    let issued = seal::number(parts.next()?)?;
    let tag = parts.next().filter(|tag| tag.len() == TAG_DIGITS)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    parts.next().is_none().then_some((key_id, Held { account, issued }, tag))
}

/// The version of the format, first in the value and in what is signed.
const VERSION: &str = "v1";

/// HMAC-SHA-256 in full, 32 bytes, in base64 without padding: a cookie has room, and a shorter tag would be
/// one more number to argue about.
const TAG_DIGITS: usize = 43;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 2026-02-02T02:40:00Z.
    const NOW: u64 = 1_770_000_000;
    const HOUR: u64 = 3_600;

    /// Made by Python's `hmac` over the documented text, not by the code here.
    const OF_12345: &str = "v1.k2.12345.1770000000.0hHxjtu3G41HjqcSZQWBm7OTV9AbnJlzBUxal8ZjrCM";
    const OF_AB123: &str = "v1.k1.70403103966603.1770000000.EuRK4BcdMTLKZqf08X7laV9ERb0RewIV62ZHlh_HVuI";

    fn key(id: &str, bytes: &[u8]) -> CookieKey {
        let key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes));
        CookieKey { id: Label::parse(id).unwrap(), key }
    }

    fn new_key() -> CookieKey {
        key("k2", &std::array::from_fn::<u8, 32, _>(|byte| u8::try_from(byte).unwrap()))
    }

    fn old_key() -> CookieKey {
        key("k1", &[0x0b; 32])
    }

    fn cookie(keys: Vec<CookieKey>) -> RoutingCookie {
        RoutingCookie { name: "__Host-cellgate".into(), keys, max_age_secs: 12 * HOUR }
    }

    fn both() -> RoutingCookie {
        cookie(vec![new_key(), old_key()])
    }

    fn account(id: u64) -> AccountId {
        AccountId::parse(id.to_string().as_bytes()).unwrap()
    }

    fn headers(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, field.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_published_vectors() {
        assert_eq!(both().sign(account(12345), NOW).unwrap(), OF_12345);
        let swapped = cookie(vec![old_key(), new_key()]);
        assert_eq!(swapped.sign(account(70_403_103_966_603), NOW).unwrap(), OF_AB123);
        for (value, id) in [(OF_12345, 12345), (OF_AB123, 70_403_103_966_603)] {
            let held = Held { account: account(id), issued: NOW };
            assert_eq!(both().verify(value.as_bytes(), NOW), Ok(held), "{value}");
        }
        let set = both().set_cookie(account(12345), NOW).unwrap();
        let attributes = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=43200";
        assert_eq!(set.to_str().unwrap(), format!("__Host-cellgate={OF_12345}; {attributes}"));
    }

    #[test]
    fn keys_rotate_without_losing_a_browser() {
        let check = |keys: Vec<CookieKey>, value: &str, expect: Result<(), CookieError>| {
            assert_eq!(cookie(keys).verify(value.as_bytes(), NOW).map(drop), expect, "{value}");
        };
        check(vec![old_key()], OF_AB123, Ok(()));
        check(vec![old_key(), new_key()], OF_12345, Ok(()));
        check(vec![new_key(), old_key()], OF_AB123, Ok(()));
        check(vec![new_key()], OF_AB123, Err(CookieError::UnknownKey));
        check(vec![], OF_12345, Err(CookieError::UnknownKey));
        // The id of the one and the bytes of the other.
        check(vec![key("k1", &[7; 32])], OF_AB123, Err(CookieError::Mismatch));
        assert_eq!(cookie(vec![]).sign(account(1), NOW), None);
    }

    #[test]
    fn a_change_of_any_field_and_of_any_byte_is_noticed() {
        let fields: Vec<&str> = OF_12345.split('.').collect();
        let check = |field: usize, text: &str, expect: CookieError| {
            let mut changed = fields.clone();
            changed[field] = text;
            assert_eq!(both().verify(changed.join(".").as_bytes(), NOW), Err(expect), "{text}");
        };
        check(0, "v2", CookieError::Malformed);
        check(1, "k1", CookieError::Mismatch);
        check(1, "k3", CookieError::UnknownKey);
        check(2, "12346", CookieError::Mismatch);
        check(2, "012345", CookieError::Malformed);
        check(2, "", CookieError::Malformed);
        check(3, "1770000001", CookieError::Mismatch);
        check(3, "+1770000000", CookieError::Malformed);
        check(4, OF_AB123.rsplit('.').next().unwrap(), CookieError::Mismatch);
        check(4, &fields[4][1..], CookieError::Malformed);
        for position in 0..OF_12345.len() {
            let mut changed = OF_12345.as_bytes().to_vec();
            changed[position] ^= 1;
            assert!(both().verify(&changed, NOW).is_err(), "byte {position}");
            assert!(both().verify(&OF_12345.as_bytes()[..position], NOW).is_err(), "cut at {position}");
        }
        for longer in [format!("{OF_12345}."), format!("{OF_12345}.x"), format!("{OF_12345}=")] {
            assert_eq!(both().verify(longer.as_bytes(), NOW), Err(CookieError::Malformed), "{longer}");
        }
    }

    #[test]
    fn it_holds_for_its_time_and_is_renewed_after_half_of_it() {
        let check = |now: u64, expect: Result<(), CookieError>, fresh: bool| {
            let found = both().verify(OF_12345.as_bytes(), now);
            assert_eq!(found.map(drop), expect, "{now}");
            let held = Held { account: account(12345), issued: NOW };
            assert_eq!(both().is_fresh(held, account(12345), now), fresh, "{now}");
            assert!(!both().is_fresh(held, account(26228), now), "{now}");
        };
        check(NOW, Ok(()), true);
        check(NOW + 6 * HOUR - 1, Ok(()), true);
        check(NOW + 6 * HOUR, Ok(()), false);
        check(NOW + 12 * HOUR - 1, Ok(()), false);
        check(NOW + 12 * HOUR, Err(CookieError::NotNow), false);
        check(u64::MAX, Err(CookieError::NotNow), false);
        // Clocks of replicas differ a little.
        check(NOW - seal::TOLERANCE_SECS, Ok(()), true);
        check(NOW - seal::TOLERANCE_SECS - 1, Err(CookieError::NotNow), true);
    }

    #[test]
    fn it_is_read_among_others_and_never_one_of_two() {
        let check = |fields: &[String], expect: Option<u64>| {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let found = both().read(&headers(&fields), NOW).map(|held| held.account.value());
            assert_eq!(found, expect, "{fields:?}");
        };
        let ours = format!("__Host-cellgate={OF_12345}");
        let other = format!("__Host-cellgate={OF_AB123}");
        check(&[], None);
        check(&["a=b".into()], None);
        check(&[format!("a=b; {ours}; c=d")], Some(12345));
        check(&["a=b".into(), ours.clone()], Some(12345));
        check(&[format!("{ours}; {ours}")], Some(12345));
        check(&[format!("{ours}; {other}")], None);
        check(&[ours.clone(), other], None);
        check(&[ours.to_ascii_lowercase()], None);
        check(&["__Host-cellgate=".into()], None);
    }

    #[test]
    fn a_cell_is_sent_the_other_cookies_byte_for_byte() {
        let check = |fields: &[&str], expect: Option<&[&str]>| {
            let kept = both().without(&headers(fields));
            let kept: Option<Vec<&str>> =
                kept.as_ref().map(|fields| fields.iter().map(|field| field.to_str().unwrap()).collect());
            assert_eq!(kept.as_deref(), expect, "{fields:?}");
        };
        check(&[], None);
        check(&["a=b; c"], None);
        check(&["x__Host-cellgate=1; __Host-cellgate2=1; a=__Host-cellgate=1"], None);
        check(&["__Host-cellgate=1"], Some(&[]));
        check(&["__Host-cellgate=1; a=b"], Some(&["a=b"]));
        check(&["a=b; __Host-cellgate=1"], Some(&["a=b"]));
        check(&["a=b;  c = \"d\";__Host-cellgate=1;e=; f"], Some(&["a=b;  c = \"d\";e=; f"]));
        check(&["a=b", "__Host-cellgate=1; c=d", "__Host-cellgate=2"], Some(&["a=b", "c=d"]));
    }

    #[test]
    fn only_we_give_it() {
        let check = |set: &str, expect: bool| {
            assert_eq!(both().is_set_by(&set.parse().unwrap()), expect, "{set}");
        };
        check("__Host-cellgate=x; Path=/; Secure", true);
        check(" __Host-cellgate =x", true);
        check("__Host-cellgate", true);
        check("__Host-cellgate2=x", false);
        check("sessionid=__Host-cellgate=x; Path=/", false);
    }

    #[test]
    fn an_answer_for_everybody_carries_no_cookie_for_one() {
        let check = |directives: &str, expect: bool| {
            let mut answer = HeaderMap::new();
            answer.insert(CACHE_CONTROL, directives.parse().unwrap());
            assert_eq!(may_be_shared(&answer), expect, "{directives}");
        };
        assert!(!may_be_shared(&HeaderMap::new()));
        check("private, max-age=0", false);
        check("no-store", false);
        check("max-age=60", false);
        check("Public, max-age=60", true);
        check("max-age=0, S-MaxAge=60", true);
    }
}
