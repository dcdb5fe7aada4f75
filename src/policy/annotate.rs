//! Deprecation headers on the responses of a legacy host: RFC 9745 (Deprecation), RFC 8594 (Sunset),
//! RFC 8288 (Link), merged with what the cell itself has said.
//!
//! Nothing of it changes what a request does ("the act of deprecation does not change any behavior of
//! the resource"); a client that does not look sees no difference.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue, LINK};

use super::fields::{Field, Fields};
use super::snapshot::{Merge, Schedule};

/// RFC 9745.
pub const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// RFC 8594.
pub const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What a browser script may read of a cross-origin response; ours are added to the cell's list.
const EXPOSED: &str = "Deprecation, Sunset, Link, Retry-After, Proxy-Status";

/// Dates that the cell sent itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Deprecation, in seconds since the Unix epoch, where it could be read.
    pub deprecated_since: Option<i64>,
    /// Sunset, likewise.
    pub sunset_at: Option<i64>,
    /// A Deprecation or Sunset that is no date: an old draft's `true`, several values, rubbish.
    pub unreadable: bool,
}

impl Upstream {
    /// Whether the cell deprecates the resource itself.
    pub const fn any(self) -> bool {
        self.deprecated_since.is_some() || self.sunset_at.is_some() || self.unreadable
    }
}

/// Puts the headers of a schedule on a final response of a legacy host, and returns what the cell had
/// said. `successor` is the same resource at the account's own address, only where it may be shown.
pub fn annotate(schedule: &Schedule, successor: Option<&str>, headers: &mut HeaderMap) -> Upstream {
    let fields = Fields::of(headers);
    let upstream = if fields.has_any(DATES) { read_upstream(headers) } else { Upstream::default() };
    let (deprecation, sunset) = if upstream.any() {
        let dates = merge(schedule, upstream);
        (deprecation(dates.deprecated_since), sunset(dates.sunset_at))
    } else {
        (schedule.written.deprecation.clone(), schedule.written.sunset.clone())
    };
    headers.insert(DEPRECATION, deprecation);
    headers.insert(SUNSET, sunset);
    // First-match readers (Octokit) take the first link of a relation: whose sunset counts goes first.
    let ours_first = upstream.sunset_at.is_none_or(|theirs| schedule.sunset_at <= theirs);
    let successor = successor.and_then(successor_link);
    add_links(
        headers,
        schedule.written.links.iter().cloned().chain(successor),
        ours_first && fields.has(Field::Link),
    );
    if fields.has(Field::AllowOrigin) {
        expose(headers);
    }
    upstream
}

/// Where a cell says dates of its own.
const DATES: Fields = Fields::these(&[Field::Deprecation, Field::Sunset]);

/// Reads the cell's own Deprecation and Sunset: the RFC's form, and the HTTP-date of older drafts that
/// GitHub and others send.
pub fn read_upstream(headers: &HeaderMap) -> Upstream {
    let mut upstream = Upstream::default();
    match single(headers, &DEPRECATION) {
        Single::None => {}
        Single::One(value) => match structured_date(value).or_else(|| http_date(value)) {
            Some(date) => upstream.deprecated_since = Some(date),
            None => upstream.unreadable = true,
        },
        Single::Several => upstream.unreadable = true,
    }
    match single(headers, &SUNSET) {
        Single::None => {}
        Single::One(value) => match http_date(value) {
            Some(date) => upstream.sunset_at = Some(date),
            None => upstream.unreadable = true,
        },
        Single::Several => upstream.unreadable = true,
    }
    upstream
}

/// `Sun, 01 Nov 2026 00:00:00 GMT` (RFC 9110 section 5.6.7). Dates before 1970 and after 9999 do not
/// pass `config`.
pub fn imf_fixdate(seconds: i64) -> String {
    let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_epoch)
}

/// What a schedule says where the cell says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    deprecation: HeaderValue,
    sunset: HeaderValue,
    links: Vec<HeaderValue>,
}

