//! The commands, over the TLS door of another machine; and what they say where it does not let them in.

use std::process::{Command, Output};

use cellgate::policy::access::Role;

use super::{Site, addresses};
use crate::command_line::said;
use crate::process::Process;
use crate::running::eventually;

fn command(site: &Site, port: u16, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(arguments).arg("--admin").arg(format!("https://localhost:{port}"));
    command.arg("--admin-token").arg(site.folder.path("token"));
    command.arg("--admin-ca").arg(site.folder.path("admin-ca.pem")).output().unwrap()
}

#[test]
fn levers_and_an_upgrade_are_asked_for_from_another_machine() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (_, tls) = addresses(&process);
    let ask = |arguments: &[&str], code: i32| said(&command(&site, tls.port(), arguments), code);
    site.folder.write_secret("token", &format!("{}\n", site.token(Role::Read)));
    assert!(ask(&["healthz"], 0).contains("\"ready\":true"));
    assert!(ask(&["levers"], 0).contains("No lever is pulled."));
    let pull = ["shed", "50%", "cell", "cell-1", "--reason", "us1 burns", "--name", "ann"];
    let refused = ask(&pull, 1);
    assert!(refused.contains("needs the role operate") && refused.contains("Ask somebody"), "{refused}");
    site.folder.write_secret("token", &format!("{}\n", site.token(Role::Operate)));
    assert!(ask(&pull, 0).starts_with("lever 1 is pulled until "));
    assert!(ask(&["levers"], 2).contains("by \"token:olaf for ann\" at "));
    let cancel = ["brownout", "cancel", "all", "--reason", "a customer calls"];
    assert!(ask(&cancel, 0).contains("brownout cancel all"));
    assert!(ask(&["release", "1"], 0).contains("lever 1 is released"));
    assert!(
        ask(&["break-glass", "keep", "--reason", "us1 is on fire"], 1).contains("needs the role approve")
    );
    let port = tls.port();
    assert!(ask(&["upgrade"], 0).starts_with("upgraded: process "));
    let asked = site.call("asked", "asked");
    assert_eq!((&asked["caller"], &asked["changes"]), (&"token:olaf".into(), &"POST /upgrade".into()));
    // The door is the successor's now, at the same address.
    let list = eventually("the successor to answer", || {
        let output = command(&site, port, &["levers"]);
        (output.status.code() == Some(2)).then_some(())?;
        Some(String::from_utf8(output.stdout).unwrap())
    });
    assert!(list.contains("brownout cancel all"), "{list}");
    end_successor(&site);
}

/// It is no child of ours, and says its number.
fn end_successor(site: &Site) {
    let log = site.folder.read("log/stderr.jsonl");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let is_upgraded = |line: &serde_json::Value| {
        line["fields"]["message"].as_str().is_some_and(|said| said.starts_with("upgraded:"))
    };
    let upgraded = lines.filter(is_upgraded).collect::<Vec<_>>().pop().unwrap();
    let pid = upgraded["fields"]["pid"].to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
}

#[test]
fn what_keeps_a_command_out_is_said_with_what_to_do() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (_, tls) = addresses(&process);
    let token = site.token(Role::Read).to_owned();
    site.folder.write("token", &token);
    let open = said(&command(&site, tls.port(), &["levers"]), 1);
    assert!(open.contains("only you can read"), "{open}");
    site.folder.write_secret("token", &token[..70]);
    let short = said(&command(&site, tls.port(), &["levers"]), 1);
    assert!(short.contains("72 digits") && !short.contains(&token[..20]), "{short}");
    site.folder.write_secret("token", &token);
    site.put_tokens(&[]);
    let gone = eventually("the token to end", || {
        let output = command(&site, tls.port(), &["levers"]);
        (output.status.code() == Some(1)).then(|| said(&output, 1))
    });
    assert!(gone.contains("Nobody has this token"), "{gone}");
    let mut stranger = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let url = format!("https://localhost:{}", tls.port());
    stranger.args(["levers", "--admin", &url, "--admin-token"]).arg(site.folder.path("token"));
    let untrusted = said(&stranger.output().unwrap(), 1);
    assert!(untrusted.contains("UnknownIssuer"), "{untrusted}");
}

#[test]
fn check_tells_every_mistake_in_the_files_of_the_admin_plane() {
    let site = Site::new();
    let mut check = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let check = check.args(["check", "--config"]).arg(site.folder.path("config"));
    said(&check.output().unwrap(), 0);
    let token = site.token(Role::Read);
    let rows = [
        "a b,read,00,,\n".to_owned(),
        site.rows[0].clone(),
        site.rows[0].clone(),
        format!("dora,admin,{token},tomorrow,\n"),
    ];
    site.put_tokens(&rows);
    site.folder.write("clients-ca.pem", "nothing");
    site.folder.write("admin.key", "nothing");
    let told = said(&check.output().unwrap(), 64);
    for expect in [
        "tokens.csv:2: name: found \"a b\"",
        "tokens.csv:2: sha256: found no digest",
        "tokens.csv:4: sha256: another row has the same token",
        "tokens.csv:5: role: found \"admin\"; expected read, operate or approve",
        "tokens.csv:5: sha256: found no digest; expected the 64 hex digits that `cellgate token new` prints (it looks like the token itself",
        "tokens.csv:5: expires: found \"tomorrow\"",
        "admin.tls.key: the file has mode 0644",
        "admin.tls.client_ca: the file holds no certificates",
        "8 problems.",
    ] {
        assert!(told.contains(expect), "{expect}\n{told}");
    }
    assert!(told.contains("boot.yaml:") && !told.contains(&token[..20]), "{told}");
}
