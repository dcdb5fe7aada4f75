//! `cellgate healthz`: asks a running cellgate on this machine whether it is ready, over its admin socket.
//! For health checks in places that have no other HTTP client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::{FAILED, OK, print_line};

/// An admin plane that answers at all answers within milliseconds.
const WITHIN: Duration = Duration::from_secs(2);

/// Most of the answer that is read; it lists a handful of reasons.
const MAX_ANSWER: u64 = 64 * 1024;

/// Ask a running cellgate whether it is ready.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin socket
    #[arg(long, value_name = "PATH", default_value = "state/admin.sock")]
    socket: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket).with_context(|| {
        format!("asking {}: is cellgate running, and as this user?", args.socket.display())
    })?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    print_line(body.trim_end())?;
    Ok(if answer.starts_with("HTTP/1.1 200 ") { OK.into() } else { FAILED.into() })
}

fn ask(socket: &std::path::Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}
