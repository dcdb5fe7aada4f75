//! Listening sockets that were there before this process: which of them the configuration asks for. What it
//! does not ask for is closed, and what it asks for and is not there is made.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use crate::admin::{AdminSettings, AdminSockets};
use crate::config::Boot;
use crate::handover::lineage::Predecessor;
use crate::handover::message::{Kind, Offered};
use crate::listen::bind::{Bound, adopt, bind};
use crate::listen::spec::ListenerSpec;
use crate::state_lock::StateLock;

/// The name of the public door of the status among sockets.
const STATUS_DOOR: &str = "status page";

/// Sockets to be taken.
#[derive(Debug, Default)]
pub struct Sockets {
    offered: Vec<(Offered, OwnedFd)>,
    passed: Vec<(String, TcpListener)>,
    took: BTreeSet<String>,
}

impl Sockets {
    /// Those of a predecessor.
    pub(super) fn offered(offered: Vec<(Offered, OwnedFd)>) -> Self {
        Self { offered, ..Self::default() }
    }

    /// Those that the service manager has opened, by their names.
    pub fn passed(passed: Vec<(String, TcpListener)>) -> Self {
        Self { passed, ..Self::default() }
    }

    /// Names of those that were taken.
    pub(super) fn took(&self) -> Vec<String> {
        self.took.iter().cloned().collect()
    }

    /// The listeners of a configuration. Must be called within a tokio runtime.
    pub(super) fn bind(&mut self, specs: Vec<ListenerSpec>) -> anyhow::Result<Vec<Bound>> {
        let names: Vec<_> = specs.iter().map(|spec| spec.name.to_string()).collect();
        if let Some((name, _)) = self.passed.iter().find(|(name, _)| !names.contains(name)) {
            bail!(
                "systemd passes a socket called {name:?}, and the listeners of boot.yaml are {}: set \
                 FileDescriptorName= of the socket unit to the name of its listener",
                names.join(", ")
            );
        }
        specs.into_iter().map(|spec| self.bind_one(spec)).collect()
    }

    /// The doors of the admin plane, as far as a predecessor offers them.
    pub(super) fn admin(&mut self, settings: &AdminSettings) -> AdminSockets {
        let mut take = |kind, is_status, configured: Option<String>| {
            let configured = configured?;
            self.take(|offered, _| {
                let is_it = (offered.name == STATUS_DOOR) == is_status;
                is_it && offered.kind == kind && offered.configured == configured
            })
        };
        let address = |address: SocketAddr| address.to_string();
        let loopback = take(Kind::AdminLoopback, false, settings.loopback.map(address));
        let tls = take(Kind::AdminTls, false, settings.tls.map(address));
        let status = take(Kind::AdminLoopback, true, settings.status.map(address));
        let unix = take(Kind::AdminSocket, false, settings.socket.as_deref().map(shown));
        let [loopback, tls, status] = [loopback, tls, status].map(|door| door.map(TcpListener::from));
        AdminSockets { loopback, tls, status, unix: unix.map(UnixListener::from) }
    }

    /// The lock of the state folder: the predecessor's, if it has the same one.
    pub(super) fn state_lock(&mut self, folder: &Path) -> anyhow::Result<StateLock> {
        let same =
            |offered: &Offered, _| offered.kind == Kind::StateLock && offered.configured == shown(folder);
        match self.take(same) {
            Some(lock) => Ok(StateLock::adopt(lock)),
            None => Ok(StateLock::take(folder)?),
        }
    }

    /// The processes that have served before, and have not ended.
    pub(super) fn predecessors(&mut self) -> anyhow::Result<Vec<Predecessor>> {
        let is_life_line = |(offered, _): &mut (Offered, OwnedFd)| offered.kind == Kind::LifeLine;
        let lines = self.offered.extract_if(.., is_life_line);
        let predecessors = lines.map(|(offered, line)| Predecessor::new(&offered, line));
        predecessors.collect::<Result<_, _>>().context("taking the life lines of earlier processes")
    }

