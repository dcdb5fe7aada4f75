//! What `cellgate move` writes, when the next state may be written, and what the target can bear.

use std::time::Duration;

use cellgate::config::advance::{
    Next, Replica, Reported, Standing, advance, lagging, open, same_process, standing,
};
use cellgate::config::headroom::{counted, headroom, rates};
use cellgate::config::moving::{Changed, Listed, announce, carry_on, listed, take_back};
use cellgate::config::{Config, Problem, Sources, parse_all};
use cellgate::policy::ids::AccountId;
use cellgate::policy::moves::MoveState;

use super::moves::{AB123, with};
use super::{NOW, example, lines, replace};

fn parsed(sources: &Sources) -> Config {
    parse_all(sources, NOW).map_err(|problems| lines(&problems)).unwrap().1
}

fn id(id: u64) -> AccountId {
    AccountId::from_value(id).unwrap()
}

fn text<'s>(sources: &'s Sources, file: &str) -> &'s str {
    std::str::from_utf8(sources.files[file].as_deref().unwrap()).unwrap()
}

fn list(names: &str, config: &Config) -> Vec<Listed> {
    listed("list", names.as_bytes(), config).map_err(|problems| lines(&problems)).unwrap()
}

fn told<T>(result: Result<T, Vec<Problem>>) -> String {
    lines(&result.err().unwrap_or_default())
}

fn announced(sources: &Sources, names: &str, to: &str) -> Result<Changed, Vec<Problem>> {
    let config = parsed(sources);
    announce(sources, &config, ("list", &list(names, &config)), to, NOW)
}

/// All open moves, one state further.
fn carried_on(sources: &Sources, state: MoveState) -> Changed {
    let moves: Vec<_> = open(&parsed(sources)).into_iter().map(|of| (of, state)).collect();
    carry_on(sources, &moves, NOW).map_err(|problems| lines(&problems)).unwrap()
}

#[test]
fn a_list_names_accounts_by_id_or_prefix_and_all_its_mistakes_are_told() {
    let config = parsed(&with("", ""));
    let found = list("\u{feff}# Wave 3\r\n70403103966603  # the first\r\n\r\nhooli\n  1001\n", &config);
    let found: Vec<_> = found.iter().map(|of| (of.account.value(), of.line)).collect();
    assert_eq!(found, [(AB123, 2), (2044, 4), (1001, 5)]);
    let wrong = "1001\nmt001\n7\nnobody\n99999999999999999999999\n1001 2044\n1001\n";
    assert_eq!(
        told(listed("list", wrong.as_bytes(), &config)),
        "list:2: \"mt001\": account 1001 is already in line 1; expected each account once, by its id or by one of its prefixes [E0802]\n\
         list:3: \"7\" names no account; expected an id or a prefix of the account table [E0801]\n\
         list:4: \"nobody\" names no account; expected an id or a prefix of the account table [E0801]\n\
         list:5: \"99999999999999999999999\" names no account; expected an id or a prefix of the account table [E0801]\n\
         list:6: \"1001 2044\" names no account; expected an id or a prefix of the account table [E0801]\n\
         list:7: \"1001\": account 1001 is already in line 1; expected each account once, by its id or by one of its prefixes [E0802]\n"
    );
    assert!(told(listed("list", b"# nothing\n", &config)).contains("it names no account"));
}

#[test]
fn a_move_is_three_states_of_two_files_in_which_nothing_else_changes() {
    let old = "# Wave 2\n1001,gone,shared,flipped,7\n";
    let before = with(old, "");
    let head = "account,from,to,state,epoch\n";
    let prepare = announced(&before, "1001\nhooli\n", "cell-2").unwrap();
    let rows =
        |state: &str| format!("{head}# Wave 2\n1001,shared,cell-2,{state},8\n2044,shared,cell-2,{state},1\n");
    assert_eq!(prepare.files, ["moves.csv".into()]);
    assert_eq!(text(&prepare.sources, "moves.csv"), rows("prepare"));
    assert_eq!(prepare.config.hash, parsed(&prepare.sources).hash);
    assert_eq!(prepare.config.moves.table.epoch(id(1001)), 7, "moved seven times, until it is flipped");

    let holding = carried_on(&prepare.sources, MoveState::Holding);
    assert_eq!(
        (holding.files, text(&holding.sources, "moves.csv")),
        (vec!["moves.csv".into()], &*rows("holding"))
    );

    let flipped = carried_on(&holding.sources, MoveState::Flipped);
    assert_eq!(flipped.files, ["accounts.csv".into(), "moves.csv".into()]);
    assert_eq!(text(&flipped.sources, "moves.csv"), rows("flipped"));
    let table = text(&before, "accounts.csv")
        .replace("1001,mt001,shared", "1001,mt001,cell-2")
        .replace("2044,mt044 hooli,shared", "2044,mt044 hooli,cell-2");
    assert_eq!(text(&flipped.sources, "accounts.csv"), table);
    assert_eq!(flipped.config.moves.table.epoch(id(1001)), 8);
    assert_eq!(flipped.sources.routing, before.routing);
}

