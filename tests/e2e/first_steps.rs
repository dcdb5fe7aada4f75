//! The first steps of a new user: the map of another proxy becomes an account table that leads where that proxy leads, the
//! table a configuration that serves, and every mistake on the way says what to do next.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Ask, Client, Http};
use serde_json::Value;

use crate::command_line::said;
use crate::process::Process;
use crate::running::{Folder, eventually};

/// Runs cellgate in a folder.
fn cellgate(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.current_dir(folder).args(line.split_whitespace()).stdin(Stdio::null()).output().unwrap()
}

/// Where the table of an import sends a request, by `cellgate explain` on what `cellgate init` makes of it.
fn explained(folder: &Path, host: &str, path: &str) -> String {
    let line = format!("explain -o json --host {host} --path {path}");
    let token = ["--header", "Authorization: Token x"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let output = command.current_dir(folder).args(line.split_whitespace()).args(token).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told["cell"].as_str().unwrap_or("none").to_owned()
}

fn init(folder: &Path) {
    let cells = [1, 2, 3].map(|n| format!("--cell cell-{n}=us1.dbt.com,127.0.0.1:710{n} ")).concat();
    let rest = "--cell shared=us1.dbt.com,127.0.0.1:7104 --shared shared --legacy-host cloud.getdbt.com";
    let line = format!("init --accounts accounts.csv {cells}{rest} --out config");
    said(&cellgate(folder, &line), 0);
}

/// A program that is killed when the test is over.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a peer that listens on `peer.sock`, and waits for it.
fn peer(folder: &Path, command: &mut Command) -> Peer {
    let log = fs::File::create(folder.join("peer.log")).unwrap();
    let peer = Peer(command.current_dir(folder).stdin(Stdio::null()).stderr(log).spawn().unwrap());
    eventually("the peer to listen", || UnixStream::connect(folder.join("peer.sock")).ok());
    peer
}

/// What the peer says, which is the name of a backend.
fn asked(folder: &Path, host: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(folder.join("peer.sock")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    // Without chunks: the name stands alone on its line.
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    body.lines().find(|line| line.starts_with("cell-") || *line == "shared").unwrap_or("none").to_owned()
}

/// Both send each of these requests to the same place, and not all to one.
fn agree(folder: &Path, requests: &[(&str, String)]) {
    let mut seen = BTreeMap::new();
    for (host, path) in requests {
        let (theirs, ours) = (asked(folder, host, path), explained(folder, host, path));
        assert_eq!(ours, theirs, "{host}{path}");
        *seen.entry(ours).or_insert(0) += 1;
    }
    assert!(seen.len() >= 3, "{seen:?}");
}

const LEGACY: &str = "cloud.getdbt.com";

#[test]
fn an_imported_map_leads_where_nginx_leads_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let hosts = "default shared;\n hostnames;\n ACME.us1.dbt.com cell-2;\n \"globex.us1.dbt.com\" cell-1;\n \
                 ~^initech\\.us1\\.dbt\\.com$ cell-3;\n ~^hooli\\.us1\\.dbt\\.com$ cell-3;\n hooli.* shared;\n include more.map;";
    let paths = "default shared;\n ~^/api/v2/accounts/12\\d+/ shared;\n ~^/api/v2/accounts/12345/ cell-1;\n \
                 ~^/api/v[23]/accounts/26228(/|$) cell-2;\n ~*^/API/v2/accounts/(41007|4100[89])(/.*)?$ cell-3;\n \
                 ~^/api/v2/accounts/77 cell-1;\n ~/accounts/1001/ cell-1;\n /api/v2/accounts/5/ cell-1;";
    fs::write(folder.join("more.map"), "umbrella.us1.dbt.com cell-1; # the last\n").unwrap();
    let conf = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\n access_log off;\n \
         client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;\n \
         map $host $by_host {{\n {hosts}\n }}\n map $uri $by_path {{\n {paths}\n }}\n \
         server {{ listen unix:{}/peer.sock; location / {{ return 200 \"$by_host\\n\"; }} }}\n \
         server {{ listen unix:{0}/peer.sock; server_name {LEGACY}; location / {{ return 200 \"$by_path\\n\"; }} }}\n}}\n",
        folder.display()
    );
    fs::write(folder.join("nginx.conf"), conf).unwrap();
    fs::write(folder.join("ids.csv"), "1,acme\n2,globex\n3,initech\n4,hooli\n6,umbrella\n7,stays\n").unwrap();

    let output = cellgate(folder, "import nginx nginx.conf --map $by_path --out accounts.csv");
    let left = said(&output, 2);
    for (line, why) in [
        ("12\\d+/ shared", "more than single ids"),
        ("12345/ cell-1", "stands before it"),
        ("77 cell-1", "ids that begin with 77"),
        ("accounts/5/ cell-1", "this one path only"),
        ("default shared", "--rest CELL"),
    ] {
        assert!(left.lines().any(|said| said.contains(line) && said.contains(why)), "{line} {why}:\n{left}");
    }
    assert!(
        left.contains("5 accounts (cell-1 1, cell-2 1, cell-3 3); 5 lines are not in the table"),
        "{left}"
    );
    init(folder);
    let mut nginx = Command::new("nginx");
    let _nginx = peer(folder, nginx.args(["-p", ".", "-c", "nginx.conf"]));
    let path = |version: &str, id: u32, rest: &str| (LEGACY, format!("/api/{version}/accounts/{id}{rest}"));
    let mut requests = Vec::new();
    for id in [26228, 41007, 41008, 41009, 1001] {
        requests.extend(["/", "/jobs/7/run/", "/scim/v2/Users"].map(|rest| path("v2", id, rest)));
    }
    requests.extend([path("v3", 26228, "/"), path("v3", 1001, "/x"), path("v2", 26228, "")]);
    agree(folder, &requests);

    fs::remove_file(folder.join("accounts.csv")).unwrap();
    fs::remove_dir_all(folder.join("config")).unwrap();
    let line = "import nginx nginx.conf --map $by_host --host {prefix}.us1.dbt.com --ids ids.csv --rest shared --out accounts.csv";
    let left = said(&cellgate(folder, line), 2);
    assert!(
        left.contains("hooli.* shared: a pattern of hosts") && !left.contains("default shared"),
        "{left}"
    );
    assert!(left.contains("nginx asks the pattern in line"), "{left}");
    assert!(
        left.contains("account 4: no row by --rest: nginx.conf:13 is not taken over"),
        "hooli, whom two lines name: {left}"
    );
    init(folder);
    let names = ["acme", "globex", "initech", "umbrella", "stays"];
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}.us1.dbt.com")).collect();
    let requests: Vec<(&str, String)> = hosts.iter().map(|host| (host.as_str(), "/".to_owned())).collect();
    agree(folder, &requests);
}

#[test]
fn an_imported_map_leads_where_haproxy_leads_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let map = "# paths\n/api/v2/accounts/12345/ cell-1\n/api/v2/accounts/26228/   cell-2\n\n  /api/v2/accounts/41007/ cell-3  \n\
               /api/v2/accounts/77 cell-1\n/api/v2/accounts/1001/ shared\n";
    fs::write(folder.join("paths.map"), map).unwrap();
    let conf = format!(
        "defaults\n mode http\n timeout client 30s\nfrontend f\n bind unix@{0}/peer.sock\n http-request return status 200 \
         content-type text/plain lf-string \"%[path,map_beg({0}/paths.map,none)]\\n\"\n",
        folder.display()
    );
    fs::write(folder.join("haproxy.cfg"), conf).unwrap();
    let wrong = said(&cellgate(folder, "import haproxy haproxy.cfg"), 64);
    assert!(wrong.contains("import the file that it names"), "{wrong}");
    let left = said(&cellgate(folder, "import haproxy paths.map --out accounts.csv"), 2);
    assert!(
        left.contains("paths.map:6") && left.contains("1 line is not in the table, see above [E0812]"),
        "{left}"
    );
    let report = cellgate(folder, "import haproxy paths.map --out same.csv -o json").stdout;
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(
        (&report["accounts"], &report["cells"]["cell-2"]),
        (&Value::from(4), &Value::from(1)),
        "{report}"
    );
    let one = &report["not_taken_over"][0];
    assert_eq!((&one["line"], &one["code"]), (&Value::from(6), &Value::from("E0812")), "{report}");
    init(folder);
    let mut haproxy = Command::new("haproxy");
    let _haproxy = peer(folder, haproxy.args(["-f", "haproxy.cfg", "-db"]));
    let of = |id: u32, rest: &str| (LEGACY, format!("/api/v2/accounts/{id}{rest}"));
    let ids = [12345, 26228, 41007, 1001];
    let requests: Vec<_> = ids.into_iter().flat_map(|id| ["/", "/jobs/"].map(|rest| of(id, rest))).collect();
    agree(folder, &requests);
}

#[test]
fn lines_that_contradict_each_other_write_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("x.map"), "1 cell-1\n2 cell-1\n1 cell-2\n").unwrap();
    let conflict = said(&cellgate(folder, "import haproxy x.map --out accounts.csv"), 64);
    assert!(conflict.contains("cell-1 in x.map:1 and to cell-2 in x.map:3"), "{conflict}");
    assert!(conflict.contains("Nothing was written. [E0811]"), "{conflict}");
    let nowhere = said(&cellgate(folder, "import haproxy x.map -o json"), 64);
    assert!(nowhere.contains("name a file for it with --out"), "{nowhere}");
    assert!(!folder.join("accounts.csv").exists());
    fs::write(folder.join("x.map"), "1 cell-1\n").unwrap();
    said(&cellgate(folder, "import haproxy x.map --out accounts.csv"), 0);
    let again = said(&cellgate(folder, "import haproxy x.map --out accounts.csv"), 64);
    assert!(again.contains("accounts.csv is there already"), "{again}");
    let unused = said(&cellgate(folder, "import haproxy x.map --cell cell1=cell-9"), 64);
    assert!(unused.contains("did you mean \"cell-1\"?"), "{unused}");
}

