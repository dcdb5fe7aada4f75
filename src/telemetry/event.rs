//! The one seam between serving and seeing: a request's end as a value.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::policy::brownout::Planned;
use crate::policy::canary::{Ending, Sample};
use crate::policy::cover::covered;
use crate::policy::decide::{Decision, Verdict};
use crate::policy::facts::{Scheme, Upgrade, WireVersion, path_of};
use crate::policy::hosts::Role;
use crate::policy::ids::CellIndex;
use crate::policy::refusal::Refusal;
pub use crate::policy::server_timing::Timings;
use crate::policy::snapshot::Snapshot;
use crate::policy::text::Text;
use crate::policy::trace_context::Traced;

/// One finished request. Holds its snapshot, so that names of cells, surfaces and client families are
/// looked up by whoever prints them and not on the request path.
#[derive(Clone, Debug)]
pub struct RequestEvent {
    /// The generation that the request was served under.
    pub snapshot: Arc<Snapshot>,
    /// Name of the listener it came in on.
    pub listener: Arc<str>,
    /// When its head was complete.
    pub started: SystemTime,
    /// Also sent as `X-Request-Id`.
    pub request_id: Text,
    /// The client address after PROXY protocol and trusted forwarding headers.
    pub client_ip: IpAddr,
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Wire version of the client side.
    pub version: WireVersion,
    /// WebSocket or an ordinary exchange; a tunnel's duration says nothing about latency.
    pub upgrade: Upgrade,
    /// Request method.
    pub method: http::Method,
    /// Lower-case host; empty when the head had none.
    pub host: Text,
    /// Raw path without the query: queries may hold secrets and are never recorded.
    pub path: Text,
    /// User-Agent, cut at 256 bytes: enough to tell client programs apart.
    pub user_agent: Option<Text>,
    /// The decision; `None` when the head could not be read.
    pub decision: Option<Decision>,
    /// Status sent to the client; 499 when it went away before any was sent.
    pub status: u16,
    /// Why cellgate answered itself, where it did.
    pub refusal: Option<Refusal>,
    /// How the exchange ended.
    pub end: End,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Times along the way.
    pub timings: Timings,
    /// Address of the endpoint used last.
    pub endpoint: Option<std::net::SocketAddr>,
    /// Connections to endpoints, made or not: 0 when none was needed, over 1 when one failed.
    pub attempts: u8,
    /// Times that a byte of the request has left for the cell; over 1 after a retry.
    pub sends: u8,
    /// It was not sent again only because the retry budget was used up.
    pub retry_budget_empty: bool,
    /// The connection to the cell came from the pool.
    pub reused: bool,
    /// The cell sent deprecation headers of its own.
    pub upstream_deprecated: bool,
    /// The brownout that it met, or the sunset; one that only observes, too.
    pub planned: Option<Planned>,
    /// The trace that it belongs to, where requests are traced.
    pub traced: Option<Box<Traced>>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Whole, on both sides.
    Complete,
    /// The client went away first.
    ClientGone,
    /// The cell broke off a response that had begun.
    CellGone,
    /// Silence beyond the idle limit, or the end of the time for the whole.
    TimedOut,
    /// The response had begun and was cut at the drain's deadline.
    Drain,
    /// The response had begun and was cut because its account moves.
    Moved,
}

/// Longest path that is kept, in bytes. Ten times the longest of the request shapes; longer ones are cut, so
/// that nobody fills the log with a few requests.
pub const MAX_PATH: usize = 2 * 1024;

/// Longest host that is kept: a DNS name has at most 253 bytes (RFC 1035 section 2.3.4); anything
/// longer was refused before.
pub const MAX_HOST: usize = 255;

impl RequestEvent {
    /// The cell that the request was sent to, or would have been had there been a permit or a
    /// connection.
    pub fn cell(&self) -> Option<CellIndex> {
        match self.decision.as_ref()?.verdict {
            Verdict::Forward { cell, .. } | Verdict::Hold { cell } => Some(cell),
            Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
        }
    }

