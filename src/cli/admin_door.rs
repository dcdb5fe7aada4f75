//! Which door of which cellgate a command asks: the unix socket on this machine, or with a token the port that another machine
//! has for that.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use anyhow::{Context, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::admin_socket::Door;
use crate::authorities::client_config;
use crate::load;
use crate::policy::access::token::is_token;

/// Where to ask.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AdminDoor {
    /// The admin socket
    #[arg(long, value_name = "PATH", default_value = "state/admin.sock")]
    socket: PathBuf,
    /// The admin port of a machine, in place of the socket: https://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with = "socket", requires = "admin_token")]
    admin: Option<String>,
    /// File with a token for it, which only you can read
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token: Option<PathBuf>,
    /// File with the certificates in PEM that sign its own; those that this machine trusts where it is not given
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_ca: Option<PathBuf>,
}

/// A port that is called with a token.
#[derive(Clone)]
pub(super) struct Remote {
    /// `HOST:PORT`, as it was given.
    place: Box<str>,
    host: Box<str>,
    port: u16,
    config: Arc<ClientConfig>,
    token: Box<str>,
}

impl AdminDoor {
    /// The door, with whatever it takes to be let in.
    pub(super) fn door(&self) -> anyhow::Result<Door> {
        match (&self.admin, &self.admin_token) {
            (Some(url), Some(token)) => Remote::new(url, token, self.admin_ca.as_deref()).map(Door::Remote),
            _ => Ok(Door::Unix(self.socket.clone())),
        }
    }
}

impl Remote {
    fn new(url: &str, token: &Path, ca: Option<&Path>) -> anyhow::Result<Self> {
        let place = url.strip_prefix("https://").map(|place| place.strip_suffix('/').unwrap_or(place));
        let place = place.filter(|place| !place.contains(['/', '@', '?', '#']));
        let place = place.with_context(|| format!("--admin {url:?}: expected https://HOST:PORT"))?;
        let parts = place.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts
            .with_context(|| format!("--admin {url:?}: expected a host and a port, as https://HOST:PORT"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = || format!("--admin-token {}", token.display());
        let text = load::secret(token).map_err(anyhow::Error::msg).with_context(name)?;
        let text = text.trim_ascii();
        ensure!(
            is_token(text),
            "{}: this is no token, or one of its characters is wrong; expected one line: cga_ and 72 digits of 0-9 and a-f",
            name()
        );
        let token = std::str::from_utf8(text).context("a token is ASCII")?;
        let config = client_config(ca).context("reading --admin-ca")?;
        let (config, token) = (Arc::new(config), token.into());
        Ok(Self { place: place.into(), host: host.into(), port, config, token })
    }

    /// Connects, and says what every request brings. The handshake happens with the first byte.
    pub(super) fn connect(&self, within: Duration) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from(self.host.to_string()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        // The name is looked up by the system, on a thread that is not waited for longer than the rest.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connecting = async {
            let connecting = tokio::net::TcpStream::connect((&*self.host, self.port));
            tokio::time::timeout(within, connecting).await
        };
        let stream = runtime.block_on(connecting)??.into_std()?;
        runtime.shutdown_background();
        stream.set_nonblocking(false)?;
        Ok(StreamOwned::new(session, stream))
    }

    /// `HOST:PORT`.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The field that lets the caller in.
    pub(super) fn authorization(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Remote {}

/// Without the token.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::policy::access::token::minted;

    #[test]
    fn what_is_no_way_to_a_port_is_said_and_no_token_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let token = minted([7; 32]);
        let put = |text: &str, mode| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        let ask = |url: &str| format!("{:?}", Remote::new(url, &file, None));
        put(&format!("{token}\n"), 0o600);
        for url in
            ["http://a:1", "a:1", "https://a", "https://a:x", "https://:1", "https://u@a:1", "https://a:1/x"]
        {
            assert!(ask(url).contains("expected"), "{url}: {}", ask(url));
        }
        assert!(ask("https://[::1]:9901/").starts_with("Ok(") && !ask("https://a:1").contains(&token[..12]));
        put(&token[..75], 0o600);
        assert!(ask("https://a:1").contains("72 digits") && !ask("https://a:1").contains(&token[..12]));
        put(&token, 0o644);
        assert!(ask("https://a:1").contains("only you can read"), "{}", ask("https://a:1"));
    }
}
