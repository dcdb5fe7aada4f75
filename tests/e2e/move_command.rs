//! `cellgate move` as a process, with replicas that say what a test wants to be said: what it writes, what it waits for,
//! how it ends. Replicas that are real are in `moves.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cellgate::config::advance::open;
use cellgate::config::{hash, parse_for_deciding};
use cellgate::load;

use crate::process;
use crate::running::{Folder, eventually};

/// 2026-11-20T00:00:00Z.
const NOW: i64 = 1_795_132_800;

/// The example with a table of moves, and a list of two accounts of the shared cell.
pub fn folder() -> Folder {
    let folder = Folder::example(&BTreeMap::new());
    folder.append("config/cellgate.yaml", "moves:\n  file: moves.csv");
    folder.write("wave", "# Wave 3\n1001\nhooli\n");
    folder
}

fn cellgate(folder: &Folder, arguments: &[&str]) -> Output {
    process::run(folder, arguments)
}

/// The exit code, and what is said on both outputs.
fn ended(output: &Output) -> (i32, String) {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code().unwrap(), said.concat())
}

/// Answers on a door with what it is told, until the test ends.
fn door(
    accept: impl Fn() -> Box<dyn Stream> + Send + 'static,
    page: impl Fn(&str) -> String + Send + 'static,
) {
    std::thread::spawn(move || {
        loop {
            let mut stream = accept();
            let mut head = [0; 4096];
            let Ok(read) = stream.read(&mut head) else { continue };
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let body = page(head.split(' ').nth(1).unwrap_or_default());
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A replica at a socket of this name.
pub fn replica(folder: &Folder, name: &str, page: impl Fn(&str) -> String + Send + 'static) -> String {
    let path = folder.path(name);
    let listener = UnixListener::bind(&path).unwrap();
    door(move || Box::new(listener.accept().unwrap().0), page);
    format!("{name}={}", path.display())
}

/// What a replica says that has the files of the folder as soon as they are written; another process each.
pub fn honest(folder: PathBuf, writes: Arc<AtomicU64>) -> impl Fn(&str) -> String + Send {
    static PROCESSES: AtomicU64 = AtomicU64::new(0);
    process(PROCESSES.fetch_add(1, Ordering::Relaxed), folder, writes)
}

/// The same as this process.
fn process(process: u64, folder: PathBuf, writes: Arc<AtomicU64>) -> impl Fn(&str) -> String + Send {
    move |_| {
        let sources = load::load(&folder);
        let Ok(config) = parse_for_deciding(&sources, NOW) else { return "half of a change".to_owned() };
        let writes = writes.load(Ordering::Relaxed);
        let rows: Vec<String> = open(&config)
            .iter()
            .map(|of| {
                format!(
                    r#"{{"account":"{}","from":"{}","to":"{}","state":"{}","epoch":{},"writes_at_old_cell":{writes},"waiting":0}}"#,
                    of.account, of.from, of.to, of.state.as_str(), of.epoch
                )
            })
            .collect();
        format!(
            r#"{{"process":"{process:016x}","predecessors":[],"generation":7,"hash":"{}","moves":[{}]}}"#,
            hash(&sources),
            rows.join(",")
        )
    }
}

/// A command that goes on, and what it says.
struct Goes {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Goes {
    fn on(folder: &Folder, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.args(arguments).arg("--config").arg(folder.path("config"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for a line that begins so, and says what came with it.
    fn until(&mut self, begins: &str) -> String {
        let mut said = String::new();
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            said.push_str(&format!("{line}\n"));
            if line.starts_with(begins) {
                return said;
            }
        }
        unreachable!("no line {begins:?} in {said}")
    }

    /// Its exit code, and what it has said since.
    fn ended(self) -> (i32, String) {
        let said: Vec<String> = self.lines.map(Result::unwrap).collect();
        let code = self.child.wait_with_output().unwrap().status.code().unwrap();
        (code, said.join("\n"))
    }
}

#[test]
fn accounts_are_moved_state_by_state_as_every_replica_allows() {
    let folder = folder();
    let wave = folder.path("wave").display().to_string();
    let table = || fs::read_to_string(folder.path("config/moves.csv")).unwrap_or_default();
    let announce = ["move", "--accounts", &wave, "--to", "cell-3"];

    let (code, said) = ended(&cellgate(&folder, &announce));
    assert_eq!(code, 0, "{said}");
    for expected in ["~ moves      shared -> cell-3: 2 prepare", "Capacity of cell-3:", "Written: moves.csv."]
    {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    let rows = |state: &str| {
        format!("account,from,to,state,epoch\n1001,shared,cell-3,{state},1\n2044,shared,cell-3,{state},1\n")
    };
    assert_eq!(table(), rows("prepare"));
    let (code, said) = ended(&cellgate(&folder, &announce));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(":2: account 1001 is on its way to cell-3 already (prepare)"), "{said}");
    assert!(said.contains(":3: account 2044 is on its way"), "{said}");

    let writes = Arc::new(AtomicU64::new(0));
    let a = replica(&folder, "a", honest(folder.path("config"), Arc::clone(&writes)));
    let stale = "41ab".repeat(16);
    let b = replica(&folder, "b", move |_| {
        format!(r#"{{"process":"00000000000000bb","predecessors":[],"hash":"{stale}","moves":[]}}"#)
    });
    let dead = format!("c={}", folder.path("c").display());
    let advance = |replicas: &[&str]| {
        let mut arguments = vec!["move", "advance", "--accounts", &wave];
        replicas.iter().for_each(|of| arguments.extend(["--replica", of]));
        ended(&cellgate(&folder, &arguments))
    };
    let (code, said) = advance(&[]);
    assert!(code == 3 && said.contains("no replica was named"), "{code} {said}");
    let (code, said) = advance(&[&a, &b, &dead]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("Waiting: replica b has 41ab41ab41ab…, not "), "{said}");
    assert!(said.contains("Waiting: replica c did not answer: No such file"), "{said}");
    assert!(said.contains(&format!("; asked at {}.", &dead[2..])), "{said}");
    assert_eq!(table(), rows("prepare"), "and nothing is written");

    let (code, said) = advance(&[&a]);
    assert_eq!((code, table()), (2, rows("holding")), "{said}");
    writes.store(2, Ordering::Relaxed);
    let (code, said) = advance(&[&a]);
    assert_eq!((code, table()), (2, rows("holding")), "{said}");
    assert!(said.contains("replica a has 2 writes of account 1001 at shared"), "{said}");
    writes.store(0, Ordering::Relaxed);
    let before = folder.read("config/accounts.csv");
    let (code, said) = advance(&[&a]);
    assert_eq!((code, table()), (2, rows("flipped")), "{said}");
    let after =
        before.replace("1001,mt001,shared", "1001,mt001,cell-3").replace("hooli,shared", "hooli,cell-3");
    assert_eq!(folder.read("config/accounts.csv"), after, "two fields are others, and nothing else");
    let (code, said) = advance(&[&a]);
    let all = "All 2 accounts are flipped:\n  shared -> cell-3: 2 flipped (1001, 2044)\nEvery replica has ";
    assert!(code == 0 && said.contains(all), "{code} {said}");
    // None is open, and nobody knows what one of them still holds.
    let (code, said) = ended(&cellgate(&folder, &["move", "status", "--replica", &dead]));
    assert!(
        code == 2 && said.contains("No account is on its way.\nWaiting: replica c did not answer"),
        "{code} {said}"
    );

    let (code, said) = ended(&cellgate(&folder, &["move", "abort", "--accounts", &wave]));
    assert!(code == 3 && said.contains("its newest writes are there"), "{code} {said}");
}

/// The second is asked through a port, as at the end of a tunnel.
#[test]
fn a_wave_goes_through_by_itself_batch_after_batch() {
    let folder = folder();
    let wave = folder.path("wave").display().to_string();
    let accounts = ["--accounts", &wave];
    let (code, said) = ended(&cellgate(&folder, &[&["move", "--to", "cell-1"], &accounts[..]].concat()));
    assert_eq!(code, 0, "{said}");
    let a = replica(&folder, "a", honest(folder.path("config"), Arc::default()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let b = format!("b=http://{}", listener.local_addr().unwrap());
    door(move || Box::new(listener.accept().unwrap().0), honest(folder.path("config"), Arc::default()));
    folder.write("replicas", &format!("# all of them\n{a}\n{b}  # through a tunnel\n"));
    let replicas = folder.path("replicas").display().to_string();
    let waits =
        ["move", "advance", "--replicas", &replicas, "--batch", "1", "--wait", "1m", "--every", "10ms"];
    let (code, said) = ended(&cellgate(&folder, &[&waits[..], &accounts[..]].concat()));
    assert_eq!(code, 0, "{said}");
    let steps: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(" shared -> cell-1") || line.contains(" not flipped"))
        .collect();
    assert_eq!(
        steps,
        [
            "  shared -> cell-1: 1 holding (1001)",
            "2 of 2 accounts are not flipped yet.",
            "  shared -> cell-1: 1 flipped (1001)",
            "1 of 2 accounts are not flipped yet.",
            "  shared -> cell-1: 1 holding (2044)",
            "1 of 2 accounts are not flipped yet.",
            "  shared -> cell-1: 1 flipped (2044)",
            "  shared -> cell-1: 2 flipped (1001, 2044)",
        ],
        "{said}"
    );
    assert!(folder.read("config/accounts.csv").contains("1001,mt001,cell-1"));

    // Back, and taken back while it is held.
    let (code, said) = ended(&cellgate(&folder, &[&["move", "--to", "shared"], &accounts[..]].concat()));
    assert_eq!(code, 0, "{said}");
    let (code, said) = ended(&cellgate(&folder, &["move", "status", "--replicas", &replicas]));
    let ready =
        "Ready, to be written by cellgate move advance:\n  cell-1 -> shared: 2 holding (1001, 2044)\n";
    assert!(code == 2 && said.contains(ready), "{code} {said}");
    let (code, said) = ended(&cellgate(&folder, &[&["move", "abort"], &accounts[..]].concat()));
    assert!(code == 0 && said.contains("2 moves from cell-1 to shared taken back"), "{code} {said}");
    assert!(folder.read("config/moves.csv").contains("1001,-,cell-1,flipped,1\n2044,-,cell-1,flipped,1\n"));
    let (code, said) = ended(&cellgate(&folder, &[&waits[..], &accounts[..]].concat()));
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains(
            ":3: account 2044 is not on its way: it is in cell-1, and its last move was taken back"
        ),
        "{said}"
    );
    let (code, said) = ended(&cellgate(&folder, &["move", "status"]));
    assert!(code == 0 && said.contains("No account is on its way."), "{code} {said}");
}

#[test]
fn who_waits_goes_on_when_others_are_done_with_the_folder_and_says_who_was_taken_back() {
    let folder = folder();
    let wave = folder.path("wave").display().to_string();
    let announced = cellgate(&folder, &["move", "--accounts", &wave, "--to", "cell-3"]);
    assert!(announced.status.success());
    let writes = Arc::new(AtomicU64::new(1));
    let a = replica(&folder, "a", honest(folder.path("config"), Arc::clone(&writes)));
    let once = ["move", "advance", "--accounts", &wave, "--replica", &a];
    let waits = [&once[..], &["--wait", "1m", "--every", "10ms"]].concat();

    let lock = fs::File::open(folder.path("config")).unwrap();
    lock.lock().unwrap();
    let (code, said) = ended(&cellgate(&folder, &once));
    assert!(code == 1 && said.contains("another cellgate move is at work"), "{code} {said}");
    let mut goes = Goes::on(&folder, &waits);
    goes.until("Waiting: another cellgate move is at work");
    let table = folder.read("config/moves.csv");
    folder.write("config/moves.csv", "account,from,to,sta");
    drop(lock);
    let said = goes.until("Waiting: ");
    assert!(said.contains("moves.csv") && !said.contains("another"), "each is said once: {said}");
    // Without --wait it ends, where it does not meet the other one.
    eventually("its problems", || {
        let (code, said) = ended(&cellgate(&folder, &once));
        assert!(said.contains("moves.csv") || said.contains("is at work"), "{code} {said}");
        (code == 64).then_some(())
    });
    folder.write("config/moves.csv", &table);
    let said = goes.until("Waiting: replica a has 1 write of account 1001");
    assert!(said.contains("  shared -> cell-3: 2 holding (1001, 2044)"), "{said}");

    // Somebody takes one of both back. It may have to wait for its turn.
    folder.write("one", "hooli\n");
    let one = folder.path("one").display().to_string();
    eventually("one to be taken back", || {
        let (code, said) = ended(&cellgate(&folder, &["move", "abort", "--accounts", &one]));
        assert!(code == 0 || said.contains("is at work") || said.contains("has changed"), "{code} {said}");
        (code == 0).then_some(())
    });
    writes.store(0, Ordering::Relaxed);
    let (code, said) = goes.ended();
    assert_eq!(code, 3, "{said}");
    for expected in [
        "1 of 2 accounts are flipped:\n  shared -> cell-3: 1 flipped (1001)",
        "Taken back meanwhile, and not moved: 2044.",
    ] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    assert!(folder.read("config/accounts.csv").contains("hooli,shared"), "it stays where it was");
}

/// Two tunnels to one replica: another one is not asked.
#[test]
fn two_addresses_of_one_process_are_refused() {
    let folder = folder();
    folder.write("config/moves.csv", "account,from,to,state,epoch\n");
    let wave = folder.path("wave").display().to_string();
    let announce = ["move", "--accounts", &wave, "--to", "cell-3"];
    let twin = |name| replica(&folder, name, process(u64::MAX, folder.path("config"), Arc::default()));
    let (a, b) = (twin("a"), twin("b"));
    let other = replica(&folder, "c", honest(folder.path("config"), Arc::default()));
    let replicas = ["--replica", &a, "--replica", &other, "--replica", &b];
    let both = format!("replicas a ({}) and b ({}) are one and the same process", &a[2..], &b[2..]);
    let refused = |arguments: &[&str]| {
        let (code, said) = ended(&cellgate(&folder, &[arguments, &replicas[..]].concat()));
        assert!(code == 3 && said.contains(&both), "{code} {said}");
    };
    refused(&[&announce[..], &["--measure", "10ms"]].concat());
    assert!(!folder.read("config/moves.csv").contains("1001"));
    assert!(cellgate(&folder, &announce).status.success());
    let table = folder.read("config/moves.csv");
    refused(&["move", "advance"]);
    refused(&["move", "status"]);
    assert_eq!(folder.read("config/moves.csv"), table);
}

#[test]
fn a_target_that_could_not_bear_it_is_refused_unless_somebody_insists() {
    let folder = folder();
    let wave = folder.path("wave").display().to_string();
    let text = folder.read("config/cellgate.yaml");
    let from = text.find("  - name: cell-3\n").unwrap();
    let from = from + text[from..].find("endpoints: ").unwrap();
    let line = text[from..].lines().next().unwrap();
    let more = format!("{line}\n        capacity_rps: 5\n");
    folder.write("config/cellgate.yaml", &text.replacen(&format!("{line}\n"), &more, 1));
    let asked = AtomicU64::new(0);
    let a = replica(&folder, "a", move |path| {
        if path != "/metrics" {
            return "not asked for".to_owned();
        }
        let count = asked.fetch_add(1, Ordering::Relaxed) * 1_000_000;
        format!("cellgate_requests_total{{cell=\"cell-3\",surface=\"app\",status=\"2xx\"}} {count}\n")
    });
    let announce = ["move", "--accounts", &wave, "--to", "cell-3", "--replica", &a, "--measure", "10ms"];
    let (code, said) = ended(&cellgate(&folder, &announce));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("With its largest zone gone, cell-3 could not bear these accounts"), "{said}");
    assert!(!folder.path("config/moves.csv").exists(), "nothing is written");
    let (code, said) = ended(&cellgate(&folder, &[&announce[..], &["--over-capacity"]].concat()));
    assert!(code == 0 && said.contains("--over-capacity lets it through"), "{code} {said}");
}

#[test]
fn without_a_table_of_moves_it_says_the_lines_to_add() {
    let folder = Folder::example(&BTreeMap::new());
    folder.write("wave", "1001\nnobody\n");
    let wave = folder.path("wave").display().to_string();
    let announce = ["move", "--accounts", &wave, "--to", "cell-3"];
    let (code, said) = ended(&cellgate(&folder, &announce));
    assert!(code == 64 && said.contains(":2: \"nobody\" names no account"), "{code} {said}");
    folder.write("wave", "1001\n");
    let (code, said) = ended(&cellgate(&folder, &announce));
    let lines = "moves:\n  file: moves.csv\nand beside it a file moves.csv with this line:\naccount,from,to,state,epoch\n";
    assert!(code == 3 && said.contains(lines), "{code} {said}");
    let nowhere = ["move", "advance", "--replica", "a=/a", "--config", "nowhere"];
    let (code, said) = ended(&Command::new(env!("CARGO_BIN_EXE_cellgate")).args(nowhere).output().unwrap());
    assert!(code == 64 && said.contains("nowhere: the folder cannot be opened"), "{code} {said}");
    let (code, said) = ended(&cellgate(&folder, &["move"]));
    assert!(code == 64 && said.contains("--accounts") && said.contains("--to"), "{code} {said}");
}
