//! The admin plane: what people and machines may look at, and the one thing that they may ask for.
//!
//! It lives on a thread and a runtime of its own, so that it answers when the data plane is at 100 %
//! CPU. It can look at the live snapshot and ask the reload task; it cannot swap anything. Three doors:
//! a unix socket for whom its file mode admits, a loopback port that is read-only where nothing else is said, and a TLS port for
//! other machines, where every call needs a role. Who may do what is `docs/access.md`.

pub mod access;
mod break_glass;
mod brownouts;
mod candidate;
mod cells;
pub mod console;
mod host;
mod levers;
mod listen;
mod live;
mod moves;
mod page;
mod places;
pub mod report;
mod routes;
mod socket;
mod standing;
mod status;
mod tls;
mod upgrade;
mod users;
mod views;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::attempts::handle::AttemptHandle;
use crate::handover::UpgradeHandle;
use crate::handover::lineage::Lineage;
use crate::levers::handle::LeverHandle;
use crate::policy::access::Door;
use crate::policy::code::Code;
use crate::policy::snapshot::Snapshot;
use crate::readiness::Readiness;
use crate::reload::outcome::ReloadHandle;
use crate::status::desk::StatusDesk;
use crate::telemetry::metrics::Metrics;

use access::{AccessView, Keeper};
use host::AllowedHosts;
use listen::{Doors, Gate, Sockets};
use socket::{Place, Socket, adopt_socket, bind_socket};

/// Where the admin plane listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// The door for everybody on this machine; only a loopback address. Port 0 takes any free port.
    pub loopback: Option<SocketAddr>,
    /// Host names beyond `localhost` and loopback addresses under which the loopback door may be
    /// called, without port.
    pub allowed_hosts: Vec<String>,
    /// Whether that door shows reports, which name accounts: everybody on the machine can call it.
    pub loopback_report: bool,
    /// Whether it changes things, for whoever has a token with the role.
    pub loopback_operate: bool,
    /// The door for other machines.
    pub tls: Option<SocketAddr>,
    /// The door with everything: path of a unix socket.
    pub socket: Option<PathBuf>,
    /// Who may open that door.
    pub socket_mode: SocketMode,
    /// The public door of the status, and of nothing else; any address.
    pub status: Option<SocketAddr>,
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
    /// Tokens and certificates, and what the TLS door shows.
    pub access: AccessView,
    /// Has written down what was refused.
    pub attempts: AttemptHandle,
    /// `/live` and the console.
    pub console: console::Console,
    /// `/status`: how the service stands.
    pub status: Arc<StatusDesk>,
}

/// Makes the page of learned credentials.
pub type LearnedPage = Arc<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// Listening sockets of the doors: what a predecessor hands over, and what we hand on.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// The loopback door.
    pub loopback: Option<TcpListener>,
    /// The TLS door.
    pub tls: Option<TcpListener>,
    /// The door with everything; its file stands where the settings say.
    pub unix: Option<UnixListener>,
    /// The public door of the status.
    pub status: Option<TcpListener>,
}