impl Written {
    /// The fields of a schedule; see [`Schedule`] for the arguments.
    pub fn new(deprecated_since: i64, sunset_at: i64, guide: &str, policy: Option<&str>) -> Self {
        let links = [(Some(guide), "deprecation"), (policy, "sunset")];
        // One relation each, `rel` first and quoted, one space after `;`: the literal form that Octokit's
        // detector matches.
        let link = |(url, relation)| Some(format!("<{}>; rel=\"{relation}\"; type=\"text/html\"", url?));
        let links = links.into_iter().filter_map(link);
        Self {
            deprecation: deprecation(deprecated_since),
            sunset: sunset(sunset_at),
            links: links.filter_map(|link| HeaderValue::from_str(&link).ok()).collect(),
        }
    }
}

struct Dates {
    deprecated_since: i64,
    sunset_at: i64,
}

fn merge(schedule: &Schedule, upstream: Upstream) -> Dates {
    let pick = |ours: i64, theirs: Option<i64>| match (schedule.merge, theirs) {
        (Merge::Ours, _) | (_, None) => ours,
        (Merge::Upstream, Some(theirs)) => theirs,
        (Merge::Earliest, Some(theirs)) => ours.min(theirs),
    };
    let sunset_at = pick(schedule.sunset_at, upstream.sunset_at);
    let deprecated_since = pick(schedule.deprecated_since, upstream.deprecated_since);
    // RFC 9745 section 4: Sunset must not be earlier than Deprecation, whoever said which.
    Dates { deprecated_since: deprecated_since.min(sunset_at), sunset_at }
}

/// The same resource at the account's own address (RFC 6596), for an answer that is none but the way there.
pub fn canonical_link(url: &str) -> Option<HeaderValue> {
    link(url, "canonical")
}

fn successor_link(successor: &str) -> Option<HeaderValue> {
    link(successor, "successor-version")
}

fn link(url: &str, relation: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(["<", url, ">; rel=\"", relation, "\""].concat()).ok()
}

/// `before_theirs` where the cell has links, too, and ours go first.
fn add_links(headers: &mut HeaderMap, ours: impl Iterator<Item = HeaderValue>, before_theirs: bool) {
    let mut theirs = Vec::new();
    if before_theirs {
        theirs.extend(headers.get_all(LINK).iter().cloned());
        headers.remove(LINK);
    }
    for link in ours.chain(theirs) {
        headers.append(LINK, link);
    }
}

/// A response that scripts of other origins may read lists which fields they may read.
fn expose(headers: &mut HeaderMap) {
    let credentialed = headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    let wildcard = headers
        .get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS)
        .iter()
        .any(|value| value.as_bytes().trim_ascii() == b"*");
    // With credentials `*` is a literal field name (Fetch, "CORS-safelisted response-header name").
    if wildcard && !credentialed {
        return;
    }
    headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

fn deprecation(since: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("@{since}")).expect("digits are a valid field value")
}

fn sunset(at: i64) -> HeaderValue {
    HeaderValue::from_str(&imf_fixdate(at)).expect("dates are valid field values")
}

enum Single<'a> {
    None,
    One(&'a str),
    Several,
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Single<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Single::None,
        (Some(value), None) => value.to_str().map_or(Single::Several, |text| Single::One(text.trim())),
        (Some(_), Some(_)) => Single::Several,
    }
}

/// `@1688169599` (RFC 9651 section 3.3.7), integers only.
fn structured_date(value: &str) -> Option<i64> {
    value.strip_prefix('@')?.parse().ok().filter(|date| *date >= 0)
}

