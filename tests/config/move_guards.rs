//! What guards have against a change of moves, what a plan shows of it, and what a rollback keeps.

use cellgate::config::guard::{Change, Guard, Guards, Mode, judge};
use cellgate::config::plan::Plan;
use cellgate::config::rollback::CannotRollBack;
use cellgate::config::{Config, Diff, Sources, diff, parse_all, rollback, weigh};
use cellgate::policy::ids::AccountId;

use super::moves::with;
use super::{NOW, example, lines, replace};

/// With these rows of moves, and account 1001 in this cell.
fn folder(rows: &str, cell: &str) -> Sources {
    let mut sources = with(rows, "");
    let accounts = sources.files.get_mut("accounts.csv").unwrap();
    replace(accounts, "1001,mt001,shared", &format!("1001,mt001,{cell}"));
    sources
}

fn parsed(sources: &Sources) -> Config {
    parse_all(sources, NOW).map_err(|problems| lines(&problems)).unwrap().1
}

/// `state epoch` of account 1001, on its way from shared to cell-1; none where that is empty.
fn config(of: &str) -> Config {
    let Some((state, epoch)) = of.split_once(' ') else { return parsed(&folder("", "shared")) };
    // A move that is over has begun in shared; the next one goes on from there.
    let (state, to) = state.split_once('>').unwrap_or((state, "cell-1"));
    let cell = if state == "flipped" { to } else { "shared" };
    parsed(&folder(&format!("1001,shared,{to},{state},{epoch}\n"), cell))
}

fn against(diff: &Diff) -> Vec<Guard> {
    let guards = Guards::all(Mode::Enforce);
    judge(&guards, Change { diff, cells: &[], traffic: None }).into_iter().map(|found| found.guard).collect()
}

#[test]
fn a_move_goes_through_its_states_and_leaves_none_out() {
    let (hold, epoch) = (Guard::Hold, Guard::Epoch);
    for (before, after, reload, start) in [
        ("", "prepare 1", vec![], vec![]),
        ("prepare 1", "holding 1", vec![], vec![]),
        ("holding 1", "flipped 1", vec![], vec![]),
        ("holding 1", "prepare 1", vec![], vec![]),
        ("prepare 1", "", vec![], vec![]),
        ("holding 1", "", vec![], vec![]),
        // Whoever was away starts with what it finds; who runs would let old writes go on.
        ("", "holding 1", vec![epoch], vec![]),
        ("", "prepare 3", vec![epoch], vec![]),
        ("prepare 1", "flipped 1", vec![hold, epoch], vec![]),
        ("", "flipped 1", vec![hold, epoch], vec![]),
        ("prepare 1", "prepare>cell-2 1", vec![epoch], vec![]),
        ("holding 1", "holding>cell-2 1", vec![epoch], vec![]),
        ("holding 1", "flipped>cell-2 1", vec![hold, epoch], vec![]),
    ] {
        let mut found = diff(&config(before), &config(after));
        assert_eq!(against(&found), reload, "{before} -> {after}");
        found.moves.forgive_what_was_missed();
        assert_eq!(against(&found), start, "{before} -> {after} at a start");
    }
}

#[test]
fn no_account_is_moved_back_in_time_not_even_by_a_start() {
    let stays = |rows: &str| parsed(&folder(rows, "cell-1"));
    let flipped = "1001,shared,cell-1,flipped,2\n";
    for (after, expect) in [
        ("", "1001 (moved 2 times; its row is gone)"),
        ("1001,shared,cell-1,flipped,1\n", "1001 (flipped 2 -> flipped 1)"),
        ("1001,cell-1,cell-2,prepare,2\n", "1001 (flipped 2 -> prepare 2)"),
        ("1001,cell-1,cell-2,holding,2\n", "1001 (flipped 2 -> holding 2)"),
        ("1001,cell-1,cell-2,prepare,1\n", "1001 (flipped 2 -> prepare 1)"),
    ] {
        let mut found = diff(&stays(flipped), &stays(after));
        found.moves.forgive_what_was_missed();
        assert_eq!(against(&found), [Guard::Epoch], "{after}");
        assert_eq!(found.moves.backwards.to_string(), expect);
    }
    for after in
        ["1001,cell-1,cell-2,prepare,3\n", "1001,-,cell-1,flipped,2\n", "1001,shared,cell-1,flipped,3\n"]
    {
        assert_eq!(against(&diff(&stays(flipped), &stays(after))), [], "{after}");
    }
    // Taken back: as often moved as before.
    let on_its_way = stays("1001,cell-1,cell-2,holding,3\n");
    assert_eq!(against(&diff(&on_its_way, &stays("1001,-,cell-1,flipped,2\n"))), []);
    assert_eq!(against(&diff(&on_its_way, &stays(""))), [Guard::Epoch]);
    // An account that is gone may be forgotten.
    let known = parsed(&folder("9002,a,shared,flipped,2\n", "cell-1"));
    let mut gone = folder("", "cell-1");
    replace(gone.files.get_mut("accounts.csv").unwrap(), "9002,,shared,,extended\n", "");
    assert_eq!(against(&diff(&known, &parsed(&gone))), []);
    assert_eq!(against(&diff(&known, &stays(""))), [Guard::Epoch]);
}

