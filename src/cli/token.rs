//! `cellgate token`: makes bearer tokens for the admin plane. Nothing is kept: whoever runs this has the token, and the file of
//! `admin.tokens` gets its digest.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::json;

use super::form::Form;
use super::{OK, complain, now, print_line, span};
use crate::config::access::{TOKEN_COLUMNS, TOKEN_NAME, is_token_name, token_row};
use crate::config::time::show_moment;
use crate::policy::access::Role;
use crate::policy::access::token::{TokenDigest, minted};

/// Make a token for the admin plane.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(New),
}

/// Print a new token, once, and on standard error the row to add to the file of admin.tokens; as JSON both in one object.
///
/// The token goes to standard output alone, so that it can go into a file or a password store. cellgate keeps its SHA-256;
/// nobody can print the token again. To give another one, add a row and take the old one out when it is not used any more.
///
/// Exit codes: 0 printed, 1 not, 64 wrong arguments.
#[derive(Debug, clap::Args)]
struct New {
    /// Whose it is, as the audit trail will have it
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// What they may: read, operate (levers, reload, upgrade) or approve (also break-glass)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// For how long, such as 90d; without end where it is not given
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires: Option<Duration>,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::New(New { name, role, expires, form }) = &args.command;
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow!("the system gives no random numbers"))?;
    let token = minted(random);
    let expires =
        expires.map(|lasts| now().saturating_add(i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX)));
    let digest = TokenDigest::of(token.as_bytes());
    let row = token_row(name, *role, digest, expires);
    if form.is_json() {
        let told = json!({
            "token": token, "name": name, "role": role.as_str(), "sha256": digest.to_string(),
            "expires": expires.map(show_moment), "columns": TOKEN_COLUMNS.join(","), "row": row,
        });
        print_line(&told.to_string())?;
        return Ok(OK.into());
    }
    complain(&format!(
        "Add this row to the file of admin.tokens (first line: {}); it counts within a second:\n{row}\nThe token, shown \
         this once:",
        TOKEN_COLUMNS.join(",")
    ));
    print_line(&token)?;
    Ok(OK.into())
}

fn name(text: &str) -> Result<String, String> {
    if is_token_name(text) { Ok(text.to_owned()) } else { Err(format!("expected {TOKEN_NAME}")) }
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "expected read, operate or approve".to_owned())
}
