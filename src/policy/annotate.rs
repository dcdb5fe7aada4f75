//! Deprecation headers on responses of legacy hosts: RFC 9745, RFC 8594 and RFC 8288, merged with what
//! the cell already said. Never on cell hosts, never on 1xx; that there is a schedule at all is
//! [`decide`](super::decide)'s decision.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, LINK,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::address::OwnAddress;
use super::edit::HeaderEdit;
use super::schedule::{self, Merge, Schedule};

/// RFC 9745.
pub const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// RFC 8594.
pub const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// Longest path that is repeated in a Link field; for longer ones the address alone is shown. Clients
/// with small header buffers (8 KiB in aiohttp) must not fail because of a hint.
const MAX_PATH: usize = 1024;

/// What the headers say about.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The dates in force.
    pub schedule: &'a Schedule,
    /// The account's own address on this surface, where it has one.
    pub own_address: Option<OwnAddress<'a>>,
    /// See [`Decision::credential_known`](super::decide::Decision::credential_known).
    pub credential_known: bool,
    /// The raw path, without the query: queries may hold secrets.
    pub path: &'a str,
}

/// What the cell had said itself, for telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamDates {
    /// It sent Deprecation or Sunset: the endpoint itself is going away too.
    pub present: bool,
    /// One of them could not be read (or was the `true` of old drafts), so that ours stands.
    pub unreadable: bool,
}

/// The edits for a response with this status and these headers; our own replies are no different.
pub fn annotate(
    notice: &Notice<'_>,
    status: u16,
    headers: &HeaderMap,
    edits: &mut Vec<HeaderEdit>,
) -> UpstreamDates {
    if status < 200 {
        return UpstreamDates::default();
    }
    let deprecation = Said::read(headers, &DEPRECATION, deprecation_date);
    let sunset = Said::read(headers, &SUNSET, http_date);
    let ours_first = dates(notice.schedule, deprecation, sunset, edits);
    links(notice, status, headers, ours_first, edits);
    expose(headers, edits);
    let said = [deprecation, sunset];
    UpstreamDates {
        present: said.iter().any(|said| *said != Said::Nothing),
        unreadable: said.contains(&Said::Unreadable),
    }
}

/// Whether the account's own address may be shown: only to whom the cell let in, or whose credential is
/// known to be this account's. Anybody else could learn by it which accounts exist.
pub const fn shows_address(status: u16, credential_known: bool) -> bool {
    credential_known || matches!(status, 200..=299)
}

/// What a field of the cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    At(i64),
    Unreadable,
}

impl Said {
    fn read(headers: &HeaderMap, name: &HeaderName, parse: fn(&str) -> Option<i64>) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            // Two lines are no Item any more.
            (Some(_), Some(_)) => Self::Unreadable,
            (Some(value), None) => {
                value.to_str().ok().and_then(|text| parse(text.trim())).map_or(Self::Unreadable, Self::At)
            }
        }
    }

    /// The date that is sent, given ours.
    fn merge(self, ours: i64, merge: Merge) -> i64 {
        match (self, merge) {
            (Self::At(theirs), Merge::Earliest) => ours.min(theirs),
            (Self::At(theirs), Merge::Upstream) => theirs,
            (Self::At(_), Merge::Ours) | (Self::Nothing | Self::Unreadable, _) => ours,
        }
    }
}

/// Exactly one Deprecation and one Sunset. Returns whether our sunset is the one that counts.
fn dates(schedule: &Schedule, deprecation: Said, sunset: Said, edits: &mut Vec<HeaderEdit>) -> bool {
    let (ours, lines) = (schedule.dates(), schedule.lines());
    let sunset_at = sunset.merge(ours.sunset_at, schedule.merge());
    // RFC 9745 section 4: the sunset is never before the deprecation, whoever said them.
    let since = deprecation.merge(ours.deprecated_since, schedule.merge()).min(sunset_at);
    let rendered = |seconds: i64, ours: i64, line: &HeaderValue, render: fn(i64) -> Option<HeaderValue>| {
        let other = (seconds != ours).then(|| render(seconds)).flatten();
        other.unwrap_or_else(|| line.clone())
    };
    let value = rendered(since, ours.deprecated_since, &lines.deprecation, schedule::deprecation);
    edits.push(HeaderEdit::Set(DEPRECATION, value));
    let value = rendered(sunset_at, ours.sunset_at, &lines.sunset, schedule::sunset);
    edits.push(HeaderEdit::Set(SUNSET, value));
    sunset_at == ours.sunset_at
}