#[tokio::test]
async fn what_init_writes_serves_and_guards() {
    let folder = Folder::example(&BTreeMap::new());
    fs::remove_dir_all(folder.path("config")).unwrap();
    let root = folder.path("");
    folder.write("list.csv", "12345,acme,cell-2\n1001,,shared\n");
    let own = RunningCell::start(CellOptions::named("cell-2")).await.unwrap();
    let shared = RunningCell::start(CellOptions::named("shared")).await.unwrap();
    let cells = |names: &[(&str, String)]| {
        names
            .iter()
            .map(|(name, address)| format!("--cell {name}=us1.dbt.com,{address} "))
            .collect::<String>()
    };
    let both = [("cell-2", own.addr().to_string()), ("shared", shared.addr().to_string())];
    let line = format!("init --accounts list.csv {}--legacy-host {LEGACY} --out config", cells(&both));
    let told = said(&cellgate(&root, &line), 0);
    for next in [
        "cellgate check --config config",
        "cellgate serve --config config --bootstrap",
        "Host: acme.us1.dbt.com",
    ] {
        assert!(told.contains(next), "{told}");
    }
    let good = said(&cellgate(&root, "check --config config"), 0);
    assert!(good.contains("The configuration is good: 1 listeners, 2 cells, 2 accounts"), "{good}");
    let taken = said(&cellgate(&root, &line), 64);
    assert!(taken.contains("config is there already, and not empty"), "{taken}");

    let boot = folder.read("config/boot.yaml").replace("127.0.0.1:8080", "127.0.0.1:0");
    folder.write("config/boot.yaml", &boot.replace("127.0.0.1:9900", "127.0.0.1:0"));
    let process = Process::start_with(&folder, &["--bootstrap"]);
    let client = Client::new(process.addr("http"), Http::H1);
    let host = client.ask(&Ask::get("acme.us1.dbt.com", "/")).await.unwrap();
    assert_eq!((host.status.as_u16(), host.cell()), (200, Some("cell-2")), "{}", host.text());
    let legacy = Ask::get(LEGACY, "/api/v2/accounts/1001/").header("Authorization", "Token x");
    let legacy = client.ask(&legacy).await.unwrap();
    assert_eq!((legacy.status.as_u16(), legacy.cell()), (200, Some("shared")), "{}", legacy.text());
    assert!(legacy.header("deprecation").is_some() && legacy.header("sunset").is_some());

    folder.write("less.csv", "12345,acme\n");
    let line = format!("init --accounts less.csv {}--out next", cells(&both[..1]));
    let report: Value = serde_json::from_slice(&cellgate(&root, &format!("{line} -o json")).stdout).unwrap();
    assert_eq!((&report["accounts"], &report["folder"]), (&Value::from(1), &Value::from("next")), "{report}");
    let plan = cellgate(&root, "plan --config next --against config");
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("REFUSED  removal: cells that served are gone: shared"), "{plan}");
}

