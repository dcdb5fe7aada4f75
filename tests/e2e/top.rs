//! `cellgate top` as a person uses it: in a terminal (tmux draws it), before a cellgate with simulated cells. And as scripts do.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use loadtest::cell::Behaviour;
use loadtest::client::{Ask, Http};
use serde_json::Value;

use crate::command_line::said;
use crate::running::eventually;
use crate::world::World;

/// A terminal with a shell in it.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// Of this size; the shell knows `$CELLGATE`.
    fn start(columns: u16, rows: u16) -> Self {
        let terminal = Self { folder: tempfile::Builder::new().prefix("cellgate-tmux-").tempdir().unwrap() };
        let size = [columns.to_string(), rows.to_string()];
        let session = ["new-session", "-d", "-x", &size[0], "-y", &size[1], "sh"];
        let mut command = terminal.command(&session);
        // Nothing of whoever runs the tests: their locale and colours would be another picture.
        command.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR").env("PS1", "$ ").env_remove("TMUX");
        let started = command.env("CELLGATE", env!("CARGO_BIN_EXE_cellgate")).output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        terminal
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.folder.path().join("socket")).args(["-f", "/dev/null"]);
        command.args(arguments);
        command
    }

    /// Keys by tmux's names.
    fn keys(&self, keys: &[&str]) {
        let sent = self.command(&[&["send-keys"], keys].concat()).output().unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }

    /// A line for the shell.
    fn line(&self, line: &str) {
        self.keys(&[line, "Enter"]);
    }

    fn screen(&self) -> String {
        let output = self.command(&["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for a screen of which this is true.
    fn shows(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let look = || {
            std::thread::sleep(Duration::from_millis(100));
            last = self.screen();
            is(&last).then(|| last.clone())
        };
        // Whoever waits in vain wants to see what was there instead.
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| eventually(what, look)));
        assert!(seen.is_ok(), "no {what}, but:\n{}", self.screen());
        seen.unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
    }
}

fn top(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let command = command.args(["top", "--socket"]).arg(socket).args(arguments);
    command.env("LC_ALL", "C.UTF-8").env_remove("COLUMNS").stdin(Stdio::null()).output().unwrap()
}

