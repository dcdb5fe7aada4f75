//! A process that ends in the middle of a trial, and one that starts with files that differ from what served last: what
//! served last serves, and the files are put on trial anew.

use std::io::Write;

use serde_json::Value;

use super::{LONG, config, notes, outcomes, push_another_place, reload, stage, trail, world};
use crate::process::Process;
use crate::raw_http;
use crate::reload::rejected::Site;
use crate::running::eventually;
use crate::upgrade;
use crate::world::TOKEN_12345;

#[test]
fn a_restart_in_the_middle_of_a_trial_begins_it_anew() {
    let world = world(LONG);
    let before = config(&world.edge)["hash"].clone();
    push_another_place(&world);
    let hash = stage(&world.edge);
    let world = world.restart();
    let edge = &world.edge;
    assert!(outcomes(edge).starts_with(&["staged".into(), "withdrawn".into()]), "{:?}", outcomes(edge));
    let candidate = eventually("the trial", || {
        let now = config(edge);
        assert_eq!(now["hash"], before, "whole before its trial");
        (!now["candidate"].is_null()).then(|| now["candidate"].clone())
    });
    assert_eq!((&candidate["hash"], &candidate["share"]), (&hash.as_str().into(), &"50%".into()));
    assert_eq!(notes(edge), ["staged"]);

    // Forced, it serves; and then a start finds it.
    let reply = reload(edge, "{\"at_once\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &"applied".into()), "{}", reply.text());
    let last: Vec<String> = trail(edge)
        .iter()
        .rev()
        .take(3)
        .map(|line| format!("{} {}", line["event"], line["trigger"]))
        .collect();
    assert!(last[0].contains("admin_at_once"), "{last:?}");
    let world = world.restart();
    assert_eq!(config(&world.edge)["hash"], hash.as_str());
    assert_eq!(config(&world.edge)["candidate"], serde_json::Value::Null);
}

/// A trial stands that nobody's requests are in, on a cellgate of its own; its hash and that of what serves.
fn on_trial() -> (Site, Value, Value) {
    let site = Site::prepared(|folder| {
        folder.edit("config/boot.yaml", "admin:\n", &format!("apply: {LONG}\nadmin:\n"));
    });
    site.folder.point("cell-3", "127.0.0.1:9");
    assert_eq!(site.reload().status, 202);
    let config = site.page("/config");
    let (serves, candidate) = (config["hash"].clone(), config["candidate"]["hash"].clone());
    assert!(candidate.is_string() && candidate != serves, "{config}");
    (site, serves, candidate)
}

#[test]
fn a_process_that_is_killed_in_the_middle_of_a_trial_leaves_what_served() {
    let (mut site, serves, candidate) = on_trial();
    site.process.signal("KILL");
    site.process.ended();
    site.process = Process::start(&site.folder);
    eventually("the trial", || {
        let now = site.page("/config");
        assert_eq!(now["hash"], serves);
        (now["candidate"]["hash"] == candidate).then_some(())
    });
}

#[test]
fn an_upgrade_in_the_middle_of_a_trial_begins_it_anew() {
    let (site, serves, candidate) = on_trial();
    let Site { process, folder, .. } = site;
    let mut line = upgrade::Line::of(process);
    line.upgrade(&folder);
    let socket = folder.path("state/admin.sock");
    eventually("the trial of the new process", || {
        let now = raw_http::admin(&socket, "GET", "/config").json();
        assert_eq!(now["hash"], serves);
        (now["candidate"]["hash"] == candidate).then_some(())
    });
    // It says so while it drains, which it may begin after the new one's trial.
    eventually("the old process to withdraw it", || {
        let said = upgrade::messages(&line.first, "the new configuration is withdrawn before it was whole");
        (said.len() == 1).then_some(())
    });
    line.signal("TERM");
}

/// The cell that answers account 12345, by the process that has this connection.
fn asked_on(kept: &mut std::net::TcpStream) -> String {
    let request = format!(
        "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nAuthorization: Token {TOKEN_12345}\r\n\r\n"
    );
    kept.write_all(request.as_bytes()).unwrap();
    let reply = raw_http::read_reply(kept, false).unwrap();
    reply.header("x-cell").unwrap_or_default().to_owned()
}

#[test]
fn a_predecessor_that_drains_tries_nothing_and_serves_what_its_successor_has_found_good() {
    let site = Site::prepared(|folder| {
        folder.edit("config/boot.yaml", "admin:\n", &format!("apply: {LONG}\nadmin:\n"));
    });
    let http = site.process.addr("http");
    let (process, folder, _cells) = site.into_parts();
    // A connection that keeps the first process alive, and shows what it serves.
    let mut kept = raw_http::tcp(http);
    assert_eq!(asked_on(&mut kept), "cell-2");
    let mut line = upgrade::Line::of(process);
    line.upgrade(&folder);
    let socket = folder.path("state/admin.sock");
    folder.point("cell-3", "127.0.0.1:9");
    eventually("the trial of the new process", || {
        let now = raw_http::admin(&socket, "GET", "/config").json();
        now["candidate"].is_object().then_some(())
    });
    // A move on top of it is in force in both, as soon as the new process has saved it.
    folder.edit("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-1,,");
    eventually("the move, in the old process", || {
        let followed = "what the successor serves is in force here too";
        (upgrade::messages(&line.first, followed).len() == 1).then_some(())
    });
    assert_eq!(asked_on(&mut kept), "cell-1");
    let staged = upgrade::messages(&line.first, "a step of the new configuration");
    assert_eq!(staged.len(), 1, "of the new process alone: {staged:?}");
    let refused = upgrade::messages(&line.first, "configuration refused: the one before goes on serving");
    assert!(refused.is_empty(), "{refused:?}");
    line.signal("TERM");
}
