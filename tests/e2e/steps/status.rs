//! `cellgate steps`: what is on trial, as its operator sees it.

use std::process::{Command, Output};

use loadtest::client::Http;
use serde_json::{Value, json};

use super::{
    LONG, ask, cell_of, have_it_taken_back, push_a_dead_port, push_another_place, share, stage, world,
};
use crate::running::{Edge, eventually};

fn steps(edge: &Edge, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(["steps", "--socket"]).arg(edge.socket()).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_operator_sees_what_is_on_trial_cell_by_cell_and_the_exit_code_says_whether_something_is() {
    let world = world(LONG);
    let edge = &world.edge;
    let nothing = steps(edge, &[]);
    assert_eq!(nothing.status.code(), Some(0), "{}", text(&nothing));
    assert!(text(&nothing).contains("On trial: nothing."), "{}", text(&nothing));

    push_another_place(&world);
    let hash = stage(edge);
    let waits = steps(edge, &[]);
    assert_eq!(waits.status.code(), Some(2), "{}", text(&waits));
    for expect in [&hash[..12], "step 1 of 1: 50% of the accounts, 59m ", "No request has been counted yet."]
    {
        assert!(text(&waits).contains(expect), "{expect}: {}", text(&waits));
    }
    let moved = share(&hash, "50%");
    let client = edge.plain(Http::H1);
    world.block_on(async {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        for account in super::ACCOUNTS.filter(|account| cell_of(*account) == "cell-2").take(40) {
            assert_eq!(ask(&line, account).await.status, 200);
        }
    });
    let of = |is_moved| {
        let asked = super::ACCOUNTS.filter(|account| cell_of(*account) == "cell-2").take(40);
        asked.filter(|account| moved.contains(account) == is_moved).count()
    };
    let counted = |requests: usize| json!({ "requests": requests, "failed": 0, "denied": 0 });
    let expect = json!([{ "cell": "cell-2", "with": counted(of(true)), "without": counted(of(false)) }]);
    eventually("the look", || {
        let shown: Value = serde_json::from_slice(&steps(edge, &["--json"]).stdout).unwrap();
        assert_eq!(
            (&shown["candidate"]["hash"], &shown["serving"]["generation"]),
            (&hash.as_str().into(), &1.into())
        );
        (shown["candidate"]["cells"] == expect).then_some(())
    });
    let line = format!("cell-2   {:>8}       0       0   {:>8}       0       0\n", of(true), of(false));
    let shown = steps(edge, &[]);
    assert!(text(&shown).contains(&line), "{line}: {}", text(&shown));

    push_a_dead_port(edge);
    let hash = stage(edge);
    have_it_taken_back(&world, &hash);
    let over = steps(edge, &[]);
    assert_eq!(over.status.code(), Some(3), "{}", text(&over));
    assert!(text(&over).contains("ended as rolled_back.\n  cell cell-2: "), "{}", text(&over));

    let output = Command::new(env!("CARGO_BIN_EXE_cellgate"))
        .args(["steps", "--socket", "/nonexistent"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("/nonexistent: is cellgate running"), "{}", text(&output));
    assert_eq!(steps(edge, &["--verbose"]).status.code(), Some(64));
    assert!(text(&steps(edge, &["--help"])).contains("Exit codes: 0 nothing is on trial"));
}
