//! `floor`: what a proxy of pingora's own loop costs that does nothing but route: no log, no metrics, no limits, no
//! protection. What cellgate costs more than this is what its features cost, and what it costs less, its own loop gains.
#![allow(clippy::print_stderr)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use clap::Parser;
use loadtest::bench::table::{LEGACY_HOST, Table};
use loadtest::usage::parsed;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::modules::http::HttpModules;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use tikv_jemallocator::Jemalloc;

/// That of cellgate.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A floor of the benchmark: pingora's own proxy with the accounts in a hash map.
#[derive(Parser)]
#[command(name = "floor")]
struct Args {
    /// Where it speaks HTTP
    #[arg(long, value_name = "ADDRESS:PORT")]
    plain: SocketAddr,
    /// Where it speaks HTTPS
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["certificate", "key"])]
    tls: Option<SocketAddr>,
    /// Certificate, PEM
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// How many accounts there are
    #[arg(long, value_name = "N")]
    accounts: u32,
    /// Threads that serve
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Where the next cell listens (repeatable)
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    cell: Vec<SocketAddr>,
}

fn main() -> ExitCode {
    let args: Args = match parsed() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(server) => server.run_forever(),
        Err(error) => {
            eprintln!("floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Server> {
    // That of cellgate; pingora brings ring.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_| anyhow!("a provider of cryptography is there already"))?;
    // It has nothing to finish: pingora would wait five minutes for its successor, and five seconds for its threads.
    let conf = ServerConf {
        threads: args.workers,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Floor::new(args));
    service.add_tcp(&args.plain.to_string());
    if let (Some(tls), Some(certificate), Some(key)) = (args.tls, &args.certificate, &args.key) {
        let read = TlsSettings::intermediate(&certificate.to_string_lossy(), &key.to_string_lossy());
        let mut settings = read.context("reading certificate and key")?;
        settings.enable_h2();
        service.add_tls_with_settings(&tls.to_string(), None, settings);
    }
    server.add_service(service);
    Ok(server)
}

/// Every account's cell, by prefix and by id.
struct Floor {
    cells: Vec<SocketAddr>,
    by_key: HashMap<Box<str>, u16>,
}

impl Floor {
    fn new(args: &Args) -> Self {
        let cells = u16::try_from(args.cell.len()).unwrap_or(u16::MAX);
        let table = Table { accounts: args.accounts, cells };
        let rows = (0..args.accounts).flat_map(|account| {
            let cell = table.cell(account);
            [(table.prefix(account).into(), cell), (table.id(account).to_string().into(), cell)]
        });
        Self { cells: args.cell.clone(), by_key: rows.collect() }
    }

    fn cell(&self, host: &str, path: &str) -> Option<SocketAddr> {
        let key = match host == LEGACY_HOST {
            true => path.strip_prefix("/api/v2/accounts/")?.split('/').next()?,
            false => host.split('.').next()?,
        };
        self.cells.get(usize::from(*self.by_key.get(key)?)).copied()
    }
}

#[async_trait]
impl ProxyHttp for Floor {
    /// Whether the request came by the legacy host.
    type CTX = bool;

    fn new_ctx(&self) -> bool {
        false
    }

    /// None: the default compresses.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(
        &self,
        session: &mut Session,
        legacy: &mut bool,
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let head = session.req_header();
        let field = head.headers.get("host").and_then(|host| host.to_str().ok());
        // HTTP/2 has it in the target.
        let host = field.or_else(|| head.uri.host()).unwrap_or_default();
        *legacy = host == LEGACY_HOST;
        let cell = self.cell(host, head.uri.path());
        let cell = cell.ok_or_else(|| Error::explain(ErrorType::HTTPStatus(404), "no such account"))?;
        Ok(Box::new(HttpPeer::new(cell, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _legacy: &mut bool,
    ) -> pingora_core::Result<()> {
        let client = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        if let Some(client) = client {
            request.append_header("x-forwarded-for", client.to_string())?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        legacy: &mut bool,
    ) -> pingora_core::Result<()> {
        if *legacy {
            response.insert_header("deprecation", "@1769904000")?;
            response.insert_header("sunset", "Wed, 31 Mar 2027 00:00:00 GMT")?;
            response.insert_header("link", "<https://docs.example.com/>; rel=\"deprecation\"")?;
        }
        Ok(())
    }
}
