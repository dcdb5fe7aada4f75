//! The one wiring: from a configuration folder to a running process, and to its end. Used by `main` and
//! by tests alike. The only place that binds and spawns.

mod observe;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::admin::{Admin, AdminSettings, AdminState};
use crate::audit::books::{Books, BooksSettings, DEFAULT_WINDOW, new_writer};
use crate::config::boot::{AccessLog as AccessLogTarget, ListenerProtocol};
use crate::config::{self, Boot};
use crate::last_good;
use crate::learned_file;
use crate::listen::bind::{Bound, bind};
use crate::listen::drain::{Drain, Drained};
use crate::listen::limits::ConnectionCounts;
use crate::listen::serve::Shell;
use crate::listen::spec::{Alpn, ConnectionLimits, ListenerSpec, Protocol};
use crate::listen::tls::TlsSettings;
use crate::live::Live;
use crate::policy::learned::LearnedTable;
use crate::policy::snapshot::{EndpointKey, Snapshot};
use crate::proxy::connect::Connector;
use crate::proxy::resolver::Resolver;
use crate::proxy::service::{ClientLimits, Service, ServiceHandle};
use crate::readiness::{BlockReady, Readiness, Reason};
use crate::reload::journal::Journal;
use crate::reload::outcome::{ReloadOutcome, ReloadReport, Trigger, handles};
use crate::reload::{QUEUED_SIGNALS, Reloader, Watch, unix};
use crate::start::{self, Started};
use crate::telemetry::Telemetry;
use crate::telemetry::access_log::{AccessLog, Target};
use crate::telemetry::labels::LearnedState;
use crate::telemetry::metrics::Metrics;

/// How often idle connections to cells are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often learned credentials are written, when there are new ones.
const SAVE_LEARNED_EVERY: Duration = Duration::from_secs(30);

/// How long the last lines of the access log and the books may take to be written.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What a process is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration folder.
    pub config: PathBuf,
    /// Replaces `state_dir` of `boot.yaml`.
    pub state_dir: Option<PathBuf>,
}

/// A running process.
pub struct Running {
    /// Real addresses of the listeners, by name.
    pub listeners: Vec<(Arc<str>, SocketAddr)>,
    /// Real address of the read-only admin door.
    pub admin_loopback: Option<SocketAddr>,
    /// The admin door with everything.
    pub admin_socket: Option<PathBuf>,
    /// Why the last good configuration serves, where it does.
    pub fallback: Option<start::Fallback>,
    live: Arc<Live>,
    boot: Boot,
    drain: Drain,
    readiness: Arc<Readiness>,
    telemetry: Arc<Telemetry>,
    learned: Arc<LearnedTable>,
    signals: mpsc::Sender<()>,
    admin: Option<Admin>,
    data: Option<Runtime>,
    control: Option<JoinHandle<()>>,
}

