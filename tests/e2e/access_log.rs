//! The access log as its readers have it: profiles, where it goes, and that rotation loses nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cellgate::listen::drain::Drained;
use loadtest::client::{Ask, Http};
use serde_json::Value;

use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::World;

const OWN: &str = "ab123.us1.dbt.com";
const LOG: &str = "access_log: { path: ../log/access.log }\n";

fn get(id: &str, path: &str) -> Ask {
    Ask::get(OWN, path).header("X-Request-Id", id)
}

fn configured(folder: &Folder, keys: &str) {
    folder.edit("config/boot.yaml", LOG, &format!("access_log: {{ path: ../log/access.log, {keys} }}\n"));
}

#[test]
fn a_profile_says_what_stands_in_a_line() {
    for (profile, has, has_not) in [
        ("standard", "client_ip", "upgrade"),
        ("minimal", "account", "client_ip"),
        ("full", "configuration", "@timestamp"),
        ("ecs", "http.response.status_code", "status"),
    ] {
        let world = World::prepared(|folder| configured(folder, &format!("profile: {profile}")));
        let id = format!("profile-{profile}");
        let client = world.edge.plain(Http::H1);
        assert_eq!(world.block_on(client.ask(&get(&id, "/?token=canary"))).unwrap().status, 200);
        let line = world.edge.access_line(&id);
        assert!(line.get(has).is_some() && line.get(has_not).is_none(), "{profile}: {line}");
        assert!(!line.to_string().contains("canary"));
    }
}

#[test]
fn health_checks_that_went_well_have_no_line_and_failed_ones_have() {
    let world = World::prepared(|folder| configured(folder, "exclude_paths: [/healthz]"));
    let client = world.edge.plain(Http::H1);
    for (id, ask, status) in [
        ("checked-1", get("checked-1", "/healthz"), 200),
        ("checked-2", get("checked-2", "/healthz").sim("status=500"), 500),
        ("checked-3", get("checked-3", "/"), 200),
    ] {
        assert_eq!(world.block_on(client.ask(&ask)).unwrap().status, status, "{id}");
    }
    // Lines of several threads come in no order.
    for id in ["checked-2", "checked-3"] {
        world.edge.access_line(id);
    }
    let text = world.edge.folder.read("log/access.log");
    assert!(!text.contains("checked-1"), "{text}");
}

