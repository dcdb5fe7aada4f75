//! One line of the access log, and how its text is made safe for whoever reads it: the fields are
//! listed here, client-made text is cut, and everything outside printable ASCII is escaped, so that
//! no path can end a line, colour a terminal or turn the reading direction.

use crate::policy::cover::shown_method;
use crate::policy::decide::{Conflict, Decision, Verdict, Why};
use crate::policy::facts::Upgrade;
use crate::policy::log_lines::Profile;

use super::access_fields::{self, Seen};
use super::event::RequestEvent;
use super::json_line::{InMillis, Line, Word, key};
use super::labels::{NONE, role_label, version_label};
use super::wall_time::Stamps;

/// As much of the hash of a configuration as other lines and pages show.
const SHORT_HASH: usize = 12;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// What it says.
    pub profile: Profile,
    /// How many requests it stands for, where not each has one.
    pub requests: Option<u64>,
}

/// Appends the line of an event, with its line feed. Fields are listed here and in `access_fields`, in their order; nothing else
/// can get in.
pub(super) fn append_line(buffer: &mut Vec<u8>, stamps: &mut Stamps, event: &RequestEvent, how: How) {
    let seen = &Seen::of(event, how.requests);
    let time = stamps.millis(event.started);
    let beginning = if how.profile == Profile::Ecs { r#"{"@timestamp":""# } else { r#"{"time":""# };
    let mut line = Line::begin(buffer, beginning, time);
    match how.profile {
        Profile::Standard => standard(&mut line, seen),
        Profile::Full => {
            standard(&mut line, seen);
            looked_into(&mut line, seen);
        }
        Profile::Minimal => access_fields::minimal(&mut line, seen),
        Profile::Ecs => access_fields::ecs(&mut line, seen),
    }
    // In each, where there is something to say.
    if how.profile != Profile::Ecs {
        line.field(key!("trace_id"), seen.trace_id().as_deref()).field(key!("requests"), seen.requests);
    }
    line.end();
}

fn standard(line: &mut Line<'_>, seen: &Seen<'_>) {
    let Seen { event, decision, .. } = *seen;
    line.field(key!("request_id"), seen.request_id())
        .field(key!("listener"), &*event.listener)
        .field(key!("client_ip"), event.client_ip)
        .field(key!("scheme"), Word(event.scheme.as_str()))
        .field(key!("version"), Word(version_label(event.version)))
        .field(key!("method"), Word(shown_method(&event.method)))
        .field(key!("host"), &*event.shown_host())
        .field(key!("path"), &*event.shown_path())
        .field(key!("status"), event.status)
        .field(key!("refusal"), seen.refusal())
        // What was wrong with the cell, where it was the cell.
        .field(key!("cell_error"), seen.cell_error());
    // The brownout that it met, also where that only observes.
    if let Some(brownout) = seen.brownout() {
        line.field(key!("brownout"), Word(brownout.id.as_str()))
            .field(key!("brownout_mode"), Word(brownout.mode.as_str()));
    }
    line.field(key!("account"), seen.account())
        .field(key!("source"), Word(decision.map_or(NONE, |decision| decision.source.as_str())))
        .list(key!("conflicts"), decision.map_or(&[], |decision| &*decision.conflicts), conflict)
        .field(key!("cell"), event.cell_name().map(Word))
        .field(key!("why"), decision.and_then(why))
        .field(key!("surface"), event.surface_name().map(Word))
        .field(key!("role"), Word(role_label(event.role())))
        .field(key!("generation"), event.snapshot.generation.0)
        .field(key!("client"), event.client_name())
        .field(key!("bytes_in"), event.bytes_in)
        .field(key!("bytes_out"), event.bytes_out)
        // It waited because its account moves.
        .field(key!("held_ms"), event.timings.held.map(InMillis))
        .field(key!("connected_ms"), event.timings.connected.map(InMillis))
        .field(key!("first_byte_ms"), event.timings.first_byte.map(InMillis))
        .field(key!("total_ms"), InMillis(event.timings.total))
        .field(key!("endpoint"), event.endpoint)
        .field(key!("attempts"), event.attempts)
        .field(key!("sends"), event.sends)
        .field(key!("reused"), event.reused)
        .field(key!("end"), Word(event.end.as_str()));
}

/// What is only in full lines.
fn looked_into(line: &mut Line<'_>, seen: &Seen<'_>) {
    let Seen { event, decision, .. } = *seen;
    line.field(key!("upgrade"), event.upgrade == Upgrade::WebSocket)
        .field(key!("retry_budget_empty"), event.retry_budget_empty)
        .field(key!("upstream_deprecated"), event.upstream_deprecated)
        .field(key!("credential_known"), decision.map(|decision| decision.credential_known))
        .field(key!("configuration"), event.snapshot.hash.get(..SHORT_HASH))
        .field(key!("queued_ms"), event.timings.queued.map(InMillis))
        .field(key!("asked_ms"), event.timings.asked.map(InMillis));
}

pub(super) fn why(decision: &Decision) -> Option<Word<'static>> {
    match &decision.verdict {
        Verdict::Forward { why, .. } => Some(Word(why.as_str())),
        Verdict::Hold { .. } => Some(Word(Why::Mapped.as_str())),
        Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
    }
}

