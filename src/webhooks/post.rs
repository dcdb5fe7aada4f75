//! One message, posted once, on a connection that is kept for the next one.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::Target;
use super::retry::{Tried, retry_after};

/// One try, from the name to the end of the answer: the specification asks receivers to answer within 15 to 30 seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is read of an answer, so that the connection can be used again; of a longer one nobody wants the rest.
const MOST_ANSWER: usize = 64 * 1024;

/// Where receivers see who it was.
const USER_AGENT: &str = concat!("cellgate/", env!("CARGO_PKG_VERSION"));

/// The three headers and the body.
pub(super) struct Letter<'a> {
    pub id: &'a str,
    /// Unix seconds.
    pub at: i64,
    /// Signatures, one space between two.
    pub signatures: String,
    pub body: &'a str,
}

/// A connection to the receiver, where there is one.
pub(super) struct Line {
    target: Arc<Target>,
    tls: Arc<ClientConfig>,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// Drives the connection, and ends with it.
    driver: JoinSet<hyper::Result<()>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Line {
    pub(super) fn new(target: Arc<Target>, tls: Arc<ClientConfig>) -> Self {
        Self { target, tls, sender: None, driver: JoinSet::new() }
    }

    /// Posts it once; always ends.
    pub(super) async fn post(&mut self, letter: &Letter<'_>) -> Tried {
        let tried = match tokio::time::timeout(PATIENCE, self.exchange(letter)).await {
            Ok(Ok(tried)) => return tried,
            Ok(Err(tried)) => tried,
            Err(_) => Tried::Broke(format!("did not answer within {} s", PATIENCE.as_secs())),
        };
        // Whatever is still to come on it is not the answer to the next message.
        self.hang_up();
        tried
    }

    fn hang_up(&mut self) {
        self.sender = None;
        self.driver.abort_all();
    }

    async fn exchange(&mut self, letter: &Letter<'_>) -> Result<Tried, Tried> {
        let request = self.request(letter)?;
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await.map_err(|error| broke(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| broke(&error))?;
        let (status, wish) = (answer.status().as_u16(), answer.headers().get(header::RETRY_AFTER).cloned());
        if drained(answer).await {
            self.sender = Some(sender);
        } else {
            self.hang_up();
        }
        let wish = wish.as_ref().and_then(|wish| wish.to_str().ok());
        let retry_after = wish.and_then(|wish| retry_after(wish, from_unix(letter.at)));
        Ok(Tried::Answered { status, retry_after })
    }

    fn request(&self, letter: &Letter<'_>) -> Result<Request<Full<Bytes>>, Tried> {
        Request::post(self.target.path())
            .header(header::HOST, self.target.authority())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", letter.at)
            .header("webhook-signature", &letter.signatures)
            .body(Full::from(letter.body.to_owned()))
            .map_err(|error| Tried::Impossible(format!("cannot be sent this: {error}")))
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, Tried> {
        let target = &self.target;
        let tcp = TcpStream::connect((target.host(), target.port())).await;
        let gone = |error| Tried::Broke(format!("cannot be connected to: {error}"));
        let tcp = tcp.map_err(gone)?;
        let address = tcp.peer_addr().map_err(gone)?.ip();
        if !target.may_be(address) {
            let why = format!("is {address}, which is not this machine: nothing was sent over http");
            return Err(Tried::Impossible(why));
        }
        let _ = tcp.set_nodelay(true);
        let stream: Box<dyn Stream> = if target.is_tls() {
            let name = ServerName::try_from(target.host().to_owned())
                .map_err(|_| Tried::Impossible("has a name that no certificate can have".to_owned()))?;
            let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
            Box::new(tls.map_err(|error| untrusted(&error))?)
        } else {
            Box::new(tcp)
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| broke(&error))?;
        self.driver.spawn(connection);
        Ok(sender)
    }
}

/// Whether the whole answer was read.
async fn drained(mut answer: Response<Incoming>) -> bool {
    let mut length = 0;
    while let Some(frame) = answer.frame().await {
        let Ok(frame) = frame else { return false };
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > MOST_ANSWER {
            return false;
        }
    }
    true
}

fn from_unix(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn broke(error: &hyper::Error) -> Tried {
    let why = std::error::Error::source(error).map(ToString::to_string);
    Tried::Broke(format!("broke off: {error}{}", why.map(|why| format!(": {why}")).unwrap_or_default()))
}

/// Whom one does not trust now one does not trust in a second, either; a connection that broke off is another matter.
fn untrusted(error: &io::Error) -> Tried {
    let why = format!("cannot be spoken to over TLS: {error}");
    if error.kind() == io::ErrorKind::InvalidData { Tried::Impossible(why) } else { Tried::Broke(why) }
}
