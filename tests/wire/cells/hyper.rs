//! A cell of hyper.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Book, Read, answer};

pub async fn connection(stream: TcpStream, book: Book) {
    let service = service_fn(|request: Request<Incoming>| {
        let book = book.clone();
        async move {
            let read = read_of(&request);
            let text = answer("hyper", &read.id, &read.target);
            book.note(read);
            // A body that breaks off breaks the answer off.
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .max_buf_size(256 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if served.is_err_and(|error| error.is_parse()) {
        book.note(Read { cell: "hyper".into(), refused: true, ..Read::default() });
    }
}

fn read_of(request: &Request<Incoming>) -> Read {
    let field = |name: &str| {
        let values = request.headers().get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ")
    };
    Read {
        cell: "hyper".into(),
        id: field("x-request-id"),
        account: field("x-cellgate-account"),
        method: request.method().to_string(),
        target: request.uri().to_string(),
        path: request.uri().path().to_owned(),
        host: request.uri().authority().map_or_else(|| field("host"), ToString::to_string),
        header: field("x-account"),
        ..Read::default()
    }
}
