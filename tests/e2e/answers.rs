//! What cellgate answers itself: to malformed requests, to requests that name nobody, in place of a cell that
//! cannot; to operators; and its end.

mod admin;
mod causes;
mod cut;
mod drain;
mod in_place_of_a_cell;
mod malformed;
mod nobody;
mod taken;

use loadtest::client::Reply;

use crate::raw_http::RawReply;

/// What every refusal says about itself: a cell cannot have seen the request, or may have.
fn said(reply: &RawReply, status: u16, outcome: &str, what: &str) {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert_eq!(reply.header("x-cellgate-outcome"), Some(outcome), "{what}");
    let proxy = reply.header("proxy-status").unwrap_or_default();
    assert!(proxy.starts_with("cellgate; error="), "{what}: {proxy}");
    assert!(reply.header("x-request-id").is_some(), "{what}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
}

/// The same of an answer that came over HTTP/2.
fn said_h2(reply: &Reply, status: u16, outcome: &str, what: &str) {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = reply.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let raw =
        RawReply { status: reply.status.as_u16(), headers: headers.collect(), body: reply.body.to_vec() };
    said(&raw, status, outcome, what);
}
