//! Which of the fields that somebody here asks for a head has, noted in one walk over its names. Most heads have few of them,
//! and to look for one that is not there costs as much as to find it.
//!
//! A [`Field`] says that it is there, and neither how often nor with which value.

use http::HeaderMap;

use super::gate::is_routing_field;

/// A field, or a kind of fields, that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `Access-Control-Allow-Origin`.
    AllowOrigin,
    /// `Alt-Svc`.
    AltSvc,
    /// `Connection`.
    Connection,
    /// `Content-Length`.
    ContentLength,
    /// `Content-Type`.
    ContentType,
    /// `Cookie`.
    Cookie,
    /// `Deprecation`.
    Deprecation,
    /// `Expect`.
    Expect,
    /// `Link`.
    Link,
    /// `Proxy-Connection`, which some old clients and servers say in place of Connection (RFC 9112 appendix C.2.2).
    ProxyConnection,
    /// `Proxy-Status`.
    ProxyStatus,
    /// `Sec-Fetch-Mode`.
    SecFetchMode,
    /// `Sunset`.
    Sunset,
    /// `TE`.
    Te,
    /// `traceparent`.
    Traceparent,
    /// `tracestate`.
    Tracestate,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Upgrade`.
    Upgrade,
    /// `Via`.
    Via,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `X-Request-Id`.
    XRequestId,
    /// Any other that is for one hop (RFC 9110 section 7.6.1), and the announcement of trailers, which the engine does not
    /// carry over HTTP/1.
    OneHop,
    /// Any other that claims to know the client's address, its certificate or the original target; one that only looks so to
    /// a cell that reads `_` as `-`, too.
    Claim,
    /// Any of `X-Cellgate-*`, see [`is_routing_field`].
    Routing,
}

/// The fields that a head has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u32);

impl Field {
    /// What a name is, in lower case as [`http::HeaderName`] has it; `None` of one that nobody asks for.
    pub fn of(name: &str) -> Option<Self> {
        Self::known(name.as_bytes()).or_else(|| Self::alike(name))
    }

    /// As bytes, of which the compiler makes a choice by length and then by letter: words it compares one by one.
    fn known(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"access-control-allow-origin" => Self::AllowOrigin,
            b"alt-svc" => Self::AltSvc,
            b"connection" => Self::Connection,
            b"content-length" => Self::ContentLength,
            b"content-type" => Self::ContentType,
            b"cookie" => Self::Cookie,
            b"deprecation" => Self::Deprecation,
            b"expect" => Self::Expect,
            b"link" => Self::Link,
            b"proxy-connection" => Self::ProxyConnection,
            b"proxy-status" => Self::ProxyStatus,
            b"sec-fetch-mode" => Self::SecFetchMode,
            b"sunset" => Self::Sunset,
            b"te" => Self::Te,
            b"traceparent" => Self::Traceparent,
            b"tracestate" => Self::Tracestate,
            b"transfer-encoding" => Self::TransferEncoding,
            b"upgrade" => Self::Upgrade,
            b"via" => Self::Via,
            b"x-forwarded-for" => Self::XForwardedFor,
            b"x-request-id" => Self::XRequestId,
            b"keep-alive" | b"proxy-authenticate" | b"proxy-authorization" | b"trailer" => Self::OneHop,
            b"forwarded"
            | b"x-forwarded-host"
            | b"x-forwarded-port"
            | b"x-forwarded-proto"
            | b"x-forwarded-server"
            | b"x-original-host"
            | b"x-original-url"
            | b"x-real-ip"
            | b"x-rewrite-url" => Self::Claim,
            // RFC 9440: a cell that reads it believes it, and the chain.
            b"client-cert" | b"client-cert-chain" => Self::Claim,
            _ => return None,
        })
    }

    /// Names that are told by how they are made. Many cells read `_` as `-` (RFC 3875 section 4.1.18).
    fn alike(name: &str) -> Option<Self> {
        // So begins all that is ours, and every claim that has a `-`; few other names do.
        if !matches!(name.as_bytes(), [b'x', b'-' | b'_', ..] | [b'p', b'r', ..] | [b'c', b'l', ..]) {
            return None;
        }
        if is_routing_field(name.as_bytes()) {
            return Some(Self::Routing);
        }
        let is_respelled = name.as_bytes().contains(&b'_');
        let meant = if is_respelled { Self::known(name.replace('_', "-").as_bytes()) } else { None };
        matches!(meant, Some(Self::XForwardedFor | Self::ProxyConnection | Self::XRequestId | Self::Claim))
            .then_some(Self::Claim)
    }
}

impl Fields {
    /// What a head has.
    pub fn of(headers: &HeaderMap) -> Self {
        headers.keys().filter_map(|name| Field::of(name.as_str())).fold(Self::default(), Self::with)
    }

    /// These.
    pub const fn these(fields: &[Field]) -> Self {
        let mut these = Self(0);
        let mut at = 0;
        while at < fields.len() {
            these = these.with(fields[at]);
            at += 1;
        }
        these
    }

    /// These, and another one.
    #[must_use]
    pub const fn with(self, field: Field) -> Self {
        Self(self.0 | 1 << field as u32)
    }

    /// Whether this one is among them.
    pub const fn has(self, field: Field) -> bool {
        self.0 & 1 << field as u32 != 0
    }

    /// Whether one of these is among them.
    pub const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const NAMES: &[(&str, Option<Field>)] = &[
        ("host", None),
        ("accept", None),
        ("access-control-allow-origin", Some(Field::AllowOrigin)),
        ("alt-svc", Some(Field::AltSvc)),
        ("client-cert", Some(Field::Claim)),
        ("client-cert-chain", Some(Field::Claim)),
        ("client_cert", Some(Field::Claim)),
        ("connection", Some(Field::Connection)),
        ("content-length", Some(Field::ContentLength)),
        ("content-type", Some(Field::ContentType)),
        ("content_length", None),
        ("cookie", Some(Field::Cookie)),
        ("deprecation", Some(Field::Deprecation)),
        ("expect", Some(Field::Expect)),
        ("forwarded", Some(Field::Claim)),
        ("keep-alive", Some(Field::OneHop)),
        ("keep_alive", None),
        ("link", Some(Field::Link)),
        ("proxy-authenticate", Some(Field::OneHop)),
        ("proxy-authorization", Some(Field::OneHop)),
        ("proxy-connection", Some(Field::ProxyConnection)),
        ("proxy-status", Some(Field::ProxyStatus)),
        ("proxy_connection", Some(Field::Claim)),
        ("sec-fetch-mode", Some(Field::SecFetchMode)),
        ("sunset", Some(Field::Sunset)),
        ("te", Some(Field::Te)),
        ("traceparent", Some(Field::Traceparent)),
        ("tracestate", Some(Field::Tracestate)),
        ("trailer", Some(Field::OneHop)),
        ("transfer-encoding", Some(Field::TransferEncoding)),
        ("upgrade", Some(Field::Upgrade)),
        ("via", Some(Field::Via)),
        ("x-forwarded-for", Some(Field::XForwardedFor)),
        ("x-forwarded-host", Some(Field::Claim)),
        ("x-forwarded-port", Some(Field::Claim)),
        ("x-forwarded-proto", Some(Field::Claim)),
        ("x-forwarded-server", Some(Field::Claim)),
        ("x-original-host", Some(Field::Claim)),
        ("x-original-url", Some(Field::Claim)),
        ("x-real-ip", Some(Field::Claim)),
        ("x-request-id", Some(Field::XRequestId)),
        ("x-rewrite-url", Some(Field::Claim)),
        ("x_forwarded-for", Some(Field::Claim)),
        ("x_real_ip", Some(Field::Claim)),
        ("x_request_id", Some(Field::Claim)),
        ("x-cellgate-account", Some(Field::Routing)),
        ("x_cellgate-anything", Some(Field::Routing)),
        ("x-cellgate", None),
    ];

    #[test]
    fn a_name_is_what_it_says_and_a_respelled_claim_is_one_too() {
        for (name, is) in NAMES {
            assert_eq!(Field::of(name), *is, "{name}");
        }
    }

    #[test]
    fn every_claim_is_seen_whichever_of_its_dashes_is_respelled() {
        let claims = [Field::XForwardedFor, Field::ProxyConnection, Field::XRequestId, Field::Claim];
        let claims = Fields::these(&claims).with(Field::Routing);
        let mut seen = 0;
        for (name, is) in NAMES {
            let Some(is) = is.filter(|is| claims.has(*is)) else { continue };
            for (at, _) in name.match_indices('-') {
                let respelled = format!("{}_{}", &name[..at], &name[at + 1..]);
                let expect = if is == Field::Routing { Field::Routing } else { Field::Claim };
                assert_eq!(Field::of(&respelled), Some(expect), "{respelled}");
                seen += 1;
            }
        }
        assert!(seen >= 20, "{seen} names were respelled");
    }

    #[test]
    fn a_head_has_what_stands_in_it() {
        let mut headers = HeaderMap::new();
        for name in ["host", "via", "expect", "via"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let fields = Fields::of(&headers);
        assert_eq!(fields, Fields::these(&[Field::Via, Field::Expect]));
        assert!(fields.has(Field::Via) && !fields.has(Field::Upgrade));
        assert!(fields.has_any(Fields::these(&[Field::Upgrade, Field::Expect])));
        assert!(!fields.has_any(Fields::these(&[Field::Upgrade, Field::Routing])));
        // The last of the enum has its place, too.
        assert!(Fields::default().with(Field::Routing).has(Field::Routing));
    }
}
