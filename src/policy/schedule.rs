//! Deprecation schedules: the dates of a deprecated address, and the header fields that say them.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use super::ids::Label;

/// The dates of one deprecated address. `deprecated_since` is RFC 9745's Deprecation, `sunset_at` is
/// RFC 8594's Sunset (what most product pages call "the deprecation date"). Its header fields are
/// rendered once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    dates: Dates,
    name: Label,
    guide: Box<str>,
    policy: Option<Box<str>>,
    merge: Merge,
    lines: Lines,
}

/// What a schedule is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleParts {
    /// Unique name in the configuration.
    pub name: Label,
    /// The two dates.
    pub dates: Dates,
    /// Human documentation, `rel="deprecation"`.
    pub guide: Box<str>,
    /// Retirement policy, `rel="sunset"`, where there is one.
    pub policy: Option<Box<str>>,
    /// What to do when the cell sends dates of its own.
    pub merge: Merge,
}

/// Two dates in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// From when use is discouraged.
    pub deprecated_since: i64,
    /// When the address may stop answering; never before `deprecated_since` (RFC 9745 section 4).
    pub sunset_at: i64,
}

/// Whose dates win when the cell sends Deprecation or Sunset itself (facts: migration 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Merge {
    /// The earlier of both.
    Earliest,
    /// Ours.
    Ours,
    /// The cell's.
    Upstream,
}

/// Why a schedule cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// RFC 9745 section 4.
    #[error("sunset_at is before deprecated_since; expected the same time or a later one")]
    SunsetBeforeDeprecation,
    /// HTTP-date has four digits for the year.
    #[error("a date is outside 1970 to 9999")]
    DateOutOfRange,
    /// It would not survive in a Link field.
    #[error(
        "a link is not an absolute http or https URL in plain ASCII without blanks, quotes or angle brackets"
    )]
    Link,
}

/// The rendered fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// `@1769904000`.
    pub(super) deprecation: HeaderValue,
    /// `Sun, 01 Nov 2026 00:00:00 GMT`.
    pub(super) sunset: HeaderValue,
    /// `<…>; rel="deprecation"; type="text/html"`, in the literal form that Octokit looks for: one
    /// blank, `rel` first, double quotes, one relation.
    pub(super) guide: HeaderValue,
    /// `<…>; rel="sunset"; type="text/html"`.
    pub(super) policy: Option<HeaderValue>,
}

impl Schedule {
    /// Renders the fields, or says what is wrong.
    pub fn new(parts: ScheduleParts) -> Result<Self, ScheduleError> {
        let ScheduleParts { name, dates, guide, policy, merge } = parts;
        if dates.sunset_at < dates.deprecated_since {
            return Err(ScheduleError::SunsetBeforeDeprecation);
        }
        let lines = Lines {
            deprecation: deprecation(dates.deprecated_since).ok_or(ScheduleError::DateOutOfRange)?,
            sunset: sunset(dates.sunset_at).ok_or(ScheduleError::DateOutOfRange)?,
            guide: link(&guide, "deprecation").ok_or(ScheduleError::Link)?,
            policy: match &policy {
                Some(policy) => Some(link(policy, "sunset").ok_or(ScheduleError::Link)?),
                None => None,
            },
        };
        Ok(Self { dates, name, guide, policy, merge, lines })
    }

    /// Unique name in the configuration.
    pub const fn name(&self) -> &Label {
        &self.name
    }

    /// The two dates.
    pub const fn dates(&self) -> Dates {
        self.dates
    }

    /// Human documentation.
    pub fn guide(&self) -> &str {
        &self.guide
    }

    /// Retirement policy, where there is one.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// What to do when the cell sends dates of its own.
    pub const fn merge(&self) -> Merge {
        self.merge
    }

    pub(super) const fn lines(&self) -> &Lines {
        &self.lines
    }
}

/// A date as RFC 9745 has it: a structured-field Date.
pub(super) fn deprecation(seconds: i64) -> Option<HeaderValue> {
    in_range(seconds)?;
    HeaderValue::try_from(format!("@{seconds}")).ok()
}

/// A date as RFC 8594 has it: an HTTP-date.
pub(super) fn sunset(seconds: i64) -> Option<HeaderValue> {
    HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + in_range(seconds)?)).ok()
}

fn in_range(seconds: i64) -> Option<Duration> {
    // The last second of 9999; httpdate has no year after it.
    const LAST: u64 = 253_402_300_799;
    u64::try_from(seconds).ok().filter(|seconds| *seconds <= LAST).map(Duration::from_secs)
}

fn link(url: &str, relation: &str) -> Option<HeaderValue> {
    let absolute = url.strip_prefix("https://").or(url.strip_prefix("http://"))?;
    let plain = !absolute.is_empty() && !absolute.starts_with('/') && url.bytes().all(is_uri_byte);
    let text = format!("<{url}>; rel=\"{relation}\"; type=\"text/html\"");
    HeaderValue::try_from(text).ok().filter(|_| plain)
}

/// Whether a byte may stand in a URI as it is (RFC 3986 section 2, with the percent sign).
pub(super) const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_said_in_a_header_is_no_schedule() {
        let make = |deprecated_since: i64, sunset_at: i64, guide: &str, policy: Option<&str>| {
            let name = Label::parse("legacy").expect("a label");
            let dates = Dates { deprecated_since, sunset_at };
            let policy = policy.map(Into::into);
            let parts = ScheduleParts { name, dates, guide: guide.into(), policy, merge: Merge::Earliest };
            Schedule::new(parts).map(|_| ())
        };
        let guide = "https://docs.example.com/x?y=z#fragment";
        assert_eq!(make(1, 1, guide, None), Ok(()));
        assert_eq!(make(0, 253_402_300_799, guide, Some("http://a.test/%20")), Ok(()));
        assert_eq!(make(2, 1, guide, None), Err(ScheduleError::SunsetBeforeDeprecation));
        assert_eq!(make(-1, 1, guide, None), Err(ScheduleError::DateOutOfRange));
        assert_eq!(make(1, 253_402_300_800, guide, None), Err(ScheduleError::DateOutOfRange));
        for url in [
            "",
            "docs.example.com",
            "https://",
            "https:///x",
            "ftp://a.test/",
            "https://a.test/ b",
            "https://a.test/>; rel=\"x\"",
            "https://a.test/\r\nX: y",
            "https://ä.test/",
        ] {
            assert_eq!(make(1, 1, url, None), Err(ScheduleError::Link), "{url:?}");
            assert_eq!(make(1, 1, guide, Some(url)), Err(ScheduleError::Link), "{url:?}");
        }
    }
}
