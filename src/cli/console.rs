//! `cellgate console`: where the console of a running cellgate is, and how a browser on another machine comes there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::admin_socket::ask;
use super::form::Form;
use super::{OK, print, print_line};

/// An admin plane that answers at all answers within milliseconds.
const WITHIN: Duration = Duration::from_secs(2);

/// The near end of a tunnel to the socket, which has no port of its own.
const PORT: u16 = 9900;

/// Say where the console is, and how to reach it from another machine.
///
/// Exit codes: 0 printed, 1 nobody answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin socket
    #[arg(long, value_name = "PATH", default_value = "state/admin.sock")]
    socket: PathBuf,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket, "GET /live", WITHIN)?;
    let live: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let is_known = answer.is_ok && live["version"].is_u64();
    let socket = args.socket.display();
    anyhow::ensure!(
        is_known,
        "{socket} does not answer as a cellgate with a console does: is it an older version?"
    );
    let ways = Ways::new(live["console"].as_str(), &args.socket).context("finding the socket")?;
    match args.form.is_json() {
        false => print(ways.to_text().as_bytes())?,
        true => print_line(&ways.to_json().to_string())?,
    }
    Ok(OK.into())
}

/// Ways to the console.
struct Ways {
    /// On this machine; looking only.
    page: Option<String>,
    /// From another one to that.
    tunnel: Option<String>,
    /// From another one to the socket, which shows and does everything.
    to_socket: String,
}

impl Ways {
    fn new(page: Option<&str>, socket: &Path) -> std::io::Result<Self> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("HOST").to_owned();
        let address = page.and_then(|page| page.strip_prefix("http://")?.strip_suffix("/console"));
        let port = address.and_then(|address| address.rsplit_once(':')).map(|(_, port)| port.to_owned());
        let tunnel = address.zip(port).map(|(address, port)| format!("ssh -L {port}:{address} {host}"));
        let to_socket = format!("ssh -L {PORT}:{} {host}", socket.canonicalize()?.display());
        Ok(Self { page: page.map(str::to_owned), tunnel, to_socket })
    }

    fn to_text(&self) -> String {
        let on_socket = format!(
            "To look and to act, accounts included, with the rights of whoever may use the admin socket:\n  {}\n  \
             and then http://127.0.0.1:{PORT}/console\n",
            self.to_socket
        );
        let Some((page, tunnel)) = self.page.as_ref().zip(self.tunnel.as_ref()) else {
            return format!(
                "{on_socket}There is no address on this machine: admin.loopback of boot.yaml is not set.\n"
            );
        };
        format!("To look, on this machine:\n  {page}\nFrom yours, through a tunnel:\n  {tunnel}\n{on_socket}")
    }

    fn to_json(&self) -> Value {
        json!({ "console": self.page, "tunnel": self.tunnel, "tunnel_to_socket": self.to_socket })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_leads_to_the_address_and_one_to_the_socket() {
        let ways = Ways::new(Some("http://[::1]:9901/console"), Path::new("/")).unwrap();
        assert!(ways.tunnel.as_ref().unwrap().starts_with("ssh -L 9901:[::1]:9901 "), "{:?}", ways.tunnel);
        let text = ways.to_text();
        assert!(text.contains("http://[::1]:9901/console") && text.contains("ssh -L 9900:/ "), "{text}");
        let text = Ways::new(None, Path::new("/")).unwrap().to_text();
        assert!(text.contains("admin.loopback of boot.yaml is not set"), "{text}");
    }
}