/// A running admin plane. It ends with [`Admin::stop`] or when it is dropped.
#[derive(Debug)]
pub struct Admin {
    loopback: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    status: Option<SocketAddr>,
    socket: Option<PathBuf>,
    /// Where the socket's file is, and both sockets once more, to be handed on.
    place: Option<Place>,
    sockets: AdminSockets,
    live: Arc<live::LiveDesk>,
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
    Port(SocketAddr, #[source] io::Error),
    /// The same of the public door.
    #[error("cannot listen on status.address {0}: choose another port or end the process that holds it")]
    Status(SocketAddr, #[source] io::Error),
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
        let tls = settings.tls.map(|address| listening(address, adopted.tls)).transpose()?;
        let unix = settings.socket.as_deref().map(|path| match adopted.unix {
            Some(listener) => adopt_socket(path, settings.socket_mode, listener),
            None => bind_socket(path, settings.socket_mode),
        });
        let unix = unix.transpose()?;
        let public = settings.status.map(|address| {
            bind_tcp(address, adopted.status).map_err(|error| AdminError::Status(address, error))
        });
        let public = public.transpose()?;
        let bound = [tcp.as_ref(), tls.as_ref(), public.as_ref()];
        let sockets = duplicates(bound, unix.as_ref()).map_err(AdminError::Thread)?;
        let place = unix.as_ref().map(Socket::place);
        let [loopback, tls_address, status] = bound.map(|bound| bound.map(|(_, address)| *address));
        let socket = settings.socket.clone();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
        let live = Arc::clone(&state.console.live);
        if let Some(address) = loopback {
            state.console.is_at(address);
        }
        let doors = settings.doors(&state);
        let (gate, gates) = watch::channel(Gate::Held);
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || {
                let [loopback, tls, status] =
                    [tcp, tls, public].map(|bound| bound.map(|(listener, _)| listener));
                runtime.block_on(listen::serve(Sockets { unix, loopback, tls, status }, doors, gates));
            })
            .map_err(AdminError::Thread)?;
        let thread = Some(thread);
        Ok(Self { loopback, tls: tls_address, status, socket, place, sockets, live, gate, thread })
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
        let duplicate = |door: &Option<TcpListener>| door.as_ref().map(TcpListener::try_clone).transpose();
        let AdminSockets { loopback, tls, status, unix } = &self.sockets;
        let in_place = self.place.as_ref().is_some_and(Place::is_ours);
        let unix = unix.as_ref().filter(|_| in_place).map(UnixListener::try_clone).transpose()?;
        Ok(AdminSockets {
            loopback: duplicate(loopback)?,
            tls: duplicate(tls)?,
            status: duplicate(status)?,
            unix,
        })
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

    /// The real address of the TLS door.
    pub fn tls(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// The real address of the public door.
    pub fn status(&self) -> Option<SocketAddr> {
        self.status
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
        // Streams would not end by themselves.
        self.live.close();
        self.gate.send_replace(Gate::Stopped);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(code = %Code::Panicked, "the admin thread ended with a panic; report it with the log of before");
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
    listening(address, adopted)
}

fn listening(
    address: SocketAddr,
    adopted: Option<TcpListener>,
) -> Result<(TcpListener, SocketAddr), AdminError> {
    bind_tcp(address, adopted).map_err(|error| AdminError::Port(address, error))
}

fn bind_tcp(address: SocketAddr, adopted: Option<TcpListener>) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = adopted.map_or_else(|| TcpListener::bind(address), Ok)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl AdminSettings {
    /// Each door with a keeper of its own: what one has too much of, the others have not.
    fn doors(&self, state: &AdminState) -> Doors {
        let door = |door| {
            let known = (state.access.clone(), state.attempts.clone());
            let opened = (self.loopback_report, self.loopback_operate);
            let hosts = AllowedHosts::new(&self.allowed_hosts);
            let keeper = Keeper::new(door, opened, hosts, known, state.metrics.admin.clone());
            // Of this machine's files other machines learn nothing.
            let socket = self.socket.as_deref().filter(|_| door != Door::Tls);
            routes::routes(state.clone(), keeper, socket)
        };
        let tls = (door(Door::Tls), state.access.clone());
        let status = status::public(&state.status);
        Doors { unix: door(Door::Socket), loopback: door(Door::Loopback), tls, status }
    }
}

fn duplicates(
    [loopback, tls, status]: [Option<&(TcpListener, SocketAddr)>; 3],
    unix: Option<&Socket>,
) -> io::Result<AdminSockets> {
    let twice = |bound: Option<&(TcpListener, SocketAddr)>| {
        bound.map(|(listener, _)| listener.try_clone()).transpose()
    };
    Ok(AdminSockets {
        loopback: twice(loopback)?,
        tls: twice(tls)?,
        status: twice(status)?,
        unix: unix.map(|socket| socket.listener.try_clone()).transpose()?,
    })
}

#[cfg(test)]
mod tests;
