//! One line of the access log, and how its text is made safe for whoever reads it: the fields are
//! listed here, client-made text is cut, and everything outside printable ASCII is escaped, so that
//! no path can end a line, colour a terminal or turn the reading direction.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::policy::cover::{covered, shown_method};
use crate::policy::decide::{Conflict, Decision, Verdict, Why};
use crate::policy::facts::path_of;

use super::brownout_meters;
use super::event::{MAX_PATH, RequestEvent};
use super::labels::{NONE, role_label, version_label};
use super::wall_time::{Millis, text_of};

/// Longest request id that is printed; ids that we accept or make are below it.
const MAX_REQUEST_ID: usize = 128;

/// The fields, in the order of the line. Nothing else can get in.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "as_text")]
    time: Millis,
    request_id: &'a str,
    listener: &'a str,
    client_ip: IpAddr,
    scheme: &'static str,
    version: &'static str,
    method: &'a str,
    host: Cow<'a, str>,
    path: Cow<'a, str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
    /// What was wrong with the cell, where it was the cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    cell_error: Option<&'static str>,
    /// The brownout that it met, also where that only observes.
    #[serde(skip_serializing_if = "Option::is_none")]
    brownout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brownout_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<u64>,
    source: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<ConflictLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    surface: Option<&'a str>,
    role: &'static str,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    bytes_in: u64,
    bytes_out: u64,
    /// It waited because its account moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    total_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    attempts: u8,
    sends: u8,
    reused: bool,
    end: &'static str,
}

#[derive(Serialize)]
struct ConflictLine {
    followed: &'static str,
    against: &'static str,
}

/// Appends the line of an event, with its line feed.
pub(super) fn append_line(buffer: &mut Vec<u8>, event: &RequestEvent) {
    let start = buffer.len();
    let mut serializer = serde_json::Serializer::with_formatter(&mut *buffer, Printable);
    // Writing to memory does not fail, and the line has no map keys that are not text. Should it ever
    // fail, half a line must not spoil the next one.
    if line(event).serialize(&mut serializer).is_err() {
        buffer.truncate(start);
    }
    buffer.push(b'\n');
}

fn line(event: &RequestEvent) -> Line<'_> {
    let decision = event.decision.as_ref();
    let snapshot = &event.snapshot;
    let cell = event.cell().and_then(|cell| snapshot.cells.get(usize::from(cell.0)));
    let surface = decision.and_then(|d| d.surface).and_then(|s| snapshot.surfaces.get(usize::from(s.0)));
    let client = decision.and_then(|d| d.client).and_then(|c| snapshot.clients.get(usize::from(c)));
    let brownout = brownout_meters::position(event.planned).and_then(|met| snapshot.brownouts.all.get(met));
    Line {
        time: Millis(event.started),
        request_id: cut(&event.request_id, MAX_REQUEST_ID),
        listener: &event.listener,
        client_ip: event.client_ip,
        scheme: event.scheme.as_str(),
        version: version_label(event.version),
        method: shown_method(&event.method),
        host: covered(&snapshot.identify.credentials, &event.host, '.'),
        // The event's path has no query; should one ever get there, it stops here.
        path: covered(&snapshot.identify.credentials, path_of(cut(&event.path, MAX_PATH)), '/'),
        status: event.status,
        refusal: event.refusal.map(|refusal| refusal.label()),
        cell_error: event.refusal.and_then(|refusal| refusal.cell_error()),
        brownout: brownout.map(|brownout| brownout.id.as_str()),
        brownout_mode: brownout.map(|brownout| brownout.mode.as_str()),
        account: decision.and_then(|d| d.account).map(|account| account.value()),
        source: decision.map_or(NONE, |d| d.source.as_str()),
        conflicts: decision.map_or(Vec::new(), conflict_lines),
        cell: cell.map(|cell| cell.name.as_str()),
        why: decision.and_then(why),
        surface: surface.map(|surface| surface.name.as_str()),
        role: role_label(event.role()),
        generation: snapshot.generation.0,
        client: client.map(|client| &*client.name),
        bytes_in: event.bytes_in,
        bytes_out: event.bytes_out,
        held_ms: event.timings.held.map(millis),
        connected_ms: event.timings.connected.map(millis),
        first_byte_ms: event.timings.first_byte.map(millis),
        total_ms: millis(event.timings.total),
        endpoint: event.endpoint,
        attempts: event.attempts,
        sends: event.sends,
        reused: event.reused,
        end: event.end.as_str(),
    }
}

fn why(decision: &Decision) -> Option<&'static str> {
    match &decision.verdict {
        Verdict::Forward { why, .. } => Some(why.as_str()),
        Verdict::Hold { .. } => Some(Why::Mapped.as_str()),
        Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
    }
}

fn conflict_lines(decision: &Decision) -> Vec<ConflictLine> {
    let one = |conflict: &Conflict| ConflictLine {
        followed: conflict.followed.as_str(),
        against: conflict.against.as_str(),
    };
    decision.conflicts.iter().map(one).collect()
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Milliseconds with three decimals: microseconds are the finest that is worth reading.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn as_text<S: Serializer>(value: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text_of(&value.digits()))
}

/// Compact JSON in printable ASCII. serde_json escapes what JSON must (below 0x20, quote, backslash);
/// this adds DEL, the C1 controls that some terminals obey, line separators and direction marks, by
/// escaping all that is not ASCII.
struct Printable;

