//! `cellgate upgrade`: asks the running cellgate, over its admin socket, to start the program that is now in
//! its place and to hand over to it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::{FAILED, OK, complain, print_line};

/// Longer than the admin plane lets a call take.
const WITHIN: Duration = Duration::from_secs(80);

/// Most of the answer that is read; it is one line.
const MAX_ANSWER: u64 = 64 * 1024;

/// Replace the running cellgate by the program that is now in its place, without losing a request.
///
/// Exit codes: 0 the new process serves, 1 it does not, and the old one goes on as before.
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
    let said: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    if answer.starts_with("HTTP/1.1 200 ") {
        print_line(&format!("upgraded: process {} serves", said["pid"]))?;
        return Ok(OK.into());
    }
    let words = ["what", "next"].map(|field| said[field].as_str().unwrap_or_default());
    complain(&format!("cellgate: {}", words.join(" ").trim()));
    Ok(FAILED.into())
}

fn ask(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(
        b"POST /upgrade HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}
