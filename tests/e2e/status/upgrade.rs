//! An upgrade takes the public door along: nobody who looks finds it closed, and the next process tells from then on.

use std::collections::BTreeMap;

use super::prepared;
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::upgrade::Line;

#[test]
fn the_public_door_is_handed_over() {
    let folder = Folder::example(&BTreeMap::new());
    prepared("  publish: { folder: ../published }\n")(&folder);
    let mut line = Line::start(&folder);
    let door = line.first.status();
    let tag = || raw_http::page(door, "/status.json").header("etag").map(str::to_owned);
    eventually("the first status", &tag);
    eventually("it to be published", || folder.path("published/index.html").exists().then_some(()));
    line.upgrade(&folder);
    line.drained();
    eventually("the successor's status", tag);
    // The operators' own is laid down behind the public one. The admin door is not the public one.
    eventually("the successor's status for operators", || {
        let own = raw_http::page(line.first.admin(), "/status.json");
        (own.status == 200 && own.json()["operators"].is_object()).then_some(())
    });
    std::fs::remove_file(folder.path("published/index.html")).unwrap();
    eventually("the successor to publish", || folder.path("published/index.html").exists().then_some(()));
}