#[test]
fn what_cannot_be_announced_is_refused_with_its_line() {
    let before = with("1001,shared,cell-2,holding,1\n9002,a,shared,flipped,4294967295\n", "");
    assert_eq!(
        told(announced(&before, "1001\nacme\n9002\n2044\n", "cell-2")),
        "list:1: account 1001 is on its way to cell-2 already (holding); expected an account that is not; cellgate move \
         abort takes it back [E0803]\n\
         list:2: account 12345 is in cell-2 already; expected an account of another cell [E0312]\n\
         list:3: the epoch of account 9002 is at its end; expected fewer than four billion moves [E0314]\n"
    );
    assert_eq!(
        told(announced(&before, "2044\n", "cell-4")),
        "--to: there is no cell \"cell-4\"; expected cell-1, cell-2, cell-3 or shared (did you mean \"cell-1\"?) [E0144]\n"
    );
    let said = told(announced(&example(), "2044\n", "cell-1"));
    assert!(said.contains("it has no table of moves") && said.contains("moves:"), "{said}");
    assert!(said.contains("file: moves.csv"), "{said}");
}

#[test]
fn a_move_is_taken_back_until_it_is_flipped_and_its_epochs_are_kept() {
    let before = with(
        "1001,shared,cell-2,prepare,1\n# again\n2044,shared,cell-3,holding,3\n9002,a,shared,flipped,2\n",
        "",
    );
    let config = parsed(&before);
    let back = |names: &str| take_back(&before, &config, ("list", &list(names, &config)), NOW);
    let changed = back("1001\n2044\n").unwrap();
    let expected = "account,from,to,state,epoch\n# again\n2044,-,shared,flipped,2\n9002,a,shared,flipped,2\n";
    assert_eq!(text(&changed.sources, "moves.csv"), expected);
    assert_eq!(changed.files, ["moves.csv".into()]);
    assert_eq!([1001, 2044].map(|of| changed.config.moves.table.epoch(id(of))), [0, 2]);
    // And it can begin again.
    let again = announced(&changed.sources, "2044\n", "cell-1").unwrap();
    assert_eq!(standing(&again.config, id(2044)).unwrap().epoch, 3);
    assert_eq!(
        told(back("9002\n41007\n")),
        "list:1: account 9002 is flipped to shared, and its newest writes are there; expected an account that is on its \
         way; cellgate move --accounts FILE --to CELL moves it back [E0805]\nlist:2: account 41007 is not on its way; expected an account that is [E0804]\n"
    );
}

const HASH: &str = "9c2e000000000000000000000000000000000000000000000000000000000000";

/// An answer of a replica with this hash and these moves, each `account, state, epoch, writes`.
fn answer(hash: &str, moves: &[(u64, &str, u32, u64)]) -> String {
    let rows = moves.iter().map(|(account, state, epoch, writes)| {
        format!(
            r#"{{"account":"{account}","from":"us-mt","to":"us1","state":"{state}","epoch":{epoch},"writes_at_old_cell":{writes},"waiting":3,"later":0}}"#
        )
    });
    let rows: Vec<String> = rows.collect();
    format!(
        r#"{{"process":"{PROCESS}","predecessors":[],"generation":12,"hash":"{hash}","moves":[{}]}}"#,
        rows.join(",")
    )
}

/// Which process has answered.
const PROCESS: &str = "00000000000000aa";

/// The same where these have been followed and have not ended.
fn drains(answer: &str, processes: &str) -> String {
    answer.replace("\"predecessors\":[]", &format!("\"predecessors\":[{processes}]"))
}

/// The same answer, with this hash on trial.
fn on_trial(answer: &str, hash: &str) -> String {
    answer.replacen("\"moves\"", &format!("\"candidate\":\"{hash}\",\"moves\""), 1)
}

fn replica(name: &str, answer: &str) -> Replica {
    let said = Reported::parse(answer.as_bytes()).map_err(|error| error.to_string().into());
    Replica { name: name.into(), said }
}

