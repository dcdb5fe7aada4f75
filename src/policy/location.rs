//! `Location` towards legacy clients: a cell redirects to the account's own address, and an API client
//! that follows loses its credential on the way to another host. So the way back
//! to the host it came on is written in, and nothing else of the URL is touched.

use http::HeaderValue;

/// The `Location` of a response, rewritten where it names `own_address` (host, without port). `scheme`
/// and `authority` are those of the request.
pub fn rewrite(location: &HeaderValue, own_address: &str, scheme: &str, authority: &str) -> Option<String> {
    let location = location.to_str().ok()?;
    let rest = match location.split_once("//")? {
        // With the scheme of the request (RFC 3986 section 4.2).
        ("", rest) => rest,
        (scheme, rest) if ["http:", "https:"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => rest,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (target_authority, rest) = rest.split_at(end);
    let host = target_authority.rsplit_once(':').map_or(target_authority, |(host, _)| host);
    host.eq_ignore_ascii_case(own_address).then(|| format!("{scheme}://{authority}{rest}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_accounts_own_address_is_rewritten() {
        let check = |location: &str, expected: Option<&str>| {
            let rewritten =
                rewrite(&location.parse().unwrap(), "ab123.us1.dbt.com", "https", "cloud.getdbt.com");
            assert_eq!(rewritten.as_deref(), expected, "{location}");
        };
        check(
            "https://ab123.us1.dbt.com/api/v2/x/?a=[1]#f",
            Some("https://cloud.getdbt.com/api/v2/x/?a=[1]#f"),
        );
        check("HTTPS://AB123.us1.dbt.com:443/x", Some("https://cloud.getdbt.com/x"));
        check("http://ab123.us1.dbt.com", Some("https://cloud.getdbt.com"));
        check("/api/v2/x/", None);
        check("https://cd456.us1.dbt.com/x", None);
        check("https://ab123.us1.dbt.com.evil.test/x", None);
        check("https://evil.test/?https://ab123.us1.dbt.com/", None);
        check("//ab123.us1.dbt.com/x", Some("https://cloud.getdbt.com/x"));
        check("//AB123.us1.dbt.com:443?a", Some("https://cloud.getdbt.com?a"));
        check("//evil.test//ab123.us1.dbt.com/", None);
        check("/x//ab123.us1.dbt.com/", None);
        check("ftp://ab123.us1.dbt.com/x", None);
        check("x//ab123.us1.dbt.com/x", None);
    }
}
