//! A running process as its signals see it: look, reload, drain, hand over, end.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::known::Knowing;
use super::upgrade::Heir;
use crate::admin::{Admin, AdminSockets};
use crate::config::Boot;
use crate::descriptors;
use crate::handover::UpgradeRequest;
use crate::handover::lineage::Lineage;
use crate::handover::message::Offered;
use crate::learned_file;
use crate::levers::LeverThread;
use crate::listen::drain::{Drain, Drained};
use crate::live::Live;
use crate::policy::code::Code;
use crate::policy::learned::LearnedTable;
use crate::policy::snapshot::Snapshot;
use crate::readiness::{BlockReady, NoteReady, Reason};
use crate::reload::outcome::ReloadReport;
use crate::start;
use crate::state_file::Ownership;
use crate::state_lock::StateLock;
use crate::status::{Resting, StatusThread};
use crate::telemetry::metrics::Metrics;

/// How long the last lines of the access log and the books may take to be written.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A running process.
pub struct Running {
    /// Real addresses of the listeners, by name.
    pub listeners: Vec<(Arc<str>, SocketAddr)>,
    /// Real address of the read-only admin door.
    pub admin_loopback: Option<SocketAddr>,
    /// The admin door with everything.
    pub admin_socket: Option<PathBuf>,
    /// Real address of the admin door for other machines.
    pub admin_tls: Option<SocketAddr>,
    /// Real address of the public door of the status.
    pub status_address: Option<SocketAddr>,
    /// Why the last good configuration serves, where it does.
    pub fallback: Option<start::Fallback>,
    pub(super) _bootstrapped: Option<NoteReady>,
    pub(super) shared: Shared,
    pub(super) drain: Drain,
    pub(super) signals: mpsc::Sender<()>,
    pub(super) reload: watch::Receiver<Arc<ReloadReport>>,
    pub(super) upgrades: Option<mpsc::Receiver<UpgradeRequest>>,
    /// The listening sockets and the lock of the state folder once more, to be handed on.
    pub(super) listening: Vec<(Offered, OwnedFd)>,
    pub(super) admin: Option<Admin>,
    pub(super) data: Option<Runtime>,
    pub(super) control: Option<JoinHandle<()>>,
    /// Writes what this start found in the state folder.
    pub(super) keeping: Option<JoinHandle<()>>,
    /// Ends after the admin plane: what that has asked for is answered.
    pub(super) levers: Option<LeverThread>,
    /// As the levers'.
    pub(super) knowing: Option<Knowing>,
    /// Looks how the service stands.
    pub(super) status: Option<StatusThread>,
    /// Last, so that everything that writes in the state folder has ended before another may.
    pub(super) _state_lock: StateLock,
}