impl serde_json::ser::Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() && memchr::memchr(0x7f, fragment.as_bytes()).is_none() {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if character.is_ascii() && character != '\x7f' {
                writer.write_all(&[character as u8])?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::brownout::{BrownoutIndex, BrownoutMode, Planned};
    use crate::policy::credential::{Fingerprint, TokenShape};
    use crate::policy::decide::Source;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::test_snapshot::brownouts;

    fn event() -> RequestEvent {
        legacy_event(&snapshot(1))
    }

    fn line_of(event: &RequestEvent) -> String {
        let mut buffer = Vec::new();
        append_line(&mut buffer, event);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_line_has_these_fields_and_no_others() {
        let mut event = event();
        let decision = event.decision.as_mut().unwrap();
        decision.conflicts = vec![Conflict { followed: Source::Path, against: Source::Credential }];
        assert_eq!(
            line_of(&event),
            concat!(
                r#"{"time":"2026-11-20T10:00:00.000Z","request_id":"req-0001","listener":"https","#,
                r#""client_ip":"192.0.2.7","scheme":"https","version":"1.1","method":"GET","#,
                r#""host":"cloud.getdbt.com","path":"/api/v2/accounts/1/jobs/7/","status":200,"#,
                r#""account":1,"source":"path","#,
                r#""conflicts":[{"followed":"path","against":"credential"}],"cell":"us1","#,
                r#""why":"mapped","surface":"app","role":"legacy","generation":1,"client":"airflow","#,
                r#""bytes_in":10,"bytes_out":2000,"connected_ms":1.25,"first_byte_ms":80.0,"#,
                r#""total_ms":83.0,"endpoint":"127.0.0.1:8443","attempts":1,"sends":1,"reused":true,"#,
                r#""end":"complete"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_brownout_that_only_observes_is_in_the_line_of_a_request_that_was_served() {
        let mut live = std::sync::Arc::into_inner(snapshot(1)).unwrap();
        live.brownouts = brownouts(&[("bo-1", BrownoutMode::Observe, (10, 20))]);
        let mut event = legacy_event(&live.into());
        let (index, mode) = (BrownoutIndex(0), BrownoutMode::Observe);
        event.planned = Some(Planned::Brownout { index, mode, until: 20 });
        let line: serde_json::Value = serde_json::from_str(&line_of(&event)).unwrap();
        assert_eq!((&line["brownout"], &line["brownout_mode"]), (&"bo-1".into(), &"observe".into()));
        assert_eq!((&line["status"], &line["refusal"]), (&200.into(), &serde_json::Value::Null));
    }

    #[test]
    fn an_unreadable_head_gives_a_line_too() {
        let mut event = event();
        event.decision = None;
        event.refusal = Some(Refusal::HeadersTooLarge);
        let line: serde_json::Value = serde_json::from_str(&line_of(&event)).unwrap();
        assert_eq!(line["refusal"], "headers_too_large");
        assert_eq!(line["source"], "none");
        assert_eq!(line["role"], "none");
        assert!(line.get("cell").is_none());
    }

    #[test]
    fn a_path_cannot_leave_its_line_or_act_on_a_terminal() {
        let hostile = "/a\r\n{\"fake\":1}\x1b[2J\x00\x7f\u{9b}31m\u{2028}\u{202e}\u{1f980}\"\\end";
        let mut event = event();
        event.path = hostile.into();
        event.host = hostile.into();
        let line = line_of(&event);
        let text = line.strip_suffix('\n').unwrap();
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["path"], hostile);
        assert_eq!(read["host"], hostile);
    }

    #[test]
    fn no_secret_gets_into_a_line() {
        let mut event = event();
        event.path = "/api/v2/accounts/1/?token=canary-query".into();
        event.user_agent = Some("canary-agent".into());
        let decision = event.decision.as_mut().unwrap();
        decision.fingerprint = Some(Fingerprint([0xca; 16]));
        decision.verdict = Verdict::Redirect { location: "https://x/?code=canary-location".into() };
        let line = line_of(&event);
        assert!(!line.contains("canary") && !line.contains("caca"), "{line}");
    }

    #[test]
    fn what_looks_like_a_credential_is_in_no_path_and_no_host() {
        let mut live = std::sync::Arc::into_inner(snapshot(1)).unwrap();
        let shape = TokenShape { prefix: "dbtc_".into(), min_len: 40, max_len: 128 };
        live.identify.credentials.shapes = vec![shape];
        let mut event = legacy_event(&live.into());
        let token = format!("dbtc_{}", "x".repeat(60));
        event.method = http::Method::from_bytes(b"canary").unwrap();
        event.host = format!("{token}.cloud.getdbt.com").into();
        // In the second, only the beginning of it is before the cut.
        for before in [1, MAX_PATH - 20] {
            let before = "p".repeat(before);
            event.path = format!("/{before}/{token}/y").into();
            event.cut_to_size();
            let read: serde_json::Value = serde_json::from_str(&line_of(&event)).unwrap();
            assert_eq!(read["path"], format!("/{before}/{{credential}}/y"));
            assert_eq!(
                (&read["host"], &read["method"]),
                (&"{credential}.cloud.getdbt.com".into(), &"other".into())
            );
        }
    }

    #[test]
    fn long_text_is_cut() {
        let mut event = event();
        event.path = format!("/{}", "ü".repeat(5_000)).into();
        event.request_id = "r".repeat(1_000).into();
        event.cut_to_size();
        assert!(event.path.len() <= 2_048);
        let read: serde_json::Value = serde_json::from_str(&line_of(&event)).unwrap();
        assert_eq!(read["path"].as_str().unwrap().len(), 2_047);
        assert_eq!(read["request_id"].as_str().unwrap().len(), 128);
    }
}
