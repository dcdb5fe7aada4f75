//! Our own answers in the shape that the client's library reads: an error body in a foreign shape is
//! an error body that nobody sees.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};

use super::brownout::notice::Notice;
use super::calendar::show_moment;
use super::facts::accepts;
use super::html::escaped;
use super::refusal::{Outcome, Refusal};

/// The error body of a surface's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ErrorShape {
    /// RFC 9457 `application/problem+json`.
    #[default]
    Problem,
    /// `{"status":{"code":..,"is_success":false,"user_message":..},"data":null}`, which dbt's REST
    /// clients print the `user_message` of.
    Status,
    /// `{"data":null,"errors":[{"message":..}]}`.
    GraphQl,
    /// A page, for whoever looks at it in a browser. No surface has it: see [`for_client`](Self::for_client).
    Html,
    /// A line of text, for whoever looks at it in a terminal. Likewise.
    Text,
}

impl ErrorShape {
    /// The shape for one client of a surface that has this one: a page where a browser shows it to a person, text where it was
    /// asked for. Java's own client accepts `text/html` and looks at nothing, so that alone makes no page.
    pub fn for_client(self, headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
        let browser = headers
            .get("sec-fetch-mode")
            .map_or_else(|| agent.starts_with(b"Mozilla/"), |mode| mode == "navigate");
        if browser && accepts(headers, "text/html") && !accepts(headers, "json") {
            return Self::Html;
        }
        let of_terminals = [&b"curl/"[..], b"Wget/"].iter().any(|name| agent.starts_with(name));
        let anything = headers.get(ACCEPT).is_none_or(|accept| accept == "*/*");
        // Whoever calls a known API with curl reads its JSON.
        let at_a_terminal = self == Self::Problem && of_terminals && anything;
        let asked = accepts(headers, "text/plain") && !accepts(headers, "json") && !accepts(headers, "*/*");
        if at_a_terminal || asked { Self::Text } else { self }
    }
}

/// What a refusal says to its client.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Why.
    pub refusal: Refusal,
    /// Whether a cell may have seen the request.
    pub outcome: Outcome,
    /// As in `X-Request-Id`.
    pub request_id: &'a str,
    /// Where a human reads on.
    pub guide: &'a str,
    /// More, where it is a planned one.
    pub notice: Option<&'a Notice>,
}

/// The media type and body of a refusal. A malformed request is always a problem document: what it
/// wanted to call is not known.
pub fn envelope(said: &Said<'_>, shape: ErrorShape) -> (&'static str, String) {
    let shape = if matches!(said.refusal, Refusal::BadRequest(_)) { ErrorShape::Problem } else { shape };
    let plain = message(said);
    let message = json_string(&plain);
    let request_id = json_string(said.request_id);
    let code = said.refusal.label();
    let status = said.refusal.status();
    let outcome = said.outcome.as_str();
    match shape {
        ErrorShape::Problem => (
            "application/problem+json",
            format!(
                r#"{{"type":"about:blank","title":"{code}","status":{status},"detail":{message},"outcome":"{outcome}","request_id":{request_id}{}}}"#,
                members(said)
            ),
        ),
        ErrorShape::Status => (
            "application/json",
            format!(
                r#"{{"status":{{"code":{status},"is_success":false,"user_message":{message},"developer_message":"cellgate: {code}, {outcome}"}},"data":null,"request_id":{request_id}{}}}"#,
                members(said)
            ),
        ),
        ErrorShape::GraphQl => (
            "application/json",
            format!(
                r#"{{"data":null,"errors":[{{"message":{message},"extensions":{{"code":"{code}","status":{status},"outcome":"{outcome}","request_id":{request_id}{}}}}}]}}"#,
                members(said)
            ),
        ),
        ErrorShape::Html => ("text/html; charset=utf-8", page(said, &plain)),
        ErrorShape::Text => {
            ("text/plain; charset=utf-8", format!("{status} {code}: {plain} (request {})\n", said.request_id))
        }
    }
}

/// `grpc-message` (gRPC over HTTP/2, "Responses"): percent-encoded, so that it fits a header.
pub fn grpc_message(said: &Said<'_>) -> String {
    let mut encoded = String::new();
    for byte in message(said).bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// What happened, what to do next, and where a human reads on.
fn message(said: &Said<'_>) -> String {
    let mut message = advice(said);
    // One without the account's own address has the guide in its first words.
    let guide =
        said.notice.map_or(said.guide, |notice| notice.origin.as_ref().map_or("", |_| &*notice.guide));
    if !guide.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(message, " See {guide}");
    }
    message
}

fn advice(said: &Said<'_>) -> String {
    if let Some(notice) = said.notice {
        return notice.message();
    }
    let what = said.refusal.advice();
    if said.refusal.depends_on_outcome() { [what, said.outcome.advice()].join(" ") } else { what.into() }
}

