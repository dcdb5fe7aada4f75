//! One kind of slow client against one cellgate: opens them all, waits until each was cut, and looks at order,
//! counts and memory meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Client, Http};
use loadtest::tls::ClientTls;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::attack::{Cut, Kind, READER_IN_KERNEL, Slow, Target};
use crate::honest::{Honest, latencies, percentile};
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, PATIENCE, authority, eventually, install_provider};

/// How many and how long.
struct Plan {
    connections: usize,
    /// Every deadline there is.
    deadline: Duration,
    /// How many times its bar a connection may cost: two hundred connections share what a few hundred KiB of noise
    /// are, and builds without optimisation have larger futures.
    room: u64,
    /// Whether times are judged too.
    judged: bool,
}

/// Of each kind in the long suite, unless the kernel's memory for sockets ends before: from there on it lets all
/// connections crawl, and what is measured is the kernel.
const CONNECTIONS: usize = 9_000;

/// Handshakes under way at once: the test's own, so that the last of them does not time out behind the others.
const OPENING: usize = 64;

/// Memory must be back within this, to this many tenths of what it was before.
const BACK_WITHIN: Duration = Duration::from_secs(60);
const BACK_TENTHS: u64 = 15;

/// How late a cut may be.
const LATE: Duration = Duration::from_secs(1);

/// How long the honest client is timed, without slow clients and then beside them, once they are all there.
const WINDOW: Duration = Duration::from_secs(2);

/// One at a time: two would measure each other.
static LANE: Mutex<()> = Mutex::new(());

fn plan(kind: Kind) -> Plan {
    if std::env::var_os("CELLGATE_TEST_LONG").is_some() {
        let most = if kind.is_blind() { tcp_memory().1 / READER_IN_KERNEL } else { u64::MAX };
        let connections = usize::try_from(most).unwrap_or(usize::MAX).min(CONNECTIONS);
        if connections < CONNECTIONS {
            println!(
                "{kind:?}: {connections} and not {CONNECTIONS}: net.ipv4.tcp_mem gives this machine no memory for more"
            );
        }
        // All must be open before the first is cut.
        return Plan { connections, deadline: Duration::from_secs(40), room: 1, judged: true };
    }
    Plan { connections: 200, deadline: Duration::from_secs(5), room: 2, judged: false }
}

/// Lets them come, and sees them all go.
pub fn besiege(kind: Kind) {
    let _lane = LANE.lock().unwrap_or_else(PoisonError::into_inner);
    install_provider();
    let plan = plan(kind);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (cells, folder) = world(&runtime, plan.deadline);
    let edge = Process::start(&folder);
    let target = target(edge.addr("https"));
    let client =
        || Client::tls(edge.addr("https"), Http::H1, &ClientTls::trusting(authority().ca_pem())).unwrap();

    // What a first round makes cellgate keep for good is no cost of a connection.
    let first = async |_| drop(Slow::open(kind, &target).await.unwrap());
    runtime.block_on(async { futures_util::future::join_all((0..OPENING).map(first)).await });
    eventually("the first round to be closed", || gone(&edge, 0).then_some(()));
    let before = rss(&edge);
    let quiet = runtime.block_on(async {
        let honest = Honest::start(client());
        let begun = Instant::now();
        tokio::time::sleep(WINDOW).await;
        percentile(latencies(&honest.report().await, begun, begun + WINDOW), 99)
    });
    let honest = runtime.block_on(async { Honest::start(client()) });
    let (mut held, mut opened_at, mut in_kernel) = (0, Instant::now(), 0);
    let mut open = 0;
    let measure = || {
        opened_at = Instant::now();
        // The honest client's is one of them.
        open = eventually("the number of connections", || connections(&edge)).max(1);
        // On a busy machine the first are cut while the last come, and what they held is not given back at once: it would
        // be counted to the few that are left.
        let came = open.max(plan.connections as u64);
        held = rss(&edge).saturating_sub(before) / came;
        in_kernel = tcp_memory().0 / open;
    };
    let cuts = runtime.block_on(siege(kind, &target, plan.connections, measure, || gone(&edge, 1)));
    let under_siege = runtime.block_on(honest.report());
    eventually("all connections to be closed", || gone(&edge, 0).then_some(()));
    let peak_after = rss(&edge);
    // A process that nobody asks anything need not tidy up.
    let honest = runtime.block_on(async { Honest::start(client()) });
    let back = comes_back(&edge, before);
    runtime.block_on(honest.report());

    let late = cuts.iter().map(|cut| cut.after.saturating_sub(plan.deadline)).max().unwrap();
    println!(
        "{kind:?}: {} connections, {open} open at once, {} B each (and {} KiB of the kernel's); latest cut {late:?} \
         after its {:?}; resident {} KiB before, {} KiB after the last, back {back:?}; honest p99 {:?} quiet, {:?} under \
         siege ({} requests)",
        cuts.len(),
        held,
        in_kernel / 1024,
        plan.deadline,
        before / 1024,
        peak_after / 1024,
        quiet,
        percentile(latencies(&under_siege, opened_at, opened_at + WINDOW), 99),
        under_siege.len(),
    );
    check(kind, &plan, &cuts);
    let bar = plan.room * kind.bar();
    // As long as few clients do not read they may hold whole pieces of their answers (`proxy::pieces`).
    assert!(held <= bar || kind.is_reader() && !plan.judged, "{held} bytes a connection, over {bar}");
    if plan.judged {
        // Else some were cut while others came, and nothing was measured with all of them.
        assert!(open >= u64::try_from(plan.connections).unwrap(), "only {open} were open at once");
        assert!(kind.is_blind() || late <= LATE, "cut {late:?} late");
        assert!(back.is_some(), "memory has not come back");
    }
    drop((edge, cells));
}