#[test]
fn whoever_has_no_configuration_is_told_how_to_get_one() {
    let root = tempfile::tempdir().unwrap();
    for command in ["check", "serve"] {
        let told = said(&cellgate(root.path(), command), 64);
        assert!(told.contains("`cellgate init` writes a new one"), "{told}");
    }
    fs::write(root.path().join("list.csv"), "12345,acme,cell-9\nx,y,cell-1\n").unwrap();
    let wrong = said(
        &cellgate(root.path(), "init --accounts list.csv --cell cell-1=a.example,127.0.0.1:1 --out config"),
        64,
    );
    assert!(
        wrong.contains("list.csv:2: \"x\" is no account id") && wrong.contains("Nothing was written"),
        "{wrong}"
    );
    fs::write(root.path().join("list.csv"), "12345,acme,cell-9\n").unwrap();
    let wrong = said(
        &cellgate(root.path(), "init --accounts list.csv --cell cell-1=a.example,127.0.0.1:1 --out config"),
        64,
    );
    assert!(wrong.contains("list.csv:1: there is no cell \"cell-9\"; the cells are cell-1"), "{wrong}");
    let wrong = said(
        &cellgate(root.path(), "init --accounts list.csv --cell cell-9=a.example,127.0.0.1 --out config"),
        64,
    );
    assert!(wrong.contains("expected an address such as") && wrong.contains("came from --cell"), "{wrong}");
    assert!(!root.path().join("config").exists());
}