/// Requests of an account of the shared cell, for as long as the world stands.
fn traffic(world: &World) {
    let client = world.edge.plain(Http::H1);
    let _asking = world.spawn(async move {
        let ask = Ask::get("hooli.us1.dbt.com", "/");
        loop {
            // It may fail: that is what is looked at.
            let _ = client.ask(&ask).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

fn row<'a>(screen: &'a str, cell: &str) -> &'a str {
    let is_row = |line: &&str| line.split_whitespace().take(3).any(|word| word == cell);
    screen.lines().find(is_row).unwrap_or_default()
}

/// Has the shell say whether the terminal is as it was, once the line is over.
fn watched(socket: &Path) -> String {
    let socket = socket.display();
    // In two pieces, so that the line that is typed does not look like its answer.
    format!(
        "s=$(stty -g); $CELLGATE top --socket {socket}; echo ended $?; [ \"$s\" = \"$(stty -g)\" ] && echo SA''NE"
    )
}

#[test]
fn a_cell_that_dies_is_seen_first_and_why_and_the_terminal_is_left_as_it_was() {
    let world =
        World::prepared(|folder| folder.tune("shared", &["timeouts: { connect: 500ms, response_head: 1s }"]));
    traffic(&world);
    let terminal = Terminal::start(80, 24);
    terminal.line(&watched(&world.edge.socket()));
    let alive = terminal.shows("requests of a cell that lives", |screen| {
        row(screen, "shared").split_whitespace().nth(2).is_some_and(|rps| rps != "0")
    });
    assert!(alive.starts_with("cellgate  generation 1 ("), "{alive}");
    assert!(row(&alive, "shared").contains("full"), "{alive}");
    world.block_on(world.cell("shared").behave(Behaviour::Killed)).unwrap();
    let dead = terminal.shows("a mark at the dead cell", |screen| row(screen, "shared").contains("!!"));
    let first = dead.lines().skip_while(|line| !line.contains("CELL")).nth(1).unwrap();
    assert!(first.contains("shared"), "what is in trouble stands first:\n{dead}");
    terminal.keys(&["/"]);
    terminal.keys(&["shared", "Enter", "Enter"]);
    // They fail, until the cell is out; ten seconds later they are refused alone.
    let why = ["of its requests fail", "requests are refused: nothing of it can be used"];
    terminal.shows("why", |screen| {
        why.iter().any(|why| screen.contains(why)) && screen.contains("groups and endpoints")
    });
    terminal.keys(&["c"]);
    let command = format!("cellgate drain cell shared --socket {} --reason", world.edge.socket().display());
    let joined = |screen: &str| {
        screen.replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" ").contains(&command)
    };
    terminal.shows("a command to paste", joined);
    terminal.keys(&["4"]);
    terminal.shows("what failed", |screen| row(screen, "shared").starts_with(">!!"));
    terminal.command(&["resize-window", "-x", "40", "-y", "10"]).output().unwrap();
    terminal.shows("a small screen", |screen| screen.contains("40x10 is small"));
    terminal.keys(&["q"]);
    let left = terminal.shows("the shell again", |screen| screen.contains("SANE"));
    assert!(left.contains("ended 0") && !left.contains("is small"), "{left}");
}

#[test]
fn it_stops_and_goes_on_as_a_job_and_ends_in_order_when_it_is_killed() {
    let world = World::example();
    let terminal = Terminal::start(100, 30);
    terminal.line("set -m");
    for (signal, expect) in [("TERM", "ended 0"), ("HUP", "ended 0"), ("INT", "ended 0")] {
        terminal.line("clear");
        terminal.line(&format!("$CELLGATE top --socket {}", world.edge.socket().display()));
        terminal.shows("cells", |screen| screen.contains("cell-1") && screen.contains("READY"));
        terminal.keys(&["C-z"]);
        terminal.shows("the shell", |screen| screen.contains("Stopped") && !screen.contains("READY"));
        terminal.line("stty -a | grep -o -- '[-]*icanon'");
        terminal.shows("a terminal that reads lines", |screen| screen.lines().any(|line| line == "icanon"));
        terminal.line("clear");
        terminal.line("s=$(stty -g); fg; echo ended $?; [ \"$s\" = \"$(stty -g)\" ] && echo SA''NE");
        terminal.shows("cells again", |screen| screen.contains("cell-1") && screen.contains("READY"));
        let pane = terminal.command(&["display-message", "-p", "#{pane_pid}"]).output().unwrap();
        let shell = String::from_utf8(pane.stdout).unwrap();
        let shell = shell.trim();
        let child = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let killed = Command::new("kill").args(["-s", signal, child.trim()]).status().unwrap();
        assert!(killed.success());
        let left = terminal.shows("the shell again", |screen| screen.contains("SANE"));
        assert!(left.contains(expect) && !left.contains("READY"), "{signal}: {left}");
    }
}

#[test]
fn it_ends_with_its_terminal_whether_a_signal_says_so_or_not() {
    let world = World::example();
    // In a session of its own it is sent no signal when the terminal goes: there is only nothing to read any more.
    for begin in ["", "setsid "] {
        let terminal = Terminal::start(100, 30);
        let file = terminal.folder.path().join("pid");
        let (pid, socket) = (file.display(), world.edge.socket());
        let socket = socket.display();
        terminal.line(&format!("{begin}sh -c 'echo $$ >{pid}; exec $CELLGATE top --socket {socket}'"));
        terminal.shows("cells", |screen| screen.contains("cell-1") && screen.contains("READY"));
        let pid = std::fs::read_to_string(&file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // One that nobody has waited for is over too.
        let is_over = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        assert!(!is_over(), "{stat}");
        drop(terminal);
        let mut looks = std::iter::repeat_with(|| std::thread::sleep(Duration::from_millis(100))).take(300);
        let ended = looks.any(|()| is_over());
        if !ended {
            let _ = Command::new("kill").args(["-s", "KILL", pid.trim()]).status();
        }
        assert!(ended, "{begin}cellgate top goes on without a terminal");
    }
}

#[test]
fn a_cellgate_that_ends_and_comes_back_is_waited_for_with_its_last_numbers() {
    let world = World::example();
    let terminal = Terminal::start(120, 30);
    terminal.line(&watched(&world.edge.socket()));
    terminal.shows("cells", |screen| screen.contains("cell-1") && screen.contains("READY"));
    let terminal = &terminal;
    let _world = world.restart_with(|_| {
        let gone = terminal.shows("that nobody answers", |screen| screen.contains("NO ANSWER"));
        assert!(gone.contains("cell-1") && gone.contains("no answer for"), "{gone}");
    });
    terminal.shows("the new process", |screen| screen.contains("READY"));
    terminal.keys(&["5"]);
    terminal.shows("what happened meanwhile", |screen| {
        screen.contains("answers again, after") && screen.contains("does not answer:")
    });
}

#[test]
fn a_terminal_that_can_only_write_lines_gets_page_after_page() {
    let world = World::example();
    // So high that pages which come while nobody looks leave the first line where it is.
    let terminal = Terminal::start(100, 200);
    terminal.line(&format!("TERM=dumb $CELLGATE top --socket {}", world.edge.socket().display()));
    let pages = terminal.shows("three pages", |screen| screen.matches("by clients").count() >= 3);
    assert!(pages.contains("$CELLGATE top"), "nothing was cleared:\n{pages}");
    terminal.keys(&["C-c"]);
    terminal.line("echo en''ded");
    terminal.shows("the shell", |screen| screen.contains("ended"));
}

#[test]
fn one_page_and_one_document_for_scripts() {
    let world = World::example();
    traffic(&world);
    let socket = world.edge.socket();
    let page = eventually("a page with requests", || {
        let page = said(&top(&socket, &["--once"]), 0);
        (row(&page, "shared").split_whitespace().nth(2) != Some("0")).then_some(page)
    });
    assert_eq!(page.lines().filter(|line| line.contains("full")).count(), 4, "{page}");
    assert!(!page.contains('\u{1b}') && !page.contains("q quit"), "{page:?}");
    assert_eq!(said(&top(&socket, &[]), 0).lines().count(), page.lines().count(), "no terminal, no keys");
    let opened = said(&top(&socket, &["--once", "--cell", "shared"]), 0);
    assert!(opened.contains("cell shared: full (the shared environment"), "{opened}");
    let wrong = said(&top(&socket, &["--once", "--cell", "nope"]), 64);
    let known = "--cell: there is no cell nope; expected one of: cell-1, cell-2, cell-3, shared";
    assert!(wrong.contains(known) && wrong.lines().count() == 1, "{wrong}");
    let document: Value = serde_json::from_str(&said(&top(&socket, &["-o", "json"]), 0)).unwrap();
    assert_eq!((&document["version"], document["cells"].as_array().unwrap().len()), (&1.into(), 4));
    let plain = Command::new(env!("CARGO_BIN_EXE_cellgate"))
        .args(["top", "--once", "--socket"])
        .arg(&socket)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(said(&plain, 0).is_ascii());
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let world = World::example();
    for form in [&["--once"][..], &["-o", "json"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.args(["top", "--socket"]).arg(world.edge.socket()).args(form);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut complaint = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert_eq!((child.wait().unwrap().code(), &*complaint), (Some(0), ""));
    }
}

#[test]
fn several_replicas_are_one_page_and_one_that_is_away_is_named() {
    let (a, b) = (World::example(), World::example());
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("replicas");
    let gone: PathBuf = folder.path().join("gone.sock");
    let doors = [
        a.edge.socket().display().to_string(),
        format!("http://{}", b.edge.admin()),
        gone.display().to_string(),
    ];
    std::fs::write(&list, format!("a={}\nb={}\nc={}\n", doors[0], doors[1], doors[2])).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let output = command.args(["top", "--once", "--replicas"]).arg(&list).output().unwrap();
    let page = said(&output, 1);
    assert!(page.contains("3 replicas") && page.contains("READY 2 of 3"), "{page}");
    assert!(page.contains("cellgate: c: ") && page.contains("is cellgate running here?"), "{page}");
    std::fs::write(&list, "a=/x.sock\nb=/x.sock\n").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_cellgate")).args(["top", "--replicas"]).arg(&list).output().unwrap();
    assert!(said(&output, 64).contains("is declared twice"));
}

#[test]
fn who_asks_where_nobody_is_learns_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("a.sock");
    for arguments in [&["--once"][..], &["-o", "json"]] {
        let told = said(&top(&nobody, arguments), 1);
        assert!(told.contains("There is no socket: is cellgate running here?"), "{told}");
    }
    assert!(said(&top(&nobody, &["--interval", "10ms"]), 64).contains("expected 1s to 60s"));
}
