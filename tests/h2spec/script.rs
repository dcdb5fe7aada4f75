//! What one case says and expects, as data, and how it is played.

use std::collections::BTreeMap;

use crate::h2_raw::*;

/// What the cases need to know of the connection they are played on.
pub struct Peer {
    pub scheme: &'static str,
    pub authority: &'static str,
    settings: BTreeMap<u16, u32>,
}

impl Peer {
    pub fn setting(&self, id: u16, default: u32) -> u32 {
        self.settings.get(&id).copied().unwrap_or(default)
    }

    /// The four fields of a request, in the order of the suite.
    pub fn fields(&self, method: &'static str) -> Vec<(&str, &str)> {
        vec![(":method", method), (":scheme", self.scheme), (":path", "/"), (":authority", self.authority)]
    }

    /// The block of a request without a body.
    pub fn get(&self) -> Vec<u8> {
        block(&self.fields("GET"))
    }

    /// The block of a request with one.
    pub fn post(&self) -> Vec<u8> {
        block(&self.fields("POST"))
    }

    /// A request with further fields.
    pub fn with<'a>(&'a self, method: &'static str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
        let mut fields = self.fields(method);
        fields.extend_from_slice(more);
        block(&fields)
    }
}

/// What must come. Frames that are not named do not matter.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// SETTINGS that acknowledge nothing, before any other frame.
    Preface,
    /// The acknowledgement of SETTINGS.
    SettingsAck,
    /// The acknowledgement of a PING with this payload, and none of another.
    Pong([u8; 8]),
    /// That, or the end of the connection.
    PongOrClose([u8; 8]),
    /// A response head on this stream.
    Response(u32),
    /// DATA, of this size where one is given.
    Data(Option<usize>),
    /// The end of a stream.
    StreamEnd,
    /// A stream error with one of these codes; a connection error is one as well (RFC 9113 section 5.4.2).
    StreamError(&'static [u32]),
    /// A stream error with this code in place of a whole answer.
    NoAnswer(u32),
    /// A RST_STREAM with this code and nothing else.
    Reset(u32),
    /// A connection error: the connection ends. The suite is content with that; [`Passed`] tells whether a GOAWAY
    /// with another code than one of these came before (RFC 9113 section 5.4.1).
    ConnectionError(&'static [u32]),
    /// GOAWAY with this code, or with any, and not the close alone.
    GoAway(Option<u32>),
    /// The end of the connection.
    Close,
}

/// How a case passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// As it asks.
    Exactly,
    /// The connection ended, as it asks, after a GOAWAY with another code.
    OtherCode(u32),
}

enum Step {
    Send(Vec<u8>),
    Want(Want),
}

/// The steps of a case.
#[derive(Default)]
pub struct Script {
    bare: bool,
    steps: Vec<Step>,
}

/// A script that begins with these bytes after the handshake.
pub fn send(bytes: Vec<u8>) -> Script {
    Script::default().send(bytes)
}

/// One that begins with these bytes and no handshake.
pub fn bare(bytes: Vec<u8>) -> Script {
    Script { bare: true, steps: vec![Step::Send(bytes)] }
}

impl Script {
    /// What is sent in a row goes out in one write, so that the server has all of it before it can answer.
    pub fn send(mut self, bytes: Vec<u8>) -> Self {
        match self.steps.last_mut() {
            Some(Step::Send(before)) => before.extend_from_slice(&bytes),
            _ => self.steps.push(Step::Send(bytes)),
        }
        self
    }

    pub fn want(mut self, want: Want) -> Self {
        self.steps.push(Step::Want(want));
        self
    }
}

/// One row: the suite's id, what is sent, and how.
pub struct Case {
    pub id: &'static str,
    pub what: &'static str,
    pub script: fn(&Peer) -> Script,
}

/// A row of the table.
pub const fn case(id: &'static str, what: &'static str, script: fn(&Peer) -> Script) -> Case {
    Case { id, what, script }
}