impl Running {
    /// The serving snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.live.pin()
    }

    /// What serves a share of the accounts, where something does.
    pub fn candidate(&self) -> Option<Arc<Snapshot>> {
        self.shared.live.pin_both().candidate.map(|candidate| Arc::clone(&candidate.snapshot))
    }

    /// Whether the loopback admin door changes things.
    pub fn admin_changes_on_loopback(&self) -> bool {
        self.shared.boot.admin.loopback_operate
    }

    /// Whether readiness is given.
    pub fn is_ready(&self) -> bool {
        self.shared.readiness.is_ready(SystemTime::now())
    }

    /// Says in the log, and beside readiness until what it gives is dropped, where this process may have fewer files open
    /// than the connections that it takes may need.
    pub fn note_few_descriptors(&self, most: descriptors::Most) -> Option<NoteReady> {
        let connections = self.shared.boot.limits.connections.get();
        let (needed, most) = (descriptors::needed(connections), descriptors::too_few(most, connections)?);
        let note = self.shared.readiness.note(Reason::FewDescriptors { most, needed, connections });
        tracing::warn!(code = %Code::FewDescriptors, most, needed, connections,
            "where all connections of limits.connections are taken, no file can be opened any more: raise the hard limit of \
             open files, or lower limits.connections"
        );
        Some(note)
    }

    /// As SIGHUP: reads the configuration again and opens log files anew.
    pub fn hang_up(&self) {
        self.shared.telemetry.reopen();
        // One that waits already says the same.
        let _ = self.signals.try_send(());
    }

    /// The last reload, as often as there is one.
    pub fn reloads(&self) -> watch::Receiver<Arc<ReloadReport>> {
        self.reload.clone()
    }

    /// Wishes for an upgrade; whoever takes this acts on them.
    pub fn upgrade_requests(&mut self) -> Option<mpsc::Receiver<UpgradeRequest>> {
        self.upgrades.take()
    }

    /// The process's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Ends after a successor has taken over: accepts no more and answers no admin call, which are its affair
    /// now, lets requests in flight finish within `drain.deadline`, and tells it what was learned meanwhile.
    pub fn hand_over(mut self, heir: &Heir) -> Drained {
        let Some(data) = self.data.take() else { return Drained::Clean };
        // The successor looks, publishes and tells now.
        drop(self.status.take());
        match self.admin.take() {
            Some(admin) if heir.admin_socket => admin.hand_over(),
            Some(admin) => drop(admin),
            None => {}
        }
        self.listening.clear();
        let (drain, deadline) = (&self.drain, self.shared.boot.drain.deadline);
        drain.hand_over();
        let drained = data.block_on(drain.finish(deadline));
        heir.tell(&self.shared.learned, &self.shared.live.pin());
        self.close(data);
        drained
    }

    /// Ends: fails readiness, waits `drain.grace`, closes the listeners, lets requests in flight finish
    /// within `drain.deadline`, writes what is unwritten. Returns as soon as the last request is done.
    pub fn drain(mut self) -> Drained {
        let Some(data) = self.data.take() else { return Drained::Clean };
        let blocked: BlockReady = self.shared.readiness.block(Reason::Draining);
        let times = self.shared.boot.drain;
        // The last copies, so that closing the listeners closes the sockets.
        let listening = std::mem::take(&mut self.listening);
        let drain = &self.drain;
        let drained = data.block_on(async {
            drain.begin();
            // Balancers notice the failed readiness and DNS caches run out; who is idle need not wait.
            tokio::time::sleep(times.grace).await;
            drop(listening);
            drain.finish(times.deadline).await
        });
        self.close(data);
        drop(blocked);
        drained
    }

    pub(super) fn boot(&self) -> &Boot {
        &self.shared.boot
    }

    pub(super) fn state(&self) -> &Ownership {
        &self.shared.state
    }

    pub(super) fn lineage(&self) -> &Lineage {
        &self.shared.lineage
    }

    pub(super) fn listening(&self) -> &[(Offered, OwnedFd)] {
        &self.listening
    }

    pub(super) fn admin_sockets(&self) -> std::io::Result<AdminSockets> {
        self.admin.as_ref().map_or_else(|| Ok(AdminSockets::default()), Admin::offer)
    }

    pub(super) fn learning(&self) -> (Arc<LearnedTable>, Arc<Live>) {
        (Arc::clone(&self.shared.learned), Arc::clone(&self.shared.live))
    }

    /// Has the status say nothing more, and keeps what it has said.
    pub(super) fn status_rests(&self) -> Option<Resting<'_>> {
        self.status.as_ref().map(StatusThread::rest)
    }

    /// Unless the state folder is a successor's.
    pub(super) fn save_learned(&self) {
        let Shared { boot, learned, live, state, .. } = &self.shared;
        let saved = state.write(|| learned_file::save(&boot.state_dir, learned, &live.pin()));
        if let Some(Err(error)) = saved {
            tracing::warn!(%error, "learned credentials not saved; they will be learned again");
        }
    }

    fn close(&mut self, data: Runtime) {
        self.save_learned();
        if !self.shared.telemetry.close(CLOSE_WITHIN) {
            tracing::warn!(within = ?CLOSE_WITHIN, "the last log lines or counts were not written in time");
        }
        drop(self.status.take());
        drop(self.admin.take());
        data.shutdown_timeout(Duration::from_secs(1));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(data) = self.data.take() {
            self.drain.kill();
            self.close(data);
        }
        let (gone, _) = mpsc::channel(1);
        // Closing the signal channel ends the control thread.
        drop(std::mem::replace(&mut self.signals, gone));
        if let Some(control) = self.control.take()
            && control.join().is_err()
        {
            tracing::error!(code = %Code::Panicked, "the control thread ended with a panic; report it with the log of before");
        }
        drop(self.levers.take());
        drop(self.knowing.take());
        if let Some(keeping) = self.keeping.take()
            && keeping.join().is_err()
        {
            tracing::error!(code = %Code::Panicked,
                "the configuration was not kept for later starts; report this with the log of before"
            );
        }
    }
}
