//! A cell that speaks HTTP/2 by hand. It knows requests by their bodies, which begin with a word: `probe` is answered,
//! `wait` is answered when the case has been played, and `case` gets what its script says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::cases::{Begin, Case, Ids, Piece};
use crate::h2_raw::*;

/// What has happened at a cell.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Connections that were made to it.
    pub connections: usize,
    /// Connections that are over.
    pub ended: usize,
    /// Requests that wait for the case.
    pub waiting: usize,
    /// The case has been played so often.
    pub played: usize,
    /// How often each request came: by its body.
    pub seen: HashMap<String, usize>,
    /// What is wrong with how the other side spoke.
    pub faults: Vec<String>,
}

pub type Told = watch::Sender<Progress>;

/// Listens for a case of its own; ends with the runtime.
pub async fn start(case: Arc<Case>) -> (SocketAddr, Arc<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = Arc::new(watch::channel(Progress::default()).0);
    let progress = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            progress.send_modify(|progress| progress.connections += 1);
            let (case, told) = (Arc::clone(&case), Arc::clone(&progress));
            tokio::spawn(async move {
                if let Some(mut served) = Served::begin(tcp, &case, &told).await {
                    served.serve().await;
                }
                told.send_modify(|progress| progress.ended += 1);
            });
        }
    });
    (address, told)
}

/// One connection.
struct Served<'a> {
    conn: Conn,
    case: &'a Case,
    told: &'a Told,
    /// Streams that wait, with their ids.
    waiting: Vec<(u32, String)>,
    /// Frames that came while something else was waited for.
    queued: Vec<Frame>,
    /// What has come of each request.
    begun: HashMap<u32, Vec<u8>>,
    known: HashMap<u32, String>,
    over: bool,
}

impl<'a> Served<'a> {
    async fn begin(mut tcp: TcpStream, case: &'a Case, told: &'a Told) -> Option<Self> {
        if let Begin::Bytes(bytes) = &case.begin {
            let _ = tcp.write_all(bytes).await;
            // Until the other side has had enough of it.
            while tcp.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            return None;
        }
        let mut conn = Conn::greeted(tcp).await.ok()?;
        let first = match &case.begin {
            Begin::Settings(values) => settings(values),
            Begin::Frames(frames) => frames.clone(),
            Begin::Properly | Begin::WithoutAcknowledging | Begin::Bytes(_) => settings(&[]),
        };
        conn.send(&first).await.ok()?;
        let (waiting, queued) = (Vec::new(), Vec::new());
        let (begun, known) = (HashMap::new(), HashMap::new());
        Some(Self { conn, case, told, waiting, queued, begun, known, over: false })
    }

    async fn serve(&mut self) {
        while !self.over {
            let next = match self.queued.is_empty() {
                true => self.conn.next().await,
                false => Event::Frame(self.queued.remove(0)),
            };
            match next {
                Event::Frame(frame) => self.frame(frame).await,
                Event::Silence => {}
                Event::Closed => self.over = true,
            }
        }
    }

    async fn frame(&mut self, frame: Frame) {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 && !matches!(self.case.begin, Begin::WithoutAcknowledging) => {
                self.send(&frame_ack()).await;
            }
            PING if frame.flags & ACK == 0 => {
                let payload = frame.payload.try_into().unwrap();
                self.send(&ping(ACK, &payload)).await;
            }
            HEADERS if frame.flags & END_STREAM != 0 => self.request(frame.stream, "case bodiless").await,
            DATA if !self.known.contains_key(&frame.stream) => self.part(frame).await,
            _ => {}
        }
    }

    /// A part of a request. A case is played when all of it has come: what follows an answer's end is a fault of the
    /// connection as long as the request has none. Those that are about such a request are played at its beginning.
    async fn part(&mut self, frame: Frame) {
        let body = self.begun.entry(frame.stream).or_default();
        body.extend_from_slice(&frame.payload);
        let is_early = !self.case.rest.is_empty() && body.starts_with(b"case ");
        if !body.is_empty() && (is_early || frame.flags & END_STREAM != 0) {
            let body = String::from_utf8_lossy(body).into_owned();
            self.request(frame.stream, &body).await;
        }
    }

    async fn request(&mut self, stream: u32, body: &str) {
        self.known.insert(stream, body.to_owned());
        let (mut times, mut played) = (0, false);
        self.told.send_modify(|progress| {
            let seen = progress.seen.entry(body.to_owned()).or_default();
            *seen += 1;
            times = *seen;
            played = progress.played > 0;
        });
        let (word, id) = body.split_once(' ').unwrap_or((body, ""));
        match word {
            "probe" => self.answer(stream, id).await,
            // One that comes a second time comes because the case is played, which its connection may be about to tell.
            "wait" if played || times > 1 => self.answer(stream, id).await,
            "wait" => {
                self.waiting.push((stream, id.to_owned()));
                self.told.send_modify(|progress| progress.waiting += 1);
            }
            "case" if times > 1 && !self.case.again => self.answer(stream, id).await,
            "case" => self.play(stream).await,
            other => {
                let fault = format!("a request that nobody has sent: {other:?}");
                self.told.send_modify(|progress| progress.faults.push(fault));
            }
        }
    }

    async fn play(&mut self, own: u32) {
        let neighbour = self.waiting.first().map_or(0, |(stream, _)| *stream);
        for piece in (self.case.play)(Ids { own, neighbour, unopened: own + 100 }) {
            match piece {
                Piece::Send(bytes) => self.send(&bytes).await,
                Piece::Barrier => self.barrier().await,
                Piece::Close => self.over = true,
            }
        }
        self.told.send_modify(|progress| progress.played += 1);
        let waiting = std::mem::take(&mut self.waiting);
        if !self.over {
            for (stream, id) in waiting {
                self.answer(stream, &id).await;
            }
        }
    }

    /// Until the other side has read all that was sent, or is gone.
    async fn barrier(&mut self) {
        let mark = *b"barrier!";
        self.send(&ping(0, &mark)).await;
        while !self.over {
            match self.conn.next().await {
                Event::Frame(frame) if frame.is(PING, ACK) && frame.payload == mark => return,
                Event::Frame(frame) => self.queued.push(frame),
                Event::Silence => return,
                Event::Closed => self.over = true,
            }
        }
    }

    async fn answer(&mut self, stream: u32, id: &str) {
        let text = format!("[{id}]");
        let length = text.len().to_string();
        let head = block(&[(":status", "200"), ("content-length", &length)]);
        let answer =
            [headers(END_HEADERS, stream, &head), data(END_STREAM, stream, text.as_bytes())].concat();
        self.send(&answer).await;
    }

    /// What the other side does not take any more is not sent; what it has said before is still to be read.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.conn.send(bytes).await;
    }
}