/// Plays a case on a connection of its own; the error says what came instead.
pub async fn play(
    case: &Case,
    mut conn: Conn,
    scheme: &'static str,
    host: &'static str,
) -> Result<Passed, String> {
    let peer = |settings| Peer { scheme, authority: host, settings };
    let mut script = (case.script)(&peer(BTreeMap::new()));
    if !script.bare {
        let shaken = conn.shake(&[(INITIAL_WINDOW_SIZE, 65_535)]).await;
        shaken.map_err(|error| format!("no handshake: {error}"))?;
        conn.seen.clear();
        script = (case.script)(&peer(conn.settings.clone()));
    }
    let mut passed = Passed::Exactly;
    for step in script.steps {
        match step {
            // A server may close before it has read all of it; what it said before is what counts.
            Step::Send(bytes) => drop(conn.send(&bytes).await),
            Step::Want(want) => match check(want, &mut conn).await {
                Ok(how) => passed = how,
                Err(got) => return Err(format!("{want:?} expected, got {got} in {:?}", conn.seen)),
            },
        }
    }
    Ok(passed)
}

async fn check(want: Want, conn: &mut Conn) -> Result<Passed, String> {
    let event = conn.until(|frame| want.is_decided_by(frame)).await;
    match (want, &event) {
        (Want::StreamError(_) | Want::ConnectionError(_), Event::Frame(frame))
            if frame.kind == GOAWAY && !want.is_met_by(frame) =>
        {
            match (frame.code(), conn.until(|_| false).await) {
                (Some(code), Event::Closed) => Ok(Passed::OtherCode(code)),
                (_, event) => Err(format!("{event:?}")),
            }
        }
        (
            Want::Close | Want::PongOrClose(_) | Want::StreamError(_) | Want::ConnectionError(_),
            Event::Closed,
        ) => Ok(Passed::Exactly),
        (_, Event::Frame(frame)) if want.is_met_by(frame) => Ok(Passed::Exactly),
        _ => Err(format!("{event:?}")),
    }
}

impl Want {
    /// Whether a frame of this type says yes or no.
    fn is_decided_by(self, frame: &Frame) -> bool {
        match self {
            Self::Preface => true,
            Self::SettingsAck => frame.is(SETTINGS, ACK),
            Self::Pong(_) | Self::PongOrClose(_) => {
                matches!(frame.kind, PING | GOAWAY) && !is_graceful(frame)
            }
            Self::Response(_) => matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY),
            Self::Data(_) => matches!(frame.kind, DATA | RST_STREAM | GOAWAY),
            Self::StreamEnd | Self::NoAnswer(_) => frame.ends_stream() || frame.kind == GOAWAY,
            Self::StreamError(_) => matches!(frame.kind, RST_STREAM | GOAWAY),
            // A stream may be reset before the connection ends.
            Self::ConnectionError(_) | Self::GoAway(_) => frame.kind == GOAWAY,
            Self::Reset(_) => matches!(frame.kind, RST_STREAM | GOAWAY),
            Self::Close => false,
        }
    }

    fn is_met_by(self, frame: &Frame) -> bool {
        match self {
            Self::Preface => frame.kind == SETTINGS && frame.flags & ACK == 0,
            Self::SettingsAck => frame.is(SETTINGS, ACK),
            Self::Pong(payload) | Self::PongOrClose(payload) => {
                frame.is(PING, ACK) && frame.payload == payload
            }
            Self::Response(stream) => frame.kind == HEADERS && frame.stream == stream,
            Self::Data(size) => frame.kind == DATA && size.is_none_or(|size| frame.payload.len() == size),
            Self::StreamEnd => frame.ends_stream(),
            Self::StreamError(codes) | Self::ConnectionError(codes) => {
                frame.code().is_some_and(|code| codes.contains(&code))
            }
            Self::Reset(code) | Self::NoAnswer(code) => {
                frame.kind == RST_STREAM && frame.code() == Some(code)
            }
            Self::GoAway(code) => frame.kind == GOAWAY && code.is_none_or(|code| frame.code() == Some(code)),
            Self::Close => false,
        }
    }
}

/// GOAWAY in answer to a GOAWAY of ours.
fn is_graceful(frame: &Frame) -> bool {
    frame.kind == GOAWAY && frame.code() == Some(NO_ERROR)
}
