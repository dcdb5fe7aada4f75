//! The page by which a person or a script makes a `simcell` process misbehave. For loopback: it asks for no
//! credentials.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | what is here |
//! | `GET /behaviour` | the behaviour in force, as text |
//! | `POST /behaviour` | the body, as text, is the [`Behaviour`] from now on |
//! | `GET /counts` | [`Counts`](super::Counts) as JSON |
//! | `GET /seen` | the last requests as a JSON array of [`Seen`](super::Seen) |

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Behaviour, RunningCell};

/// Serves the page until the future is dropped.
pub async fn serve(listener: TcpListener, cell: Arc<RunningCell>) {
    let mut connections = JoinSet::new();
    loop {
        // An accept that fails concerns that client alone.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let cell = cell.clone();
        let service = service_fn(move |request| {
            let cell = cell.clone();
            async move { Ok::<_, Infallible>(answer(&cell, request).await) }
        });
        connections.spawn(async move {
            // A client that goes away early needs nothing more.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Longest behaviour text: a status with a short body.
const TEXT_MAX: usize = 64 * 1024;

async fn answer(cell: &RunningCell, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    match (head.method, head.uri.path()) {
        (Method::GET, "/") => reply(StatusCode::OK, HELP.to_owned()),
        (Method::GET, "/behaviour") => reply(StatusCode::OK, format!("{}\n", cell.behaviour())),
        (Method::POST, "/behaviour") => change(cell, body).await,
        (Method::GET, "/counts") => json(&cell.counts()),
        (Method::GET, "/seen") => json(&cell.seen()),
        (_, path) => {
            let text = format!("no such request for {path}\n{HELP}");
            reply(StatusCode::NOT_FOUND, text)
        }
    }
}

const HELP: &str = "\
GET  /behaviour  what this cell does now
POST /behaviour  the body is what it does from now on, for example: delay 30000
GET  /counts     requests and connections so far
GET  /seen       the last requests
";

async fn change(cell: &RunningCell, body: Incoming) -> Response<Full<Bytes>> {
    let bad = |text: String| reply(StatusCode::BAD_REQUEST, text);
    let text = match Limited::new(body, TEXT_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => return bad(format!("reading the behaviour: {error}\n")),
    };
    let behaviour: Behaviour = match text.parse() {
        Ok(behaviour) => behaviour,
        Err(error) => return bad(format!("{error}\n")),
    };
    let told = format!("{behaviour}\n");
    match cell.behave(behaviour).await {
        Ok(()) => reply(StatusCode::OK, told),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let mut text = serde_json::to_string_pretty(value).expect("strings and numbers are always JSON");
    text.push('\n');
    reply(StatusCode::OK, text)
}

fn reply(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
