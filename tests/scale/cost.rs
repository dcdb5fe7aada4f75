//! What a large table costs: figures, printed. Counts decide, times never do.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cellgate::config::{self, compile, diff};
use cellgate::{compiled_file, load};
use fastrand::Rng;
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Ask, Client, Http};

use crate::honest::{Honest, latencies, percentile};
use crate::process::Process;
use crate::running::Folder;
use crate::snapshot::account;
use crate::world::{folder, memory, whole_in};
use crate::{accounts, raw_http, text};

/// 2026-11-20T00:00:00Z.
const NOW: i64 = 1_795_132_800;

/// Reloads that are timed.
const REPETITIONS: usize = 5;

/// Honest clients beside them: a percentile of the hundred answers of one would be its slowest answer.
const CLIENTS: usize = 8;

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    println!("  {what}: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    done
}

#[test]
fn reading_and_looking_up() {
    let count = accounts(50_000);
    let folder = folder(count, "cell-1", &BTreeMap::new());
    println!("{count} accounts, in this process ({}):", built());
    let sources = timed("read the files", || load::load(&folder.path("config")));
    let hash = timed("hash of the files", || config::hash(&sources));
    let (_, parsed) = timed("parse", || config::parse_all(&sources, NOW).unwrap());
    let snapshot = timed("compile", || compile(parsed, None));
    let compiled = config::compiled::Compiled::of(&snapshot);
    println!("  tables: {} bytes", compiled.heap_bytes());
    let state = folder.path("config");
    timed("write the compiled tables", || compiled_file::save(&state, &compiled).unwrap());
    let read = timed("read the compiled tables", || compiled_file::load(&state, &hash).unwrap());
    let (_, again) = timed("parse with them", || config::parse_all_with(&sources, Some(&read), NOW).unwrap());
    let told = timed("compare", || diff(&snapshot, &again));
    assert!(told.is_empty());
    lookups(count, &snapshot.accounts);
    timed("free the tables", || drop((snapshot, compiled)));
    assert_eq!(again.accounts.len() as u64, count + text::NAMED.len() as u64);
}

/// Look-ups of random accounts one by one, each with what two readings of the clock cost taken off.
fn lookups(count: u64, table: &cellgate::policy::accounts::AccountTable) {
    const TIMES: usize = 200_000;
    let mut rng = Rng::with_seed(1);
    let ids: Vec<u64> = (0..TIMES).map(|_| rng.u64(0..count * 2)).collect();
    let prefixes: Vec<String> = ids.iter().map(|number| text::prefix(*number)).collect();
    let expected = ids.iter().filter(|number| **number < count).count();
    let mut clock: Vec<u64> = (0..TIMES).map(|_| nanos(|| ()).0).collect();
    clock.sort_unstable();
    let clock = clock[TIMES / 2];
    let mut found = 0;
    let mut by_id: Vec<u64> = Vec::with_capacity(TIMES);
    for number in &ids {
        let id = account(text::id(*number));
        let (took, row) = nanos(|| table.by_id(id).map(|row| row.cell));
        by_id.push(took.saturating_sub(clock));
        found += usize::from(row.is_some());
    }
    let mut by_prefix: Vec<u64> = Vec::with_capacity(TIMES);
    for prefix in &prefixes {
        let (took, row) = nanos(|| table.by_prefix(prefix).map(|row| row.cell));
        by_prefix.push(took.saturating_sub(clock));
        found += usize::from(row.is_some());
    }
    assert_eq!(found, expected * 2);
    for (what, mut times) in [("id", by_id), ("prefix", by_prefix)] {
        times.sort_unstable();
        let at = |share: usize| times[TIMES * share / 1_000];
        println!("  look-up by {what}: median {} ns, p99 {} ns, p99.9 {} ns", at(500), at(990), at(999));
    }
}

fn nanos<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let begun = Instant::now();
    let done = black_box(work());
    (u64::try_from(begun.elapsed().as_nanos()).unwrap(), done)
}

