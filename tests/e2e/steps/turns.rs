//! Steps one after the other, and who is in which: by account, by replica, and whole in the end.

use std::collections::BTreeSet;

use cellgate::policy::canary::{Salt, Share, has_replica};
use loadtest::client::Http;

use super::{
    ACCOUNTS, ask, cell_of, config, ended, metric, notes, outcomes, push_another_place, share, stage, world,
};
use crate::running::eventually;
use crate::world::World;

#[test]
fn a_good_push_serves_its_shares_one_after_the_other_and_then_everybody() {
    // So long that a machine which stands still for a moment does not miss one.
    let mut world = world("{ steps: [{ share: 10%, bake: 4s }, { share: 50%, bake: 4s }] }");
    push_another_place(&world);
    let hash = stage(&world.edge);
    assert_eq!(notes(&world.edge), ["staged"]);
    assert_eq!(config(&world.edge)["generation"], 1, "what serves is what served");
    let seen = watch(&world, &hash);
    assert_eq!(seen, ["10%".to_owned(), "50%".to_owned()].into(), "both steps were met");

    let edge = &world.edge;
    let now = ended(edge, "applied");
    assert_eq!((&now["generation"], &now["hash"]), (&2.into(), &hash.as_str().into()));
    // The note is taken down once the outcome has been told.
    eventually("no note", || notes(edge).is_empty().then_some(()));
    assert_eq!(metric(edge, "cellgate_config_candidate_step"), 0.0);
    assert_eq!(outcomes(edge), ["staged", "applied"]);
    let client = edge.plain(Http::H1);
    world.block_on(async {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        for account in ACCOUNTS.filter(|account| cell_of(*account) == "cell-2").take(100) {
            assert_eq!(ask(&line, account).await.seen().unwrap().cell, "cell-3");
        }
    });
    // It is what a start finds.
    world = world.restart();
    assert_eq!(config(&world.edge)["hash"], hash.as_str());
    assert_eq!(config(&world.edge)["candidate"], serde_json::Value::Null);
}

/// Asks for accounts until the push is whole, and holds who is served by it against the share of that moment. Which
/// shares there were.
fn watch(world: &World, hash: &str) -> BTreeSet<String> {
    let edge = &world.edge;
    let client = edge.plain(Http::H1);
    let line = world.block_on(client.open("cloud.getdbt.com")).unwrap();
    let mut seen = BTreeSet::new();
    let mut moved_before = BTreeSet::new();
    let mut accounts = ACCOUNTS.filter(|account| cell_of(*account) == "cell-2").cycle();
    loop {
        let before = config(edge)["candidate"]["share"].clone();
        let some: Vec<u64> = accounts.by_ref().take(25).collect();
        let answers: Vec<(u64, String, String)> = world.block_on(async {
            let mut answers = Vec::new();
            for account in some {
                let seen = ask(&line, account).await.seen().unwrap();
                let generation = seen.header("x-cellgate-generation").unwrap().to_owned();
                answers.push((account, seen.cell, generation));
            }
            answers
        });
        for (account, cell, generation) in &answers {
            assert!(
                [("cell-2", "1"), ("cell-3", "2")].contains(&(cell, generation)),
                "{cell} of {generation}"
            );
            let is_moved = cell == "cell-3";
            assert!(is_moved || !moved_before.contains(account), "{account} went to and fro");
            if is_moved {
                moved_before.insert(*account);
            }
        }
        let after = config(edge);
        if after["candidate"].is_null() {
            return seen;
        }
        if let Some(text) = before.as_str().filter(|_| before == after["candidate"]["share"]) {
            let share = share(hash, text);
            for (account, cell, _) in &answers {
                assert_eq!(cell == "cell-3", share.contains(account), "{account} at {text}");
            }
            seen.insert(text.to_owned());
        }
    }
}

#[test]
fn a_replica_that_is_not_among_the_first_waits_and_then_begins() {
    let first = |share: &str| {
        world(&format!(
            "{{ steps: [{{ share: 50%, bake: 1h }}], replica: edge-7, first_replicas: {{ share: {share}, delay: 6s }} }}"
        ))
    };
    let world = first("0.01%");
    push_another_place(&world);
    // Who is among the first goes by the hash of a push: of ten thousand, one has even this replica among them.
    let among_the_first =
        has_replica(Share::parse("0.01%").unwrap(), Salt::of(&stage(&world.edge)), "edge-7");
    if among_the_first {
        world.edge.folder.append("config/accounts.csv", "77,new77,cell-1,,");
        stage(&world.edge);
    }
    let candidate = config(&world.edge)["candidate"].clone();
    assert!(candidate["share"].is_null(), "it waits: {candidate}");
    assert_eq!(metric(&world.edge, "cellgate_config_candidate_share"), 0.0);
    let begun = eventually("that it begins", || {
        let candidate = config(&world.edge)["candidate"].clone();
        candidate["share"].is_string().then_some(candidate)
    });
    assert_eq!((&begun["share"], &begun["step"]), (&"50%".into(), &1.into()));

    let world = first("100%");
    push_another_place(&world);
    stage(&world.edge);
    assert_eq!(config(&world.edge)["candidate"]["share"], "50%", "it is among the first");
}

#[test]
fn a_new_push_takes_the_place_of_the_one_on_trial_and_putting_the_files_back_ends_it() {
    let world = world(super::LONG);
    let edge = &world.edge;
    let good = edge.folder.read("config/cellgate.yaml");
    push_another_place(&world);
    let first = stage(edge);
    // Another place for another cell as well.
    edge.folder.point("cell-1", &world.cell("cell-3").addr().to_string());
    let second = stage(edge);
    assert_ne!(first, second);
    let candidate = config(edge)["candidate"].clone();
    assert_eq!(
        (&candidate["generation"], &config(edge)["generation"]),
        (&3.into(), &1.into()),
        "no number twice"
    );

    // What is refused changes nothing, also of the trial.
    let routing = edge.folder.read("config/cellgate.yaml");
    edge.folder.write("config/cellgate.yaml", "version: 1\n");
    assert_eq!(super::reload(edge, "").status, 422);
    assert_eq!(config(edge)["candidate"]["hash"], second.as_str());
    edge.folder.write("config/cellgate.yaml", &routing);
    assert_eq!(super::reload(edge, "").json()["outcome"], "staged");

    edge.folder.write("config/cellgate.yaml", &good);
    assert_eq!(super::reload(edge, "").json()["outcome"], "unchanged");
    assert_eq!(config(edge)["candidate"], serde_json::Value::Null);
    assert_eq!(notes(edge), Vec::<String>::new());
    let withdrawn: Vec<String> = super::trail(edge)
        .iter()
        .filter(|line| line["outcome"] == "withdrawn")
        .map(|line| line["reasons"].to_string())
        .collect();
    assert!(withdrawn[0].contains(&first) && withdrawn[0].contains("another push"), "{withdrawn:?}");
    assert!(
        withdrawn[1].contains(&second) && withdrawn[1].contains("say again what serves"),
        "{withdrawn:?}"
    );
    assert_eq!(withdrawn.len(), 2);
}