#[test]
fn lines_can_go_to_either_stream() {
    for (path, stream) in [("-", "stdout"), ("/dev/stdout", "stdout"), ("/dev/stderr", "stderr")] {
        let folder = Folder::example(&BTreeMap::new());
        folder.edit("config/boot.yaml", LOG, &format!("access_log: {{ path: '{path}' }}\n"));
        let out = fs::File::create(folder.path("log/stdout.jsonl")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.stdin(Stdio::null()).stdout(out);
        let process = Process::spawn_as(&folder, command);
        process.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
        let request = b"GET / HTTP/1.1\r\nHost: nobody.example\r\nX-Request-Id: stream-0001\r\n\r\n";
        raw_http::ask(&mut raw_http::tcp(process.addr("http")), request).unwrap();
        eventually(path, || {
            let text = folder.read(&format!("log/{stream}.jsonl"));
            let line = text.lines().find(|line| line.contains("\"request_id\":\"stream-0001\""))?;
            serde_json::from_str::<Value>(line).ok()
        });
    }
}

/// The example of the page, for this log.
fn logrotate_rules(log: &Path) -> String {
    let page = include_str!("../../docs/access-log.md");
    let (_, rest) = page.split_once("```logrotate\n").unwrap();
    let (rules, _) = rest.split_once("```").unwrap();
    let named = "/var/log/cellgate/access.log";
    assert!(rules.starts_with(named), "{rules}");
    rules.replacen(named, &log.display().to_string(), 1)
}

fn logrotate(folder: &Folder) {
    let mut command = Command::new("/usr/sbin/logrotate");
    command
        .args(["--force", "--state"])
        .arg(folder.path("logrotate.state"))
        .arg(folder.path("logrotate.conf"));
    let said = command.stdin(Stdio::null()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Requests that are sent beside a test until it drops this.
struct Traffic {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Traffic {
    fn begin(world: &World) -> Self {
        let (ends, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let address = world.edge.addr("http");
        let (ended, many) = (Arc::clone(&ends), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let mut connection = raw_http::tcp(address);
            while !ended.load(Ordering::Relaxed) {
                let id = many.load(Ordering::Relaxed);
                let request =
                    format!("GET / HTTP/1.1\r\nHost: {OWN}\r\nX-Request-Id: rotated-{id:06}\r\n\r\n");
                let reply = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
                assert_eq!(reply.status, 200);
                many.fetch_add(1, Ordering::Relaxed);
                // After some thousands of requests a connection is ended.
                if reply.header("connection").is_some_and(|said| said.eq_ignore_ascii_case("close")) {
                    connection = raw_http::tcp(address);
                }
            }
        });
        Self { ends, sent, thread: Some(thread) }
    }

    /// Waits for more of them.
    fn more(&self) {
        let before = self.sent.load(Ordering::Relaxed);
        eventually("more requests", || (self.sent.load(Ordering::Relaxed) > before + 20).then_some(()));
    }

    fn end(mut self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// How often each request is in the logs below a folder, compressed ones included.
fn lines(folder: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_string_lossy().starts_with("access.log") {
            continue;
        }
        let text =
            Command::new("gzip").args(["--decompress", "--force", "--stdout"]).arg(&path).output().unwrap();
        for line in String::from_utf8(text.stdout).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| unreachable!("{line}"));
            *found.entry(line["request_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    found
}

#[test]
fn the_documented_logrotate_rules_lose_and_double_no_line_and_need_no_signal() {
    let mut world = World::example();
    let folder = &world.edge.folder;
    let (log, generation) = (folder.path("log/access.log"), world.edge.generation());
    folder.write("logrotate.conf", &logrotate_rules(&log));
    let traffic = Traffic::begin(&world);
    for _ in 0..3 {
        traffic.more();
        // An empty one would not be rotated.
        eventually("lines", || (fs::metadata(&log).ok()?.len() > 0).then_some(()));
        logrotate(folder);
        eventually("a new file", || log.exists().then_some(()));
    }
    traffic.more();
    let sent = traffic.end();
    assert_eq!(world.edge.generation(), generation);
    // Lines of several threads come in no order: its end writes all that are on their way.
    assert_eq!(world.edge.drain(), Drained::Clean);
    let folder = &world.edge.folder;
    let found = lines(&folder.path("log"));
    let once = found.values().filter(|count| **count == 1).count();
    assert_eq!((found.len(), once), (sent, sent), "each request is in one file, once");
    assert!(folder.path("log/access.log.3.gz").exists() && folder.path("log/access.log.1").exists());
}

#[test]
fn a_log_that_is_copied_and_truncated_goes_on_at_its_beginning() {
    let world = World::example();
    let folder = &world.edge.folder;
    let log = folder.path("log/access.log");
    let rules = logrotate_rules(&log).replace("nocreate", "copytruncate");
    folder.write("logrotate.conf", &rules);
    let client = world.edge.plain(Http::H1);
    let ids = Mutex::new(Vec::new());
    let send = |id: &str| {
        assert_eq!(world.block_on(client.ask(&get(id, "/"))).unwrap().status, 200);
        world.edge.access_line(id);
        ids.lock().unwrap().push(id.to_owned());
    };
    send("truncated-1");
    logrotate(folder);
    send("truncated-2");
    assert!(fs::read(&log).unwrap().starts_with(b"{"), "no hole where the old lines were");
    let found: Vec<String> = lines(&folder.path("log")).into_keys().collect();
    assert_eq!(found, *ids.lock().unwrap());
}
