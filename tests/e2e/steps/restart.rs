//! A process that ends in the middle of a trial, and one that starts with files that differ from what served last: what
//! served last serves, and the files are put on trial anew.

use serde_json::Value;

use super::{LONG, config, notes, outcomes, push_another_place, reload, stage, trail, world};
use crate::process::Process;
use crate::raw_http;
use crate::reload::rejected::Site;
use crate::running::eventually;
use crate::upgrade;

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
    assert_eq!(
        upgrade::messages(&line.first, "the new configuration is withdrawn before it was whole").len(),
        1
    );
    line.signal("TERM");
}
