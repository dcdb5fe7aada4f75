//! `cellgate healthz`: asks a running cellgate on this machine whether it is ready, over its admin socket.
//! For health checks in places that have no other HTTP client.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::admin_socket::ask;
use super::{FAILED, OK, print_line};

/// An admin plane that answers at all answers within milliseconds.
const WITHIN: Duration = Duration::from_secs(2);

/// Ask a running cellgate whether it is ready.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin socket
    #[arg(long, value_name = "PATH", default_value = "state/admin.sock")]
    socket: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket, "GET /readyz", WITHIN)?;
    print_line(answer.body.trim_end())?;
    Ok(if answer.is_ok { OK.into() } else { FAILED.into() })
}
