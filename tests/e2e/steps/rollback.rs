//! A push that is valid and wrong, under load: it is taken back by itself, and nobody outside of its share has noticed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use loadtest::client::Http;

use super::{
    ACCOUNTS, LONG, ask, cell_of, config, ended, have_it_taken_back, metric, notes, outcomes, page,
    push_a_dead_port, push_another_place, reload, share, stage, trail, world,
};
use crate::process;
use crate::running::eventually;
use crate::world::{World, load_lane};

/// Clients at once, each with a part of the accounts.
const LINES: u64 = 4;

/// What clients have seen, by account: good answers, and failed ones.
type Answers = Arc<Mutex<BTreeMap<u64, [u64; 2]>>>;

#[test]
#[allow(clippy::print_stderr)] // Figures, for people.
fn a_wrong_push_is_taken_back_by_itself_and_only_accounts_in_its_share_have_noticed() {
    let _lane = load_lane();
    // Of one per cent, one push in twenty thousand would have no account of cell-2 in it.
    let world = world("{ steps: [{ share: 2%, bake: 1h }] }");
    let edge = &world.edge;
    let (answers, rounds, stop) =
        (Answers::default(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients = start_asking(&world, &answers, &rounds, &stop);
    eventually("a round of all accounts", || (rounds.load(Ordering::SeqCst) >= LINES).then_some(()));
    let before: u64 = answers.lock().unwrap().values().map(|[good, failed]| good + failed).sum();

    let pushed = Instant::now();
    push_a_dead_port(edge);
    let hash = stage(edge);
    let config = ended(edge, "rolled_back");
    let took = pushed.elapsed();
    let until = rounds.load(Ordering::SeqCst) + 2 * LINES;
    // Two rounds more: the same accounts are served again.
    let failed_then = failures(&answers);
    for end in [until - LINES, until] {
        eventually("a round more", || (rounds.load(Ordering::SeqCst) >= end).then_some(()));
    }
    stop.store(true, Ordering::SeqCst);
    world.block_on(async {
        for client in clients {
            client.await.unwrap();
        }
    });

    let share = share(&hash, "2%");
    let hurt: BTreeMap<u64, u64> = failures(&answers);
    assert!(hurt.values().sum::<u64>() >= 5, "{hurt:?}");
    for (account, count) in &hurt {
        assert!(share.contains(account) && cell_of(*account) == "cell-2", "{account} failed {count} times");
        // One that was under way when the push was taken back.
        assert!(count - failed_then.get(account).unwrap_or(&0) <= 1, "{account} fails after the rollback");
    }
    let all: u64 = answers.lock().unwrap().values().map(|[good, failed]| good + failed).sum();
    eprintln!(
        "taken back {took:?} after the push; {} of {} requests of {} accounts failed, of {} in the share of cell-2",
        hurt.values().sum::<u64>(),
        all - before,
        hurt.len(),
        share.iter().filter(|account| cell_of(**account) == "cell-2").count(),
    );

    assert_eq!((&config["generation"], &config["last_reload"]["hash"]), (&1.into(), &hash.into()));
    assert_eq!(config["candidate"], serde_json::Value::Null);
    let reasons = config["last_reload"]["reasons"].to_string();
    assert!(reasons.contains("cell cell-2: ") && !reasons.contains("cell-1"), "{reasons}");
    assert_eq!(notes(edge), ["rolled_back"]);
    assert_eq!(page(edge, "/readyz")["ready"], true);
    assert_eq!(metric(edge, "cellgate_reloads_total{outcome=\"rolled_back\"}"), 1.0);
    assert_eq!(metric(edge, "cellgate_config_candidate_share"), 0.0);
    assert_eq!(outcomes(edge), ["staged", "rolled_back"]);
    let last = trail(edge).pop().unwrap();
    assert!(last["reasons"].to_string().contains("requests failed"), "{last}");
    assert_eq!(last["to"]["generation"], 1);
}

fn failures(answers: &Answers) -> BTreeMap<u64, u64> {
    let answers = answers.lock().unwrap();
    answers.iter().filter(|(_, [_, failed])| *failed > 0).map(|(id, [_, failed])| (*id, *failed)).collect()
}

fn start_asking(
    world: &World,
    answers: &Answers,
    rounds: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let start = |part: u64| {
        let client = world.edge.plain(if part.is_multiple_of(2) { Http::H1 } else { Http::H2 });
        let (answers, rounds, stop) = (Arc::clone(answers), Arc::clone(rounds), Arc::clone(stop));
        world.spawn(async move {
            let line = client.open("cloud.getdbt.com").await.unwrap();
            while !stop.load(Ordering::SeqCst) {
                // Both cells by each client: accounts go by fours, and cells by twos.
                for account in ACCOUNTS.filter(|id| id / 2 % LINES == part) {
                    let status = ask(&line, account).await.status.as_u16();
                    assert!([200, 502].contains(&status), "{status}");
                    answers.lock().unwrap().entry(account).or_default()[usize::from(status != 200)] += 1;
                }
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    (0..LINES).map(start).collect()
}

#[test]
fn what_was_taken_back_stays_so_until_somebody_tries_it_again_on_purpose() {
    let mut world = world(LONG);
    push_a_dead_port(&world.edge);
    let hash = stage(&world.edge);
    have_it_taken_back(&world, &hash);

    // Not by asking, not without steps, not by an event, not by a restart.
    for body in ["", "{\"at_once\": true}"] {
        let reply = reload(&world.edge, body);
        assert_eq!(
            (reply.status, &reply.json()["outcome"]),
            (409, &"rolled_back".into()),
            "{}",
            reply.text()
        );
        assert!(reply.json()["hint"].as_str().unwrap().contains("again"), "{}", reply.text());
    }
    let planned = process::run(&world.edge.folder, &["plan"]);
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert_eq!(planned.status.code(), Some(3), "{text}");
    assert!(
        text.contains("No guard refuses it.") && text.contains("it was tried and rolled back: cell "),
        "{text}"
    );
    let told = world.edge.running().reloads().borrow().clone();
    world
        .edge
        .folder
        .write("config/README", "An event of the folder that changes nothing of the configuration.");
    world.edge.running().hang_up();
    eventually("that it was looked", || (world.edge.running().reloads().borrow().at > told.at).then_some(()));
    assert_eq!(config(&world.edge)["last_reload"]["outcome"], "rolled_back");
    world = world.restart();
    let edge = &world.edge;
    let now = config(edge);
    assert_ne!(now["hash"], hash.as_str());
    let last = &now["last_reload"];
    assert_eq!((&last["outcome"], &last["hash"]), (&"rolled_back".into(), &hash.as_str().into()));
    assert_eq!(notes(edge), ["rolled_back"]);
    let detail = page(edge, "/readyz")["reasons"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("rolled back: cell cell-2: "), "{detail}");

    // On purpose, twice: once more in steps, and then without any.
    let reply = reload(edge, "{\"again\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (202, &"staged".into()), "{}", reply.text());
    have_it_taken_back(&world, &hash);
    let reply = reload(edge, "{\"again\": true, \"at_once\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &"applied".into()), "{}", reply.text());
    assert_eq!(config(edge)["hash"], hash.as_str());
    assert_eq!(notes(edge), Vec::<String>::new());
    let triggers: Vec<String> = trail(edge)
        .iter()
        .filter(|line| line["event"] == "intent")
        .map(|line| line["trigger"].to_string())
        .collect();
    // The first was a file event or a call, whichever came first.
    assert_eq!(triggers[1..], ["\"admin_again\"", "\"admin_again_at_once\""]);

    // Whoever has it serve all the same is not asked again.
    let world = world.restart();
    assert_eq!(config(&world.edge)["hash"], hash.as_str());
    assert_eq!(notes(&world.edge), Vec::<String>::new());
    let reply = reload(&world.edge, "{\"agian\": true}");
    assert_eq!((reply.status, &reply.json()["error"]), (400, &"bad_body".into()), "{}", reply.text());
}

#[test]
fn connections_to_places_that_only_the_candidate_knows_are_closed_with_it() {
    let world = world(LONG);
    let edge = &world.edge;
    let open = || world.cell("cell-3").counts().open_connections;
    push_another_place(&world);
    let hash = stage(edge);
    let share = share(&hash, "50%");
    let moved = *share.iter().find(|account| cell_of(**account) == "cell-2").unwrap();
    let client = edge.plain(Http::H1);
    world.block_on(async {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        assert_eq!(ask(&line, moved).await.seen().unwrap().cell, "cell-3");
    });
    assert_eq!(open(), 1, "kept for the next request");
    let cell = world.cell("cell-2").addr();
    edge.folder.point("cell-2", &cell.to_string());
    assert_eq!(reload(edge, "").json()["outcome"], "unchanged");
    eventually("its end", || (open() == 0).then_some(()));
}
