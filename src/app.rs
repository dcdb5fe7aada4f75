//! The one wiring: from a configuration folder to a running process, and to its end. Used by `main` and
//! by tests alike. The only place that binds and spawns.

mod admin_plane;
mod beginning;
mod console;
mod keep;
mod known;
mod observe;
mod running;
mod settings;
mod sockets;
mod status;
mod successor;
mod tasks;
mod telemetry;
mod upgrade;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::{self, Boot};
use crate::handover::lineage::Lineage;
use crate::handover::{QUEUED_REQUESTS, UpgradeRequest};
use crate::levers::handle::{LeverHandle, LeverInbox};
use crate::listen::bind::Bound;
use crate::listen::drain::Drain;
use crate::listen::limits::ConnectionCounts;
use crate::listen::serve::Shell;
use crate::listen::tls::TlsSettings;
use crate::live::Live;
use crate::policy::learned::LearnedTable;
use crate::policy::protection::levers::board::LeverBoard;
use crate::policy::snapshot::Snapshot;
use crate::proxy::connect::Connector;
use crate::proxy::resolver::Resolver;
use crate::proxy::service::{Service, ServiceHandle};
use crate::readiness::{BlockReady, NoteReady, Readiness, Reason};
use crate::reload::journal::{Journal, Said};
use crate::reload::outcome::{ReloadInbox, ReloadReport, handles};
use crate::reload::{FellBack, QUEUED_SIGNALS, Reloader, Staging, Watch, note_objections, warn_of};
use crate::start::{self, Started};
use crate::state_file::Ownership;
use crate::state_lock::StateLock;
use crate::status::desk::StatusDesk;
use crate::status::{Keeper, policy as status_policy};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::unix_seconds;
use crate::{history, learned_file, levers};
use beginning::{
    approvers, broken_glass, count_panics, prepare_state_dir, reason_of, replica, say_whether_state_lasts,
    start_report, watched_folders,
};
use keep::{Begins, Begun};
use known::Known;
use sockets::{lock_to_offer, to_offer};

pub use beginning::requests_of;
pub use running::Running;
pub use sockets::Sockets;
pub use successor::take_over;
pub use upgrade::Heir;

/// What a process is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration folder.
    pub config: PathBuf,
    /// `boot.yaml`, where it is not in that folder.
    pub boot: Option<PathBuf>,
    /// Serve although there is no last good configuration to compare with.
    pub bootstrap: bool,
    /// Replaces `state_dir` of `boot.yaml`, for all that lies below it.
    pub state_dir: Option<PathBuf>,
}

/// What all planes share.
struct Shared {
    boot: Boot,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    telemetry: Arc<Telemetry>,
    learned: Arc<LearnedTable>,
    state: Arc<Ownership>,
    lineage: Arc<Lineage>,
    levers: Arc<LeverBoard>,
    status: Arc<StatusDesk>,
    clock: Clock,
}

/// The plane that serves requests, bound and not yet accepting.
struct DataPlane {
    runtime: Runtime,
    drain: Drain,
    connector: Arc<Connector>,
    service: ServiceHandle,
    shell: Shell,
    bound: Vec<Bound>,
}

/// Starts everything. When it returns, connections are accepted.
///
/// # Errors
/// Nothing can be served, or an address or the state folder cannot be had. Nothing is left running.
pub fn build(options: &Options) -> anyhow::Result<Running> {
    prepare(options, Sockets::default())?.serve()
}

/// A process that has all it needs, and has accepted and written nothing yet.
pub struct Prepared {
    options: Options,
    started: SystemTime,
    begins: Begins,
    fallback: Option<start::Fallback>,
    bootstrapped: Option<NoteReady>,
    shared: Shared,
    starting: BlockReady,
    data: DataPlane,
    admin: Admin,
    reload: watch::Receiver<Arc<ReloadReport>>,
    inbox: ReloadInbox,
    levers: (LeverHandle, LeverInbox),
    known: Known,
    upgrades: mpsc::Receiver<UpgradeRequest>,
    status: Keeper,
    state_lock: StateLock,
    took: Vec<String>,
    /// The files differ from what serves, and come in force in steps.
    in_steps: bool,
}