    fn bind_one(&mut self, spec: ListenerSpec) -> anyhow::Result<Bound> {
        if let Some(at) = self.passed.iter().position(|(name, _)| **name == *spec.name) {
            let (_, listener) = self.passed.swap_remove(at);
            let address = listener.local_addr().with_context(|| format!("the socket {}", spec.name))?;
            if address != spec.address {
                let configured = spec.address;
                tracing::warn!(listener = %spec.name, %address, %configured, "systemd's socket has another address than boot.yaml; its own holds");
            }
            return Ok(adopt(spec, listener)?);
        }
        let configured = spec.address.to_string();
        let same = |offered: &Offered, real: Option<SocketAddr>| {
            let named = offered.name == *spec.name && offered.configured == configured;
            offered.kind == Kind::Listener && (named || real == Some(spec.address))
        };
        match self.take(same) {
            Some(socket) => Ok(adopt(spec, TcpListener::from(socket))?),
            None => Ok(bind(spec)?),
        }
    }

    fn take(&mut self, is: impl Fn(&Offered, Option<SocketAddr>) -> bool) -> Option<OwnedFd> {
        let real = |socket: &OwnedFd| socket2::SockRef::from(socket).local_addr().ok()?.as_socket();
        let at = self.offered.iter().position(|(offered, socket)| is(offered, real(socket)))?;
        let (offered, socket) = self.offered.swap_remove(at);
        self.took.insert(offered.name);
        Some(socket)
    }
}

/// Puts names and descriptors of a message together.
pub(super) fn paired(
    sockets: Vec<Offered>,
    descriptors: Vec<OwnedFd>,
) -> anyhow::Result<Vec<(Offered, OwnedFd)>> {
    let (named, came) = (sockets.len(), descriptors.len());
    ensure!(named == came, "{named} sockets were named and {came} came: is the descriptor limit too low?");
    Ok(sockets.into_iter().zip(descriptors).collect())
}

/// What this process could offer to a successor: its listeners.
pub(super) fn to_offer(bound: &[Bound]) -> anyhow::Result<Vec<(Offered, OwnedFd)>> {
    let offer = |bound: &Bound| {
        let spec = bound.spec();
        let name = spec.name.to_string();
        let offered = Offered { kind: Kind::Listener, name, configured: spec.address.to_string() };
        Ok((offered, bound.duplicate().context("keeping a listening socket for a successor")?))
    };
    bound.iter().map(offer).collect()
}

/// And the lock of its state folder.
pub(super) fn lock_to_offer(folder: &Path, lock: &StateLock) -> anyhow::Result<(Offered, OwnedFd)> {
    let lock = lock.duplicate().context("keeping the lock of the state folder for a successor")?;
    Ok((Offered { kind: Kind::StateLock, name: "state folder".into(), configured: shown(folder) }, lock))
}

/// And the doors of its admin plane.
pub(super) fn admin_to_offer(boot: &Boot, sockets: AdminSockets) -> Vec<(Offered, OwnedFd)> {
    let offered = |kind, name: &str, configured| Offered { kind, name: name.into(), configured };
    let loopback = boot.admin.loopback.zip(sockets.loopback).map(|(address, listener)| {
        (offered(Kind::AdminLoopback, "admin loopback", address.to_string()), listener.into())
    });
    let unix = sockets.unix.map(|listener| {
        (offered(Kind::AdminSocket, "admin socket", shown(&boot.admin.unix)), listener.into())
    });
    let tls = boot.admin.tls.as_ref().zip(sockets.tls).map(|(tls, listener)| {
        (offered(Kind::AdminTls, "admin tls", tls.address.to_string()), listener.into())
    });
    // Of the same kind, which every version knows; its name tells it from the other one.
    let status = boot.status.address.zip(sockets.status).map(|(address, listener)| {
        (offered(Kind::AdminLoopback, STATUS_DOOR, address.to_string()), listener.into())
    });
    loopback.into_iter().chain(tls).chain(status).chain(unix).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
