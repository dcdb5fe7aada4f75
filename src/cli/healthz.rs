//! `cellgate healthz`: asks a running cellgate on this machine whether it is ready, or alive, over its admin socket.
//! For health checks in places that have no other HTTP client.

use std::process::ExitCode;
use std::time::Duration;

use super::admin_door::AdminDoor;
use super::admin_socket::ask_door;
use super::form::Form;
use super::{FAILED, OK, print_line};

/// An admin plane that answers at all answers within milliseconds.
const WITHIN: Duration = Duration::from_secs(2);

/// Ask a running cellgate whether it is ready.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminDoor,
    /// Ask only whether it answers: a replica that drains or is not ready for another reason is alive
    #[arg(long)]
    live: bool,
    /// As every command has it; the answer is JSON in any case
    #[command(flatten)]
    _form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let page = if args.live { "GET /healthz" } else { "GET /readyz" };
    let answer = ask_door(&args.admin.door()?, page, "", WITHIN)?;
    print_line(answer.body.trim_end())?;
    Ok(if answer.is_ok { OK.into() } else { FAILED.into() })
}