/// Starts everything. When it returns, connections are accepted.
///
/// # Errors
/// Nothing can be served, or an address or the state folder cannot be had. Nothing is left running.
pub fn build(options: &Options) -> anyhow::Result<Running> {
    let now = SystemTime::now();
    let started = start::start(&options.config, options.state_dir.as_deref(), unix(now))?;
    let Started { boot, config, sources, fallback } = started;
    prepare_state_dir(&boot.state_dir)?;
    let snapshot = Arc::new(config::compile(config, None));
    let metrics = Arc::new(Metrics::new());
    metrics.prepare(&snapshot);
    let live = Arc::new(Live::new(Arc::clone(&snapshot)));
    let readiness = Arc::<Readiness>::default();
    let starting = readiness.block(Reason::Starting);
    count_panics(&metrics);
    let telemetry = Arc::new(telemetry(&boot, &metrics)?);
    let learned = Arc::new(learned_file::load(&boot.state_dir, &snapshot, unix(now)));
    let data = data_runtime(&boot)?;
    let (drain, shutdown) = Drain::new();
    let connector = {
        let _data = data.enter();
        Arc::new(Connector::new(
            Resolver::system().context("reading the resolver configuration (/etc/resolv.conf)")?,
        ))
    };
    let service = ServiceHandle(Arc::new(Service::new(
        Arc::clone(&live),
        Arc::clone(&connector),
        Arc::clone(&learned),
        Arc::clone(&telemetry),
        client_limits(&boot),
        shutdown.clone(),
    )));
    let bound = {
        let _data = data.enter();
        bind_all(&boot)?
    };
    let listeners = bound.iter().map(|bound| (Arc::clone(&bound.spec().name), bound.local_addr())).collect();
    let shell = Shell {
        tls: TlsSettings::new(source(&live)).context("preparing TLS")?,
        counts: ConnectionCounts::new(connection_limits(&boot)),
        observer: Arc::new(observe::Observed::new(Arc::clone(&metrics))),
        shutdown,
    };
    let note = fallback.as_ref().map(|fallback| {
        metrics.serving_last_good(Some(fallback.written));
        readiness.note(Reason::LastGood { written: fallback.written, cause: first(&fallback.problems) })
    });
    let (reload, inbox) = handles(start_report(&fallback, &snapshot, now));
    let admin_state = AdminState {
        live: source(&live),
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        reload,
    };
    let admin = Admin::start(&admin_settings(&boot), admin_state)?;
    let (signals, signal_inbox) = mpsc::channel(QUEUED_SIGNALS);
    let reloader = Reloader {
        folder: options.config.clone(),
        boot: boot.clone(),
        live: Arc::clone(&live),
        metrics: Arc::clone(&metrics),
        journal: Journal::new(&boot.state_dir),
        fallback: note,
    };
    let watched = watched_folders(&options.config, &sources);
    let control = control_thread(reloader, inbox, signal_inbox, watched)?;
    for bound in bound {
        data.spawn(bound.serve(Arc::new(service.clone()), shell.clone()));
    }
    data.spawn(sweep(Arc::clone(&connector), Arc::clone(&live)));
    data.spawn(keep_learned(
        Arc::clone(&learned),
        Arc::clone(&live),
        boot.state_dir.clone(),
        Arc::clone(&metrics),
    ));
    if fallback.is_none() {
        let good = start::to_last_good(&sources, &snapshot.hash, unix(now));
        last_good::save(&boot.state_dir, &good).context("saving the last good configuration")?;
    }
    drop(starting);
    Ok(Running {
        listeners,
        admin_loopback: admin.loopback(),
        admin_socket: admin.socket().map(Path::to_owned),
        fallback,
        live,
        boot,
        drain,
        readiness,
        telemetry,
        learned,
        signals,
        admin: Some(admin),
        data: Some(data),
        control: Some(control),
    })
}

impl Running {
    /// The serving snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.live.pin()
    }

    /// Whether readiness is given.
    pub fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// As SIGHUP: reads the configuration again and opens log files anew.
    pub fn hang_up(&self) {
        self.telemetry.reopen();
        // One that waits already says the same.
        let _ = self.signals.try_send(());
    }

    /// Ends: fails readiness, waits `drain.grace`, closes the listeners, lets requests in flight finish
    /// within `drain.deadline`, writes what is unwritten. Returns as soon as the last request is done.
    pub fn drain(mut self) -> Drained {
        let Some(data) = self.data.take() else { return Drained::Clean };
        let blocked: BlockReady = self.readiness.block(Reason::Draining);
        let times = self.boot.drain;
        let drain = &self.drain;
        let drained = data.block_on(async {
            drain.begin();
            // Balancers notice the failed readiness and DNS caches run out; who is idle need not wait.
            tokio::time::sleep(times.grace).await;
            drain.finish(times.deadline).await
        });
        self.close(data);
        drop(blocked);
        drained
    }

    fn close(&mut self, data: Runtime) {
        if let Err(error) = learned_file::save(&self.boot.state_dir, &self.learned, &self.live.pin()) {
            tracing::warn!(%error, "learned credentials not saved; they will be learned again");
        }
        if !self.telemetry.close(CLOSE_WITHIN) {
            tracing::warn!(within = ?CLOSE_WITHIN, "the last log lines or counts were not written in time");
        }
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
            tracing::error!("the control thread ended with a panic; report it with the log of before");
        }
    }
}