/// What becomes of account 123 in this state, where replica a says `holding 1` of it without writes, and b this.
fn next(state: MoveState, b: &str) -> String {
    let of = Standing { account: id(123), from: "us-mt".into(), to: "us1".into(), state, epoch: 1 };
    let a = replica("a", &answer(HASH, &[(123, state.as_str(), 1, 0), (5, "holding", 1, 9)]));
    match advance(HASH, &[of], &[a, replica("b", b)]).remove(0) {
        Next::Publish(state) => state.as_str().to_owned(),
        Next::Done => "done".to_owned(),
        Next::Wait(waits) => waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

#[test]
fn the_next_state_waits_for_every_replica_and_for_every_write() {
    let other = HASH.replace("9c2e", "41ab");
    let has = "replica b has 41ab00000000…, not 9c2e00000000…";
    for (state, b, expect) in [
        (MoveState::Prepare, answer(HASH, &[(123, "prepare", 1, 7)]), "holding"),
        (MoveState::Prepare, answer(HASH, &[]), "holding"),
        (MoveState::Prepare, answer(&other, &[(123, "prepare", 1, 0)]), has),
        (
            MoveState::Prepare,
            answer(HASH, &[(123, "holding", 1, 0)]),
            "replica b has these files and says something else of account 123",
        ),
        (MoveState::Holding, answer(HASH, &[(123, "holding", 1, 0)]), "flipped"),
        (MoveState::Holding, answer(&other, &[(123, "holding", 1, 0)]), has),
        // What is on trial there has its moves in force already.
        (MoveState::Holding, on_trial(&answer(&other, &[(123, "holding", 1, 0)]), HASH), "flipped"),
        (MoveState::Holding, on_trial(&answer(&other, &[(123, "holding", 1, 0)]), &other), has),
        (
            MoveState::Holding,
            answer(HASH, &[(123, "holding", 1, 2)]),
            "replica b has 2 writes of account 123 at us-mt",
        ),
        (
            MoveState::Holding,
            answer(HASH, &[(123, "holding", 1, 1)]),
            "replica b has 1 write of account 123 at us-mt",
        ),
        (
            MoveState::Prepare,
            drains(&answer(HASH, &[(123, "prepare", 1, 0)]), "7"),
            "replica b: its predecessor (process 7) has not ended",
        ),
        (
            MoveState::Holding,
            drains(&answer(HASH, &[(123, "holding", 1, 0)]), "7,8"),
            "replica b: its predecessors (processes 7, 8) have not ended",
        ),
        (MoveState::Holding, answer(HASH, &[]), "replica b has these files and says nothing of account 123"),
        (
            MoveState::Holding,
            answer(HASH, &[(123, "prepare", 1, 0)]),
            "replica b has these files and says something else of account 123",
        ),
        (
            MoveState::Holding,
            answer(HASH, &[(123, "holding", 2, 0)]),
            "replica b has these files and says something else of account 123",
        ),
        (MoveState::Flipped, "nothing".to_owned(), "done"),
    ] {
        assert_eq!(next(state, &b), expect, "{state:?} {b}");
    }
    let of =
        Standing { account: id(1), from: "a".into(), to: "b".into(), state: MoveState::Prepare, epoch: 1 };
    let nobody = advance(HASH, &[of], &[]).remove(0);
    assert!(matches!(&nobody, Next::Wait(waits) if waits[0].to_string().contains("no replica was named")));
    let lag = lagging(HASH, &[replica("a", &answer(HASH, &[])), replica("b", &answer(&other, &[]))]);
    assert_eq!(lag.iter().map(ToString::to_string).collect::<Vec<_>>(), [has]);
}

#[test]
fn two_replicas_that_are_one_process_are_noticed() {
    let one = answer(HASH, &[]);
    let other = one.replace(PROCESS, "00000000000000bb");
    let twice = |answers: [&str; 3]| {
        let replicas = ["a", "b", "c"].into_iter().zip(answers).map(|(name, answer)| replica(name, answer));
        let replicas: Vec<Replica> = replicas.collect();
        same_process(&replicas).map(|(first, second)| format!("{first} {second}"))
    };
    assert_eq!(twice([&one, &other, "no answer"]), None);
    assert_eq!(twice(["no answer", "no answer", &one]), None, "nobody knows who they are");
    assert_eq!(twice([&one, &other, &one]).as_deref(), Some("a c"));
}

#[test]
fn a_finished_move_whose_cell_is_no_more_is_read_too() {
    let said = answer(HASH, &[(5, "flipped", 1, 1)]).replace("\"us1\"", "null");
    let said = Reported::parse(said.as_bytes()).unwrap();
    assert_eq!(&*said.moves[&id(5)].of.to, "-");
}

#[test]
fn what_is_not_whole_and_plain_is_no_answer() {
    let good = answer(HASH, &[(123, "holding", 1, 0)]);
    assert!(Reported::parse(good.as_bytes()).is_ok());
    let twice = answer(HASH, &[(123, "holding", 1, 0), (123, "holding", 1, 0)]);
    for (b, expect) in [
        (String::new(), "is not what GET /moves of this version says"),
        ("[]".to_owned(), "is not what GET /moves of this version says"),
        (good[..good.len() - 1].to_owned(), "is not what GET /moves of this version says"),
        (good.replace("\"writes_at_old_cell\":0", "\"writes_at_old_cell\":-1"), "is not what GET /moves"),
        (good.replace("\"writes_at_old_cell\":0,", ""), "is not what GET /moves"),
        (good.replace("\"predecessors\":[],", ""), "is not what GET /moves of this version says"),
        (good.replace(PROCESS, ""), "names no process"),
        (good.replace(PROCESS, "00000000000000AA"), "names no process"),
        (good.replace(HASH, "9c2e"), "names no configuration hash"),
        (good.replace(HASH, &HASH.to_uppercase()), "names no configuration hash"),
        (on_trial(&good, "9c2e"), "names no configuration hash"),
        (good.replace("\"123\"", "\"0x7b\""), "has a move that cannot be read: 0x7b"),
        (good.replace("\"holding\"", "\"held\""), "has a move that cannot be read: held"),
        (good.replace("\"epoch\":1", "\"epoch\":0"), "has a move that cannot be read: epoch 0"),
        (twice, "its answer has two moves of account 123"),
    ] {
        let said = next(MoveState::Holding, &b);
        assert!(said.starts_with("replica b did not answer: its answer"), "{b}: {said}");
        assert!(said.contains(expect), "{b}: {said}");
    }
}

#[test]
fn a_target_must_bear_who_comes_with_its_largest_zone_gone() {
    let groups = |rps: [&str; 2]| {
        let mut sources = with("", "");
        let zone = |zone: &str, port: u16, rps: &str| {
            format!("      - {{ zone: {zone}, endpoints: [127.0.0.1:{port}]{rps} }}\n")
        };
        let written = [zone("a", 7101, rps[0]), zone("b", 7111, rps[1])].concat();
        replace(&mut sources.routing, "      - zone: local\n        endpoints: [127.0.0.1:7101]\n", &written);
        parsed(&sources)
    };
    let rps = |rps: u32| format!(", capacity_rps: {rps}");
    let config = groups([&rps(100), &rps(70)]);
    let page = |shared: u32, cell_1: u32| {
        counted(&format!(
            "# TYPE cellgate_requests_total counter\n\
             cellgate_requests_total{{cell=\"shared\",surface=\"app\",status=\"2xx\"}} {shared}\n\
             cellgate_requests_total{{cell=\"cell-1\",surface=\"app\",status=\"2xx\"}} {cell_1}\n\
             cellgate_requests_total{{cell=\"cell-1\",surface=\"app\",status=\"5xx\"}} 1 1795132800000\n\
             cellgate_requests_total{{cell=\"cell-1\",surface=\"app\",status=\"4xx\"}} NaN\nrubbish\n"
        ))
    };
    let apart = Duration::from_secs(10);
    let load = rates(&page(0, 100), &page(400, 700), apart).unwrap();
    assert_eq!(
        load.into_iter().map(|(cell, rps)| (cell.to_string(), rps)).collect::<Vec<_>>(),
        [("cell-1".to_owned(), 60.0), ("shared".to_owned(), 40.0)]
    );
    assert_eq!(rates(&page(0, 100), &page(400, 99), apart), None, "it has begun anew");

    let load = rates(&page(0, 100), &page(400, 700), apart);
    let books = [(id(1001), 5_000), (id(2044), 15_000), (id(41007), 9)];
    let cell = config.cells.iter().find(|cell| cell.name.as_str() == "cell-1").unwrap();
    let found = headroom(&config, cell, &[id(1001)], load.as_ref(), Some(&books));
    assert_eq!((found.declared, found.without_largest_zone), (Some(170), Some(70)));
    assert_eq!((found.present, found.movers), (Some(60.0), Some(10.0)), "a quarter of the load of shared");
    assert!(!found.is_exceeded());
    let both = headroom(&config, cell, &[id(1001), id(2044)], load.as_ref(), Some(&books));
    assert!(both.is_exceeded(), "60 + 40 > 70");
    let shown = both.to_string();
    for line in ["declared              170 rps", "without largest zone  70 rps", "60.0 rps", "40.0 rps"] {
        assert!(shown.contains(line), "{shown}");
    }
    let few = [(id(1001), 9_999)];
    assert_eq!(headroom(&config, cell, &[id(1001)], load.as_ref(), Some(&few)).movers, None);
    let unknown = headroom(&config, cell, &[id(1001)], None, Some(&books));
    assert!(
        !unknown.is_exceeded() && unknown.to_string().contains("not every replica has told it"),
        "{unknown}"
    );
    let config = groups([&rps(100), ""]);
    let cell = config.cells.iter().find(|cell| cell.name.as_str() == "cell-1").unwrap();
    let undeclared = headroom(&config, cell, &[id(1001)], load.as_ref(), Some(&books));
    assert!(undeclared.declared.is_none() && !undeclared.is_exceeded(), "{undeclared}");
}
