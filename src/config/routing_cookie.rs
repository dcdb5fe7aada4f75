//! `identify.routing_cookie` of `cellgate.yaml`: our own cookie, and the keys that sign it.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::files::Sources;
use super::identify::{default, is_token};
use super::names::Names;
use super::raw;
use super::secret;
use super::slot::Slot;
use crate::policy::code::Code;
use crate::policy::routing_cookie::{CookieKey, RoutingCookie};
use crate::policy::snapshot::Names as Naming;

/// Most keys: the one in use, the one before, the next, and one more that somebody forgot.
const MAX_KEYS: usize = 4;

/// Shortest and longest time that a cookie holds. Below the first every request would renew it; a month after
/// its last use no session is alive, and a lost key should not count for longer.
const AGES: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(31 * 86_400);

/// What a browser keeps from other hosts, from plain http and from the pages of subdomains.
const PREFIX: &str = "__Host-";

/// Reads it, where it is there. `cookies` are those that cells give.
pub(super) fn read(
    slot: Slot<'_, raw::RoutingCookie>,
    cookies: &[(Box<str>, Naming)],
    sources: &Sources,
) -> Option<RoutingCookie> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.optional()?);
    let named = |text: String| {
        let own = text.strip_prefix(PREFIX).is_some_and(|rest| !rest.is_empty());
        (own && is_token(&text)).then(|| text.into())
    };
    let name = raw.name(&at).parse(Code::FieldName, "the name of a cookie that begins with __Host-", named);
    let name: Box<str> = name.or(default::ROUTING_COOKIE.into());
    let keys = raw.keys(&at).some_items(MAX_KEYS);
    Names::of("cookie key", "id", &keys, |key| &key.id);
    let keys = keys.into_iter().filter_map(|slot| key(slot, sources)).collect();
    let max_age = raw.max_age(&at).duration(AGES).or(default::ROUTING_COOKIE_AGE);
    if cookies.iter().any(|(other, _)| *other == name) {
        at.key("name").refuse(
            Code::RoutingCookieTaken,
            "identify.cookies names the same cookie",
            "a name that no cell uses",
        );
    }
    if !cookies.iter().any(|(_, names)| *names == Naming::Credential) {
        let expected = "the cells' session cookie in identify.cookies, with names: credential";
        at.refuse(
            Code::RoutingCookieWithoutSession,
            "no browser would ever get it: nothing says which cookie is a session",
            expected,
        );
    }
    Some(RoutingCookie { name, keys, max_age_secs: max_age.as_secs() })
}

fn key(slot: Slot<'_, raw::CookieKey>, sources: &Sources) -> Option<CookieKey> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.required()?);
    raw.allow_readable(&at).or(false);
    let id = raw.id(&at).label().required();
    let key = secret::read(raw.file(&at), sources);
    Some(CookieKey { id: id?, key: key? })
}