fn conflict(line: &mut Line<'_>, conflict: &Conflict) {
    line.constant(r#""followed":""#)
        .constant(conflict.followed.as_str())
        .constant("\"")
        .field(key!("against"), Word(conflict.against.as_str()));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::event::MAX_PATH;
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::policy::brownout::{BrownoutIndex, BrownoutMode, Planned};
    use crate::policy::cell_failure::Silence;
    use crate::policy::credential::{Fingerprint, TokenShape};
    use crate::policy::decide::Source;
    use crate::policy::facts::Scheme;
    use crate::policy::ids::{AccountId, Generation};
    use crate::policy::refusal::Refusal;
    use crate::policy::trace_context::{Fresh, TraceRules, Traced};
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::labels::{ENDS, VERSIONS};
    use crate::test_snapshot::brownouts;

    fn event() -> RequestEvent {
        legacy_event(&snapshot(1))
    }

    fn line_as(event: &RequestEvent, profile: Profile, requests: Option<u64>) -> String {
        let mut buffer = Vec::new();
        append_line(&mut buffer, &mut Stamps::default(), event, How { profile, requests });
        String::from_utf8(buffer).unwrap()
    }

    fn line_of(event: &RequestEvent) -> String {
        line_as(event, Profile::Standard, None)
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

    /// Events that have, together, everything that a line can say.
    fn all_kinds() -> [RequestEvent; 2] {
        let mut live = Arc::into_inner(snapshot(1)).unwrap();
        live.brownouts = brownouts(&[("bo-1", BrownoutMode::Observe, (10, 20))]);
        live.hash = "0123456789abcdef".into();
        let mut event = legacy_event(&live.into());
        let (index, mode) = (BrownoutIndex(0), BrownoutMode::Observe);
        event.planned = Some(Planned::Brownout { index, mode, until: 20 });
        let decision = event.decision.as_mut().unwrap();
        decision.conflicts = vec![Conflict { followed: Source::Path, against: Source::Credential }];
        event.timings.held = Some(Duration::from_millis(1));
        event.timings.queued = Some(Duration::from_millis(1));
        let rules = TraceRules { trust_from: Vec::new(), ratio: None, failures: true };
        let fresh = Fresh { trace: 0xabc, span: 1, to_cell: 2 };
        let headers = http::HeaderMap::new();
        event.traced = Some(Box::new(Traced::of(&rules, &headers, event.client_ip, fresh)));
        let mut failed = legacy_event(&event.snapshot);
        (failed.refusal, failed.status) = (Some(Refusal::CellTimeout(Silence::Unanswered)), 504);
        [event, failed]
    }

    fn keys(profile: Profile) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        for event in all_kinds() {
            let line = line_as(&event, profile, Some(3));
            let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
            keys.extend(line.keys().cloned());
        }
        keys
    }

    #[test]
    fn the_page_lists_exactly_the_fields_that_are_written() {
        let page = include_str!("../../docs/access-log.md");
        let row = |line: &'static str| -> Option<Vec<&'static str>> {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
            Some(cells)
        };
        let rows: Vec<Vec<&str>> = page.lines().filter_map(row).collect();
        let name = |row: &Vec<&str>| row[0].trim_end_matches('`').to_owned();
        let column = |at: usize| -> BTreeSet<String> {
            rows.iter().filter(|row| row.len() > 4 && row[at] == "x").map(name).collect()
        };
        let ecs: BTreeSet<String> = rows.iter().filter(|row| row.len() < 4).map(name).collect();
        for (profile, listed) in [
            (Profile::Standard, column(1)),
            (Profile::Full, column(2)),
            (Profile::Minimal, column(3)),
            (Profile::Ecs, ecs),
        ] {
            assert_eq!(keys(profile), listed, "{profile:?} of docs/access-log.md");
        }
    }

    #[test]
    fn a_line_of_the_common_schema_and_the_least_one() {
        let [event, _] = all_kinds();
        let line = |profile| line_as(&event, profile, None);
        assert_eq!(
            line(Profile::Minimal),
            concat!(
                r#"{"time":"2026-11-20T10:00:00.000Z","request_id":"req-0001","method":"GET","#,
                r#""host":"cloud.getdbt.com","path":"/api/v2/accounts/1/jobs/7/","status":200,"#,
                r#""account":1,"cell":"us1","total_ms":83.0,"end":"complete","#,
                r#""trace_id":"00000000000000000000000000000abc"}"#,
                "\n"
            )
        );
        let ecs: serde_json::Value = serde_json::from_str(&line(Profile::Ecs)).unwrap();
        assert_eq!((&ecs["event.duration"], &ecs["event.outcome"]), (&83_000_000.into(), &"success".into()));
        assert_eq!((&ecs["destination.ip"], &ecs["destination.port"]), (&"127.0.0.1".into(), &8443.into()));
        assert!(ecs.get("cellgate.requests").is_none());
    }

    /// Events with what is written in a way of its own: addresses of both kinds, times and numbers of all sizes, text that must be
    /// escaped or covered.
    fn odd_kinds() -> Vec<RequestEvent> {
        let mut live = Arc::into_inner(snapshot(1)).unwrap();
        let shape = TokenShape { prefix: "dbtc_".into(), min_len: 20, max_len: 128 };
        live.identify.credentials.shapes = vec![shape];
        live.generation = Generation(u64::MAX);
        let live = Arc::new(live);
        let clients =
            ["::1", "2001:db8::8:800:200c:417a", "::ffff:192.0.2.1", "fe80:0:0:1::", "255.255.255.255"];
        let endpoints = ["[::1]:65535", "[2001:db8::1]:443", "10.0.0.1:1", "203.0.113.199:8443", "0.0.0.0:0"];
        let texts = [
            "/a\"b\\c\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}",
            "/\u{fc}\u{2028}\u{1f980}",
            "",
            "/clean",
            "/dbtc_%",
        ];
        let nanos = [0, 999, 1_000, 1_999_999, 86_400_000_123_456_789];
        let odd = |at: usize| {
            let mut event = legacy_event(&live);
            let micros = Duration::from_nanos(nanos[at]);
            let decision = event.decision.as_mut().unwrap();
            decision.account = AccountId::from_value(u64::MAX >> (at * 13));
            decision.client = None;
            event.client_ip = clients[at].parse().unwrap();
            event.endpoint = Some(endpoints[at].parse().unwrap());
            event.path =
                format!("{}{}", texts[at], ["", "/x", "/dbtc_0123456789abcdef/x", "/", ""][at]).into();
            event.host = texts[4 - at].into();
            event.started += Duration::from_millis(7 + 86_399_900 * at as u64);
            (event.timings.first_byte, event.timings.total) = (Some(micros), micros * 3);
            (event.bytes_in, event.bytes_out) = (u64::MAX >> (at * 7), 10_u64.pow(at as u32));
            (event.status, event.attempts, event.sends) = ([200, 99, 1000, 404, 0][at], 255, 10);
            (event.scheme, event.version) = (Scheme::Http, VERSIONS[at % 3]);
            event.end = ENDS[at];
            event
        };
        (0..5).map(odd).collect()
    }

    #[test]
    fn lines_of_all_profiles_are_what_they_have_always_been() {
        let (mut buffer, mut stamps) = (Vec::new(), Stamps::default());
        for event in all_kinds().iter().chain(&odd_kinds()) {
            for profile in [Profile::Standard, Profile::Full, Profile::Minimal, Profile::Ecs] {
                for requests in [None, Some(1_000)] {
                    append_line(&mut buffer, &mut stamps, event, How { profile, requests });
                }
            }
        }
        let lines = String::from_utf8(buffer).unwrap();
        assert!(lines == include_str!("access_lines.txt"), "access_lines.txt should be:\n{lines}");
    }

    #[test]
    fn a_brownout_that_only_observes_is_in_the_line_of_a_request_that_was_served() {
        let mut live = Arc::into_inner(snapshot(1)).unwrap();
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
        let mut live = Arc::into_inner(snapshot(1)).unwrap();
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
