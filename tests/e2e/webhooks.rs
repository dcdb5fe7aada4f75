//! Webhooks to a real receiver in Python, which checks them with the library of Standard Webhooks.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver as Inbox, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cellgate::audit::events::events;
use cellgate::webhooks::{Courier, Failure, Message, Secret, Summary, Target, send};
use devcerts::Usage;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::command_line::{cellgate, said};
use crate::fleet::made_up;
use crate::process::Process;
use crate::python::python;
use crate::raw_http;
use crate::running::{Folder, authority, eventually, install_provider};
use crate::world::TOKEN_12345;

pub const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// More messages than any receiver here gets.
const MESSAGES: usize = 10_000;

/// Longest wait for what a receiver says of a message that was answered.
const TOLD: Duration = Duration::from_secs(30);

pub struct Receiver {
    child: Child,
    port: u16,
    told: Inbox<Value>,
}

impl Receiver {
    pub fn start(mode: &str, secret: &str, tls: &[&Path]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/webhooks/receiver.py");
        let mut command = Command::new(python());
        command.arg("-B").arg(script).args([mode, secret]).args(tls).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, told) = sync_channel(MESSAGES);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, port, told }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in?from=cellgate", self.port)
    }

    /// What it says of so many messages.
    pub fn told(&self, many: usize) -> Vec<Value> {
        (0..many).map(|_| self.told.recv_timeout(TOLD).unwrap()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn messages(accounts: usize) -> Vec<Message> {
    let message = |event: cellgate::audit::events::Event| Message {
        id: event.id,
        about: event.account.to_string(),
        body: event.body,
    };
    events(&made_up(accounts)).map(message).collect()
}

/// Sends them, and says what failed.
fn sent(url: &str, secrets: &[&str], messages: Vec<Message>) -> (Summary, Vec<Failure>) {
    install_provider();
    let failures = Arc::<Mutex<Vec<Failure>>>::default();
    let heard = Arc::clone(&failures);
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let courier = Courier {
        target: Arc::new(Target::parse(url, false).unwrap()),
        secrets: secrets.iter().map(|secret| Secret::parse(secret.as_bytes()).unwrap()).collect(),
        tls: Arc::new(tls),
        now: || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap(),
        random: || 0.0,
        accepted: Box::new(|_| ()),
        failed: Box::new(move |failure| heard.lock().unwrap().push(failure.clone())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let summary = runtime.block_on(send(courier, messages.into_iter()));
    (summary, Arc::into_inner(failures).unwrap().into_inner().unwrap())
}

fn ids<'a>(told: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    told.into_iter().map(|told| told["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn messages_have_two_signatures_while_the_receiver_changes_its_secret_and_the_same_ids_again() {
    let messages = messages(200);
    let many = messages.len();
    let all = Summary { accepted: many as u64, ..Summary::default() };
    let mut seen = Vec::new();
    // The receiver has the old one yet; then the new one.
    for (has, sends, signatures) in [(OLD, &[NEW, OLD][..], 2), (NEW, &[NEW, OLD], 2), (NEW, &[NEW], 1)] {
        let receiver = Receiver::start("takes", has, &[]);
        assert_eq!(sent(&receiver.url(), sends, messages.clone()), (all.clone(), Vec::new()));
        let told = receiver.told(many);
        for told in &told {
            assert_eq!(
                (&told["status"], &told["path"]),
                (&204.into(), &"/in?from=cellgate".into()),
                "{told}"
            );
            assert_eq!(told["signatures"].as_array().unwrap().len(), signatures, "{told}");
        }
        let kinds: BTreeSet<_> =
            told.iter().map(|told| told["event"]["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            ["account.outreach", "account.ready", "account.returned"]
        );
        seen.push(ids(&told));
    }
    assert_eq!(seen[0].len(), many, "each its own");
    assert!(seen.iter().all(|ids| *ids == seen[0]), "the same in each run");
}

#[test]
fn a_receiver_that_is_busy_is_asked_again_and_one_that_will_not_is_left_alone() {
    let few = messages(6);
    let busy = Receiver::start("busy", NEW, &[]);
    let (summary, failures) = sent(&busy.url(), &[NEW], few.clone());
    assert_eq!((summary.accepted, summary.failed, failures.len()), (few.len() as u64, 0, 0));
    let told = busy.told(2 * few.len());
    assert_eq!(told.iter().filter(|told| told["status"] == 503).count(), few.len());

    let many = messages(200);
    let refuses = Receiver::start("refuses", NEW, &[]);
    let (summary, failures) = sent(&refuses.url(), &[NEW], many.clone());
    assert!(summary.stopped.as_deref().is_some_and(|why| why.ends_with("in a row failed")), "{summary:?}");
    assert!((10..20).contains(&summary.failed) && failures.len() as u64 == summary.failed, "{summary:?}");
    assert_eq!(summary.accepted + summary.failed + summary.unsent, many.len() as u64, "{summary:?}");
    assert!(failures.iter().all(|failure| failure.why == "answered 400"), "{failures:?}");

    let gone = Receiver::start("gone", NEW, &[]);
    let (summary, _) = sent(&gone.url(), &[NEW], many);
    assert!(summary.failed < 10 && summary.unsent > 100, "{summary:?}");
    assert_eq!(summary.stopped.as_deref(), Some("answered 410: it wants no more webhooks"));

    let other = Receiver::start("takes", OLD, &[]);
    let (summary, failures) = sent(&other.url(), &[NEW], messages(1));
    assert_eq!((summary.failed, &*failures[0].why), (1, "answered 401"));
    assert_eq!(other.told(1)[0]["error"], "No matching signature found");
}

/// Books of one account.
fn folder() -> (Folder, Process) {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    folder.append("config/boot.yaml", "books: { window: 1s }\n");
    let process = Process::start(&folder);
    let request = format!(
        "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nUser-Agent: curl/8\r\nAuthorization: Token \
         {TOKEN_12345}\r\n\r\n"
    );
    raw_http::ask(&mut raw_http::tcp(process.addr("http")), request.as_bytes()).unwrap();
    eventually("the window to be written", || {
        let known = cellgate(&folder, &["report", "-o", "csv"]);
        String::from_utf8_lossy(&known.stdout).contains("account,12345,").then_some(())
    });
    folder.write_secret("hook.secret", &format!("{NEW}\n"));
    (folder, process)
}

#[test]
fn outreach_tells_a_receiver_over_tls_and_says_what_it_does_not_have() {
    let (folder, _process) = folder();
    let config = folder.path("config").display().to_string();
    let secret = folder.path("hook.secret").display().to_string();
    let outreach =
        |more: &[&str]| -> Output { cellgate(&folder, &[&["outreach", "--config", &config], more].concat()) };

    let dry = said(&outreach(&["--webhook", "https://hooks.example.com/in", "--dry-run"]), 0);
    let dry: Value = serde_json::from_str(dry.trim()).unwrap();
    assert_eq!(
        (&dry["body"]["type"], &dry["body"]["data"]["account"]),
        (&"account.outreach".into(), &12_345.into())
    );

    let pair = authority().issue(&["localhost"], Usage::Server).unwrap();
    folder.write("hook.pem", &pair.cert_pem);
    folder.write_secret("hook.key", &pair.key_pem);
    folder.write("hook.ca", authority().ca_pem());
    let receiver = Receiver::start("takes", NEW, &[&folder.path("hook.pem"), &folder.path("hook.key")]);
    let url = format!("https://localhost:{}/only-ours-to-know", receiver.port);
    let ca = folder.path("hook.ca").display().to_string();
    let arguments = ["--webhook", &url, "--webhook-secret", &secret, "--webhook-ca", &ca];
    let told = said(&outreach(&arguments), 0);
    assert!(told.contains("1 accepted, 0 failed") && !told.contains("only-ours"), "{told}");
    let first = receiver.told(1).remove(0);
    assert_eq!((&first["id"], &first["event"]["data"]), (&dry["webhook-id"], &first["event"]["data"]));
    assert_eq!(first["event"]["data"]["address"], "acme.us1.dbt.com");
    let both = folder.path("both").display().to_string();
    let told = outreach(&[&[both.as_str(), "-o", "json"], &arguments[..]].concat());
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["letters"], &told["webhook"]["accepted"]), (&1.into(), &1.into()), "{told}");
    assert!(!told.to_string().contains("only-ours"), "{told}");
    assert_eq!(receiver.told(1)[0]["id"], first["id"], "nothing new");

    // Whom nobody vouches for gets nothing, and is not asked five times.
    let told = said(&outreach(&["--webhook", &url, "--webhook-secret", &secret]), 1);
    assert!(
        told.contains("account 12345, account.outreach: https://localhost:")
            && told.contains("UnknownIssuer"),
        "{told}"
    );
    // With another secret.
    folder.write_secret("hook.secret", OLD);
    let told = said(&outreach(&arguments), 1);
    assert!(told.contains(" answered 401 (evt_") && told.contains("0 accepted, 1 failed"), "{told}");

    let letters = folder.path("letters").display().to_string();
    for (arguments, expect) in [
        (&[][..], "name a folder to make, or --webhook URL"),
        (&["--dry-run"], "are of --webhook URL"),
        (&[&letters, "--webhook", &url, "--dry-run"], "--dry-run makes no folder"),
        (
            &["--webhook", "http://hooks.example.com/", "--webhook-secret", &secret],
            "http is for receivers on this machine",
        ),
        (&["--webhook", &url, "--webhook-secret", "/nowhere"], "/nowhere: cannot be read"),
    ] {
        let told = said(&outreach(arguments), 64);
        assert!(told.contains(expect), "{told}");
    }
    assert!(!folder.path("letters").exists());
}
