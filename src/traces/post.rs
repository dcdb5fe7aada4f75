//! How a batch is posted: hyper with our own TLS, in place of the clients that the exporter would bring along.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};

use super::{TracesError, TracesSettings, fields};
use crate::authorities::client_config;

/// What is read of an answer: how many spans it did not want, and a sentence.
const MOST_ANSWER: usize = 64 * 1024;

/// Where collectors see who it was.
const USER_AGENT: &str = concat!("cellgate/", env!("CARGO_PKG_VERSION"));

/// A client of one collector.
#[derive(Clone, Debug)]
pub(super) struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    fields: Arc<HeaderMap>,
    timeout: Duration,
    /// Why the last batch was not taken: the exporter says only that it was not.
    why: Arc<Mutex<Option<String>>>,
}

impl Post {
    /// Reads the files that the settings name.
    pub(super) fn new(settings: &TracesSettings) -> Result<Self, TracesError> {
        let given = settings.headers_file.as_deref().map(fields::read).transpose()?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let tls = client_config(settings.ca_file.as_deref())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            client,
            fields: Arc::new(given.unwrap_or_default()),
            timeout: settings.timeout,
            why: Arc::default(),
        })
    }

    /// Why the last batch was not taken.
    pub(super) fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut request = request.map(Full::from);
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
        for (name, value) in self.fields.iter() {
            request.headers_mut().insert(name, value.clone());
        }
        let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_ANSWER).collect().await.map_err(|error| error.to_string())?;
        if !head.status.is_success() {
            // What it says beside that may repeat what it was sent, keys included.
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("it answered {}", head.status));
        }
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        };
        answer.map_err(|why| {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
            why.into()
        })
    }
}

/// An error with what it came from: the client says "client error (Connect)" alone.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