/// Reads the configuration and takes or makes every socket.
///
/// # Errors
/// As [`build`].
pub fn prepare(options: &Options, mut sockets: Sockets) -> anyhow::Result<Prepared> {
    let now = SystemTime::now();
    let started = start::start(&options.given(), unix_seconds(now), &|folder| requests_of(folder, now))?;
    let Started { boot, config, sources, fallback, observed, approved, bootstrapped, changed, in_steps } =
        started;
    let note = history::note(&options.config, &config.hash);
    let said = if fallback.is_none() { Said::of(&config.change, note) } else { Said::default() };
    let begins = Begins { sources, approved, changed, said };
    prepare_state_dir(&boot.state_dir)?;
    let state_lock = sockets.state_lock(&boot.state_dir)?;
    let snapshot = Arc::new(config::compile(config, None));
    // Which process this is: replicas are told apart by it, and no two may be the same.
    let lineage = Lineage::new(fastrand::u64(..), sockets.predecessors()?);
    let shared = Shared::new(boot, &snapshot, lineage)?;
    note_objections(&shared.metrics, &observed);
    say_whether_state_lasts(&shared.boot.state_dir, &shared.metrics);
    warn_of(&shared.boot.guards.remarks(&snapshot));
    let bootstrapped = bootstrapped.then(|| shared.readiness.note(Reason::Bootstrapped));
    let starting = shared.readiness.block(Reason::Starting);
    let data = DataPlane::bind(&shared, &mut sockets)?;
    let (reload, inbox) = handles(start_report(&fallback, &snapshot, now));
    let last = reload.last.clone();
    let (upgrade, upgrades) = mpsc::channel(QUEUED_REQUESTS);
    let settings = settings::admin_settings(&shared.boot);
    let levers = levers::handle::handles(Arc::clone(&shared.levers));
    let known = Known::begin(&shared.boot);
    let admin_state = shared.admin_state(reload, upgrade, levers.0.clone(), known.for_admin());
    let admin = Admin::prepare(&settings, sockets.admin(&settings), admin_state)?;
    let status = shared.status_keeper()?;
    Ok(Prepared {
        options: options.clone(),
        started: now,
        begins,
        fallback,
        bootstrapped,
        shared,
        starting,
        data,
        admin,
        reload: last,
        inbox,
        levers,
        known,
        upgrades,
        status,
        state_lock,
        took: sockets.took(),
        in_steps,
    })
}

impl Prepared {
    /// Names of the sockets that others had opened before.
    fn took(&self) -> Vec<String> {
        self.took.clone()
    }

    /// What will serve.
    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.live.pin()
    }

    /// Accepts connections. Everything that can fail comes before the first one.
    ///
    /// # Errors
    /// A thread cannot be started, or the state folder not be written.
    pub fn serve(mut self) -> anyhow::Result<Running> {
        let Self { options, fallback, mut shared, data, admin, mut state_lock, .. } = self;
        state_lock.sign();
        let (signals, signal_inbox) = mpsc::channel(QUEUED_SIGNALS);
        let watched = watched_folders(&options.config, &self.begins.sources);
        // While a predecessor served, it alone saw what changed.
        let look_at_once = !self.took.is_empty() || self.in_steps;
        let now = unix_seconds(self.started);
        let begun = shared.begin(&options, self.begins, fallback, now)?;
        let Begun { fallback, journal, unsaved, keeping } = begun;
        let snapshot = shared.live.pin();
        self.inbox.last.send_replace(Arc::new(start_report(&fallback, &snapshot, self.started)));
        // That is no reload.
        self.reload.mark_unchanged();
        let levers = shared.keeper(journal.clone(), now).start(self.levers.0, self.levers.1);
        let levers = levers.context("starting the thread of the levers")?;
        let knowing = self.known.start(journal.clone(), &shared.state)?;
        let reloader = Reloader { unsaved, ..shared.reloader(&options, fallback.as_ref(), journal) };
        let control = control_thread(reloader, self.inbox, signal_inbox, watched, look_at_once)?;
        learned_file::load(&shared.boot.state_dir, &shared.learned, &snapshot, now);
        let listeners = data.addresses();
        let mut listening = to_offer(&data.bound)?;
        listening.push(lock_to_offer(&shared.boot.state_dir, &state_lock)?);
        let (runtime, drain) = data.serve(&shared);
        let status = self.status.start().context("starting the thread of the status")?;
        drop(self.starting);
        // Not before: a successor's admin pages must not say "starting" where its predecessor said "ready".
        admin.open();
        Ok(Running {
            listeners,
            admin_loopback: admin.loopback(),
            admin_socket: admin.socket().map(Path::to_owned),
            admin_tls: admin.tls(),
            status_address: admin.status(),
            fallback,
            _bootstrapped: self.bootstrapped,
            shared,
            drain,
            signals,
            reload: self.reload,
            upgrades: Some(self.upgrades),
            listening,
            admin: Some(admin),
            data: Some(runtime),
            control: Some(control),
            keeping,
            levers: Some(levers),
            knowing: Some(knowing),
            status: Some(status),
            _state_lock: state_lock,
        })
    }
}

