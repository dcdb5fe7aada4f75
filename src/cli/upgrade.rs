//! `cellgate upgrade`: asks the running cellgate, over its admin socket, to start the program that is now in
//! its place and to hand over to it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::admin_socket::ask;
use super::{FAILED, OK, complain, print_line};

/// Longer than the admin plane lets a call take.
const WITHIN: Duration = Duration::from_secs(80);

/// Replace the running cellgate by the program that is now in its place, without losing a request.
///
/// Exit codes: 0 the new process serves, 1 it does not, and the old one goes on as before, 3 it serves, but not what the
/// configuration files say.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin socket
    #[arg(long, value_name = "PATH", default_value = "state/admin.sock")]
    socket: PathBuf,
}

/// It serves, and not what the files say.
const NOT_THE_FILES: u8 = 3;

/// Why the process that serves now does not serve what the files say, in its own words.
fn not_the_files(socket: &Path) -> anyhow::Result<Option<String>> {
    let answer = ask(socket, "GET /readyz", WITHIN)?;
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let mut reasons = said["reasons"].as_array().into_iter().flatten();
    let last_good = reasons.find(|reason| reason["reason"] == "last_good");
    Ok(last_good.and_then(|reason| reason["detail"].as_str()).map(str::to_owned))
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket, "POST /upgrade", WITHIN)?;
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.is_ok {
        print_line(&format!("upgraded: process {} serves", said["pid"]))?;
        return Ok(not_the_files(&args.socket)?
            .map_or(OK, |why| {
                complain(&format!("cellgate: {why}"));
                NOT_THE_FILES
            })
            .into());
    }
    let words = ["what", "next"].map(|field| said[field].as_str().unwrap_or_default());
    complain(&format!("cellgate: {}", words.join(" ").trim()));
    Ok(FAILED.into())
}
