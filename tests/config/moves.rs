//! The table of moves: what it says, and each way in which it can be wrong.

use cellgate::config::{Config, Sources, parse_all};
use cellgate::policy::ids::AccountId;
use cellgate::policy::moves::{HeldReads, MoveState};

use super::{NOW, example, lines};

/// Lives in cell-1 by the account table of the example.
pub const AB123: u64 = 70403103966603;

/// The example with this table of moves, and these keys beside its name.
pub fn with(rows: &str, keys: &str) -> Sources {
    let mut sources = example();
    let text = String::from_utf8(sources.routing.clone().unwrap()).unwrap();
    sources.routing = Ok(format!("{text}moves: {{ file: moves.csv{keys} }}\n").into_bytes());
    let table = format!("account,from,to,state,epoch\n{rows}");
    sources.files.insert("moves.csv".into(), Ok(table.into_bytes()));
    sources
}

fn parsed(rows: &str, keys: &str) -> Config {
    parse_all(&with(rows, keys), NOW).map_err(|problems| lines(&problems)).unwrap().1
}

/// Exactly one problem, with this text.
fn refused(rows: &str, keys: &str, expect: &str) {
    let found = lines(&parse_all(&with(rows, keys), NOW).err().unwrap_or_default());
    assert_eq!(found.lines().count(), 1, "{rows}{keys}: expected one problem, found\n{found}");
    assert!(found.contains(expect), "{rows}{keys}: expected {expect:?}, found\n{found}");
}

#[test]
fn a_move_says_where_from_where_to_and_how_far_it_is() {
    let config = parsed(
        "# Wave 3\n70403103966603,cell-1,cell-2,holding,2\n12345,gone-long-ago,shared,flipped,7\n99,a,b,flipped,1\n",
        ", budget: 2s, reads: wait",
    );
    let moves = &config.moves;
    assert_eq!((moves.rules.budget.as_secs(), moves.rules.reads), (2, HeldReads::Wait));
    let of = |id| moves.table.find(AccountId::from_value(id).unwrap()).copied();
    let held = of(AB123).unwrap();
    let name = |cell: Option<cellgate::policy::ids::CellIndex>| {
        cell.map(|cell| config.cells[usize::from(cell.0)].name.as_str())
    };
    assert_eq!((name(held.from), name(held.to)), (Some("cell-1"), Some("cell-2")));
    assert_eq!((held.state, held.epoch), (MoveState::Holding, 2));
    assert!(of(99).is_some(), "the epoch of an account that is gone is not forgotten");
    assert_eq!(moves.table.open().count(), 1);
}

#[test]
fn a_table_of_moves_that_the_account_table_contradicts_is_half_of_a_change() {
    let row = |from: &str, to: &str, state: &str| format!("{AB123},{from},{to},{state},1\n");
    let not_in = "moves.csv:2: from: account 70403103966603 is not in \"cell-2\" by the account table";
    refused(&row("cell-2", "cell-3", "prepare"), "", not_in);
    refused(&row("cell-2", "cell-1", "holding"), "", not_in);
    let flipped = "moves.csv:2: state: account 70403103966603 is flipped to \"cell-2\", and the account table has it in \"cell-1\"";
    refused(&row("cell-1", "cell-2", "flipped"), "", flipped);
    // Where it lives, and where somebody has put it since.
    parsed(&row("cell-2", "cell-1", "flipped"), "");
    parsed(&row("cell-2", "cell-3", "flipped"), "");
}

#[test]
fn mistakes_in_rows_and_keys_are_told() {
    for (row, expect) in [
        (
            "70403103966603,cell-1,cell-2,hold,1",
            "state: found \"hold\"; expected prepare, holding or flipped",
        ),
        (
            "70403103966603,cell-1,cell-2,prepare,0",
            "epoch: found \"0\"; expected how often the account was moved",
        ),
        ("70403103966603,cell-1,cell-2,prepare,+1", "epoch: found \"+1\""),
        ("70403103966603,cell-1,cell-4,prepare,1", "to: there is no cell \"cell-4\""),
        ("70403103966603,cell-1,cell-1,prepare,1", "moves from \"cell-1\" to itself"),
        ("7,cell-1,cell-2,prepare,1", "account: account 7 has no row"),
        ("x,cell-1,cell-2,flipped,1", "account: found \"x\""),
    ] {
        refused(&format!("{row}\n"), "", expect);
    }
    let twice = format!("{AB123},cell-1,cell-2,prepare,1\n{AB123},cell-1,cell-3,prepare,1\n");
    refused(&twice, "", "moves.csv:3: account: account 70403103966603 is already in line 2");
    refused(
        "",
        ", budget: 5s",
        "moves.budget: found \"5s\"; expected a time such as 500ms, 10s or 5m, from 100ms to 4s",
    );
    refused("", ", waiting_per_cell: 10", "10 is less than one account may have");
    refused("", ", reads: both", "expected old_cell or wait");
    parsed("", "");
}