/// Every one was cut, none before its time, and told what it should be told.
fn check(kind: Kind, plan: &Plan, cuts: &[Cut]) {
    assert_eq!(cuts.len(), plan.connections);
    for cut in cuts {
        assert!(cut.after >= plan.deadline, "{kind:?} was cut early: {cut:?}");
        if let Some(answer) = kind.answer() {
            assert!(cut.answer.starts_with(answer), "{kind:?} was told {:?}", cut.answer);
        }
        assert_ne!(cut.answer, "whole", "{kind:?} got what it did not read");
    }
}

/// Opens so many, calls `opened` when all are, and waits for their ends. Those who see nothing themselves are
/// told when `gone` says that the server has let them go.
async fn siege(
    kind: Kind,
    target: &Target,
    connections: usize,
    opened: impl FnOnce(),
    gone: impl Fn() -> bool,
) -> Vec<Cut> {
    let (tell, over) = watch::channel(false);
    let gate = std::sync::Arc::new(Semaphore::new(OPENING));
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (target, over, gate, sender) = (target.clone(), over.clone(), gate.clone(), sender.clone());
        clients.spawn(async move {
            let permit = gate.acquire_owned().await.unwrap();
            let slow = Slow::open(kind, &target).await.unwrap();
            drop((permit, sender));
            slow.until_cut(over).await
        });
    }
    drop((sender, over));
    // Ends when the last of them has dropped its sender.
    let none: Option<()> = receiver.recv().await;
    assert!(none.is_none());
    opened();
    if kind.is_blind() {
        let end = Instant::now() + PATIENCE + PATIENCE;
        while !gone() {
            assert!(Instant::now() < end, "{kind:?}: the server has not let them go");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let _ = tell.send(true);
    }
    clients.join_all().await
}

fn world(runtime: &Runtime, deadline: Duration) -> (Vec<RunningCell>, Folder) {
    let start = |name: &str| runtime.block_on(RunningCell::start(CellOptions::named(name))).unwrap();
    let cells = vec![start("cell-1"), start("cell-2")];
    let addresses: BTreeMap<String, SocketAddr> =
        cells.iter().map(|cell| (cell.name().to_owned(), cell.addr())).collect();
    let folder = Folder::example(&addresses);
    let ms = deadline.as_millis();
    let timeouts: String = ["handshake", "head", "preface", "body", "idle", "keep_alive", "h2_idle"]
        .map(|name| format!("  {name}_timeout: {ms}ms\n"))
        .concat();
    // All come from one address, and the handshakes of honest and slow clients are as slow as the machine.
    let limits = format!(
        "limits:\n  connections: 30000\n  connections_per_address: 30000\n  handshakes: 30000\n{timeouts}"
    );
    folder.append("config/boot.yaml", &limits);
    folder.tune("cell-1", &["max_in_flight: 30000"]);
    folder.edit(
        "config/cellgate.yaml",
        "{ name: interactive, request_timeout: 15m }",
        &format!("{{ name: interactive, request_timeout: {}ms }}", ms),
    );
    (cells, folder)
}

fn target(address: SocketAddr) -> Target {
    let tls = ClientTls::trusting(authority().ca_pem());
    Target { address, h1: tls.connector(&["http/1.1"]).unwrap(), h2: tls.connector(&["h2"]).unwrap() }
}

/// Whether at most so many client connections are open.
fn gone(edge: &Process, but: u64) -> bool {
    connections(edge).is_some_and(|open| open <= but)
}

/// How many client connections are open. With thousands of descriptors in use the page may not be had at once: then
/// it is not known.
fn connections(edge: &Process) -> Option<u64> {
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let page = raw_http::ask(&mut raw_http::tcp(edge.admin()), request).ok()?.text();
    let open = page.lines().find_map(|line| line.strip_prefix("cellgate_connections_open ")).unwrap();
    Some(open.parse::<f64>().unwrap() as u64)
}

/// Resident bytes of cellgate.
fn rss(edge: &Process) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", edge.id())).unwrap();
    let kib = text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
    kib.unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes of memory for TCP sockets on this machine: in use, and above which the kernel begins to save.
fn tcp_memory() -> (u64, u64) {
    // Both in pages (tcp(7), proc(5)).
    const PAGE: u64 = 4096;
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let sockets = read("/proc/net/sockstat");
    let used = sockets.lines().find_map(|line| line.strip_prefix("TCP:")?.rsplit(' ').next());
    let limits = read("/proc/sys/net/ipv4/tcp_mem");
    let save = limits.split_whitespace().nth(1);
    (used.unwrap().parse::<u64>().unwrap() * PAGE, save.unwrap().parse::<u64>().unwrap() * PAGE)
}

/// After how long memory is what it was, give or take a half; `None` if it is not within a minute.
fn comes_back(edge: &Process, before: u64) -> Option<Duration> {
    let begun = Instant::now();
    loop {
        if rss(edge) * 10 <= before * BACK_TENTHS {
            return Some(begun.elapsed());
        }
        if begun.elapsed() > BACK_WITHIN {
            return None;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
