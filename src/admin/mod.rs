//! The admin plane: what people and machines may look at, and the one thing that they may ask for.
//!
//! It lives on a thread and a runtime of its own, so that it answers when the data plane is at 100 %
//! CPU. It can look at the live snapshot and ask the reload task; it cannot swap anything. Two doors:
//! a unix socket for the operator's own user, with everything, and a loopback port that is read-only
//! until roles exist.

mod brownouts;
mod candidate;
mod cells;
mod host;
mod levers;
mod listen;
mod moves;
mod page;
pub mod report;
mod routes;
mod socket;
mod standing;
mod upgrade;
mod views;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::handover::UpgradeHandle;
use crate::handover::lineage::Lineage;
use crate::levers::handle::LeverHandle;
use crate::policy::snapshot::Snapshot;
use crate::readiness::Readiness;
use crate::reload::outcome::ReloadHandle;
use crate::telemetry::metrics::Metrics;

use host::AllowedHosts;
use listen::{Doors, Gate};
use socket::{Place, Socket, adopt_socket, bind_socket};

/// Where the admin plane listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// The read-only door; only a loopback address. Port 0 takes any free port.
    pub loopback: Option<SocketAddr>,
    /// Host names beyond `localhost` and loopback addresses under which the loopback door may be
    /// called, without port.
    pub allowed_hosts: Vec<String>,
    /// Whether that door shows reports, which name accounts: everybody on the machine can call it.
    pub loopback_report: bool,
    /// The door with everything: path of a unix socket.
    pub socket: Option<PathBuf>,
    /// Who may open that door.
    pub socket_mode: SocketMode,
}

/// The file mode of the admin socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u32);

/// The process's own user and nobody else.
impl Default for SocketMode {
    fn default() -> Self {
        Self(0o600)
    }
}

/// What the admin plane may look at and whom it may ask.
#[derive(Clone)]
pub struct AdminState {
    /// The snapshot in force.
    pub live: Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// `/readyz`.
    pub readiness: Arc<Readiness>,
    /// `POST /reload` and the outcome of the last reload.
    pub reload: ReloadHandle,
    /// `POST /upgrade`.
    pub upgrade: UpgradeHandle,
    /// `/levers`: pulling, releasing, and what is pulled.
    pub levers: LeverHandle,
    /// `/moves`: who says it, and who else may have something under way.
    pub lineage: Arc<Lineage>,
    /// `/credentials`: what has been learned, as the file in the state folder has it; `None` where nothing can be.
    pub learned: LearnedPage,
    /// `/report`: how the legacy hosts stand.
    pub report: Arc<report::ReportDesk>,
}

/// Makes the page of learned credentials.
pub type LearnedPage = Arc<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// Listening sockets of the doors: what a predecessor hands over, and what we hand on.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// The read-only door.
    pub loopback: Option<TcpListener>,
    /// The door with everything; its file stands where the settings say.
    pub unix: Option<UnixListener>,
}

/// A running admin plane. It ends with [`Admin::stop`] or when it is dropped.
#[derive(Debug)]
pub struct Admin {
    loopback: Option<SocketAddr>,
    socket: Option<PathBuf>,
    /// Where the socket's file is, and both sockets once more, to be handed on.
    place: Option<Place>,
    sockets: AdminSockets,
    gate: watch::Sender<Gate>,
    thread: Option<JoinHandle<()>>,
}

