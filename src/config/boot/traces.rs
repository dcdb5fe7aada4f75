//! `traces` of `boot.yaml`: where spans go, and which requests have some. Files are named here and read when the process starts.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;

use super::web_address::{is_private, without_password};
use super::{PATH, default, path_in};
use crate::config::networks::any_networks;
use crate::config::slot::{At, short_line};
use crate::config::{apply, raw};
use crate::policy::canary::Share;
use crate::policy::code::Code;
use crate::policy::trace_context::TraceRules;

/// Traces of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Where spans are posted, with its path.
    pub endpoint: Uri,
    /// File with fields that are sent along.
    pub headers_file: Option<PathBuf>,
    /// File with the certificates that sign the collector's; `None` for those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// How long the collector may take for a batch.
    pub timeout: Duration,
    /// Whom to follow, and what is kept.
    pub rules: TraceRules,
    /// `service.name` of the spans.
    pub service_name: Box<str>,
}

/// Below the first no collector answers over a network; beyond the second, thousands of spans wait for one batch.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Longest name of a service: what tables of traces show.
const MAX_NAME: usize = 128;

/// What an endpoint is, for problems.
const ENDPOINT: &str = "an address such as http://127.0.0.1:4318 or https://otlp.example.com/v1/traces";

/// Where OTLP receives spans, unless somebody says otherwise.
const OTLP_PATH: &str = "/v1/traces";

/// `folder` is the one that the file lies in.
pub(super) fn read(raw: raw::Traces, at: &At<'_>, folder: &Path) -> Option<Traces> {
    let mut raw = at.open(raw);
    let endpoint = raw.endpoint(at).parse(Code::Url, ENDPOINT, |text| endpoint(&text)).required();
    let headers_file =
        raw.headers_file(at).parse(Code::FilePath, PATH, |path| path_in(folder, &path)).optional();
    if let Some(endpoint) = &endpoint
        && headers_file.is_some()
        && !is_private(endpoint)
    {
        at.key("headers_file").refuse(
            Code::SecretOverHttp,
            "everybody on the way to the collector could read them over http",
            "an endpoint with https, or one on this machine",
        );
    }
    let ca_file = raw.ca_file(at).parse(Code::FilePath, PATH, |path| path_in(folder, &path)).optional();
    if ca_file.is_some() && endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme_str() == Some("http")) {
        at.key("ca_file").refuse(
            Code::KeyWithoutEffect,
            "it has no effect over http",
            "an endpoint with https, or no ca_file",
        );
    }
    let usual = Share::parse(default::TRACES_RATIO).expect("the default is a share");
    let timeout = raw.timeout(at).duration(TIMEOUTS).or(default::TRACES_TIMEOUT);
    let name = raw
        .service_name(at)
        .parse(Code::Text, "a name of at most 128 characters", |text| short_line(&text, MAX_NAME));
    let rules = TraceRules {
        trust_from: any_networks(raw.trust_from(at)),
        ratio: apply::share_or_none(raw.ratio(at)).or(Some(usual)),
        failures: raw.failures(at).or(true),
    };
    let service_name = name.or(default::TRACES_SERVICE.into());
    Some(Traces { endpoint: endpoint?, headers_file, ca_file, timeout, rules, service_name })
}

/// The whole address, with the path of OTLP where it has none.
fn endpoint(text: &str) -> Option<Uri> {
    let mut parts = without_password(text)?.into_parts();
    if parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/") {
        parts.path_and_query = Some(PathAndQuery::from_static(OTLP_PATH));
    }
    let has_query = parts.path_and_query.as_ref().is_some_and(|path| path.query().is_some());
    if has_query { None } else { Uri::from_parts(parts).ok() }
}

pub(super) fn note_changes(
    before: Option<&Traces>,
    after: Option<&Traces>,
    note: &mut impl FnMut(bool, &str),
) {
    let (Some(b), Some(a)) = (before, after) else {
        return note(before != after, "traces");
    };
    note(b.endpoint != a.endpoint, "traces.endpoint");
    note(b.headers_file != a.headers_file, "traces.headers_file");
    note(b.ca_file != a.ca_file, "traces.ca_file");
    note(b.timeout != a.timeout, "traces.timeout");
    note(b.rules.ratio != a.rules.ratio, "traces.ratio");
    note(b.rules.failures != a.rules.failures, "traces.failures");
    note(b.rules.trust_from != a.rules.trust_from, "traces.trust_from");
    note(b.service_name != a.service_name, "traces.service_name");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_whole_address_without_a_secret_in_it() {
        for (text, expect) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("http://127.0.0.1:4318/", Some("http://127.0.0.1:4318/v1/traces")),
            ("https://otlp.example.com/otlp/v1/traces", Some("https://otlp.example.com/otlp/v1/traces")),
            ("127.0.0.1:4318", None),
            ("grpc://a:4317", None),
            ("https://kim:pass@otlp.example.com", None),
            ("https://otlp.example.com/v1/traces?key=1", None),
            ("", None),
        ] {
            assert_eq!(endpoint(text).map(|uri| uri.to_string()).as_deref(), expect, "{text}");
        }
        for (text, expect) in [
            ("http://127.0.0.1:4318", true),
            ("http://[::1]:4318", true),
            ("http://localhost:4318", true),
            ("https://otlp.example.com", true),
            ("http://10.0.0.1:4318", false),
            ("http://localhost.example.com:4318", false),
        ] {
            assert_eq!(is_private(&endpoint(text).unwrap()), expect, "{text}");
        }
    }
}
