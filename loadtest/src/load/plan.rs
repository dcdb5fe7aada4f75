//! What load is to be made and what counts as a good answer. Plain data, and the check of one answer.

use std::time::Duration;

use bytes::Bytes;

use crate::ask::{Ask, Reply};
use crate::body::is_pattern;
use crate::call::{CallReply, call};
use crate::client::Client;
use crate::failure::FailureKind;

/// A whole run of load.
#[derive(Clone)]
pub struct LoadPlan {
    /// Where to, and over which protocol.
    pub client: Client,
    /// What is sent, one after the other, again and again.
    pub templates: Vec<Template>,
    /// How fast.
    pub pace: Pace,
    /// For how long requests are sent; answers are waited for afterwards.
    pub duration: Duration,
    /// How long a request may take, counted from when it is sent, connecting included.
    pub timeout: Duration,
    /// How many requests may be under way; what is due beyond is counted as [`FailureKind::NotSent`].
    pub in_flight_max: usize,
    /// h2 connections per host.
    pub h2_connections: usize,
}

/// How fast requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many a second, evenly spaced, whatever the server does.
    Rate(f64),
    /// By so many clients, each of which waits for its answer.
    Closed(usize),
}

impl LoadPlan {
    /// `rate` requests a second for `duration`, with a time-out of 10 s.
    pub fn at_rate(client: Client, templates: Vec<Template>, rate: f64, duration: Duration) -> Self {
        Self {
            client,
            templates,
            pace: Pace::Rate(rate),
            duration,
            // As long as an impatient API client waits (httpx 5 s, requests for ever).
            timeout: Duration::from_secs(10),
            // Each may hold a connection at both ends in one test process; the usual limit of files is higher.
            in_flight_max: 10_000,
            // Enough for 400 streams at the usual limits, few enough to be reused.
            h2_connections: 4,
        }
    }

    /// `clients` that each wait for their answers, for `duration`.
    pub fn closed(client: Client, templates: Vec<Template>, clients: usize, duration: Duration) -> Self {
        Self { pace: Pace::Closed(clients), ..Self::at_rate(client, templates, 0.0, duration) }
    }

    /// With another time-out.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// One request that is sent many times, and the answer that it should get.
#[derive(Clone, Debug)]
pub struct Template {
    /// How the report calls it.
    pub name: String,
    /// What is sent.
    pub ask: Ask,
    /// What should come back.
    pub expect: Expect,
}

/// What makes an answer good.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// The cell that must have answered; any, if none is given.
    pub cell: Option<String>,
    /// The status; any 2xx, if none is given.
    pub status: Option<u16>,
    /// Header fields that must be there.
    pub headers: Vec<String>,
    /// The body.
    pub body: BodyCheck,
}

/// What makes a body good, beyond that it came whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BodyCheck {
    /// Nothing more.
    #[default]
    Any,
    /// It is so many bytes of [`pattern`](crate::body::pattern).
    Pattern(u64),
    /// It is exactly these bytes.
    Exactly(Bytes),
    /// It is these gRPC messages, with `grpc-status: 0` in the trailers after them.
    Grpc(Vec<Bytes>),
}

impl Template {
    /// Expects any 2xx from any cell.
    pub fn new(name: &str, ask: Ask) -> Self {
        Self { name: name.to_owned(), ask, expect: Expect::default() }
    }

    /// A unary gRPC call of `message`, which a simulated cell answers with the same message.
    pub fn grpc_unary(name: &str, host: &str, path: &str, message: &[u8]) -> Self {
        let echo = Bytes::copy_from_slice(message);
        Self::new(name, call(host, path, &[message])).body(BodyCheck::Grpc(vec![echo]))
    }

    /// A gRPC server stream of `messages` messages; `path` must end in `/ServerStream`, which makes a simulated
    /// cell answer `message` as often, numbered.
    pub fn grpc_stream(name: &str, host: &str, path: &str, message: &[u8], messages: u32) -> Self {
        let control = format!("messages={messages}");
        let numbered = |n| [message, format!("#{n}").as_bytes()].concat().into();
        let expected = (0..messages).map(numbered).collect();
        Self::new(name, call(host, path, &[message]).sim(&control)).body(BodyCheck::Grpc(expected))
    }

    /// Expects an answer of this cell.
    pub fn cell(mut self, cell: &str) -> Self {
        self.expect.cell = Some(cell.to_owned());
        self
    }

    /// Expects this status.
    pub fn status(mut self, status: u16) -> Self {
        self.expect.status = Some(status);
        self
    }

    /// Expects this header field in the answer.
    pub fn with(mut self, header: &str) -> Self {
        self.expect.headers.push(header.to_owned());
        self
    }

    /// Expects this body.
    pub fn body(mut self, body: BodyCheck) -> Self {
        self.expect.body = body;
        self
    }
}

