//! What a serving process is told while it serves: signals, wishes of the admin plane, and how reloads and
//! upgrades end. The service manager is told in turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::app::{Heir, Running};
use crate::handover::{UpgradeError, UpgradeRequest};
use crate::policy::code::Code;
use crate::reload::outcome::{ReloadReport, Trigger};
use crate::systemd;
use crate::telemetry::labels::Upgrade;

/// The signals that mean something. Made once: what comes between two looks is not lost.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    upgrade: Signal,
}

/// How serving ends.
pub(super) enum Told {
    /// To stop.
    ToStop(Signals),
    /// A successor serves.
    ToHandOver(Heir, Signals),
}

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Heir, UpgradeError>> + 'a>>;

/// A process that serves, and who wants what of it.
pub(super) struct Watcher<'a> {
    running: &'a Running,
    wishes: Option<mpsc::Receiver<UpgradeRequest>>,
    reloads: watch::Receiver<Arc<ReloadReport>>,
    attempt: Option<Attempt<'a>>,
    /// Whoever asked for the attempt by an admin call.
    asked: Vec<UpgradeRequest>,
}

impl Signals {
    /// Must be called within a runtime.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for Ctrl-C")?,
            hang_up: signal(SignalKind::hangup()).context("listening for SIGHUP")?,
            upgrade: signal(SignalKind::user_defined2()).context("listening for SIGUSR2")?,
        })
    }

    /// SIGTERM or Ctrl-C.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl<'a> Watcher<'a> {
    /// Of a process that has begun to serve.
    pub(super) fn new(running: &'a mut Running) -> Self {
        let wishes = running.upgrade_requests();
        let running = &*running;
        systemd::ready(&serving(running));
        Self { running, wishes, reloads: running.reloads(), attempt: None, asked: Vec::new() }
    }

    /// Acts on what comes until it is an end.
    pub(super) async fn until_told_to_stop(mut self, mut signals: Signals) -> Told {
        loop {
            let Signals { terminate, interrupt, hang_up, upgrade } = &mut signals;
            tokio::select! {
                _ = terminate.recv() => return Told::ToStop(signals),
                _ = interrupt.recv() => return Told::ToStop(signals),
                Some(()) = hang_up.recv() => {
                    systemd::reloading();
                    self.running.hang_up();
                }
                Some(()) = upgrade.recv() => self.upgrade(None),
                Some(asked) = wish(&mut self.wishes) => self.upgrade(Some(asked)),
                Ok(()) = self.reloads.changed() => self.reloaded(),
                ended = outcome(&mut self.attempt) => {
                    self.attempt = None;
                    if let Some(heir) = self.ended(ended) {
                        return Told::ToHandOver(heir, signals);
                    }
                }
            }
        }
    }

    fn upgrade(&mut self, asked: Option<UpgradeRequest>) {
        if self.attempt.is_some() {
            tracing::warn!("an upgrade is under way already");
            if let Some(asked) = asked {
                // A caller who has gone away does not want the answer.
                let _ = asked.send(Err(UpgradeError::UnderWay));
            }
            return;
        }
        self.asked.extend(asked);
        self.attempt = Some(Box::pin(self.running.upgrade(again())));
    }

    fn ended(&mut self, ended: Result<Heir, UpgradeError>) -> Option<Heir> {
        if let Err(error) = &ended {
            tracing::error!(code = %Code::NotUpgraded, %error, "not upgraded: this process goes on as before");
            self.running.metrics().upgrade(Upgrade::Failed);
            systemd::ready(&format!("{}; not upgraded: {error}", serving(self.running)));
        }
        // Last: who asked finds it in the log and among the metrics.
        let said = ended.as_ref().map(Heir::successor).map_err(Clone::clone);
        for asked in self.asked.drain(..) {
            let _ = asked.send(said.clone());
        }
        ended.ok()
    }

    fn reloaded(&mut self) {
        let report = self.reloads.borrow_and_update().clone();
        let status = format!("{}; last reload: {}", serving(self.running), report.outcome.label().as_str());
        match report.trigger {
            Trigger::Signal => systemd::ready(&status),
            Trigger::Start
            | Trigger::FileChange
            | Trigger::Admin
            | Trigger::Again
            | Trigger::AtOnce
            | Trigger::AgainAtOnce => systemd::status(&status),
        }
    }
}

/// The same command once more: the program that now stands where this one was started from, which may be
/// reached by another link than then.
fn again() -> Command {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| "cellgate".into());
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

async fn wish(wishes: &mut Option<mpsc::Receiver<UpgradeRequest>>) -> Option<UpgradeRequest> {
    match wishes {
        Some(wishes) => wishes.recv().await,
        None => None,
    }
}

async fn outcome(attempt: &mut Option<Attempt<'_>>) -> Result<Heir, UpgradeError> {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

fn serving(running: &Running) -> String {
    let snapshot = running.snapshot();
    let (generation, hash) = (snapshot.generation, &snapshot.hash[..12]);
    let source = if running.fallback.is_some() { "started on the LAST GOOD configuration, " } else { "" };
    format!("serving: {source}generation {generation}, hash {hash}, {} accounts", snapshot.accounts.len())
}
