//! The moves of a push without the rest of it.

use cellgate::config::{CannotPart, Config, MovesAlone, Sources, moves_alone, parse_all};
use cellgate::policy::ids::AccountId;

use super::moves::with;
use super::{NOW, lines, replace};

/// Account 1001 on its way from the shared cell to cell-2, in this state.
fn moving(state: &str) -> Sources {
    let mut sources = with(&format!("# Wave 2\n1001,shared,cell-2,{state},1\n"), "");
    if state == "flipped" {
        replace_in(&mut sources, "accounts.csv", "1001,mt001,shared,", "1001,mt001,cell-2,");
    }
    sources
}

fn replace_in(sources: &mut Sources, file: &str, from: &str, to: &str) {
    replace(sources.files.get_mut(file).unwrap(), from, to);
}

fn parsed(sources: &Sources) -> Config {
    parse_all(sources, NOW).map_err(|problems| lines(&problems)).unwrap().1
}

fn alone(base: &Sources, offered: &Sources) -> Result<MovesAlone, CannotPart> {
    moves_alone(base.clone(), &parsed(base), offered, &parsed(offered))
}

/// A new account that is on its way itself.
fn with_a_new_one(mut sources: Sources) -> Sources {
    replace_in(&mut sources, "accounts.csv", "1001,mt001,", "99,new99,cell-1,,\n1001,mt001,");
    replace_in(&mut sources, "moves.csv", "# Wave 2\n", "# Wave 2\n99,cell-1,cell-3,prepare,1\n");
    sources
}

#[test]
fn what_serves_gets_the_moves_and_nothing_else_and_is_then_what_the_moves_by_themselves_are() {
    let base = moving("holding");
    let mut offered = moving("flipped");
    replace(&mut offered.routing, "127.0.0.1:7103", "127.0.0.1:7999");
    let made = alone(&base, &offered).unwrap();
    let read = parsed(&made.sources);
    assert_eq!(made.check(&read), Ok(()));
    assert_eq!(read.hash, parsed(&moving("flipped")).hash, "byte for byte");
    // What does not have them is noticed.
    let id = AccountId::from_value(1001).unwrap();
    assert_eq!(made.check(&parsed(&base)), Err(CannotPart::Lost(id)));
    assert_eq!(made.check(&parsed(&moving("prepare"))), Err(CannotPart::Lost(id)));
}

#[test]
fn moves_of_accounts_that_come_with_the_push_are_left_to_it() {
    let base = moving("holding");
    let made = alone(&base, &with_a_new_one(moving("flipped"))).unwrap();
    let read = parsed(&made.sources);
    assert_eq!(made.check(&read), Ok(()));
    assert_eq!(read.hash, parsed(&moving("flipped")).hash, "the row of the new account is not there");
    assert!(matches!(alone(&base, &with_a_new_one(base.clone())), Err(CannotPart::Nothing)));
    assert!(matches!(alone(&base, &base), Err(CannotPart::Nothing)));
}

#[test]
fn a_move_that_is_taken_back_is_taken_back_by_itself_too() {
    let base = moving("prepare");
    let mut offered = with("# Wave 2\n", "");
    replace(&mut offered.routing, "127.0.0.1:7103", "127.0.0.1:7999");
    let made = alone(&base, &offered).unwrap();
    assert_eq!(parsed(&made.sources).hash, parsed(&with("# Wave 2\n", "")).hash);
}