fn prepare_state_dir(state_dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let name = || format!("state folder {}", state_dir.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).with_context(|| {
        format!("making the {}: choose a folder that this user may write (state_dir in boot.yaml)", name())
    })?;
    let mode = state_dir.metadata().with_context(name)?.mode();
    anyhow::ensure!(
        mode & 0o022 == 0,
        "the {} can be written by others (mode {:o}): chmod go-w it, for what is in it is believed at the next start",
        name(),
        mode & 0o777,
    );
    Ok(())
}

fn telemetry(boot: &Boot, metrics: &Arc<Metrics>) -> anyhow::Result<Telemetry> {
    let target = match &boot.access_log {
        AccessLogTarget::Stdout => Target::Stdout,
        AccessLogTarget::File(path) => Target::File(path.clone()),
    };
    let log = AccessLog::start(target, metrics.access_log()).context("starting the access log")?;
    let writer = new_writer(SystemTime::now(), fastrand::u64(..));
    let books = BooksSettings { folder: boot.state_dir.clone(), window: DEFAULT_WINDOW, writer };
    let books = Books::start(books, metrics.books()).context("starting the books")?;
    Telemetry::start(Arc::clone(metrics), vec![Box::new(log), Box::new(books)]).context("starting telemetry")
}

/// A panic ends one task and not the process, so it must not go unseen.
fn count_panics(metrics: &Arc<Metrics>) {
    let metrics = Arc::downgrade(metrics);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(metrics) = metrics.upgrade() {
            metrics.panicked();
        }
        tracing::error!(%panic, "a task of cellgate has panicked; report this");
        report(panic);
    }));
}

fn data_runtime(boot: &Boot) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = boot.workers {
        builder.worker_threads(workers.get());
    }
    builder.thread_name("data").enable_all().build().context("starting the threads of the data plane")
}

/// Reloads and signals run here, so that a file of a million rows is never parsed on a request thread.
fn control_thread(
    reloader: Reloader,
    inbox: crate::reload::outcome::ReloadInbox,
    signals: mpsc::Receiver<()>,
    watched: Vec<PathBuf>,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the control thread")?;
    let state_dir = reloader.boot.state_dir.clone();
    let run = move || {
        runtime.block_on(async {
            let watch = Watch::folders(&watched, &state_dir);
            reloader.run(inbox, signals, watch).await;
        });
    };
    std::thread::Builder::new().name("control".into()).spawn(run).context("starting the control thread")
}

fn bind_all(boot: &Boot) -> anyhow::Result<Vec<Bound>> {
    boot.listeners.iter().map(|listener| Ok(bind(listener_spec(listener, boot))?)).collect()
}

fn listener_spec(listener: &config::boot::Listener, boot: &Boot) -> ListenerSpec {
    let protocol = match listener.protocol {
        ListenerProtocol::Http => Protocol::Http,
        ListenerProtocol::Https => Protocol::Https(Alpn::H2AndHttp1),
        ListenerProtocol::H2c => Protocol::H2c,
    };
    ListenerSpec {
        proxy_protocol: listener.proxy_protocol.clone(),
        redirect_to_https: listener.redirect_to_https,
        forwarded_scheme: Some(listener.scheme),
        handshake_deadline: boot.limits.handshake_timeout,
        ..ListenerSpec::new(listener.name.as_str(), listener.address, protocol)
    }
}

fn connection_limits(boot: &Boot) -> ConnectionLimits {
    let count = |limit: std::num::NonZeroU32| usize::try_from(limit.get()).unwrap_or(usize::MAX);
    ConnectionLimits {
        total: count(boot.limits.connections),
        per_source: boot.limits.connections_per_address.map_or(usize::MAX, count),
        exempt: Vec::new(),
    }
}