#[test]
fn an_account_whose_row_is_edited_by_hand_has_not_been_held() {
    let moved = diff(&config(""), &parsed(&folder("", "cell-1")));
    assert_eq!(against(&moved), [Guard::Hold]);
    assert_eq!(moved.moves.unheld.to_string(), "1001");
    let mut at_a_start = moved;
    at_a_start.moves.forgive_what_was_missed();
    assert_eq!(against(&at_a_start), [Guard::Hold], "a start is no way round it");
    let on_its_way = parsed(&folder("2044,shared,cell-2,holding,1\n", "shared"));
    let both = parsed(&folder("2044,shared,cell-2,holding,1\n", "cell-1"));
    assert_eq!(against(&diff(&on_its_way, &both)), [Guard::Hold], "the hold of another account is none");
    // To a cell and back with one epoch: the account table is elsewhere than the move says.
    let elsewhere = parsed(&folder("1001,shared,cell-1,flipped,1\n", "cell-2"));
    assert_eq!(against(&diff(&config("flipped 1"), &elsewhere)), [Guard::Hold]);
}

/// Thousands may be announced only with approvals; what was announced and held is then no second question, at the one
/// moment at which a refusal would keep writes waiting.
#[test]
fn how_many_go_is_judged_when_they_are_announced_and_not_again_when_they_are_flipped() {
    let counts = |before: &str, after: &str| {
        let found = diff(&config(before), &config(after));
        let id = AccountId::from_value(1001).unwrap();
        let traffic = weigh(&config(before), &config(after), [(id, 7)], false).concerned;
        (found.moves.newly_leaving(&found.accounts_moved, |_| true), traffic)
    };
    for (before, after, expect) in [
        ("", "prepare 1", (1, 7)),
        ("prepare 1", "holding 1", (0, 0)),
        ("holding 1", "flipped 1", (0, 0)),
        ("holding 1", "", (0, 0)),
        // Nobody has judged it before: a replica that was away.
        ("", "flipped 1", (1, 7)),
        ("prepare 1", "flipped 1", (0, 0)),
    ] {
        assert_eq!(counts(before, after), expect, "{before} -> {after}");
    }
    let protected = |before: &str, after: &str| {
        let found = diff(&config(before), &config(after));
        let mut guards = Guards::all(Mode::Enforce);
        guards.protected_cells = vec![cellgate::policy::ids::Label::parse("shared").unwrap()];
        let found = judge(&guards, Change { diff: &found, cells: &[], traffic: None });
        found.iter().any(|found| found.guard == Guard::ProtectedCell)
    };
    assert!(protected("", "prepare 1"), "it says so first");
    assert!(!protected("holding 1", "flipped 1"));
}

