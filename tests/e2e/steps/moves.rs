//! Moves of accounts are never on trial, and wait for nothing else.

use cellgate::policy::ids::AccountId;
use loadtest::client::Http;

use super::{LONG, apply, config, ended, push_another_place, reload, share, stage, world};
use crate::running::{Folder, eventually};
use crate::world::World;

const MOVE: (&str, &str) = ("12345,acme ac345,cell-2,,", "12345,acme ac345,cell-3,,");

#[test]
fn moves_come_in_force_at_once_and_what_comes_with_them_is_put_on_trial() {
    let world = world(LONG);
    let edge = &world.edge;
    edge.folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    // Who wrote it and why is no other change.
    edge.folder.edit(
        "config/cellgate.yaml",
        "version: 1\n",
        "version: 1\nchange: { author: ann, reason: a wave }\n",
    );
    apply(edge);
    assert_eq!(cell_of_12345(&world), "cell-3");

    // With other things the moves come first, and the rest is put on trial.
    for what in ["a cell", "a row beside it"] {
        let (routing, accounts) =
            (edge.folder.read("config/cellgate.yaml"), edge.folder.read("config/accounts.csv"));
        edge.folder.edit("config/accounts.csv", MOVE.1, MOVE.0);
        match what {
            "a cell" => push_another_place(&world),
            _ => edge.folder.append("config/accounts.csv", "77,new77,cell-1,,"),
        }
        stage(edge);
        assert_eq!(cell_of_12345(&world), "cell-2", "{what}");
        assert_eq!(world.edge.running().snapshot().accounts.by_id(id(77)).map(|row| row.id), None);
        edge.folder.write("config/cellgate.yaml", &routing);
        edge.folder.write("config/accounts.csv", &accounts);
        // Back again, and what served is what serves.
        apply(edge);
        assert_eq!(cell_of_12345(&world), "cell-3", "{what}");
    }

    // Whoever says that they belong together has them come in force together, at once.
    edge.folder.edit("config/accounts.csv", MOVE.1, MOVE.0);
    push_another_place(&world);
    let reply = reload(edge, "{\"at_once\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &"applied".into()), "{}", reply.text());
}

#[test]
fn moves_wait_for_no_trial_which_goes_on_with_them_in_it() {
    let world = world(LONG);
    let edge = &world.edge;
    push_another_place(&world);
    let first = stage(edge);
    let since = config(edge)["candidate"]["since"].clone();
    let of_cell_2 = share(&first, "50%").into_iter().filter(|account| super::cell_of(*account) == "cell-2");
    let moved: Vec<u64> = of_cell_2.take(10).collect();
    served_elsewhere(&world, &moved);
    eventually("the look", || (config(edge)["candidate"]["requests"] == 10).then_some(()));

    edge.folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    let second = stage(edge);
    assert_ne!(second, first);
    assert_eq!(cell_of_12345(&world), "cell-3", "in force for all that are not in the share");
    let candidate = edge.running().candidate().unwrap();
    assert_eq!(candidate.cell(candidate.accounts.by_id(id(12345)).unwrap().cell).name.as_str(), "cell-3");
    let now = config(edge)["candidate"].clone();
    assert_eq!((&now["requests"], &now["since"]), (&10.into(), &since), "what was seen still counts");
    served_elsewhere(&world, &moved);
    // Who asks how far the moves are is told that they have arrived.
    assert_eq!(super::page(edge, "/moves")["candidate"], second.as_str());
    assert_ne!(super::page(edge, "/moves")["hash"], second.as_str());
    assert_eq!(super::outcomes(edge), ["staged", "applied", "withdrawn", "staged"].map(str::to_owned));

    // Without the rest, the files say what the moves alone have made of it.
    edge.folder.point("cell-2", &world.cell("cell-2").addr().to_string());
    assert_eq!(reload(edge, "").json()["outcome"], "unchanged");
    let now = config(edge);
    assert!(now["candidate"].is_null(), "{now}");
    assert_eq!(cell_of_12345(&world), "cell-3");
    // And a start finds it.
    let world = world.restart();
    assert_eq!(config(&world.edge)["hash"], now["hash"]);
    assert_eq!(cell_of_12345(&world), "cell-3");
}

/// Each of these accounts is served by the candidate.
fn served_elsewhere(world: &World, accounts: &[u64]) {
    let client = world.edge.plain(Http::H1);
    world.block_on(async {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        for account in accounts {
            assert_eq!(super::ask(&line, *account).await.seen().unwrap().cell, "cell-3");
        }
    });
}

#[test]
fn a_trial_that_was_taken_back_leaves_moves_where_they_are_and_holds_up_none() {
    let world = world(LONG);
    let edge = &world.edge;
    edge.folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    super::push_a_dead_port(edge);
    let hash = stage(edge);
    super::have_it_taken_back(&world, &hash);
    assert_eq!(cell_of_12345(&world), "cell-3");

    // The same push with moves beside it is no other push: they come in force, and it is not tried again.
    for (from, to, cell) in [(MOVE.1, MOVE.0, "cell-2"), (MOVE.0, MOVE.1, "cell-3")] {
        edge.folder.edit("config/accounts.csv", from, to);
        let reply = reload(edge, "");
        assert_eq!(
            (reply.status, &reply.json()["outcome"]),
            (409, &"rolled_back".into()),
            "{}",
            reply.text()
        );
        assert_eq!(cell_of_12345(&world), cell);
        assert_eq!(super::notes(edge), ["rolled_back"]);
    }
    let world = world.restart_with(|folder| folder.edit("config/accounts.csv", MOVE.1, MOVE.0));
    let now = ended(&world.edge, "rolled_back");
    assert!(now["candidate"].is_null(), "{now}");
    assert_eq!(cell_of_12345(&world), "cell-2");
    let reply = reload(&world.edge, "{\"again\": true}");
    assert_eq!(reply.json()["outcome"], "staged", "{}", reply.text());
}

#[test]
fn what_was_moved_while_a_replica_was_down_serves_when_it_comes_back_and_the_rest_has_its_trial() {
    let world = world(LONG).restart_with(|folder| {
        folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
        folder.point("cell-1", "127.0.0.1:9");
    });
    assert_eq!(cell_of_12345(&world), "cell-3", "an account that has moved is not left behind");
    let now = ended(&world.edge, "staged");
    assert_ne!(now["hash"], now["candidate"]["hash"], "whole before its trial");
    assert_eq!(super::notes(&world.edge), ["staged"]);
}

/// A new cell, and an account that moves to it.
fn move_to_a_new_cell(folder: &Folder) {
    let cell = "  - name: cell-9\n    domain: us1.dbt.com\n    protocol: auto\n    groups:\n      - zone: local\n        \
                endpoints: [127.0.0.1:9]\n";
    let before = "  # The old multi-tenant environment";
    folder.edit("config/cellgate.yaml", before, &format!("{cell}{before}"));
    folder.edit("config/accounts.csv", MOVE.0, "12345,acme ac345,cell-9,,");
}

#[test]
fn what_was_refused_for_moves_that_cannot_come_first_is_not_served_by_a_restart_but_by_who_insists() {
    let world = world(LONG);
    let first = config(&world.edge)["hash"].clone();
    move_to_a_new_cell(&world.edge.folder);
    let reply = reload(&world.edge, "");
    assert_eq!((reply.status, &reply.json()["outcome"]), (409, &"refused".into()), "{}", reply.text());
    let objection = reply.json()["objections"][0].clone();
    assert_eq!(objection["guard"], "mixed", "{objection}");
    let what = objection["what"].as_str().unwrap();
    assert!(what.ends_with("1 accounts move to the cell cell-9, which comes with the same push"), "{what}");

    let world = world.restart();
    let now = config(&world.edge);
    assert_eq!((&now["hash"], &now["last_reload"]["outcome"]), (&first, &"refused".into()), "{now}");
    assert_eq!(super::notes(&world.edge), ["last_good"]);
    let detail = super::page(&world.edge, "/readyz")["reasons"][0]["detail"].to_string();
    assert!(detail.contains("mixed: "), "{detail}");
    assert_eq!(cell_of_12345(&world), "cell-2", "nobody has let it move");

    let reply = reload(&world.edge, "{\"at_once\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &"applied".into()), "{}", reply.text());
    let world = world.restart();
    assert_eq!(cell_of_12345(&world), "cell-9");
    assert_eq!(super::notes(&world.edge), Vec::<String>::new());
}

#[test]
fn moves_that_cannot_come_first_and_came_while_a_replica_was_down_are_served_with_the_rest() {
    let world = world(LONG).restart_with(move_to_a_new_cell);
    assert_eq!(config(&world.edge)["last_reload"]["outcome"], "applied");
    assert_eq!(cell_of_12345(&world), "cell-9", "an account that has moved is not left behind");
}

fn id(number: u64) -> AccountId {
    AccountId::parse(number.to_string().as_bytes()).unwrap()
}

fn cell_of_12345(world: &crate::world::World) -> String {
    let snapshot = world.edge.running().snapshot();
    snapshot.cell(snapshot.accounts.by_id(id(12345)).unwrap().cell).name.to_string()
}
