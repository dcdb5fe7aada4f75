//! The predecessor's side of an upgrade: start the successor, offer it the sockets, and leave only when it
//! serves. Whatever goes wrong before that ends the successor and changes nothing here.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::running::Running;
use super::sockets::admin_to_offer;
use crate::handover::lineage::LifeLine;
use crate::handover::message::{Message, VERSION};
use crate::handover::wire::{self, MAX_LINE};
use crate::handover::{PREDECESSOR, Successor, UpgradeError};
use crate::learned_file;
use crate::policy::learned::LearnedTable;
use crate::policy::snapshot::Snapshot;
use crate::systemd;
use crate::telemetry::wall_time::unix_seconds;

/// From the word to serve until it does: reading what was learned and starting threads, nothing more.
const SERVE_WITHIN: Duration = Duration::from_secs(10);

/// A process that has closed its end is ending; how long its exit status may take.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// The successor, once it serves.
#[derive(Debug)]
pub struct Heir {
    /// Its process id.
    pub pid: u32,
    /// Whether it answers on the admin socket's file.
    pub(super) admin_socket: bool,
    stream: Option<UnixStream>,
    /// Unix seconds at which it was handed what had been learned.
    since: u64,
    /// By which it sees that this process has ended.
    _life: LifeLine,
}

/// The new process, ended when this is dropped.
struct Started(Option<Child>);

/// The predecessor's end of the wire, which must not hold up signals.
struct Talk {
    lines: BufReader<tokio::net::UnixStream>,
}

impl Running {
    /// Starts `command` as successor and returns once it serves. Until then this process serves as before.
    ///
    /// Dropping the future ends the new process.
    ///
    /// # Errors
    /// Why there is no successor; nothing has changed.
    pub async fn upgrade(&self, command: Command) -> Result<Heir, UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstProcess);
        }
        let (mut started, mut talk, life) = self.start(command)?;
        let within = self.boot().drain.upgrade_timeout;
        let took = match tokio::time::timeout(within, talk.hear()).await {
            Err(_) => return Err(UpgradeError::TooSlow(within)),
            Ok(Ok(Some(Message::Prepared { took }))) => took,
            Ok(heard) => return Err(started.failure(heard).await),
        };
        // What the status page says from here on, only one of both says.
        let resting = self.status_rests();
        // Before it is read for the file: what is learned from here on is in the lessons, if not in both.
        let since = u64::try_from(unix_seconds(SystemTime::now())).unwrap_or(0);
        // The new process reads what was learned, and no file is replaced by both.
        self.save_learned();
        let given_up = self.state().give_up();
        // Before the last look at what is held: what was said of it until now, the new process must know.
        let giving_way = self.lineage().give_way();
        let held =
            self.snapshot().moves.table.held().map(|(account, epoch)| (account.value(), epoch)).collect();
        talk.say(&Message::Commit { held }).await?;
        match tokio::time::timeout(SERVE_WITHIN, talk.hear()).await {
            Err(_) => return Err(UpgradeError::TooSlow(SERVE_WITHIN)),
            Ok(Ok(Some(Message::Serving))) => {
                given_up.for_good();
                giving_way.for_good();
                if let Some(resting) = resting {
                    resting.for_good();
                }
            }
            Ok(heard) => return Err(started.failure(heard).await),
        }
        let pid = started.keep();
        systemd::successor(pid);
        // It serves, whether it hears this or not.
        let _ = talk.say(&Message::Announced).await;
        tracing::info!(pid, ?took, "upgraded: the new process serves, this one drains");
        let stream = talk.into_std().ok();
        let admin_socket = took.iter().any(|name| name == "admin socket");
        Ok(Heir { pid, admin_socket, stream, since, _life: life })
    }

    fn start(&self, mut command: Command) -> Result<(Started, Talk, LifeLine), UpgradeError> {
        let talk_failed = |error: std::io::Error| UpgradeError::Talk(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(talk_failed)?;
        let admin = admin_to_offer(self.boot(), self.admin_sockets().map_err(talk_failed)?);
        let (life, life_lines) = self.lineage().to_offer().map_err(talk_failed)?;
        let all = self.listening().iter().chain(&admin).chain(&life_lines);
        let (sockets, descriptors): (Vec<_>, Vec<_>) =
            all.map(|(offered, socket)| (offered.clone(), socket.as_fd())).unzip();
        wire::say(&ours, &Message::Offer { version: VERSION, sockets }, &descriptors).map_err(talk_failed)?;
        command.stdin(OwnedFd::from(theirs)).env(PREDECESSOR, std::process::id().to_string());
        // Of systemd's sockets it gets what is still in use, and with the others.
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(|error| UpgradeError::NotStarted {
            program: command.as_std().get_program().display().to_string(),
            reason: error.to_string(),
        })?;
        tracing::info!(pid = child.id(), "upgrading: a new process has been started");
        // `command` holds the other end, which must be the new process's alone: its end is a sign.
        drop(command);
        Ok((Started(Some(child)), Talk::new(ours).map_err(talk_failed)?, life))
    }
}

impl Heir {
    /// Tells it what was learned since it began to serve.
    pub(super) fn tell(&self, learned: &LearnedTable, snapshot: &Snapshot) {
        let Some(export) = learned_file::lessons(learned, snapshot, self.since) else { return };
        let lessons = Message::Lessons { export };
        let told = self.stream.as_ref().is_some_and(|stream| wire::say(stream, &lessons, &[]).is_ok());
        if !told {
            tracing::warn!("what was learned during the drain is lost; it will be learned again");
        }
    }

    /// As others see it.
    pub fn successor(&self) -> Successor {
        Successor { pid: self.pid }
    }
}

impl Started {
    /// It goes on without us. Says its process id.
    fn keep(&mut self) -> u32 {
        let child = self.0.take().expect("it is given away once");
        child.id().expect("nobody has waited for its end")
    }

    /// Why it did not say what was expected.
    async fn failure(&mut self, heard: std::io::Result<Option<Message>>) -> UpgradeError {
        match heard {
            Ok(Some(Message::Failed { reason })) => UpgradeError::Refused(reason),
            Ok(Some(other)) => UpgradeError::Talk(format!("it said {} out of turn", other.name())),
            Err(error) => UpgradeError::Talk(error.to_string()),
            Ok(None) => {
                let ended = match &mut self.0 {
                    Some(child) => tokio::time::timeout(STATUS_WITHIN, child.wait()).await,
                    None => return UpgradeError::Gone("unknown".to_owned()),
                };
                let status = ended.ok().and_then(Result::ok).as_ref().map(ExitStatus::to_string);
                UpgradeError::Gone(status.unwrap_or_else(|| "it has closed its standard input".to_owned()))
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0
            // One that has ended by itself cannot be ended; the runtime reaps both.
            && let Err(error) = child.start_kill()
        {
            tracing::debug!(%error, "the new process has ended already");
        }
    }
}

impl Talk {
    fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { lines: BufReader::new(tokio::net::UnixStream::from_std(stream)?) })
    }

    async fn say(&mut self, message: &Message) -> Result<(), UpgradeError> {
        let said = self.lines.get_mut().write_all(&message.to_line()).await;
        said.map_err(|error| UpgradeError::Talk(error.to_string()))
    }

    async fn hear(&mut self) -> std::io::Result<Option<Message>> {
        let mut line = Vec::new();
        let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        match (&mut self.lines).take(most).read_until(b'\n', &mut line).await {
            Ok(0) => Ok(None),
            Ok(_) => Message::parse(&line).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn into_std(self) -> std::io::Result<UnixStream> {
        let stream = self.lines.into_inner().into_std()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}
