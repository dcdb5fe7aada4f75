//! What a call that changes something must look like, so that no page of another site can have a browser make it. A token is never
//! sent by a browser on its own; a client certificate, and the way through a tunnel to the unix socket, are.
//!
//! Four nets, each of which would do against today's browsers: where the page is from (`Origin`), what the browser says of that
//! (`Sec-Fetch-Site`), a header of our own, and a content type that no form can send. The last two cannot come from elsewhere
//! without a question before (CORS), to which nobody here says yes.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};

use super::{Denied, Door, Proof};

/// What the console sends with every call that changes something.
pub const CONSOLE_HEADER: &str = "x-cellgate-console";

/// Set by browsers alone; pages cannot set or change it.
const FETCH_SITE: &str = "sec-fetch-site";

/// Judges the head of a call that changes something.
///
/// # Errors
/// A page of another site could have sent it.
pub fn may_change(headers: &HeaderMap, door: Door, proof: Option<Proof>) -> Result<(), Denied> {
    let from_browser = headers.contains_key(ORIGIN) || headers.contains_key(FETCH_SITE);
    let scheme = if door == Door::Tls { "https" } else { "http" };
    if headers.contains_key(ORIGIN) {
        let own = only(headers, HOST.as_str()).map(|host| format!("{scheme}://{host}"));
        let same = only(headers, ORIGIN.as_str())
            .zip(own)
            .is_some_and(|(origin, own)| origin.eq_ignore_ascii_case(&own));
        if !same {
            return Err(Denied::CrossSite);
        }
    }
    if headers.contains_key(FETCH_SITE) && only(headers, FETCH_SITE) != Some("same-origin") {
        return Err(Denied::CrossSite);
    }
    let is_ambient = proof == Some(Proof::Certificate);
    if (from_browser || is_ambient) && only(headers, CONSOLE_HEADER) != Some("1") {
        return Err(Denied::NoConsoleHeader);
    }
    // On the socket the kernel has said who calls, and what curl sends by itself is welcome.
    let must_say = from_browser || door != Door::Socket;
    if must_say && !only(headers, CONTENT_TYPE.as_str()).is_some_and(is_json) {
        return Err(Denied::NotJson);
    }
    Ok(())
}

fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().map(str::trim)
}

fn is_json(value: &str) -> bool {
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderName;

    use super::*;

    const JSON: (&str, &str) = ("content-type", "application/json");
    const CONSOLE: (&str, &str) = (CONSOLE_HEADER, "1");
    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

    fn judged(door: Door, proof: Proof, fields: &[(&str, &str)]) -> Result<(), Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "edge:9901".parse().unwrap());
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        may_change(&headers, door, Some(proof))
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let own = ("origin", "https://edge:9901");
        for origin in [
            "https://evil.example",
            "http://edge:9901",
            "https://edge",
            "https://edge:9902",
            "https://edge:9901.evil.example",
            "null",
            "",
        ] {
            let fields = [("origin", origin), SAME, JSON, CONSOLE];
            for proof in [Proof::Certificate, Proof::Token] {
                assert_eq!(judged(Door::Tls, proof, &fields), Err(Denied::CrossSite), "{origin}");
            }
        }
        for site in ["cross-site", "same-site", "none", "same-origin, same-origin"] {
            let fields = [own, ("sec-fetch-site", site), JSON, CONSOLE];
            assert_eq!(judged(Door::Tls, Proof::Certificate, &fields), Err(Denied::CrossSite), "{site}");
        }
        let twice = [own, own, SAME, JSON, CONSOLE];
        assert_eq!(judged(Door::Tls, Proof::Token, &twice), Err(Denied::CrossSite));
        assert_eq!(judged(Door::Tls, Proof::Token, &[own, SAME, JSON]), Err(Denied::NoConsoleHeader));
        assert_eq!(judged(Door::Tls, Proof::Certificate, &[own, SAME, JSON, CONSOLE]), Ok(()));
    }

    #[test]
    fn the_socket_behind_a_tunnel_is_no_way_in_for_a_page() {
        let own = ("origin", "http://edge:9901");
        let socket = |fields: &[(&str, &str)]| judged(Door::Socket, Proof::Unix, fields);
        assert_eq!(socket(&[("origin", "http://evil.example")]), Err(Denied::CrossSite));
        assert_eq!(socket(&[("sec-fetch-site", "cross-site")]), Err(Denied::CrossSite));
        assert_eq!(socket(&[own, ("content-type", "text/plain"), CONSOLE]), Err(Denied::NotJson));
        assert_eq!(socket(&[own, JSON]), Err(Denied::NoConsoleHeader));
        assert_eq!(socket(&[own, JSON, CONSOLE]), Ok(()));
        assert_eq!(socket(&[]), Ok(()), "curl -X POST");
        assert_eq!(socket(&[("content-type", "application/x-www-form-urlencoded")]), Ok(()), "curl -d");
    }

    #[test]
    fn without_a_browser_a_token_needs_json_and_a_certificate_the_header_too() {
        for door in [Door::Loopback, Door::Tls] {
            assert_eq!(judged(door, Proof::Token, &[]), Err(Denied::NotJson));
            assert_eq!(judged(door, Proof::Token, &[("content-type", "text/plain")]), Err(Denied::NotJson));
            let charset = ("content-type", "Application/JSON; charset=utf-8");
            assert_eq!(judged(door, Proof::Token, &[charset]), Ok(()));
        }
        assert_eq!(judged(Door::Tls, Proof::Certificate, &[JSON]), Err(Denied::NoConsoleHeader));
        assert_eq!(
            judged(Door::Tls, Proof::Certificate, &[JSON, (CONSOLE_HEADER, "0")]),
            Err(Denied::NoConsoleHeader)
        );
        assert_eq!(judged(Door::Tls, Proof::Certificate, &[JSON, CONSOLE]), Ok(()));
    }
}
