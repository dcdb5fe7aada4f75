//! `cellgate explain`: what would happen to a request, by the code that decides. Nothing is sent.

use std::process::ExitCode;

use anyhow::Context;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{ConfigFolder, OK, Output, USAGE, now, print_problems};
use crate::explain::{self, Question};
use crate::{config, load};

/// Say what would happen to a request, and why.
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
    /// A header field; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The client spoke plain HTTP
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    config: ConfigFolder,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let question = match question(args) {
        Ok(question) => question,
        Err(error) => {
            eprintln!("cellgate: {error:#}");
            return Ok(USAGE.into());
        }
    };
    let sources = load::load(&args.config.folder);
    let config = match config::parse_for_deciding(&sources, now()) {
        Ok(config) => config,
        Err(problems) => {
            print_problems(&problems);
            return Ok(USAGE.into());
        }
    };
    let snapshot = config::compile(config, None);
    let explanation = explain::explain(&snapshot, &question, u64::try_from(now()).unwrap_or(0));
    match args.output {
        Output::Text => print!("{explanation}"),
        Output::Json => println!("{}", explanation.to_json()),
    }
    // A refusal is an answer too: the command failed only where there is none.
    Ok(OK.into())
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
        headers.append(name, value);
    }
    Ok(Question { method, host: args.host.clone(), target: args.path.clone(), headers, tls: !args.plain })
}
