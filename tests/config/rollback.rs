//! Going back to an older configuration: what it brings back, and what it must not.

use cellgate::config::rollback::{CannotRollBack, Kept, RolledBack};
use cellgate::config::{FileText, Sources, parse_all, rollback};

use super::{NOW, example, lines, replace};

fn accounts(sources: &mut Sources) -> &mut FileText {
    sources.files.get_mut("accounts.csv").unwrap()
}

/// The example, changed.
fn changed(change: impl FnOnce(&mut Sources)) -> Sources {
    let mut sources = example();
    change(&mut sources);
    sources
}

/// Back to the example; the result could serve.
fn back_from(live: &Sources) -> RolledBack {
    let rolled_back = rollback(&example(), live, NOW).unwrap();
    let (_, config) = parse_all(&rolled_back.sources, NOW).map_err(|problems| lines(&problems)).unwrap();
    assert_eq!(config.hash, rolled_back.hash);
    rolled_back
}

fn refused(older: &Sources, live: &Sources) -> CannotRollBack {
    rollback(older, live, NOW).unwrap_err()
}

fn text(file: &FileText) -> String {
    String::from_utf8(file.clone().unwrap()).unwrap()
}

/// A cell whose endpoint is dead: what there is to go back from.
fn dead_port(sources: &mut Sources) {
    replace(&mut sources.routing, "127.0.0.1:7103", "127.0.0.1:7999");
}

#[test]
fn without_moves_it_is_the_older_configuration_to_the_byte() {
    let live = changed(dead_port);
    let back = back_from(&live);
    assert_eq!(back.kept, Kept::default());
    assert_eq!(back.sources.routing, example().routing);
    assert_eq!(back.sources.files, example().files);
    assert_eq!(back.diff.to_string(), super::FROM_DEAD_PORT);
}

#[test]
fn an_account_that_moved_since_stays_and_only_its_row_is_another() {
    let live = changed(|sources| {
        dead_port(sources);
        replace(accounts(sources), "1001,mt001,shared,,", "1001,mt001,cell-3,,");
    });
    let back = back_from(&live);
    assert_eq!(back.kept.moved, [(("shared".into(), "cell-3".into()), 1)].into());
    let expected = text(accounts(&mut example())).replace("1001,mt001,shared,,", "1001,mt001,cell-3,,");
    assert_eq!(text(&back.sources.files["accounts.csv"]), expected, "comments and order as before");
    assert!(back.diff.accounts_moved.is_empty(), "{}", back.diff);
    assert!(back.kept.to_string().contains("1 accounts that moved from shared to cell-3 stay in cell-3"));
}

#[test]
fn an_account_that_came_since_stays_and_one_that_went_comes_back() {
    let live = changed(|sources| {
        replace(accounts(sources), "2044,mt044 hooli,shared,,\n", "777,new1 new2,cell-1,true,extended\n");
        let environments = sources.files.get_mut("environments.csv").unwrap();
        replace(environments, "5150,1001\n", "5150,1001\n5151,777\n");
    });
    let back = back_from(&live);
    assert_eq!(back.kept.came, [("cell-1".into(), 1)].into());
    assert_eq!(back.kept.come_back, [("shared".into(), 1)].into());
    assert_eq!(back.kept.environments_lost, 1, "and said");
    let table = text(&back.sources.files["accounts.csv"]);
    assert!(table.starts_with(&text(accounts(&mut example()))), "{table}");
    assert!(table.ends_with("777,new1 new2,cell-1,true,extended\n"), "{table}");
    assert!(back.diff.accounts_removed.is_empty(), "{}", back.diff);
}

