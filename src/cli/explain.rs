//! `cellgate explain`: what would happen to a request, by the code that decides. Nothing is sent.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::form::Form;
use super::{ConfigFolder, OK, USAGE, complain, deciding, now, print, print_line};
use crate::explain::{self, Question, Shown};
use crate::learned_file;
use crate::policy::client_certificate::ClientCertificate;
use crate::policy::learned::LearnedTable;
use crate::policy::snapshot::Snapshot;

/// Most bytes of a client's certificates: a chain has a few thousand.
const MAX_CHAIN_BYTES: u64 = 1024 * 1024;

/// Say what would happen to a request, and why.
///
/// It asks the files of the folder, as a process would that starts on them now, and no running one: a
/// generation number of a running process is on its /config page. Nothing is sent.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Method
    #[arg(long, default_value = "GET")]
    method: String,
    /// Host, as in the Host header
    #[arg(long)]
    host: String,
    /// Path and query, byte for byte
    #[arg(long, default_value = "/")]
    path: String,
    /// A header field, but not Host; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The client spoke plain HTTP
    #[arg(long)]
    plain: bool,
    /// The certificate that the client shows where its host asks for one: a PEM file, its own first. Without
    /// this, one that is accepted is assumed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["without_client_certificate", "plain"])]
    client_certificate: Option<PathBuf>,
    /// The client shows no certificate
    #[arg(long)]
    without_client_certificate: bool,
    #[command(flatten)]
    config: ConfigFolder,
    /// Know the learned credentials of this state folder, as last written there (every 30 seconds, and at the
    /// end of the process); without it, a learned credential counts as unknown
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let question = match question(args) {
        Ok(question) => question,
        Err(error) => {
            complain(&format!("cellgate: {error:#}"));
            return Ok(USAGE.into());
        }
    };
    let Some(snapshot) = deciding(&args.config, args.form)? else { return Ok(USAGE.into()) };
    let learned = args.state_dir.as_deref().map(|folder| learned(folder, &snapshot));
    let at = u64::try_from(now()).unwrap_or(0);
    let explanation = explain::explain(&snapshot, learned.as_ref(), &question, at);
    if explanation.has_unjudged_certificate() {
        complain(
            "cellgate: --client-certificate: the authorities or lists that this host names could not be read here, so \
             that nothing can be said about the certificate; `cellgate check` says why",
        );
        return Ok(USAGE.into());
    }
    match args.form.is_json() {
        false => print(explanation.to_string().as_bytes())?,
        true => print_line(&explanation.to_json().to_string())?,
    }
    // A refusal is an answer too: the command failed only where there is none.
    Ok(OK.into())
}

/// The learned credentials of a state folder. What cannot be read of them is told, and not guessed.
fn learned(state_dir: &Path, snapshot: &Snapshot) -> LearnedTable {
    let path = state_dir.join(learned_file::FILE_NAME);
    if !path.exists() {
        complain(&format!(
            "cellgate: there is no {}: nothing was learned there yet, or --state-dir names another folder",
            path.display()
        ));
    }
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).without_time();
    let lines = lines.with_max_level(tracing::Level::WARN).log_internal_errors(false).finish();
    let learned = LearnedTable::default();
    tracing::subscriber::with_default(lines, || learned_file::load(state_dir, &learned, snapshot, now()));
    learned
}

fn question(args: &Args) -> anyhow::Result<Question> {
    let method =
        Method::from_bytes(args.method.as_bytes()).context("--method: expected a method such as GET")?;
    let mut headers = HeaderMap::new();
    for field in &args.headers {
        let (name, value) =
            field.split_once(':').with_context(|| format!("--header {field:?}: expected 'Name: value'"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .with_context(|| format!("--header {field:?}: the name is not a header name"))?;
        let value = HeaderValue::from_str(value.trim())
            .with_context(|| format!("--header {field:?}: the value cannot stand in a header"))?;
        anyhow::ensure!(
            name != header::HOST,
            "--header {field:?}: the host is what --host says; give it there"
        );
        headers.append(name, value);
    }
    HeaderValue::from_str(&args.host)
        .with_context(|| format!("--host {:?}: it cannot stand in a Host header", args.host))?;
    let shown = match &args.client_certificate {
        Some(path) => Shown::This(Arc::new(certificate(path).context("--client-certificate")?)),
        None if args.without_client_certificate => Shown::Nothing,
        None => Shown::Accepted,
    };
    let (host, target) = (args.host.clone(), args.path.clone());
    Ok(Question { method, host, target, headers, tls: !args.plain, shown })
}

/// A client's certificate chain from a PEM file.
fn certificate(path: &Path) -> anyhow::Result<ClientCertificate> {
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    file.take(MAX_CHAIN_BYTES)
        .read_to_end(&mut pem)
        .with_context(|| format!("reading {}", path.display()))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().ok();
    chain
        .and_then(|chain| ClientCertificate::new(&chain))
        .with_context(|| format!("{} holds no certificate; expected a chain in PEM", path.display()))
}
