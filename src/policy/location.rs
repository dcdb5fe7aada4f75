//! `Location` fields that point at an account's own address, turned back to the host that the client
//! called.
//!
//! A cell that answers an API client with a redirect to its own host would send it, and its
//! credentials, through a cross-host redirect, which common clients break on. Browsers may go.

use http::{HeaderMap, HeaderValue};

use super::address::OwnAddress;
use super::facts::{RequestFacts, Scheme};
use super::gate::Authority;

/// The field's new value, where it points at the account's own address on this surface. Anything else,
/// relative references included, stays as it is.
pub fn rewrite_location(
    location: &HeaderValue,
    own_address: OwnAddress<'_>,
    facts: &RequestFacts<'_>,
) -> Option<HeaderValue> {
    if is_navigation(facts.headers) {
        return None;
    }
    let text = location.to_str().ok()?;
    let (scheme, after) = split_scheme(text)?;
    let end = after.find(['/', '?', '#', '\\']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let authority = Authority::parse(authority)?;
    let default = |port: Option<u16>| match (port, scheme) {
        (None, _) => true,
        (Some(port), Some(Scheme::Https)) => port == 443,
        (Some(port), Some(Scheme::Http)) => port == 80,
        (Some(port), None) => port == 443 || port == 80,
    };
    let own = authority.host.eq_ignore_ascii_case(&own_address.to_string()) && default(authority.port);
    if !own || rest.starts_with('\\') {
        return None;
    }
    let (scheme, host) = (facts.connection.scheme.as_str(), facts.authority);
    HeaderValue::try_from(format!("{scheme}://{host}{rest}")).ok()
}

/// The scheme, if there is one, and what follows the two slashes.
fn split_scheme(text: &str) -> Option<(Option<Scheme>, &str)> {
    if let Some(after) = text.strip_prefix("//") {
        return Some((None, after));
    }
    let (scheme, after) = text.split_once("://")?;
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some((Some(Scheme::Https), after)),
        _ if scheme.eq_ignore_ascii_case("http") => Some((Some(Scheme::Http), after)),
        _ => None,
    }
}

/// Whether a browser follows the redirect as a page, and so sends no credentials that are not its own.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::Method;

    use super::*;
    use crate::policy::facts::{ConnectionFacts, Upgrade, WireVersion};
    use crate::policy::ids::Label;

    fn rewritten(location: &str, surface: Option<&str>, navigation: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        if navigation {
            headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
        }
        let facts = RequestFacts {
            method: &Method::POST,
            version: WireVersion::Http11,
            host: "cloud.getdbt.com",
            authority: "Cloud.getdbt.com:8443",
            target: "/",
            headers: &headers,
            upgrade: Upgrade::None,
            connection: ConnectionFacts {
                scheme: Scheme::Https,
                peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
                certificate_names: None,
            },
        };
        let prefix = Label::parse("ab123").expect("a label");
        let surface = surface.map(|surface| Label::parse(surface).expect("a label"));
        let own = OwnAddress { prefix: &prefix, surface: surface.as_ref(), domain: "us1.dbt.com" };
        let location = HeaderValue::from_str(location).expect("a header value");
        rewrite_location(&location, own, &facts).map(|value| value.to_str().expect("ASCII").to_string())
    }

    #[test]
    fn the_own_address_becomes_the_host_that_was_called() {
        let check = |location: &str, expect: &str| {
            assert_eq!(rewritten(location, None, false).as_deref(), Some(expect), "{location}");
        };
        check(
            "https://ab123.us1.dbt.com/api/v2/x/?a=%2F#b",
            "https://Cloud.getdbt.com:8443/api/v2/x/?a=%2F#b",
        );
        check("HTTP://AB123.us1.dbt.com.:80/x", "https://Cloud.getdbt.com:8443/x");
        check("//ab123.us1.dbt.com:443//x", "https://Cloud.getdbt.com:8443//x");
        check("https://ab123.us1.dbt.com", "https://Cloud.getdbt.com:8443");
        check("https://ab123.us1.dbt.com?x", "https://Cloud.getdbt.com:8443?x");
        let metadata = rewritten("https://ab123.metadata.us1.dbt.com/graphql", Some("metadata"), false);
        assert_eq!(metadata.as_deref(), Some("https://Cloud.getdbt.com:8443/graphql"));
    }

    #[test]
    fn everything_else_stays() {
        for location in [
            "/x",
            "x",
            "?x",
            "",
            "https://cd456.us1.dbt.com/",
            "https://ab123.us2.dbt.com/",
            "https://ab123.metadata.us1.dbt.com/",
            "https://x.ab123.us1.dbt.com/",
            "https://ab123.us1.dbt.com.evil.test/",
            "https://ab123.us1.dbt.com@evil.test/",
            "https://evil.test/https://ab123.us1.dbt.com/",
            "https://ab123.us1.dbt.com:8443/",
            "https://ab123.us1.dbt.com\\@evil.test/",
            "ftp://ab123.us1.dbt.com/",
            "https:/ab123.us1.dbt.com/",
            "https:\\\\ab123.us1.dbt.com/",
        ] {
            assert_eq!(rewritten(location, None, false), None, "{location}");
        }
        assert_eq!(rewritten("https://ab123.us1.dbt.com/x", None, true), None, "a browser may go");
    }
}
