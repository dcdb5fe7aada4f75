//! The successor's side of an upgrade: take the sockets, read the configuration, wait for the word, serve.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};

use super::running::Running;
use super::sockets::{Sockets, paired};
use super::{Options, Prepared, prepare};
use crate::handover::message::{Message, VERSION};
use crate::handover::wire::Wire;
use crate::learned_file;
use crate::policy::ids::AccountId;
use crate::policy::moves::MoveTable;
use crate::readiness::first;
use crate::start::CannotStart;
use crate::telemetry::labels::Upgrade;
use crate::telemetry::wall_time::unix_seconds;

/// A predecessor answers within moments, and one that hangs must not leave us hanging beside it.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Takes over from the process at the other end of `wire`. When it returns, connections are accepted.
///
/// # Errors
/// Nothing can be served. The predecessor has been told and goes on.
pub fn take_over(options: &Options, mut wire: Wire) -> anyhow::Result<Running> {
    let prepared = match offered(&mut wire).and_then(|sockets| prepare(options, sockets)) {
        Ok(prepared) => prepared,
        Err(error) => return Err(refused(&wire, error)),
    };
    wire.say(&Message::Prepared { took: prepared.took() }).context("telling the predecessor")?;
    match wire.hear(Some(ANSWER_WITHIN)).context("waiting for the predecessor's word")? {
        Some((Message::Commit { held }, _)) => {
            if let Err(error) = holds_too(&prepared.snapshot().moves.table, &held) {
                return Err(refused(&wire, error));
            }
        }
        Some((other, _)) => bail!("the predecessor said {} out of turn", other.name()),
        None => bail!("the predecessor was gone before it gave the word"),
    }
    serve(prepared, wire)
}

/// What the predecessor has said of held writes must stay true. A process that reads older files, or such as take a move
/// back, would write to the old cell after that.
fn holds_too(moves: &MoveTable, held: &[(u64, u32)]) -> anyhow::Result<()> {
    for (account, epoch) in held {
        let knows =
            AccountId::from_value(*account).is_some_and(|account| moves.knows_of_hold(account, *epoch));
        ensure!(
            knows,
            "the running process holds the writes of account {account}, and the files that the new one has read do not: they \
             are changing. Ask again when GET /config of the running process says that it has them"
        );
    }
    Ok(())
}

fn offered(wire: &mut Wire) -> anyhow::Result<Sockets> {
    let heard = wire.hear(Some(ANSWER_WITHIN)).context("waiting for the predecessor's sockets")?;
    let Some((Message::Offer { version, sockets }, descriptors)) = heard else {
        bail!("the predecessor offered no sockets");
    };
    ensure!(
        version == VERSION,
        "the running cellgate hands over in version {version} and this one takes {VERSION}: restart once instead"
    );
    Ok(Sockets::offered(paired(sockets, descriptors)?))
}

fn refused(wire: &Wire, error: anyhow::Error) -> anyhow::Error {
    let mut reason = format!("{error:#}");
    if let Some(cannot) = error.downcast_ref::<CannotStart>() {
        reason = format!("{reason}: {}", first(&cannot.why.lines()));
    }
    // One that is gone needs no reason.
    let _ = wire.say(&Message::Failed { reason });
    error
}

fn serve(prepared: Prepared, mut wire: Wire) -> anyhow::Result<Running> {
    let running = match prepared.serve() {
        Ok(running) => running,
        Err(error) => return Err(refused(&wire, error)),
    };
    running.metrics().upgrade(Upgrade::TakenOver);
    if wire.say(&Message::Serving).is_err() {
        tracing::warn!("the predecessor was gone before it was told that this process serves");
        return Ok(running);
    }
    match wire.hear(Some(ANSWER_WITHIN)) {
        Ok(Some((Message::Announced, _))) => learn_on(&running, wire),
        Ok(_) | Err(_) => tracing::warn!("the predecessor did not answer; this process serves"),
    }
    Ok(running)
}

/// Hears what the predecessor has learned while it drained; it says so at its end.
fn learn_on(running: &Running, mut wire: Wire) {
    let (learned, live) = running.learning();
    let hear = move || {
        while let Ok(Some((message, _))) = wire.hear(None) {
            let Message::Lessons { export } = message else { continue };
            let now = u64::try_from(unix_seconds(SystemTime::now())).unwrap_or(0);
            match learned_file::learn(&learned, &live.pin(), &export, now) {
                Ok(lessons) => tracing::info!(lessons, "the predecessor's last lessons were learned"),
                Err(reason) => tracing::warn!(reason, "the predecessor's last lessons are not used"),
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("predecessor".into()).spawn(hear) {
        tracing::warn!(%error, "the predecessor's last lessons will be learned again");
    }
}
