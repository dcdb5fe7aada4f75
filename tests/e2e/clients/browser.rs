//! A headless Chromium: the admin page as a person sees it, and pages of the deprecated address, served there
//! or at the account's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::client;
use crate::world::World;

/// What the browser is called, by distribution.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// How long a page may be busy before it is shown; its clock runs ahead where it waits. With the debugging pipe, it would be
/// closed then.
const BUSY: &str = "--virtual-time-budget=10000";

/// A browser that starts from nothing, and calls nobody but us.
pub fn browser(profile: &Path) -> Command {
    let found = NAMES.iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    let mut command = Command::new(found.unwrap_or(&NAMES[0]));
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg("--hide-scrollbars");
    command.arg(format!("--user-data-dir={}", profile.display()));
    command
}

/// The page's document after it was loaded.
fn dom(world: &World, options: &[String], url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = browser(profile.path());
    let page = client(command.args(options).args([BUSY, "--dump-dom", url]), world);
    // The cell's JSON is laid out for people.
    page.lines().map(str::trim).collect::<String>().replace("\": ", "\":")
}

/// Every name leads to the edge, whose certificate a new profile does not know.
fn to_the_edge(world: &World) -> Vec<String> {
    let port = world.edge.addr("https").port();
    vec![
        format!("--host-resolver-rules=MAP * 127.0.0.1:{port}, EXCLUDE 127.0.0.1"),
        "--ignore-certificate-errors".into(),
    ]
}

#[test]
fn chromium_shows_the_admin_page() {
    let world = World::example();
    let url = format!("http://{}/", world.edge.admin());
    let page = dom(&world, &[], &url);
    assert!(page.contains("<h1>cellgate</h1>"), "{page}");
    for text in ["/readyz", "/metrics", "/cells", "POST /reload", "admin.sock"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let shots = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/e2e");
    fs::create_dir_all(&shots).unwrap();
    let shot = shots.join("admin.png");
    let profile = tempfile::tempdir().unwrap();
    let mut command = browser(profile.path());
    let options =
        [BUSY.into(), format!("--screenshot={}", shot.display()), "--window-size=900,800".into(), url];
    client(command.args(options), &world);
    assert!(fs::read(&shot).unwrap().starts_with(b"\x89PNG"), "{}", shot.display());
}

#[test]
fn chromium_is_served_in_place_while_nobody_knows_its_session() {
    let world = World::example();
    let options = to_the_edge(&world);
    // Account 26228 has redirect_browsers, but a redirect would show its address to whoever asks. The cell
    // describes the request that it was sent.
    let shown = dom(&world, &options, "https://cloud.getdbt.com/deploy/26228/projects/1?a=b");
    assert!(shown.contains("\"cell\":\"cell-3\""), "{shown}");
    assert!(shown.contains("[\"x-forwarded-host\",\"cloud.getdbt.com\"]"), "{shown}");
    assert!(shown.contains("\"target\":\"/deploy/26228/projects/1?a=b\""), "{shown}");
    let stays = dom(&world, &options, "https://cloud.getdbt.com/deploy/70437463654557/");
    assert!(stays.contains("\"cell\":\"cell-2\""), "{stays}");
    assert!(stays.contains("[\"x-forwarded-host\",\"cloud.getdbt.com\"]"), "{stays}");
    let nobody = dom(&world, &options, "https://cloud.getdbt.com/deploy/999999999/");
    assert!(nobody.contains("unmapped_account"), "{nobody}");
}