/// The facts of a planned refusal, as members behind others.
fn members(said: &Said<'_>) -> String {
    let Some(notice) = said.notice else { return String::new() };
    let mut members = format!(
        r#","legacy_host":{},"sunset":"{}","docs":{}"#,
        json_string(&notice.legacy_host),
        show_moment(notice.sunset_at),
        json_string(&notice.guide),
    );
    if let Some(replacement) = &notice.replacement {
        let _ = write!(members, r#","replacement":{}"#, json_string(replacement));
    }
    if let Some((id, until)) = &notice.brownout {
        let _ =
            write!(members, r#","brownout":{{"id":{},"ends":"{}"}}"#, json_string(id), show_moment(*until));
    }
    members
}

/// A page of one heading and one paragraph; it loads nothing and runs nothing.
fn page(said: &Said<'_>, message: &str) -> String {
    let (status, code) = (said.refusal.status(), said.refusal.label());
    let link = |url: &str| format!(r#"<p><a href="{0}">{0}</a></p>"#, escaped(url));
    let links = said.notice.and_then(|notice| notice.replacement.as_deref()).map(link).unwrap_or_default();
    let guide = said.notice.map_or(said.guide, |notice| &*notice.guide);
    let guide = if guide.is_empty() { String::new() } else { link(guide) };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status} {code}</title></head><body>\
         <h1>{status} {code}</h1><p>{}</p>{links}{guide}<p>Request {}</p></body></html>\n",
        escaped(message),
        escaped(said.request_id),
    )
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::cell_failure::{BrokenAnswer, Silence, Unreachable};
    use super::super::refusal::BadRequest;
    use super::*;

    fn said(refusal: Refusal) -> Said<'static> {
        let guide = "https://docs.test/move";
        Said { refusal, outcome: Outcome::NotForwarded, request_id: "r\"1", guide, notice: None }
    }

    fn noticed(origin: Option<&str>, brownout: bool) -> Notice {
        Notice {
            legacy_host: "cloud.getdbt.com".into(),
            origin: origin.map(Into::into),
            replacement: origin.map(|origin| format!("{origin}/api/v2/x?a=<b>&c=\"d\"")),
            guide: "https://docs.test/move".into(),
            sunset_at: 1_793_491_200,
            brownout: brownout.then(|| ("bo-1".into(), 1_795_532_400)),
        }
    }

    const OWN: &str = "https://ab123.us1.dbt.com";

    #[test]
    fn where_to_go_instead_stands_in_the_first_characters_of_every_shape() {
        let check = |origin: Option<&str>, refusal, expect: &str| {
            let notice = noticed(origin, matches!(refusal, Refusal::BrownoutSoft | Refusal::BrownoutHard));
            let said = Said { notice: Some(&notice), ..said(refusal) };
            let of = |shape, pointer: &str| {
                let body: serde_json::Value = serde_json::from_str(&envelope(&said, shape).1).unwrap();
                body.pointer(pointer).unwrap().as_str().unwrap().to_owned()
            };
            let messages = [
                of(ErrorShape::Problem, "/detail"),
                of(ErrorShape::Status, "/status/user_message"),
                of(ErrorShape::GraphQl, "/errors/0/message"),
                envelope(&said, ErrorShape::Text).1,
                grpc_message(&said),
            ];
            for message in messages {
                assert!(message[..120.min(message.len())].contains(expect), "{message}");
                assert_eq!(message.matches("https://docs.test/move").count(), 1, "{message}");
            }
        };
        for refusal in [Refusal::BrownoutSoft, Refusal::BrownoutHard, Refusal::Sunset, Refusal::Gone] {
            check(Some(OWN), refusal, OWN);
            check(None, refusal, "https://docs.test/move");
        }
    }

    #[test]
    fn a_planned_refusal_says_the_same_facts_in_every_json() {
        let notice = noticed(Some(OWN), true);
        let said = Said { notice: Some(&notice), ..said(Refusal::BrownoutHard) };
        for (shape, at) in [
            (ErrorShape::Problem, ""),
            (ErrorShape::Status, ""),
            (ErrorShape::GraphQl, "/errors/0/extensions"),
        ] {
            let body: serde_json::Value = serde_json::from_str(&envelope(&said, shape).1).unwrap();
            let facts = body.pointer(at).unwrap();
            assert_eq!(facts["legacy_host"], "cloud.getdbt.com", "{shape:?}");
            assert_eq!(facts["replacement"], "https://ab123.us1.dbt.com/api/v2/x?a=<b>&c=\"d\"", "{shape:?}");
            assert_eq!(facts["sunset"], "2026-11-01T00:00:00Z", "{shape:?}");
            let brownout = serde_json::json!({ "id": "bo-1", "ends": "2026-11-24T15:00:00Z" });
            assert_eq!(facts["brownout"], brownout, "{shape:?}");
        }
        let (_, body) = envelope(&said, ErrorShape::Status);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["status"]["code"], &body["status"]["is_success"]), (&410.into(), &false.into()));
    }

    #[test]
    fn nothing_of_a_request_is_markup_in_a_page() {
        let notice = noticed(Some("https://a<script>'\"&.test"), true);
        let said =
            Said { notice: Some(&notice), request_id: "<img onerror=x>", ..said(Refusal::BrownoutHard) };
        let (media_type, page) = envelope(&said, ErrorShape::Html);
        assert_eq!(media_type, "text/html; charset=utf-8");
        let tags: Vec<&str> =
            page.split('<').skip(1).map(|tag| tag.split(['>', ' ']).next().unwrap()).collect();
        let known = [
            "!doctype", "html", "head", "meta", "title", "/title", "/head", "body", "h1", "/h1", "p", "/p",
            "a", "/a", "/body", "/html",
        ];
        assert!(tags.iter().all(|tag| known.contains(tag)), "{tags:?} in {page}");
        assert_eq!(page.matches(" href=\"").count(), 2, "{page}");
        assert!(page.contains("&lt;img onerror=x&gt;"), "{page}");
    }

    #[test]
    fn the_shape_is_what_the_client_can_show() {
        let check = |surface: ErrorShape, fields: &[(&'static str, &str)], expect: ErrorShape| {
            let headers = fields
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
            assert_eq!(surface.for_client(&headers.collect()), expect, "{surface:?} {fields:?}");
        };
        use ErrorShape::{GraphQl, Html, Problem, Status, Text};
        let page = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        let browser = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
        for surface in [Problem, Status, GraphQl] {
            check(surface, &[], if surface == Problem { Problem } else { surface });
            check(surface, &[page, ("sec-fetch-mode", "navigate")], Html);
            check(surface, &[page, browser], Html);
            check(surface, &[page, browser, ("sec-fetch-mode", "cors")], surface);
            check(surface, &[("accept", "application/json, text/html"), browser], surface);
            check(
                surface,
                &[("accept", "text/html, image/gif, *; q=.2, */*; q=.2"), ("user-agent", "Java/17")],
                surface,
            );
            check(surface, &[("accept", "*/*"), ("user-agent", "python-requests/2.32")], surface);
            check(surface, &[("accept", "text/plain")], Text);
            check(
                surface,
                &[("accept", "application/json, text/plain, */*"), ("user-agent", "axios/1.7")],
                surface,
            );
        }
        let curl = [("accept", "*/*"), ("user-agent", "curl/8.5.0")];
        check(Problem, &curl, Text);
        check(Status, &curl, Status);
        check(GraphQl, &curl, GraphQl);
        check(Problem, &[("accept", "application/json"), ("user-agent", "curl/8.5.0")], Problem);
    }

    #[test]
    fn every_shape_is_json_with_status_advice_and_request_id() {
        for shape in [ErrorShape::Problem, ErrorShape::Status, ErrorShape::GraphQl] {
            let (_, body) = envelope(&said(Refusal::UnmappedAccount), shape);
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            let text = value.to_string();
            for expected in ["unmapped_account", "404", "https://docs.test/move", r#"r\"1"#] {
                assert!(text.contains(expected), "{shape:?}: {expected} in {text}");
            }
        }
    }

    #[test]
    fn a_malformed_request_is_a_problem_document_everywhere() {
        let (media_type, _) = envelope(&said(Refusal::BadRequest(BadRequest::Host)), ErrorShape::GraphQl);
        assert_eq!(media_type, "application/problem+json");
    }

    #[test]
    fn what_a_cell_may_have_done_is_said_as_it_is_known() {
        for refusal in [
            Refusal::CellUnreachable(Unreachable::Refused),
            Refusal::CellBroken(BrokenAnswer::Incomplete),
            Refusal::CellTimeout(Silence::Unanswered),
            Refusal::Drain,
        ] {
            for outcome in [Outcome::NotForwarded, Outcome::Unknown] {
                let said = Said { outcome, ..said(refusal) };
                for text in [envelope(&said, ErrorShape::Problem).1, grpc_message(&said)] {
                    assert_eq!(text.contains("may have acted"), outcome == Outcome::Unknown, "{text}");
                    assert_eq!(text.contains("can be repeated"), outcome == Outcome::NotForwarded, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_grpc_message_is_printable() {
        let message = grpc_message(&said(Refusal::Shed(super::super::protection::shed::Shed::CellFull)));
        assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message}");
    }
}
