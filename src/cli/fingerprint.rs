//! `cellgate fingerprint`: from a token to its row in `credentials.csv`. The token comes on standard
//! input, because arguments stand in the process list and in shell history.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::form::Form;
use super::{ConfigFolder, OK, USAGE, complain, now, print_line};
use crate::policy::credential;
use crate::{config, load};

/// Most bytes of a token; every shape is shorter.
const MAX_TOKEN: u64 = 4096;

/// Print the fingerprint of a token read from standard input.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// Key to use; the newest when not given
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = load::load(args.config.place());
    let config = match config::parse_all(&sources, now()) {
        Ok((_, config)) => config,
        Err(problems) => {
            args.form.tell(&problems)?;
            return Ok(USAGE.into());
        }
    };
    let keys = &config.identify.credentials.keys;
    let key = match &args.key {
        Some(id) => keys.iter().find(|key| *key.id == **id),
        None => keys.first(),
    };
    let Some(key) = key else {
        let known: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
        complain(&format!(
            "cellgate: no such fingerprint key; identify.credentials.keys has: {}",
            known.join(", ")
        ));
        return Ok(USAGE.into());
    };
    let mut token = String::new();
    std::io::stdin()
        .take(MAX_TOKEN)
        .read_to_string(&mut token)
        .context("reading the token from standard input")?;
    let token = token.trim();
    if token.is_empty() {
        complain(
            "cellgate: there is no token on standard input; pipe it in, as in `cellgate fingerprint < FILE`",
        );
        return Ok(USAGE.into());
    }
    let rules = &config.identify.credentials;
    if !rules.shapes.iter().any(|shape| shape.fits(token.as_bytes())) {
        complain(
            "cellgate: this token has none of the shapes in identify.credentials.shapes and would never be routed on",
        );
        return Ok(USAGE.into());
    }
    let fingerprint = credential::fingerprint(key, token.as_bytes());
    print_line(&match args.form.is_json() {
        true => json!({ "key_id": key.id, "fingerprint": fingerprint.to_string() }).to_string(),
        false => format!("{},{fingerprint}", key.id),
    })?;
    Ok(OK.into())
}
