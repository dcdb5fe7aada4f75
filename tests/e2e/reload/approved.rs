//! Approvals in a process of its own: two people with keys let a deletion through, once, and nobody alone.

use std::fs;
use std::process::Command;

use super::guards::{GUARDS, delete_a_cell};
use super::rejected::{Site, served};
use crate::process::{self, Process};
use crate::raw_http;
use crate::running::{Folder, eventually};

/// A folder with people in it, each with a key that ssh-keygen has made.
struct People<'a>(&'a Folder);

impl People<'_> {
    fn make(&self, names: &[&str]) {
        let mut signers = String::new();
        fs::create_dir_all(self.0.path("people")).unwrap();
        for name in names {
            let key = self.key(name);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(&key)
                .status()
                .unwrap();
            assert!(made.success());
            let public = fs::read_to_string(key + ".pub").unwrap();
            signers.push_str(&format!("{name}@example.com {public}"));
        }
        self.0.write("people/allowed_signers", &signers);
    }

    fn key(&self, name: &str) -> String {
        self.0.path(&format!("people/{name}")).display().to_string()
    }

    /// One signs the plan that is in the folder now.
    fn approve(&self, name: &str) {
        let plan = process::run(self.0, &["plan", "--output", "json"]);
        assert_eq!(plan.status.code(), Some(3), "{}", String::from_utf8_lossy(&plan.stderr));
        self.0.write("people/plan.json", &String::from_utf8(plan.stdout).unwrap());
        let out = self.0.path(&format!("config/approvals/{name}.approval"));
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&out);
        let signed = Command::new(env!("CARGO_BIN_EXE_cellgate"))
            .args(["approve", "--plan"])
            .arg(self.0.path("people/plan.json"))
            .args(["--key", &self.key(name), "--out"])
            .arg(out)
            .output()
            .unwrap();
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    }
}

/// A site whose guards listen to two of the people.
fn site(people: &[&str]) -> Site {
    site_with(people, "", "")
}

/// The same with more guards, and more in `boot.yaml`.
fn site_with(people: &[&str], guards: &str, boot: &str) -> Site {
    let mut site = Site::start();
    site.process.signal("TERM");
    site.process.ended();
    People(&site.folder).make(people);
    let approvals = "approvals: { fleet: tests, allowed_signers: ../people/allowed_signers }";
    let guards = GUARDS.replace("guards: {", &format!("guards: {{ {approvals}, {guards}"));
    site.folder.edit("config/boot.yaml", GUARDS, &format!("{boot}{guards}"));
    fs::remove_dir_all(site.folder.path("state")).unwrap();
    site.process = Process::start(&site.folder);
    site
}

fn said(reply: &raw_http::RawReply) -> String {
    let objections = reply.json()["objections"].as_array().cloned().unwrap_or_default();
    objections
        .iter()
        .map(|one| format!("{}: {}\n", one["guard"].as_str().unwrap(), one["what"].as_str().unwrap()))
        .collect()
}

#[test]
fn two_people_let_a_deletion_through_and_one_does_not() {
    let mut site = site(&["alice", "bob"]);
    delete_a_cell(&site.folder);
    let nobody = site.reload();
    assert_eq!(nobody.status, 409);
    assert!(said(&nobody).contains("approvals: 0 of 2 approvals of plan"), "{}", said(&nobody));

    let people = People(&site.folder);
    people.approve("alice");
    let alone = site.reload();
    assert_eq!(alone.status, 409);
    assert!(said(&alone).contains("1 of 2 approvals"), "{}", said(&alone));
    // The same key under another name is the same person.
    fs::copy(
        site.folder.path("config/approvals/alice.approval"),
        site.folder.path("config/approvals/zoe.approval"),
    )
    .unwrap();
    let twice = site.reload();
    assert_eq!(twice.status, 409);
    assert!(said(&twice).contains("approvals/zoe.approval"), "{}", said(&twice));
    assert_eq!(served(&site.process), "cell-2");
    assert_eq!(site.page("/config")["generation"], 1);

    let plan = |code: i32| {
        let planned = process::run(&site.folder, &["plan"]);
        let text = String::from_utf8_lossy(&planned.stdout).into_owned();
        assert_eq!(planned.status.code(), Some(code), "{text}");
        text
    };
    assert!(plan(3).contains("Not approved: 1 of 2 approvals"), "{}", plan(3));
    // The process sees the new file too, and reloads: what it serves then is no plan any more.
    site.process.signal("STOP");
    people.approve("bob");
    let planned = plan(2);
    site.process.signal("CONT");
    assert!(
        planned.contains("Approved by ") && planned.contains(", which lifts what guards refuse."),
        "{planned}"
    );
    // The approvals are no part of the configuration, so that only a reload looks at them.
    let both = site.reload();
    assert_eq!(both.status, 200, "{}", said(&both));
    assert_eq!(site.page("/config")["cells"], 3);
    site.process.line("who has approved it", |line| {
        let by = line["fields"]["by"].as_str().unwrap_or("");
        by.contains("alice@example.com") && by.contains("bob@example.com")
    });

    // What serves needs nobody's word any more, and the approvals are spent.
    let hash = site.page("/config")["hash"].clone();
    site.process.signal("TERM");
    site.process.ended();
    site.process = Process::start(&site.folder);
    assert_eq!(site.page("/config")["hash"], hash);
    assert!(site.folder.path("state/used-approvals.cellgate").exists());
}

