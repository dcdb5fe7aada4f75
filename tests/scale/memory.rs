//! A reload has one spare copy of the configuration, its text and its tables, and gives it back.

use std::collections::BTreeMap;
use std::fs;

use cellgate::config;
use cellgate::load;

use crate::process::Process;
use crate::raw_http;
use crate::running::eventually;
use crate::world::{folder, memory, whole_in};
use crate::{accounts, text};

/// What a process needs more or less at any moment, whatever it does: threads that begin, and pages that the
/// allocator has not given back yet.
const NOISE: u64 = 12 * 1024 * 1024;

#[test]
fn a_reload_needs_one_spare_copy_and_gives_it_back() {
    let count = accounts(150_000);
    let folder = folder(count, "cell-1", &BTreeMap::new());
    // A start has parsed; the second one has read what the first has compiled, and is how a process is found.
    drop(Process::start(&folder));
    let process = Process::start(&folder);
    let socket = folder.path("state/admin.sock");
    let sources = load::load(&folder.path("config"));
    let text_bytes: u64 = sources.files.values().flatten().map(|text| text.len() as u64).sum();
    let (_, config) = config::parse_all(&sources, 1_795_132_800).unwrap();
    let spare = text_bytes + u64::try_from(config.accounts.heap_bytes()).unwrap();
    drop((sources, config));

    let mut steady = settled(&process);
    for cell in ["cell-3", "cell-1"] {
        // Resets the peak (proc(5)).
        fs::write(format!("/proc/{}/clear_refs", process.id()), "5").unwrap();
        folder.write("config/accounts.csv", &text::table(count, cell));
        let reply = raw_http::admin(&socket, "POST", "/reload");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(whole_in(&folder, count), cell);
        let peak = memory(&process, "VmHWM");
        let after = eventually("the memory of a reload to come back", || {
            let now = memory(&process, "VmRSS");
            (now <= steady + NOISE).then_some(now)
        });
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        println!(
            "{count} accounts: a spare copy is {:.1} MiB; resident {:.1} MiB before, {:.1} at most, {:.1} after",
            mib(spare),
            mib(steady),
            mib(peak),
            mib(after)
        );
        assert!(peak <= steady + spare + NOISE, "{peak} > {steady} + {spare}");
        steady = steady.max(after);
    }
}

/// Resident memory once it has stopped falling.
fn settled(process: &Process) -> u64 {
    let mut last = u64::MAX;
    eventually("memory to settle", || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let now = memory(process, "VmRSS");
        let is_settled = now + 512 * 1024 >= last;
        last = now;
        is_settled.then_some(now)
    })
}