impl Shared {
    fn new(boot: Boot, snapshot: &Arc<Snapshot>, lineage: Lineage) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        count_panics(&metrics);
        metrics.prepare(snapshot);
        metrics.guards.in_force(|guard| boot.guards.mode(guard), boot.guards.table_size.rows);
        let telemetry = Arc::new(telemetry::start(&boot, &metrics)?);
        let live = Arc::new(Live::new(Arc::clone(snapshot)));
        let (readiness, learned, state) = (Arc::default(), Arc::default(), Arc::default());
        let (lineage, levers, clock) = (Arc::new(lineage), Arc::<LeverBoard>::default(), Clock::begin());
        metrics.brownouts.heed(Arc::clone(&levers));
        let status = StatusDesk::new(status_policy());
        Ok(Self { boot, live, metrics, readiness, telemetry, learned, state, lineage, levers, status, clock })
    }

    fn reloader(&self, options: &Options, fallback: Option<&start::Fallback>, journal: Journal) -> Reloader {
        self.metrics.started(fallback.map(|fallback| fallback.written), SystemTime::now());
        let fell_back = |fallback: &start::Fallback| {
            let note = self.readiness.note(reason_of(fallback, &self.boot));
            FellBack { note, written: fallback.written }
        };
        Reloader {
            place: options.given().place,
            approvers: Arc::new(approvers(&self.boot)),
            requests: Arc::new(|folder| requests_of(folder, SystemTime::now())),
            state_dir: options.state_dir.clone(),
            boot: self.boot.clone(),
            live: Arc::clone(&self.live),
            metrics: Arc::clone(&self.metrics),
            journal,
            state: Arc::clone(&self.state),
            fallback: fallback.map(fell_back),
            unsaved: None,
            kept_out: None,
            break_glass: broken_glass(self),
            staging: Staging::new(&self.boot.state_dir, replica(&self.boot), Arc::clone(&self.readiness)),
            not_followed: None,
            caller: None,
        }
    }
}

impl DataPlane {
    fn bind(shared: &Shared, sockets: &mut Sockets) -> anyhow::Result<Self> {
        let runtime = data_runtime(&shared.boot)?;
        // Sockets and the resolver belong to the runtime that will drive them.
        let inside = runtime.enter();
        let (drain, shutdown) = Drain::new();
        let resolver = Resolver::system().context("reading the resolver configuration (/etc/resolv.conf)")?;
        let connector = Arc::new(Connector::new(resolver, Arc::clone(&shared.metrics)));
        let service = ServiceHandle(Arc::new(Service::new(
            Arc::clone(&shared.live),
            Arc::clone(&connector),
            Arc::clone(&shared.learned),
            Arc::clone(&shared.telemetry),
            (settings::client_limits(&shared.boot), Arc::clone(&shared.levers)),
            (shared.clock, shutdown.clone()),
        )));
        let shell = Shell {
            tls: TlsSettings::new(source(&shared.live)).context("preparing TLS")?,
            counts: ConnectionCounts::new(settings::connection_limits(&shared.boot)),
            observer: Arc::new(observe::Observed::new(Arc::clone(&shared.metrics))),
            shutdown,
        };
        let specs = shared.boot.listeners.iter();
        let bound =
            sockets.bind(specs.map(|listener| settings::listener_spec(listener, &shared.boot)).collect())?;
        drop(inside);
        Ok(Self { runtime, drain, connector, service, shell, bound })
    }

    fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.bound.iter().map(|bound| (Arc::clone(&bound.spec().name), bound.local_addr())).collect()
    }

    fn serve(self, shared: &Shared) -> (Runtime, Drain) {
        let Self { runtime, drain, connector, service, shell, bound } = self;
        for bound in bound {
            runtime.spawn(bound.serve(Arc::new(service.clone()), shell.clone()));
        }
        runtime.spawn(Arc::clone(&service.0).follow_moves());
        runtime.spawn(tasks::check_endpoints(&connector, shared));
        runtime.spawn(tasks::sweep(connector, Arc::clone(&shared.live)));
        runtime.spawn(tasks::warn_of_endings(Arc::clone(&shared.live)));
        runtime.spawn(tasks::judge_cells(shared, drain.shutdown()));
        runtime.spawn(tasks::keep_learned(
            Arc::clone(&shared.learned),
            Arc::clone(&shared.live),
            (shared.boot.state_dir.clone(), Arc::clone(&shared.state)),
            Arc::clone(&shared.metrics),
        ));
        (runtime, drain)
    }
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
    inbox: ReloadInbox,
    signals: mpsc::Receiver<()>,
    watched: Vec<PathBuf>,
    look_at_once: bool,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the control thread")?;
    let state_dir = reloader.boot.state_dir.clone();
    let run = move || {
        runtime.block_on(async {
            let watch = Watch::folders(&watched, &state_dir, look_at_once);
            reloader.run(inbox, signals, watch).await;
        });
    };
    std::thread::Builder::new().name("control".into()).spawn(run).context("starting the control thread")
}

fn source(live: &Arc<Live>) -> Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync> {
    let live = Arc::clone(live);
    Arc::new(move || live.pin())
}