    /// What it says of its cell, and of the generation that served it. Failed is what the client saw fail because of us
    /// or of the cell; one that went away before an answer had begun says how long it waited. What came of a move or of
    /// the end of this process says nothing of a cell.
    pub fn sample(&self) -> Sample {
        let by_move_or_drain = matches!(self.end, End::Drain | End::Moved)
            || matches!(self.refusal, Some(Refusal::AccountMoving | Refusal::CutByMove | Refusal::Drain));
        let ending = self.ending();
        let waited = self.timings.first_byte.unwrap_or(self.timings.total);
        let says = !ending.is_failed() && self.timings.held.is_none() && !self.is_planned();
        Sample {
            cell: self.cell().filter(|_| !by_move_or_drain && !self.is_planned()),
            ending,
            latency: says.then_some(waited),
        }
    }

    /// Whether nobody has anything to complain of: below 400, and whole.
    pub fn is_smooth(&self) -> bool {
        self.status < 400 && self.refusal.is_none() && self.end == End::Complete
    }

    /// Whether it was refused on purpose: by a brownout, or after the sunset.
    fn is_planned(&self) -> bool {
        self.refusal.is_some() && self.refusal == self.planned.and_then(Planned::refusal)
    }

    fn ending(&self) -> Ending {
        let decided = self.decision.as_ref().map(|decision| &decision.verdict);
        let cut = matches!(self.end, End::CellGone | End::TimedOut) && self.upgrade == Upgrade::None;
        match (self.refusal, self.status) {
            // Meant so, and no failure of a candidate.
            _ if self.is_planned() => Ending::Served,
            _ if matches!(decided, Some(Verdict::Refuse(_))) => Ending::Refused,
            (Some(Refusal::CellUnreachable(_)), _) => Ending::Unreached,
            (Some(refusal), _) if refusal.status() >= 500 => Ending::Failed,
            (_, 500..) => Ending::Failed,
            _ if cut => Ending::Failed,
            // The cell's own answer; 499 is no answer at all.
            (None, 400..=498) => Ending::Denied,
            _ => Ending::Served,
        }
    }

    /// The name of [`cell`](Self::cell).
    pub fn cell_name(&self) -> Option<&str> {
        Some(self.snapshot.cells.get(usize::from(self.cell()?.0))?.name.as_str())
    }

    /// The name of the product that was asked for.
    pub fn surface_name(&self) -> Option<&str> {
        let surface = self.decision.as_ref()?.surface?;
        Some(self.snapshot.surfaces.get(usize::from(surface.0))?.name.as_str())
    }

    /// The family of the client program.
    pub fn client_name(&self) -> Option<&str> {
        let client = self.decision.as_ref()?.client?;
        Some(&self.snapshot.clients.get(usize::from(client))?.name)
    }

    /// The host as people may see it.
    pub fn shown_host(&self) -> Cow<'_, str> {
        covered(&self.snapshot.identify.credentials, &self.host, '.')
    }

    /// The path as people may see it. It has no query; should one ever get there, it stops here.
    pub fn shown_path(&self) -> Cow<'_, str> {
        let path = &self.path[..self.path.floor_char_boundary(MAX_PATH)];
        covered(&self.snapshot.identify.credentials, path_of(path), '/')
    }

    /// The role of the host; `None` when it is not served or the head could not be read.
    pub fn role(&self) -> Option<Role> {
        self.decision.as_ref()?.role
    }

    /// Cuts what a client may have made long, so that a line, and an event that waits for its spans, has a known size: 8,192
    /// events stay below 30 MiB.
    pub(super) fn cut_to_size(&mut self) {
        if self.path.len() > MAX_PATH {
            // The first half of a credential would not be known as one any more.
            self.path = covered(&self.snapshot.identify.credentials, &self.path, '/').into();
        }
        for (text, most) in [(&mut self.path, MAX_PATH), (&mut self.host, MAX_HOST)] {
            if text.len() > most {
                *text = text[..text.floor_char_boundary(most)].into();
            }
        }
    }
}

impl End {
    /// Metric label and log value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::CellGone => "cell_gone",
            Self::TimedOut => "timed_out",
            Self::Drain => "drain",
            Self::Moved => "moved",
        }
    }
}
