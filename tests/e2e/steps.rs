//! Pushes that come in force in steps: a share of the accounts first, taken back by itself where it does harm.

mod break_glass;
mod judged;
mod moves;
mod restart;
mod rollback;
mod status;
mod turns;

use std::collections::BTreeSet;

use cellgate::policy::canary::{Salt, Share, has_account};
use cellgate::policy::ids::AccountId;
use loadtest::client::{Ask, Line, Reply};
use serde_json::Value;

use crate::process::quiet_port;
use crate::raw_http::{self, RawReply};
use crate::running::{Edge, eventually};
use crate::world::{World, token};

/// Accounts beside the example's: the even ones in cell-1, the odd ones in cell-2. So many that two per cent of a cell's
/// are some twenty.
const ACCOUNTS: std::ops::Range<u64> = 100_000..102_000;

/// A long first step: what ends it is not its time.
const LONG: &str = "{ steps: [{ share: 50%, bake: 1h }] }";

/// With `apply` in its `boot.yaml`.
fn world(apply: &str) -> World {
    World::prepared(|folder| {
        folder.edit("config/boot.yaml", "admin:\n", &format!("apply: {apply}\nadmin:\n"));
        let rows: Vec<String> = ACCOUNTS.map(|id| format!("{id},,{},,", cell_of(id))).collect();
        folder.append("config/accounts.csv", &rows.join("\n"));
        // A line asks until a step is over, and on a fast machine that is more often than one usually may.
        folder.append("config/boot.yaml", "limits: { requests_per_connection: 1000000 }");
    })
}

fn cell_of(account: u64) -> &'static str {
    if account.is_multiple_of(2) { "cell-1" } else { "cell-2" }
}

/// Points cell-2 at a port where nobody listens: valid, and wrong.
fn push_a_dead_port(edge: &Edge) {
    edge.folder.point("cell-2", &format!("127.0.0.1:{}", quiet_port()));
}

/// Has the requests of cell-2 go to the simulated cell-3, which answers all of them.
fn push_another_place(world: &World) {
    world.edge.folder.point("cell-2", &format!("localhost:{}", world.cell("cell-3").addr().port()));
}

fn reload(edge: &Edge, body: &str) -> RawReply {
    raw_http::admin_with(&edge.socket(), "POST", "/reload", body)
}

/// Tells it of a push, which is put on trial; its hash.
fn stage(edge: &Edge) -> String {
    let reply = reload(edge, "");
    assert_eq!((reply.status, &reply.json()["outcome"]), (202, &"staged".into()), "{}", reply.text());
    let candidate = config(edge)["candidate"].clone();
    candidate["hash"].as_str().unwrap_or_else(|| unreachable!("{candidate}")).to_owned()
}

fn page(edge: &Edge, target: &str) -> Value {
    raw_http::page(edge.admin(), target).json()
}

fn config(edge: &Edge) -> Value {
    page(edge, "/config")
}

/// Waits until the last reload has ended so. What was on trial is shown for a moment after that is said.
fn ended(edge: &Edge, outcome: &str) -> Value {
    eventually(outcome, || {
        let config = config(edge);
        let is_over = outcome == "staged" || config["candidate"].is_null();
        (config["last_reload"]["outcome"] == outcome && is_over).then_some(config)
    })
}

fn notes(edge: &Edge) -> Vec<String> {
    let reasons = page(edge, "/readyz")["reasons"].clone();
    reasons.as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap().to_owned()).collect()
}

fn metric(edge: &Edge, name: &str) -> f64 {
    let text = raw_http::page(edge.admin(), "/metrics").text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| unreachable!("no {name} in {text}"))
}

/// The lines of the audit trail: event, trigger, outcome and reasons.
fn trail(edge: &Edge) -> Vec<Value> {
    let text = edge.folder.read("state/audit.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The outcomes in it, in order; the same once, for a file event and the call that follows it say the same.
fn outcomes(edge: &Edge) -> Vec<String> {
    let trail = trail(edge);
    let mut outcomes: Vec<_> =
        trail.iter().filter_map(|line| Some(line["outcome"].as_str()?.to_owned())).collect();
    outcomes.dedup();
    outcomes
}

/// Tells it of a push that comes in force at once, unless a file event has told it already.
fn apply(edge: &Edge) {
    let before = config(edge)["generation"].as_u64();
    let reply = reload(edge, "");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let after = config(edge);
    assert!(
        after["generation"].as_u64() > before || reply.json()["outcome"] == "unchanged",
        "{}",
        reply.text()
    );
    assert!(after["candidate"].is_null(), "{after}");
}

fn share(hash: &str, share: &str) -> BTreeSet<u64> {
    let (share, salt) = (Share::parse(share).unwrap(), Salt::of(hash));
    let id = |id: &u64| AccountId::parse(id.to_string().as_bytes()).unwrap();
    ACCOUNTS.filter(|account| has_account(share, salt, id(account))).collect()
}

/// A request of an account.
async fn ask(line: &Line, account: u64) -> Reply {
    line.ask(&asking(account)).await.unwrap()
}

fn asking(account: u64) -> Ask {
    Ask::get("cloud.getdbt.com", &format!("/api/v2/accounts/{account}/"))
        .header("authorization", &format!("Token {}", token(account)))
}

/// Requests of the accounts in the share, until the push is taken back.
fn have_it_taken_back(world: &World, hash: &str) {
    let edge = &world.edge;
    let client = edge.plain(loadtest::client::Http::H1);
    let asked = share(hash, "50%");
    world.block_on(async {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        // A cell of whose requests five have failed is enough, and nothing is asked again and again. The look that finds
        // it may come between two of them: what is asked after that is served.
        let accounts = asked.iter().filter(|account| cell_of(**account) == "cell-2").take(20);
        for (failed, account) in accounts.enumerate() {
            let status = ask(&line, *account).await.status.as_u16();
            if status != 502 {
                assert!(status == 200 && failed >= 5, "{status} after {failed} that failed");
                break;
            }
        }
    });
    ended(edge, "rolled_back");
}