/// Why the admin plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Anybody in the network could look.
    #[error(
        "admin address {0} is not a loopback address: use 127.0.0.1 or [::1], and reach it from \
         elsewhere through a tunnel (ssh -L)"
    )]
    NotLoopback(SocketAddr),
    /// The port is taken or the address does not exist here.
    #[error("cannot listen on admin address {0}: choose another port or end the process that holds it")]
    Loopback(SocketAddr, #[source] io::Error),
    /// Another process answers on the socket.
    #[error("another process answers on admin socket {0}: end it, or choose another path")]
    SocketInUse(PathBuf),
    /// The path is taken by something that is not ours to delete.
    #[error("{0} exists and is not a socket: move it away, or choose another path for the admin socket")]
    NotASocket(PathBuf),
    /// The folder is missing, not writable, or the path too long.
    #[error(
        "cannot make admin socket {0}: its folder must exist and be writable, and the path be shorter \
         than 90 bytes"
    )]
    Socket(PathBuf, #[source] io::Error),
    /// No thread or no runtime.
    #[error("cannot start the admin thread")]
    Thread(#[source] io::Error),
}

impl Admin {
    /// Binds both doors and starts the thread. When it returns, calls are answered.
    ///
    /// # Errors
    /// A door cannot be bound, or the thread not be started; nothing is left behind then.
    pub fn start(settings: &AdminSettings, state: AdminState) -> Result<Self, AdminError> {
        let admin = Self::prepare(settings, AdminSockets::default(), state)?;
        admin.open();
        Ok(admin)
    }

    /// As [`start`](Self::start) on sockets that listen already, as far as there are any; but calls wait until
    /// [`open`](Self::open).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn prepare(
        settings: &AdminSettings,
        adopted: AdminSockets,
        state: AdminState,
    ) -> Result<Self, AdminError> {
        let tcp = settings.loopback.map(|address| loopback(address, adopted.loopback)).transpose()?;
        let unix = settings.socket.as_deref().map(|path| match adopted.unix {
            Some(listener) => adopt_socket(path, settings.socket_mode, listener),
            None => bind_socket(path, settings.socket_mode),
        });
        let unix = unix.transpose()?;
        let sockets = duplicates(tcp.as_ref(), unix.as_ref()).map_err(AdminError::Thread)?;
        let place = unix.as_ref().map(Socket::place);
        let loopback = tcp.as_ref().map(|(_, address)| *address);
        let socket = settings.socket.clone();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
        let doors = Doors {
            open: routes::everything(state.clone(), socket.as_deref()),
            read_only: routes::read_only(
                state,
                socket.as_deref(),
                AllowedHosts::new(&settings.allowed_hosts),
                settings.loopback_report,
            ),
        };
        let (gate, gates) = watch::channel(Gate::Held);
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || runtime.block_on(listen::serve(tcp.map(|(tcp, _)| tcp), unix, doors, gates)))
            .map_err(AdminError::Thread)?;
        Ok(Self { loopback, socket, place, sockets, gate, thread: Some(thread) })
    }

    /// From here on calls are answered.
    pub fn open(&self) {
        if let Some(place) = &self.place {
            place.is_taken_over();
        }
        self.gate.send_replace(Gate::Open);
    }

    /// The doors' sockets, for a successor. One whose file somebody has removed is not among them.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn offer(&self) -> io::Result<AdminSockets> {
        let loopback = self.sockets.loopback.as_ref().map(TcpListener::try_clone).transpose()?;
        let in_place = self.place.as_ref().is_some_and(Place::is_ours);
        let unix = self.sockets.unix.as_ref().filter(|_| in_place);
        Ok(AdminSockets { loopback, unix: unix.map(UnixListener::try_clone).transpose()? })
    }

    /// Stops; the socket's file stays, for a successor answers there.
    pub fn hand_over(self) {
        if let Some(place) = &self.place {
            place.stays();
        }
    }

    /// The real address of the loopback door.
    pub fn loopback(&self) -> Option<SocketAddr> {
        self.loopback
    }

    /// The path of the unix socket.
    pub fn socket(&self) -> Option<&std::path::Path> {
        self.socket.as_deref()
    }

    /// Takes no more calls, lets those in progress end for a moment, and removes the socket file.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.gate.send_replace(Gate::Stopped);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread ended with a panic; report it with the log of before");
        }
    }
}

fn loopback(
    address: SocketAddr,
    adopted: Option<TcpListener>,
) -> Result<(TcpListener, SocketAddr), AdminError> {
    if !address.ip().is_loopback() {
        return Err(AdminError::NotLoopback(address));
    }
    let bind = || {
        let listener = adopted.map_or_else(|| TcpListener::bind(address), Ok)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind().map_err(|error| AdminError::Loopback(address, error))
}

fn duplicates(tcp: Option<&(TcpListener, SocketAddr)>, unix: Option<&Socket>) -> io::Result<AdminSockets> {
    Ok(AdminSockets {
        loopback: tcp.map(|(listener, _)| listener.try_clone()).transpose()?,
        unix: unix.map(|socket| socket.listener.try_clone()).transpose()?,
    })
}

#[cfg(test)]
mod tests;