#[test]
fn what_a_reload_cannot_change_stays_as_it_is() {
    let certificate = "../certs/dev/us1.pem";
    let other = example().files["../certs/dev/legacy.pem"].clone();
    let live = changed(|sources| {
        dead_port(sources);
        sources.boot.as_mut().unwrap().extend(b"\n# another\n");
        sources.files.insert(certificate.into(), other.clone());
    });
    let back = rollback(&example(), &live, NOW).unwrap();
    assert_eq!((back.sources.boot, &back.sources.files[certificate]), (live.boot, &other));
    assert!(back.kept.boot);
    assert_eq!(back.kept.outside, [certificate.into()]);
}

#[test]
fn it_is_refused_with_the_reason_where_an_account_could_not_stay() {
    let cell = "  - name: cell-1\n";
    let new_cell = "  - name: cell-9\n    domain: us1.dbt.com\n    protocol: auto\n    groups:\n      - zone: local\n        \
                    endpoints: [127.0.0.1:7109]\n";
    let with_cell = |sources: &mut Sources| replace(&mut sources.routing, cell, &format!("{new_cell}{cell}"));
    let move_there =
        |sources: &mut Sources| replace(accounts(sources), "1001,mt001,shared,,", "1001,mt001,cell-9,,");

    let live = changed(|sources| {
        with_cell(sources);
        move_there(sources);
    });
    let said = refused(&example(), &live);
    assert!(
        matches!(&said, CannotRollBack::CellMissing { cell, accounts: 1 } if **cell == *"cell-9"),
        "{said}"
    );
    // A new cell that is empty is no reason: without it nobody is without a cell.
    assert!(rollback(&example(), &changed(with_cell), NOW).is_ok());

    let live = changed(|sources| {
        replace(&mut sources.routing, "name: extended", "name: longer");
        let table = text(accounts(sources)).replace("extended", "longer");
        *accounts(sources) = Ok(format!("{table}778,,cell-1,,longer\n").into_bytes());
    });
    let said = refused(&example(), &live).to_string();
    assert!(said.contains("account 778 came since, with the schedule longer"), "{said}");

    // A prefix that has another owner since.
    let live = changed(|sources| {
        replace(accounts(sources), "2044,mt044 hooli,shared,,", "2044,mt044,shared,,\n779,hooli,cell-1,,");
    });
    let said = refused(&example(), &live);
    assert!(matches!(&said, CannotRollBack::Candidate(_)) && said.to_string().contains("hooli"), "{said}");

    let live = changed(dead_port);
    assert!(matches!(refused(&live, &live), CannotRollBack::Same));
    let broken = changed(|sources| sources.routing = Ok(b"version: 1".to_vec()));
    assert!(matches!(refused(&broken, &live), CannotRollBack::Older(_)));
    assert!(matches!(refused(&live, &broken), CannotRollBack::Live(_)));
}

#[test]
fn a_table_in_yaml_is_used_as_it_is_or_not_at_all() {
    let yaml = |sources: &mut Sources| {
        let table = "version: 1\naccounts:\n  - { account: 1001, prefixes: [mt001], cell: shared }\n  - { account: 12345, \
                     cell: cell-2 }\n";
        sources.files.remove("accounts.csv");
        sources.files.insert("accounts.yaml".into(), Ok(table.as_bytes().to_vec()));
        replace(&mut sources.routing, "accounts.csv", "accounts.yaml");
        replace(&mut sources.routing, "    table: credentials.csv\n", "");
        sources.files.remove("credentials.csv");
        replace(&mut sources.routing, "environments: { file: environments.csv }\n", "");
        sources.files.remove("environments.csv");
    };
    let older = changed(yaml);
    let live = changed(|sources| {
        yaml(sources);
        dead_port(sources);
    });
    assert_eq!(rollback(&older, &live, NOW).unwrap().sources.files, older.files);
    let moved = changed(|sources| {
        yaml(sources);
        replace(sources.files.get_mut("accounts.yaml").unwrap(), "cell: shared", "cell: cell-1");
    });
    let said = refused(&older, &moved).to_string();
    assert!(said.contains("accounts.yaml") && said.contains("CSV"), "{said}");
}
