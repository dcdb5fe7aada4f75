//! Moves of accounts are never on trial, and never come with anything else.

use super::{LONG, apply, config, push_another_place, reload, stage, world};

const MOVE: (&str, &str) = ("12345,acme ac345,cell-2,,", "12345,acme ac345,cell-3,,");

#[test]
fn moves_by_themselves_come_in_force_at_once_and_mixed_with_others_not_at_all() {
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

    for what in ["a cell", "a row beside it"] {
        let (routing, accounts) =
            (edge.folder.read("config/cellgate.yaml"), edge.folder.read("config/accounts.csv"));
        edge.folder.edit("config/accounts.csv", MOVE.1, MOVE.0);
        match what {
            "a cell" => push_another_place(&world),
            _ => edge.folder.append("config/accounts.csv", "77,new77,cell-1,,"),
        }
        let reply = reload(edge, "");
        assert_eq!(
            (reply.status, &reply.json()["outcome"]),
            (409, &"refused".into()),
            "{what}: {}",
            reply.text()
        );
        let objection = reply.json()["objections"][0].clone();
        assert_eq!(objection["guard"], "mixed", "{what}");
        assert!(objection["hint"].as_str().unwrap().contains("by themselves"), "{objection}");
        edge.folder.write("config/cellgate.yaml", &routing);
        edge.folder.write("config/accounts.csv", &accounts);
        assert_eq!(reload(edge, "").json()["outcome"], "unchanged", "{what}");
    }

    // Whoever says that they belong together has them come in force together, at once.
    edge.folder.edit("config/accounts.csv", MOVE.1, MOVE.0);
    push_another_place(&world);
    let reply = reload(edge, "{\"at_once\": true}");
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &"applied".into()), "{}", reply.text());
}

#[test]
fn moves_wait_for_no_trial_and_a_trial_that_was_taken_back_leaves_them_where_they_are() {
    let world = world(LONG);
    let edge = &world.edge;
    // A trial stands; moves are pushed on top of it, and belong to neither.
    push_another_place(&world);
    let staged = stage(edge);
    edge.folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    assert_eq!(reload(edge, "").json()["objections"][0]["guard"], "mixed");
    assert_eq!(config(edge)["candidate"]["hash"], staged.as_str(), "what is refused ends no trial");
    let dead = edge.folder.read("config/cellgate.yaml");
    edge.folder.point("cell-2", &world.cell("cell-2").addr().to_string());
    // Now they are by themselves, and the trial is over.
    apply(edge);
    assert_eq!(cell_of_12345(&world), "cell-3");

    edge.folder.write("config/cellgate.yaml", &dead);
    super::push_a_dead_port(edge);
    let hash = stage(edge);
    super::have_it_taken_back(&world, &hash);
    assert_eq!(cell_of_12345(&world), "cell-3");
}

#[test]
fn what_was_moved_and_changed_while_a_replica_was_down_serves_when_it_comes_back() {
    let world = world(LONG).restart_with(|folder| {
        folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
        folder.point("cell-1", "127.0.0.1:9");
    });
    assert_eq!(config(&world.edge)["last_reload"]["outcome"], "applied");
    assert_eq!(config(&world.edge)["candidate"], serde_json::Value::Null);
    assert_eq!(cell_of_12345(&world), "cell-3", "an account that has moved is not left behind");
}

fn cell_of_12345(world: &crate::world::World) -> String {
    let snapshot = world.edge.running().snapshot();
    let id = cellgate::policy::ids::AccountId::parse(b"12345").unwrap();
    snapshot.cell(snapshot.accounts.by_id(id).unwrap().cell).name.to_string()
}