/// What its times are worth.
pub fn built() -> &'static str {
    if cfg!(debug_assertions) { "a debug build: times mean little" } else { "release" }
}

/// Answers of the honest client before, during and after reloads are all its own cell's; `Honest` sees to that.
#[test]
fn starting_and_reloading_under_traffic() {
    let count = accounts(50_000);
    println!("{count} accounts, a process ({}):", built());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = ["cell-1", "cell-2", "cell-3", "shared"].map(CellOptions::named);
    let cells = options.map(|options| runtime.block_on(RunningCell::start(options)).unwrap());
    let addresses: BTreeMap<String, SocketAddr> =
        cells.iter().map(|cell| (cell.name().to_owned(), cell.addr())).collect();
    let folder = folder(count, "cell-1", &addresses);
    first_answer(&runtime, &folder, "first start, which reads CSV and writes");
    let process = first_answer(&runtime, &folder, "cold start with compiled tables");
    assert_eq!(whole_in(&folder, count), "cell-1");
    println!("  resident: {:.1} MiB", memory(&process, "VmRSS") as f64 / 1_048_576.0);

    let client = || Client::new(process.addr("http"), Http::H1);
    let (mut quiet, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..REPETITIONS {
        let honest: Vec<Honest> =
            runtime.block_on(async { (0..CLIENTS).map(|_| Honest::start(client())).collect() });
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs(2));
        let cpu = cpu(process.id());
        let begun = Instant::now();
        let cell = ["cell-3", "cell-1"][round % 2];
        folder.write("config/accounts.csv", &text::table(count, cell));
        let reply = raw_http::admin(&folder.path("state/admin.sock"), "POST", "/reload");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let (ended, spent) = (Instant::now(), self::cpu(process.id()) - cpu);
        let reports =
            runtime.block_on(futures_util::future::join_all(honest.into_iter().map(Honest::report)));
        let answers = reports.concat();
        let (before, during) = (latencies(&answers, start, begun), latencies(&answers, begun, ended));
        quiet.extend_from_slice(&before);
        beside.extend_from_slice(&during);
        let (before, during) = (percentile(before, 99), percentile(during, 99));
        println!(
            "  reload {round}: {:.2} s, {spent:.2} core-seconds with its traffic; p99 {before:?} before, {during:?} during",
            (ended - begun).as_secs_f64()
        );
        ratios.push(during.as_secs_f64() / before.as_secs_f64().max(1e-9));
        assert_eq!(whole_in(&folder, count), cell);
    }
    ratios.sort_by(f64::total_cmp);
    println!("  p99 during a reload against before it, paired: {ratios:.2?}");
    for of_hundred in [50, 90, 99] {
        let (before, during) =
            (percentile(quiet.clone(), of_hundred), percentile(beside.clone(), of_hundred));
        println!(
            "  all together, p{of_hundred}: {before:?} of {} before, {during:?} of {} during: {:.2}",
            quiet.len(),
            beside.len(),
            during.as_secs_f64() / before.as_secs_f64().max(1e-9)
        );
    }
    drop((process, cells));
}

/// Starts a process, and tells how long it took until a request was answered.
fn first_answer(runtime: &tokio::runtime::Runtime, folder: &Folder, what: &str) -> Process {
    let begun = Instant::now();
    let process = Process::start(folder);
    let address = process.addr("http");
    runtime.block_on(async {
        let line = Client::new(address, Http::H1).open("cloud.getdbt.com").await.unwrap();
        let ask = Ask::get("cloud.getdbt.com", "/api/v2/accounts/12345/runs/");
        let reply = line.ask(&ask.header("authorization", "Token dbtc_FAKE")).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some("cell-2")));
    });
    println!(
        "  {what}: first answer after {:.0} ms, looked at every 10 ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    process
}

/// Seconds of processor time that a process has used.
pub fn cpu(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name, which may hold anything, user and system time are the 12th and 13th field (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|field| fields[*field].parse::<f64>().unwrap()).sum();
    // USER_HZ is 100 on every architecture that Linux supports for servers.
    ticks / 100.0
}