fn http_date(value: &str) -> Option<i64> {
    let since_epoch = httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_secs()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::ids::Label;
    use super::*;

    /// 31 January 2026 and 1 November 2026, 00:00 UTC.
    fn schedule(merge: Merge) -> Schedule {
        let policy = Some("https://docs.test/policy".into());
        let name = Label::parse("getdbt").unwrap();
        Schedule::new(name, 1_769_817_600, 1_793_491_200, "https://docs.test/move".into(), policy, merge)
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_literal_form_of_the_rfcs() {
        let mut response = headers(&[]);
        annotate(&schedule(Merge::Earliest), Some("https://ab123.us1.dbt.com/api/v2/x?y=[1]"), &mut response);
        assert_eq!(all(&response, "deprecation"), ["@1769817600"]);
        assert_eq!(all(&response, "sunset"), ["Sun, 01 Nov 2026 00:00:00 GMT"]);
        assert_eq!(
            all(&response, "link"),
            [
                r#"<https://docs.test/move>; rel="deprecation"; type="text/html""#,
                r#"<https://docs.test/policy>; rel="sunset"; type="text/html""#,
                r#"<https://ab123.us1.dbt.com/api/v2/x?y=[1]>; rel="successor-version""#,
            ]
        );
    }

    #[test]
    fn the_merge_follows_its_policy_and_keeps_sunset_after_deprecation() {
        let check = |merge, upstream: &[(&'static str, &str)], deprecation: &str, sunset: &str| {
            let mut response = headers(upstream);
            annotate(&schedule(merge), None, &mut response);
            assert_eq!(all(&response, "deprecation"), [deprecation], "{merge:?} {upstream:?}");
            assert_eq!(all(&response, "sunset"), [sunset], "{merge:?} {upstream:?}");
        };
        let ours = ("@1769817600", "Sun, 01 Nov 2026 00:00:00 GMT");
        let early: &[(&str, &str)] =
            &[("deprecation", "@1600000000"), ("sunset", "Tue, 01 Sep 2026 00:00:00 GMT")];
        let late: &[(&str, &str)] =
            &[("deprecation", "@1780000000"), ("sunset", "Fri, 01 Jan 2027 00:00:00 GMT")];
        check(Merge::Earliest, early, "@1600000000", "Tue, 01 Sep 2026 00:00:00 GMT");
        check(Merge::Earliest, late, ours.0, ours.1);
        check(Merge::Ours, early, ours.0, ours.1);
        check(Merge::Upstream, late, "@1780000000", "Fri, 01 Jan 2027 00:00:00 GMT");
        // The cell's sunset lies before our deprecation: the deprecation moves with it.
        check(
            Merge::Earliest,
            &[("sunset", "Thu, 01 Jan 2026 00:00:00 GMT")],
            "@1767225600",
            "Thu, 01 Jan 2026 00:00:00 GMT",
        );
        // What is no date, and two values, count as nothing said.
        check(Merge::Upstream, &[("deprecation", "true")], ours.0, ours.1);
        check(Merge::Earliest, &[("deprecation", "@1"), ("deprecation", "@2")], ours.0, ours.1);
        // The HTTP-date of the old drafts is understood.
        check(Merge::Earliest, &[("deprecation", "Sat, 01 Feb 2020 00:00:00 GMT")], "@1580515200", ours.1);
    }

    #[test]
    fn links_of_the_cell_stay_and_ours_come_first_when_our_sunset_counts() {
        let theirs = r#"<https://cell.test/old>; rel="deprecation""#;
        let mut response = headers(&[("link", theirs)]);
        annotate(&schedule(Merge::Earliest), None, &mut response);
        assert_eq!(all(&response, "link").last().unwrap(), theirs);
        let mut response = headers(&[("link", theirs), ("sunset", "Thu, 01 Jan 2026 00:00:00 GMT")]);
        annotate(&schedule(Merge::Earliest), None, &mut response);
        assert_eq!(all(&response, "link")[0], theirs);
    }

    #[test]
    fn scripts_may_read_the_headers_where_they_may_read_the_response() {
        let check = |upstream: &[(&'static str, &str)], exposed: &[&str]| {
            let mut response = headers(upstream);
            annotate(&schedule(Merge::Earliest), None, &mut response);
            assert_eq!(all(&response, "access-control-expose-headers"), exposed, "{upstream:?}");
        };
        let origin = ("access-control-allow-origin", "https://app.test");
        check(&[], &[]);
        check(&[origin], &[EXPOSED]);
        check(&[origin, ("access-control-expose-headers", "X-A")], &["X-A", EXPOSED]);
        check(&[origin, ("access-control-expose-headers", "*")], &["*"]);
        let credentials = ("access-control-allow-credentials", "true");
        check(&[origin, credentials, ("access-control-expose-headers", "*")], &["*", EXPOSED]);
    }

    #[test]
    fn what_the_cell_said_is_reported() {
        assert!(!read_upstream(&headers(&[])).any());
        assert!(read_upstream(&headers(&[("deprecation", "true")])).unreadable);
        assert_eq!(read_upstream(&headers(&[("deprecation", "@7")])).deprecated_since, Some(7));
    }
}