fn client_limits(boot: &Boot) -> ClientLimits {
    ClientLimits {
        head_timeout: boot.limits.head_timeout,
        keep_alive_timeout: boot.limits.keep_alive_timeout,
        body_timeout: boot.limits.idle_timeout,
        connection_lifetime: boot.limits.connection_lifetime,
        requests_per_connection: boot.limits.requests_per_connection.get(),
        streams_per_connection: boot.limits.streams_per_connection.get(),
    }
}

fn admin_settings(boot: &Boot) -> AdminSettings {
    AdminSettings {
        loopback: boot.admin.loopback,
        allowed_hosts: boot.admin.allowed_hosts.iter().map(ToString::to_string).collect(),
        socket: Some(boot.admin.unix.clone()),
    }
}

fn start_report(fallback: &Option<start::Fallback>, snapshot: &Snapshot, now: SystemTime) -> ReloadReport {
    let outcome = match fallback {
        Some(fallback) => ReloadOutcome::Rejected(crate::reload::views(&fallback.problems)),
        None => ReloadOutcome::Applied { generation: snapshot.generation },
    };
    ReloadReport { trigger: Trigger::Start, at: now, outcome, loaded_at: now }
}

fn first(problems: &[config::Problem]) -> String {
    let more = problems.len().saturating_sub(1);
    problems.first().map_or_else(String::new, |problem| match more {
        0 => problem.to_string(),
        _ => format!("{problem} (and {more} more)"),
    })
}

/// The configuration folder, and the folders of certificates outside it.
fn watched_folders(folder: &Path, sources: &config::Sources) -> Vec<PathBuf> {
    let outside = sources.files.keys().filter_map(|path| {
        let parent = folder.join(&**path).parent()?.canonicalize().ok()?;
        let real = folder.canonicalize().ok()?;
        (!parent.starts_with(real)).then_some(parent)
    });
    let mut folders: Vec<PathBuf> = outside.collect();
    folders.push(folder.to_owned());
    folders.sort();
    folders.dedup();
    folders
}

fn source(live: &Arc<Live>) -> Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync> {
    let live = Arc::clone(live);
    Arc::new(move || live.pin())
}

async fn sweep(connector: Arc<Connector>, live: Arc<Live>) {
    let mut turns = tokio::time::interval(SWEEP_EVERY);
    loop {
        turns.tick().await;
        let snapshot = live.pin();
        let keep_alive = |key: &EndpointKey| {
            let owner = snapshot.cells.iter().find(|cell| {
                cell.groups.iter().flat_map(|group| &group.endpoints).any(|endpoint| endpoint.key == *key)
            });
            owner.map(|cell| cell.timeouts.keep_alive)
        };
        connector.pool().sweep(keep_alive);
    }
}

async fn keep_learned(
    learned: Arc<LearnedTable>,
    live: Arc<Live>,
    state_dir: PathBuf,
    metrics: Arc<Metrics>,
) {
    let mut turns = tokio::time::interval(SAVE_LEARNED_EVERY);
    let mut saved = learned.epoch();
    loop {
        turns.tick().await;
        let evicted = learned.expire(u64::try_from(unix(SystemTime::now())).unwrap_or(0));
        metrics.learned_evicted(evicted as u64);
        let (routable, ambiguous) = learned.counts();
        metrics.learned_credentials(LearnedState::Routable, routable);
        metrics.learned_credentials(LearnedState::Ambiguous, ambiguous);
        if learned.epoch() == saved {
            continue;
        }
        saved = learned.epoch();
        let (learned, state_dir, snapshot) = (Arc::clone(&learned), state_dir.clone(), live.pin());
        let written =
            tokio::task::spawn_blocking(move || learned_file::save(&state_dir, &learned, &snapshot)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "learned credentials not saved; they serve from memory");
        }
    }
}