impl Expect {
    /// Says what is wrong with an answer, the worst first: a request in the wrong cell is worse than any status.
    pub fn check(&self, reply: Reply) -> Result<(), (FailureKind, String)> {
        let (status, cell) = (reply.status, reply.cell());
        if let (Some(wanted), Some(cell)) = (&self.cell, cell)
            && wanted != cell
        {
            let text = format!("expected {wanted}, answered by {cell} with {status}");
            return Err((FailureKind::WrongCell, text));
        }
        let good = match self.status {
            Some(wanted) => status.as_u16() == wanted,
            None => status.is_success(),
        };
        if !good {
            // Enough of the body to see who wrote it and why.
            let text: String = reply.text().chars().take(200).collect();
            return Err((FailureKind::Status, format!("{status}: {text}")));
        }
        if let (Some(wanted), None) = (&self.cell, cell) {
            let text = format!("expected {wanted}, the answer names no cell");
            return Err((FailureKind::WrongCell, text));
        }
        let missing = self.headers.iter().find(|name| reply.header(name).is_none());
        if let Some(name) = missing {
            return Err((FailureKind::Header, format!("the answer has no {name}")));
        }
        self.body.check(reply)
    }
}

impl BodyCheck {
    fn check(&self, reply: Reply) -> Result<(), (FailureKind, String)> {
        let length = reply.body.len();
        match self {
            Self::Any => Ok(()),
            Self::Pattern(wanted) if length as u64 == *wanted && is_pattern(0, &reply.body) => Ok(()),
            Self::Exactly(wanted) if *wanted == reply.body => Ok(()),
            Self::Pattern(_) | Self::Exactly(_) => {
                let text = format!("another body than expected, of {length} bytes");
                Err((FailureKind::Body, text))
            }
            Self::Grpc(wanted) => {
                let grpc = |text: String| (FailureKind::Grpc, text);
                let reply = CallReply::of(reply).map_err(|error| grpc(error.to_string()))?;
                let (status, got) = (reply.status(), reply.messages.len());
                if status != Some(0) || reply.trailers_only {
                    let message = reply.message().unwrap_or("no message");
                    return Err(grpc(format!("grpc-status {status:?}: {message}")));
                }
                if reply.messages != *wanted {
                    let wanted = wanted.len();
                    return Err(grpc(format!("expected {wanted} messages, got {got} or others")));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

    use super::*;
    use crate::frame::framed;

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: Bytes) -> Reply {
        let fields = headers
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Reply {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            version: Version::HTTP_11,
            headers: fields.collect(),
            body,
            trailers: HeaderMap::new(),
            informational: Vec::new(),
        }
    }

    fn kind(expect: &Expect, reply: Reply) -> Option<FailureKind> {
        expect.check(reply).err().map(|(kind, _)| kind)
    }

    #[test]
    fn the_wrong_cell_is_worse_than_any_status() {
        let expect =
            Expect { cell: Some("cell-1".into()), headers: vec!["deprecation".into()], ..Expect::default() };
        let one = ("x-cell", "cell-1");
        let other = ("x-cell", "cell-2");
        let deprecation = ("deprecation", "@1");
        for (status, headers, expected) in [
            (200, vec![one, deprecation], None),
            (200, vec![one], Some(FailureKind::Header)),
            (200, vec![deprecation], Some(FailureKind::WrongCell)),
            (200, vec![other, deprecation], Some(FailureKind::WrongCell)),
            (502, vec![other], Some(FailureKind::WrongCell)),
            (502, vec![one], Some(FailureKind::Status)),
            (502, vec![], Some(FailureKind::Status)),
        ] {
            let got = kind(&expect, reply(status, &headers, Bytes::new()));
            assert_eq!(got, expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn a_status_may_be_expected() {
        let expect = Expect { status: Some(401), ..Expect::default() };
        assert_eq!(kind(&expect, reply(401, &[], Bytes::new())), None);
        assert_eq!(kind(&expect, reply(200, &[], Bytes::new())), Some(FailureKind::Status));
    }

    #[test]
    fn bodies_are_compared() {
        for (body, bytes, good) in [
            (BodyCheck::Any, "anything", true),
            (BodyCheck::Exactly("ok".into()), "ok", true),
            (BodyCheck::Exactly("ok".into()), "ko", false),
            (BodyCheck::Pattern(3), "\0\x01\x02", true),
            (BodyCheck::Pattern(4), "\0\x01\x02", false),
            (BodyCheck::Pattern(3), "\0\x01\x03", false),
        ] {
            let expect = Expect { body: body.clone(), ..Expect::default() };
            let got = kind(&expect, reply(200, &[], bytes.into()));
            let expected = (!good).then_some(FailureKind::Body);
            assert_eq!(got, expected, "{body:?} {bytes:?}");
        }
    }

    #[test]
    fn grpc_is_good_with_its_messages_and_status_zero_in_trailers() {
        let expect = Template::grpc_unary("t", "h", "/s/M", b"m").expect;
        let message = framed(b"m");
        let with_status = |status: &'static str, body: Bytes| {
            let mut reply = reply(200, &[], body);
            let status = HeaderValue::from_static(status);
            reply.trailers.insert("grpc-status", status);
            reply
        };
        assert_eq!(kind(&expect, with_status("0", message.clone())), None);
        for bad in [
            with_status("14", message.clone()),
            with_status("0", framed(b"other")),
            with_status("0", message.slice(..4)),
            reply(200, &[], message.clone()),
            reply(200, &[("grpc-status", "0")], message),
        ] {
            assert_eq!(kind(&expect, bad), Some(FailureKind::Grpc));
        }
    }
}