#[test]
fn an_author_does_not_approve_and_a_changed_candidate_needs_new_approvals() {
    let site = site(&["alice", "bob", "carol"]);
    delete_a_cell(&site.folder);
    site.folder.edit(
        "config/cellgate.yaml",
        "guide: https",
        "change: { author: bob@example.com, reason: cleaning up }\nguide: https",
    );
    let people = People(&site.folder);
    people.approve("alice");
    people.approve("bob");
    let reply = site.reload();
    assert_eq!(reply.status, 409);
    assert!(said(&reply).contains("approvals/bob.approval"), "{}", said(&reply));
    // Signed by one, touched, and signed by another.
    site.folder.append("config/accounts.csv", "# one more line");
    people.approve("carol");
    let touched = site.reload();
    assert_eq!(touched.status, 409);
    assert!(said(&touched).contains("1 of 2 approvals"), "{}", said(&touched));
    assert_eq!(site.page("/config")["generation"], 1);
}

#[test]
fn a_start_is_approved_as_a_reload_is() {
    let mut site = site(&["alice", "bob"]);
    // Before the files change: a process that runs would take the approvals for its own.
    site.process.signal("TERM");
    site.process.ended();
    delete_a_cell(&site.folder);
    let people = People(&site.folder);
    people.approve("alice");
    people.approve("bob");
    site.process = Process::start(&site.folder);
    assert_eq!(site.page("/config")["cells"], 3);
    assert_eq!(site.page("/readyz")["reasons"], serde_json::json!([]));
    let trail = site.folder.read("state/audit.jsonl");
    let start = trail.lines().rfind(|line| line.contains(r#""event":"start""#)).unwrap();
    for expected in
        [r#""from":{"generation":0,"#, r#""changes":"2 accounts moved"#, r#""plan":""#, "alice@example.com"]
    {
        assert!(start.contains(expected), "{expected} in {start}");
    }
}

#[test]
fn an_approved_change_on_trial_uses_its_approvals_up_when_it_is_whole() {
    let steps = "apply: { steps: [{ share: 50%, bake: 1h }] }\n";
    let mut site = site_with(&["alice", "bob"], "protected_cells: { names: [cell-3] },", steps);
    site.folder.point("cell-3", "127.0.0.1:9");
    assert_eq!(site.reload().status, 409);
    let people = People(&site.folder);
    people.approve("alice");
    people.approve("bob");
    let reply = site.reload();
    assert_eq!((reply.status, &reply.json()["outcome"]), (202, &"staged".into()), "{}", reply.text());
    let used = site.folder.path("state/used-approvals.cellgate");
    assert!(!used.exists(), "it may never become whole");

    // A restart in the middle needs no new ones.
    site.process.signal("TERM");
    site.process.ended();
    site.process = Process::start(&site.folder);
    eventually("the trial", || site.page("/config")["candidate"]["hash"].is_string().then_some(()));
    assert!(!used.exists());
    let socket = site.folder.path("state/admin.sock");
    let reply = raw_http::admin_with(&socket, "POST", "/reload", "{\"at_once\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &"applied".into()), "{}", reply.text());
    assert!(used.exists());
}

#[test]
fn moves_are_not_held_up_by_the_trial_of_an_approved_change() {
    let steps = "apply: { steps: [{ share: 50%, bake: 1h }] }\n";
    let site = site_with(&["alice", "bob"], "protected_cells: { names: [cell-3] },", steps);
    site.folder.point("cell-3", "127.0.0.1:9");
    let people = People(&site.folder);
    people.approve("alice");
    people.approve("bob");
    let reply = site.reload();
    assert_eq!((reply.status, &reply.json()["outcome"]), (202, &"staged".into()), "{}", reply.text());
    let first = site.page("/config")["candidate"]["hash"].clone();

    site.folder.edit("config/accounts.csv", "12345,acme ac345,cell-2", "12345,acme ac345,cell-1");
    let reply = site.reload();
    assert_eq!((reply.status, &reply.json()["outcome"]), (202, &"staged".into()), "{}", reply.text());
    assert_eq!(served(&site.process), "cell-1");
    let now = site.page("/config")["candidate"].clone();
    assert!(now["hash"].is_string() && now["hash"] != first, "{now}");

    // What nobody has approved does not come in with them. It is there first: moves alone would be let in.
    let cell = site.folder.read("config/cellgate.yaml").replace("127.0.0.1:9]", "127.0.0.1:10]");
    let mine = site.folder.read("config/cellgate.yaml");
    site.folder.write("config/cellgate.yaml", &cell);
    site.folder.edit("config/accounts.csv", "12345,acme ac345,cell-1", "12345,acme ac345,cell-2");
    let reply = site.reload();
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert!(said(&reply).contains("approvals: 0 of 2 approvals"), "{}", said(&reply));
    assert_eq!(served(&site.process), "cell-1");

    site.folder.write("config/cellgate.yaml", &mine);
    assert_eq!(site.reload().status, 202);
    assert_eq!(served(&site.process), "cell-2");
    let socket = site.folder.path("state/admin.sock");
    let reply = raw_http::admin_with(&socket, "POST", "/reload", "{\"at_once\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &"applied".into()), "{}", reply.text());
    assert!(site.folder.path("state/used-approvals.cellgate").exists());
}

#[test]
fn who_may_approve_does_not_come_with_the_push() {
    let site = site(&["alice"]);
    site.folder.edit("config/boot.yaml", "../people/allowed_signers", "allowed_signers");
    site.folder.write("config/allowed_signers", "");
    let checked = process::run(&site.folder, &["check"]);
    assert_eq!(checked.status.code(), Some(64));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("one push could change who may approve it"), "{said}");
}
