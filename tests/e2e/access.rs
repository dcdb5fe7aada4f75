//! Who may do what on the admin plane, at real processes: every route with every role at every door, tokens that are made and
//! taken out, certificates, pages of other sites in a real browser, bounds, and what the audit trail has of all that.

mod browser;
mod certificates;
mod commands;
mod matrix;
mod token_form;
mod tokens;

use std::net::SocketAddr;
use std::process::Command;

use cellgate::policy::access::Role;
use serde_json::Value;

use crate::process::Process;
use crate::raw_http::{self, RawReply};
use crate::running::{Folder, eventually};

/// Name and roles of tokens.
const NAMES: [(&str, Role); 3] = [("rita", Role::Read), ("olaf", Role::Operate), ("anna", Role::Approve)];

const HEAD: &str = "name,role,sha256,expires,note\n";

/// A folder whose admin plane has all its doors, and three people with tokens.
struct Site {
    folder: Folder,
    rows: Vec<String>,
    clients: devcerts::Authority,
    keys: Keys,
}

/// What callers have.
struct Keys {
    /// In the order of [`NAMES`].
    tokens: Vec<String>,
    authority: devcerts::Authority,
}

impl Keys {
    /// The token of a role.
    fn token(&self, role: Role) -> &str {
        let at = NAMES.iter().position(|(_, of)| *of == role).unwrap();
        &self.tokens[at]
    }
}

impl Site {
    fn new() -> Self {
        let folder = Folder::example(&std::collections::BTreeMap::new());
        let authority = devcerts::Authority::new("admin plane").unwrap();
        let clients = devcerts::Authority::new("operators").unwrap();
        let pair = authority.issue(&["localhost", "127.0.0.1"], devcerts::Usage::Server).unwrap();
        folder.write_secret("admin.key", &pair.key_pem);
        folder.write("admin.pem", &pair.cert_pem);
        folder.write("admin-ca.pem", authority.ca_pem());
        folder.write("clients-ca.pem", clients.ca_pem());
        folder.edit("config/boot.yaml", "  loopback: 127.0.0.1:0\n", ADMIN);
        let made: Vec<_> = NAMES.iter().map(|(name, role)| made(name, role.as_str(), &[])).collect();
        let (tokens, rows) = made.into_iter().unzip();
        let this = Self { folder, rows, clients, keys: Keys { tokens, authority } };
        this.put_tokens(&this.rows);
        this
    }

    fn put_tokens(&self, rows: &[String]) {
        self.folder.write_secret("tokens.csv", &format!("{HEAD}{}", rows.concat()));
    }

    fn token(&self, role: Role) -> &str {
        self.keys.token(role)
    }

    /// Lines of the audit trail, which is whole.
    fn trail(&self) -> Vec<Value> {
        let audit = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
            command.arg("audit").args(arguments).arg("--state-dir").arg(self.folder.path("state"));
            crate::command_line::said(&command.output().unwrap(), 0)
        };
        audit(&["verify"]);
        let shown = audit(&["show", "--last", "1000", "--json"]);
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The line of a call with this end and reason, waited for: it is written beside the answer.
    fn call(&self, outcome: &str, why: &str) -> Value {
        eventually(&format!("a line {outcome} for {why}"), || {
            self.trail().into_iter().find(|line| {
                line["event"] == "call" && line["outcome"] == outcome && line["reasons"][0] == why
            })
        })
    }

    /// Everything that the process has said or kept.
    fn said(&self) -> String {
        let mut said = self.folder.read("log/stderr.jsonl");
        for entry in std::fs::read_dir(self.folder.path("state")).unwrap() {
            let path = entry.unwrap().path();
            said.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()));
        }
        said
    }
}

/// Every door, with changes on the loopback one.
const ADMIN: &str = "  loopback: 127.0.0.1:0
  loopback_operate: true
  tokens: ../tokens.csv
  tls:
    address: 127.0.0.1:0
    cert: ../admin.pem
    key: ../admin.key
    client_ca: ../clients-ca.pem
    clients:
      - { name: reader.example.com, role: read }
      - { name: operator.example.com, role: operate }
";

/// A token and its row, as the command makes them.
fn made(name: &str, role: &str, more: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let output = command.args(["token", "new", "--name", name, "--role", role]).args(more).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (token, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let token = token.trim_end().to_owned();
    assert!(token.starts_with("cga_") && token.len() == 76 && !said.contains(&token), "{said}");
    let row = said.lines().find(|line| line.starts_with(&format!("{name},{role},"))).unwrap();
    (token, format!("{row}\n"))
}

/// The real addresses of a process: loopback with changes, and TLS.
fn addresses(process: &Process) -> (SocketAddr, SocketAddr) {
    let of = |message: &str| -> SocketAddr {
        let line = process.line("an admin address", |line| line["fields"]["message"] == message);
        line["fields"]["address"].as_str().unwrap().parse().unwrap()
    };
    (of("admin pages, changes by token"), of("admin pages, TLS"))
}

/// A call as a program makes it: JSON, and a token where there is one.
fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}Content-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn on_loopback(address: SocketAddr, request: &str) -> RawReply {
    raw_http::ask(&mut raw_http::tcp(address), request.as_bytes()).unwrap()
}

fn over_tls(address: SocketAddr, keys: &Keys, request: &str) -> RawReply {
    let mut connection = raw_http::tls(address, "localhost", keys.authority.ca_pem());
    raw_http::ask(&mut connection, request.as_bytes()).unwrap()
}

/// The user that runs the tests, as the trail has it.
pub fn unix_user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    format!("unix:{}", String::from_utf8(output.stdout).unwrap().trim())
}

/// `curl` that knows nobody but us.
fn curl(site: &Site, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--max-time", "30", "--write-out", "\n%{http_code}"]);
    command.arg("--cacert").arg(site.folder.path("admin-ca.pem")).args(arguments);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}
