//! Our own answers in the shape that the client's library reads: an error body in a foreign shape is
//! an error body that nobody sees.

use std::fmt::Write as _;

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
}

/// The media type and body of a refusal. A malformed request is always a problem document: what it
/// wanted to call is not known.
pub fn envelope(said: &Said<'_>, shape: ErrorShape) -> (&'static str, String) {
    let shape = if matches!(said.refusal, Refusal::BadRequest(_)) { ErrorShape::Problem } else { shape };
    let mut message = advice(said);
    if !said.guide.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(message, " See {}", said.guide);
    }
    let message = json_string(&message);
    let request_id = json_string(said.request_id);
    let code = said.refusal.label();
    let status = said.refusal.status();
    let outcome = said.outcome.as_str();
    match shape {
        ErrorShape::Problem => (
            "application/problem+json",
            format!(
                r#"{{"type":"about:blank","title":"{code}","status":{status},"detail":{message},"outcome":"{outcome}","request_id":{request_id}}}"#
            ),
        ),
        ErrorShape::Status => (
            "application/json",
            format!(
                r#"{{"status":{{"code":{status},"is_success":false,"user_message":{message},"developer_message":"cellgate: {code}, {outcome}"}},"data":null,"request_id":{request_id}}}"#
            ),
        ),
        ErrorShape::GraphQl => (
            "application/json",
            format!(
                r#"{{"data":null,"errors":[{{"message":{message},"extensions":{{"code":"{code}","status":{status},"outcome":"{outcome}","request_id":{request_id}}}}}]}}"#
            ),
        ),
    }
}

/// `grpc-message` (gRPC over HTTP/2, "Responses"): percent-encoded, so that it fits a header.
pub fn grpc_message(said: &Said<'_>) -> String {
    let mut message = String::new();
    for byte in advice(said).bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(message, "%{byte:02X}")),
        }
    }
    message
}

/// What happened, and what to do next.
fn advice(said: &Said<'_>) -> String {
    let what = said.refusal.advice();
    if said.refusal.depends_on_outcome() { [what, said.outcome.advice()].join(" ") } else { what.into() }
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
        Said { refusal, outcome: Outcome::NotForwarded, request_id: "r\"1", guide: "https://docs.test/move" }
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
