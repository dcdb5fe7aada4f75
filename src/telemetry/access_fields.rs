//! What lines of the access log are made of, looked up once for all profiles; and the two profiles that have fields of their
//! own: the least, and the names of the Elastic Common Schema (<https://www.elastic.co/docs/reference/ecs>, version 8).

use crate::policy::brownout::Brownout;
use crate::policy::cover::shown_method;
use crate::policy::decide::Decision;
use crate::policy::hex::hex;

use super::access_line::why;
use super::brownout_meters;
use super::event::RequestEvent;
use super::json_line::{InMillis, Line, Word, key};
use super::labels::{NONE, role_label, version_label};

/// Longest request id that is printed; ids that we accept or make are below it.
const MAX_REQUEST_ID: usize = 128;

/// A request, with the names of what it was about.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub event: &'a RequestEvent,
    pub decision: Option<&'a Decision>,
    /// How many requests its line stands for, where not each has one.
    pub requests: Option<u64>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(event: &'a RequestEvent, requests: Option<u64>) -> Self {
        Self { event, decision: event.decision.as_ref(), requests }
    }

    pub(super) fn request_id(&self) -> &'a str {
        cut(&self.event.request_id, MAX_REQUEST_ID)
    }

    pub(super) fn brownout(&self) -> Option<&'a Brownout> {
        let met = brownout_meters::position(self.event.planned)?;
        self.event.snapshot.brownouts.all.get(met)
    }

    pub(super) fn account(&self) -> Option<u64> {
        self.decision?.account.map(|account| account.value())
    }

    pub(super) fn refusal(&self) -> Option<Word<'static>> {
        self.event.refusal.map(|refusal| Word(refusal.label()))
    }

    pub(super) fn cell_error(&self) -> Option<Word<'static>> {
        self.event.refusal?.cell_error().map(Word)
    }

    pub(super) fn trace_id(&self) -> Option<String> {
        self.event.traced.as_ref().map(|traced| hex(traced.trace.to_be_bytes()))
    }
}

/// The least that says whether it worked.
pub(super) fn minimal(line: &mut Line<'_>, seen: &Seen<'_>) {
    let event = seen.event;
    line.field(key!("request_id"), seen.request_id())
        .field(key!("method"), Word(shown_method(&event.method)))
        .field(key!("host"), &*event.shown_host())
        .field(key!("path"), &*event.shown_path())
        .field(key!("status"), event.status)
        .field(key!("refusal"), seen.refusal())
        .field(key!("account"), seen.account())
        .field(key!("cell"), event.cell_name().map(Word))
        .field(key!("total_ms"), InMillis(event.timings.total))
        .field(key!("end"), Word(event.end.as_str()));
}

/// Names with dots: Elasticsearch reads them as objects.
pub(super) fn ecs(line: &mut Line<'_>, seen: &Seen<'_>) {
    let event = seen.event;
    let nanos = u64::try_from(event.timings.total.as_nanos()).unwrap_or(u64::MAX);
    // The version is that which these names are taken from.
    line.constant(r#","ecs.version":"8.17.0","event.dataset":"cellgate.access","event.kind":"event""#)
        .constant(r#","event.category":["web"],"event.type":["access"]"#)
        .field(key!("event.outcome"), Word(if event.is_smooth() { "success" } else { "failure" }))
        .field(key!("event.duration"), nanos)
        .field(key!("event.reason"), seen.refusal())
        .constant(r#","service.name":"cellgate""#)
        .field(key!("http.request.id"), seen.request_id())
        .field(key!("http.request.method"), Word(shown_method(&event.method)))
        .field(key!("http.request.body.bytes"), event.bytes_in)
        .field(key!("http.response.status_code"), event.status)
        .field(key!("http.response.body.bytes"), event.bytes_out)
        .field(key!("http.version"), Word(version_label(event.version)))
        .field(key!("url.scheme"), Word(event.scheme.as_str()))
        .field(key!("url.domain"), &*event.shown_host())
        .field(key!("url.path"), &*event.shown_path())
        .field(key!("client.ip"), event.client_ip)
        .field(key!("destination.ip"), event.endpoint.map(|endpoint| endpoint.ip()))
        .field(key!("destination.port"), event.endpoint.map(|endpoint| endpoint.port()))
        .field(key!("trace.id"), seen.trace_id().as_deref());
    own(line, seen);
}

/// What no common schema knows, below a name of our own.
fn own(line: &mut Line<'_>, seen: &Seen<'_>) {
    let Seen { event, decision, .. } = *seen;
    line.field(key!("cellgate.listener"), &*event.listener)
        .field(key!("cellgate.account"), seen.account())
        .field(key!("cellgate.source"), Word(decision.map_or(NONE, |decision| decision.source.as_str())))
        .field(key!("cellgate.cell"), event.cell_name().map(Word))
        .field(key!("cellgate.cell_error"), seen.cell_error())
        .field(key!("cellgate.why"), decision.and_then(why))
        .field(key!("cellgate.surface"), event.surface_name().map(Word))
        .field(key!("cellgate.role"), Word(role_label(event.role())))
        .field(key!("cellgate.generation"), event.snapshot.generation.0)
        .field(key!("cellgate.client"), event.client_name());
    if let Some(brownout) = seen.brownout() {
        line.field(key!("cellgate.brownout"), Word(brownout.id.as_str()))
            .field(key!("cellgate.brownout_mode"), Word(brownout.mode.as_str()));
    }
    line.field(key!("cellgate.held_ms"), event.timings.held.map(InMillis))
        .field(key!("cellgate.connected_ms"), event.timings.connected.map(InMillis))
        .field(key!("cellgate.first_byte_ms"), event.timings.first_byte.map(InMillis))
        .field(key!("cellgate.attempts"), event.attempts)
        .field(key!("cellgate.sends"), event.sends)
        .field(key!("cellgate.end"), Word(event.end.as_str()))
        .field(key!("cellgate.requests"), seen.requests);
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