/// Our links beside the cell's, of which none is lost. Ours come first where ours is the earlier sunset:
/// programs that look for one `rel="deprecation"` take the first.
fn links(
    notice: &Notice<'_>,
    status: u16,
    headers: &HeaderMap,
    ours_first: bool,
    edits: &mut Vec<HeaderEdit>,
) {
    let lines = notice.schedule.lines();
    let theirs = headers.get_all(LINK);
    let reorder = ours_first && theirs.iter().next().is_some();
    if reorder {
        edits.push(HeaderEdit::Remove(LINK));
    }
    edits.push(HeaderEdit::Append(LINK, lines.guide.clone()));
    if let Some(policy) = &lines.policy {
        edits.push(HeaderEdit::Append(LINK, policy.clone()));
    }
    if shows_address(status, notice.credential_known)
        && let Some(address) = notice.own_address
        && let Some(successor) = successor(address, notice.path)
    {
        edits.push(HeaderEdit::Append(LINK, successor));
    }
    if reorder {
        edits.extend(theirs.iter().map(|value| HeaderEdit::Append(LINK, value.clone())));
    }
}

/// `<https://ab123.us1.dbt.com/same/path>; rel="successor-version"`. Bytes of the path that are no part
/// of a URI are escaped: the path came from a client and must not end the brackets.
fn successor(address: OwnAddress<'_>, path: &str) -> Option<HeaderValue> {
    use std::fmt::Write;
    let mut text = format!("<https://{address}");
    if path.starts_with('/') && path.len() <= MAX_PATH {
        for byte in path.bytes() {
            match schedule::is_uri_byte(byte) {
                true => text.push(char::from(byte)),
                false => write!(text, "%{byte:02X}").ok()?,
            }
        }
    } else {
        text.push('/');
    }
    text.push_str(">; rel=\"successor-version\"");
    HeaderValue::try_from(text).ok()
}

/// Lets scripts of other origins read the fields, where the cell lets them read the response at all. A
/// `*` without credentials exposes everything already; with credentials it is a field name like any
/// other (Fetch, section 3.2.3).
fn expose(headers: &HeaderMap, edits: &mut Vec<HeaderEdit>) {
    const NAMES: HeaderValue = HeaderValue::from_static(
        "Deprecation, Sunset, Link, Retry-After, Proxy-Status, X-Request-Id, X-Cellgate-Outcome",
    );
    if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    let credentials = headers.get(ACCESS_CONTROL_ALLOW_CREDENTIALS).is_some_and(|value| value == "true");
    let everything =
        super::gate::members(headers, &ACCESS_CONTROL_EXPOSE_HEADERS).any(|member| member == b"*");
    if credentials || !everything {
        edits.push(HeaderEdit::Append(ACCESS_CONTROL_EXPOSE_HEADERS, NAMES));
    }
}

/// `@1769904000` (RFC 9651 section 3.3.7), or an HTTP-date as sent before the RFC. Parameters are let
/// pass; the `true` of old drafts names no date.
fn deprecation_date(text: &str) -> Option<i64> {
    let Some(number) = text.strip_prefix('@') else { return http_date(text) };
    let number = number.split_once(';').map_or(number, |(number, _)| number.trim_end());
    let digits = number.strip_prefix('-').unwrap_or(number);
    // A structured-field integer has at most 15 digits.
    let plain = (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| plain)
}

fn http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests;