#[test]
fn a_plan_shows_moves_by_state_and_one_without_them_keeps_its_digest() {
    let plan = |before: &str, after: &str| {
        Plan::between(&Guards::all(Mode::Enforce), &config(before), &config(after), None)
    };
    let shows = |before: &str, after: &str, expect: &str| {
        let text = plan(before, after).to_text();
        assert!(text.contains(expect), "{before} -> {after}: {text}");
    };
    shows("", "prepare 1", "~ moves      shared -> cell-1: 1 prepare\n");
    shows("holding 1", "flipped 1", "~ moves      shared -> cell-1: 1 flipped\n");
    shows("holding 1", "flipped 1", "~ accounts   shared -> cell-1: 1\n");
    shows("holding 1", "", "~ moves      shared -> cell-1: 1 taken back\n");
    let json = |plan: &Plan| serde_json::to_value(plan.view()).unwrap();
    let moves = json(&plan("holding 1", ""))["moves"].clone();
    assert_eq!(moves.to_string(), r#"[{"accounts":1,"from":"shared","state":"taken_back","to":"cell-1"}]"#);
    assert_eq!(json(&plan("", ""))["moves"], serde_json::Value::Null);
    assert_ne!(plan("", "prepare 1").digest(), plan("", "").digest());
    let said = diff(&config("prepare 1"), &config("holding 1")).to_string();
    assert_eq!(said, "1 moves from shared to cell-1 holding");
}

#[test]
fn the_guard_of_epochs_has_no_off() {
    let guards = |text: &str| {
        let mut sources = example();
        let boot = "version: 1\nlisteners:\n  - { name: http, address: 127.0.0.1:8080, protocol: http }\n";
        sources.boot = Ok(format!("{boot}guards: {text}\n").into_bytes());
        cellgate::config::parse_boot(&sources).map(|boot| boot.guards).map_err(|problems| lines(&problems))
    };
    assert_eq!(guards("{ mode: 'off' }").unwrap().epoch, Mode::Enforce);
    assert_eq!(guards("{ mode: observe }").unwrap().epoch, Mode::Observe);
    assert_eq!(guards("{ epoch: { mode: observe } }").unwrap().epoch, Mode::Observe);
    assert!(guards("{ epoch: { mode: 'off' } }").unwrap_err().contains("expected observe or enforce"));
    assert_eq!(guards("{ hold: { mode: 'off' } }").unwrap().hold, Mode::Off);
}

#[test]
fn a_rollback_keeps_the_newest_move_of_each_account() {
    let dead_port = |mut sources: Sources| {
        replace(&mut sources.routing, "127.0.0.1:7103", "127.0.0.1:7999");
        sources
    };
    let then = folder("1001,a,shared,flipped,1\n2044,shared,cell-2,prepare,1\n", "shared");
    let now = "1001,shared,cell-1,flipped,2\n2044,shared,cell-2,holding,1\n";
    let live = dead_port(folder(now, "cell-1"));
    let back = rollback(&then, &live, NOW).unwrap();
    assert_eq!(back.sources.files["moves.csv"], live.files["moves.csv"]);
    assert_eq!((back.kept.moves, back.kept.moved.len()), (2, 1));
    assert!(
        back.kept.to_string().contains("kept: the table of moves as it is now (2 accounts"),
        "{}",
        back.kept
    );
    assert_eq!(back.diff.to_string(), super::FROM_DEAD_PORT, "no move changes");

    // Nothing that was on its way then begins again.
    let live = dead_port(example());
    let back = rollback(&folder("1001,shared,cell-1,holding,1\n", "shared"), &live, NOW).unwrap();
    assert_eq!(back.sources.files["moves.csv"], Ok(b"account,from,to,state,epoch\n".to_vec()));

    let live = dead_port(folder(now, "cell-1"));
    let said = rollback(&example(), &live, NOW).unwrap_err();
    assert!(matches!(said, CannotRollBack::MovesMissing { accounts: 2 }), "{said}");
    assert!(rollback(&example(), &dead_port(folder("", "shared")), NOW).is_ok());
}

#[test]
fn a_replica_that_has_slept_through_a_wave_starts_with_what_it_finds() {
    // As many as move at once by no guard's leave.
    let many = |cell: &str, rows: &dyn Fn(u64) -> String| {
        let mut sources = with(&(1..=40).map(|n| rows(900_000 + n)).collect::<String>(), "");
        let text = String::from_utf8(sources.files["accounts.csv"].clone().unwrap()).unwrap();
        let more: String = (1..=40).map(|n| format!("{},,{cell},,\n", 900_000 + n)).collect();
        sources.files.insert("accounts.csv".into(), Ok((text + &more).into_bytes()));
        parsed(&sources)
    };
    let asleep = many("shared", &|_| String::new());
    let flipped = many("cell-1", &|id| format!("{id},shared,cell-1,flipped,1\n"));
    let held = many("shared", &|id| format!("{id},shared,cell-1,holding,1\n"));
    for awake in [&flipped, &held] {
        let mut found = diff(&asleep, awake);
        assert!(against(&found).contains(&Guard::AccountsMoved), "a process that runs is told of it first");
        found.moves.forgive_what_was_missed();
        assert_eq!(against(&found), []);
        let requests =
            || (1..=40).map(|n| (AccountId::parse((900_000 + n).to_string().as_bytes()).unwrap(), 1));
        assert_eq!(weigh(&asleep, awake, requests(), true).concerned, 0);
        assert_eq!(weigh(&asleep, awake, requests(), false).concerned, 40);
    }
    // Without a word of a move it is no move that was slept through.
    let by_hand = many("cell-1", &|_| String::new());
    let mut found = diff(&asleep, &by_hand);
    found.moves.forgive_what_was_missed();
    assert_eq!(against(&found), [Guard::AccountsMoved, Guard::Hold]);
}

#[test]
fn a_move_that_is_long_over_is_no_change_when_its_old_cell_goes() {
    let over = "7000,gone-1,cell-1,flipped,1\n";
    let before = parsed(&with("7000,cell-2,cell-1,flipped,1\n", ""));
    let found = diff(&before, &parsed(&with(over, "")));
    assert!(!found.is_about_moves(), "{found}");
}
