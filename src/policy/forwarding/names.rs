//! Field names by what this hop does with them.

/// What a field is to this hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ends here (RFC 9110 section 7.6.1 and its older relatives).
    HopByHop,
    /// Delimits or addresses the message: the engine's.
    Framing,
    /// Set by us, or kept where the client's is well formed.
    Ours,
    /// Says who the client is or what it asked for, in a way that only a proxy may: never believed.
    Claim,
    /// Says who the client is in a proxy vendor's own way: believed of trusted proxies.
    ProxyClaim,
    /// Everything else.
    Other,
}

/// The kind of a lower-case name.
pub(super) fn kind(name: &str) -> Kind {
    match name {
        "connection" | "http2-settings" | "keep-alive" | "te" | "trailer" | "upgrade" => Kind::HopByHop,
        // `Proxy` becomes HTTP_PROXY in CGI programs (CVE-2016-5385).
        "proxy" => Kind::HopByHop,
        "content-length" | "host" | "transfer-encoding" => Kind::Framing,
        "traceparent" | "tracestate" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto"
        | "x-request-id" => Kind::Ours,
        "forwarded" | "x-forwarded" | "x-original-url" | "x-real-ip" | "x-rewrite-url" => Kind::Claim,
        "cf-connecting-ip"
        | "client-ip"
        | "fastly-client-ip"
        | "true-client-ip"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "x-originating-ip"
        | "x-remote-addr"
        | "x-remote-ip" => Kind::ProxyClaim,
        _ if name.starts_with("x-forwarded-") => Kind::Claim,
        // Proxy-Authorization, Proxy-Connection, Proxy-Authenticate. Proxy-Status is a response's and
        // is appended to (RFC 9209 section 2).
        _ if name.starts_with("proxy-") && name != "proxy-status" => Kind::HopByHop,
        _ => Kind::Other,
    }
}

/// Calls `judge` with the name, hyphens for underscores. Names longer than any that is judged are
/// nobody's.
pub(super) fn with_hyphens(name: &str, judge: impl FnOnce(&str) -> bool) -> bool {
    let mut buffer = [0; 64];
    let Some(copy) = buffer.get_mut(..name.len()) else { return false };
    copy.copy_from_slice(name.as_bytes());
    copy.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
    std::str::from_utf8(copy).is_ok_and(judge)
}
