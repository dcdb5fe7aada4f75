//! Learned credentials by real answers of cells that know their tokens, and the ways to misuse them. Whatever
//! one account's clients do, another account's requests go where they went.

use loadtest::cell::{Behaviour, CellOptions};
use loadtest::client::{Ask, Http, Reply};

use crate::running::Folder;
use crate::world::{CELLS, World, token};

/// Account 12345's, whom cell-2 knows; after a move cell-1 does too.
const OWN: u64 = 1;
/// Account 26228's, in cell-3.
const OTHER: u64 = 2;
/// Good in both cells, for 12345 and for 26228.
const BOTH: u64 = 3;
/// Good nowhere.
const JUNK: u64 = 4;
/// The first of many good ones of account 26228.
const MANY: u64 = 100;

/// Most entries of an account in these tests.
const PER_ACCOUNT: u64 = 3;

fn cells() -> Vec<CellOptions> {
    let knows = |name: &str, numbers: Vec<u64>, account: &str| {
        numbers
            .iter()
            .fold(CellOptions::named(name), |cell, number| cell.with_token(&token(*number), account))
    };
    let many = [OTHER, BOTH].into_iter().chain(MANY..MANY + 50);
    let mut cells = vec![
        knows("cell-1", vec![OWN], "12345"),
        knows("cell-2", vec![OWN, BOTH], "12345"),
        knows("cell-3", many.collect(), "26228"),
    ];
    cells.push(knows("shared", vec![1_000], "1001"));
    assert_eq!(cells.len(), CELLS.len());
    cells
}

fn world() -> World {
    World::with_cells(cells(), |folder: &Folder| {
        folder.edit("config/cellgate.yaml", "entries: 100000", "entries: 20");
        folder.edit("config/cellgate.yaml", "per_account: 1000", &format!("per_account: {PER_ACCOUNT}"));
    })
}

fn ask(world: &World, path: &str, number: u64) -> Reply {
    let ask =
        Ask::get("cloud.getdbt.com", path).header("authorization", &format!("Bearer {}", token(number)));
    world.block_on(world.edge.plain(Http::H1).ask(&ask)).unwrap()
}

/// Names the account: what can teach.
fn by_path(world: &World, account: &str, number: u64) -> u16 {
    ask(world, &format!("/api/v2/accounts/{account}/"), number).status.as_u16()
}

/// Names nobody: the cell that the credential alone leads to.
fn by_token(world: &World, number: u64) -> Option<String> {
    let reply = ask(world, "/api/v2/whoami", number);
    let cell = reply.cell().map(str::to_owned);
    assert!(cell.is_some() || reply.status == 404, "{}: {}", reply.status, reply.text());
    cell
}

#[track_caller]
fn goes(world: &World, number: u64, expect: Option<&str>) {
    assert_eq!(by_token(world, number).as_deref(), expect, "token {number}");
}

#[test]
fn what_a_cell_has_answered_is_learned_as_an_account_and_outlives_reload_and_restart() {
    let world = world();
    goes(&world, OWN, None);
    assert_eq!(by_path(&world, "12345", OWN), 200);
    goes(&world, OWN, Some("cell-2"));
    // Learned is the account, never the cell: the account moves, and its token with it.
    world.edge.folder.edit("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-1,,");
    assert_eq!(crate::raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    goes(&world, OWN, Some("cell-1"));
    let world = world.restart();
    goes(&world, OWN, Some("cell-1"));
    goes(&world, OTHER, None);
    let state = world.edge.folder.path("state");
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let raw = token(OWN);
        assert!(
            !bytes.windows(raw.len()).any(|part| part == raw.as_bytes()),
            "{} holds a token",
            path.display()
        );
    }
    assert!(!world.edge.folder.read("log/access.log").contains(&token(OWN)));
}

#[test]
fn a_junk_token_that_everybody_sends_teaches_nothing() {
    let world = world();
    for account in ["12345", "26228", "1001", "12345"] {
        assert_eq!(by_path(&world, account, JUNK), 401);
        goes(&world, JUNK, None);
    }
}

#[test]
fn a_token_of_two_accounts_is_routed_on_for_neither_also_after_a_restart() {
    let world = world();
    assert_eq!(by_path(&world, "12345", BOTH), 200);
    goes(&world, BOTH, Some("cell-2"));
    assert_eq!(by_path(&world, "26228", BOTH), 200);
    goes(&world, BOTH, None);
    assert_eq!(by_path(&world, "12345", BOTH), 200);
    goes(&world, BOTH, None);
    let world = world.restart();
    goes(&world, BOTH, None);
    // Where the path names the account, the token does not matter.
    assert_eq!(ask(&world, "/api/v2/accounts/12345/", BOTH).cell(), Some("cell-2"));
    assert_eq!(ask(&world, "/api/v2/accounts/26228/", BOTH).cell(), Some("cell-3"));
}

#[test]
fn a_storm_of_401_from_a_broken_cell_forgets_nobody() {
    let world = world();
    assert_eq!(by_path(&world, "12345", OWN), 200);
    assert_eq!(by_path(&world, "26228", OTHER), 200);
    let broken = Behaviour::Status(401, "{}".into());
    world.block_on(world.cell("cell-2").behave(broken)).unwrap();
    for _ in 0..200 {
        assert_eq!(ask(&world, "/api/v2/whoami", OWN).status, 401);
    }
    world.block_on(world.cell("cell-2").behave(Behaviour::Normal)).unwrap();
    goes(&world, OWN, Some("cell-2"));
    goes(&world, OTHER, Some("cell-3"));
}

#[test]
fn a_flood_of_one_accounts_tokens_evicts_that_accounts_alone() {
    let world = world();
    assert_eq!(by_path(&world, "12345", OWN), 200);
    for number in MANY..MANY + 50 {
        assert_eq!(by_path(&world, "26228", number), 200);
    }
    goes(&world, OWN, Some("cell-2"));
    let kept = (MANY..MANY + 50).filter(|number| by_token(&world, *number).is_some()).count() as u64;
    assert_eq!(kept, PER_ACCOUNT);
    let world = world.restart();
    goes(&world, OWN, Some("cell-2"));
}

#[test]
fn a_token_on_another_accounts_path_changes_neither_account() {
    let world = world();
    assert_eq!(by_path(&world, "12345", OWN), 200);
    assert_eq!(by_path(&world, "26228", OTHER), 200);
    for _ in 0..10 {
        // The path decides, and that cell refuses the stranger.
        assert_eq!(by_path(&world, "26228", OWN), 401);
        assert_eq!(by_path(&world, "12345", OTHER), 401);
        assert_eq!(by_path(&world, "999999999", OWN), 404);
    }
    goes(&world, OWN, Some("cell-2"));
    goes(&world, OTHER, Some("cell-3"));
    let seen = ask(&world, "/api/v2/accounts/26228/", OTHER).seen().unwrap();
    assert_eq!((seen.cell.as_str(), seen.authenticated.as_deref()), ("cell-3", Some("26228")));
}
