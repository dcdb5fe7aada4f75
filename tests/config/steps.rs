//! `apply` of `boot.yaml`, and which changes are moves of accounts and nothing else.

use std::time::Duration;

use cellgate::config::apply::{Apply, FirstReplicas, Step};
use cellgate::config::boot::Boot;
use cellgate::config::guard::{Change, Guard, judge};
use cellgate::config::{Config, Diff, Sources, boot_changes, compile, diff, parse_all, parse_boot};
use cellgate::policy::canary::Share;
use cellgate::policy::canary::judge::Rules;

use super::{NOW, example, lines, replace};

const BOOT: &str = "version: 1\nlisteners:\n  - { name: http, address: 127.0.0.1:8080, protocol: http }\n";

fn boot(more: &str) -> Result<Boot, String> {
    let mut sources = example();
    sources.boot = Ok(format!("{BOOT}{more}").into_bytes());
    parse_boot(&sources).map_err(|problems| lines(&problems))
}

fn config(change: impl FnOnce(&mut Sources)) -> Config {
    let mut sources = example();
    change(&mut sources);
    parse_all(&sources, NOW).map(|(_, config)| config).map_err(|problems| lines(&problems)).unwrap()
}

#[test]
fn steps_are_read_with_what_holds_where_nothing_is_said() {
    assert_eq!(boot("").unwrap().apply, None);
    let step = |share: &str, seconds| Step {
        share: Share::parse(share).unwrap(),
        bake: Duration::from_secs(seconds),
    };
    let rules = Rules { max_error_increase: Share::percent(1), max_latency_factor: 3 };
    let least = boot("apply: { steps: [{ share: 1%, bake: 30s }] }").unwrap();
    let expected = Apply { steps: vec![step("1%", 30)], rules, first_replicas: None, replica: None };
    assert_eq!(least.apply, Some(expected));
    let all = "apply:\n  steps: [{ share: 0.5%, bake: 30s }, { share: 100%, bake: 1m }]\n  max_error_increase: 0.1%\n  \
               max_latency_factor: 2\n  first_replicas: { share: 10%, delay: 5m }\n  replica: edge-7.local\n";
    let all = boot(all).unwrap();
    let expected = Apply {
        steps: vec![step("0.5%", 30), step("100%", 60)],
        rules: Rules { max_error_increase: Share::parse("0.1%").unwrap(), max_latency_factor: 2 },
        first_replicas: Some(FirstReplicas { share: Share::percent(10), delay: Duration::from_secs(300) }),
        replica: Some("edge-7.local".into()),
    };
    assert_eq!(all.apply, Some(expected));
    assert_eq!(boot_changes(&least, &all), ["apply"]);
    // Whoever takes the steps away guards less.
    let none = boot("").unwrap().guards;
    assert_eq!(none.weaker_than(&all.guards), ["apply no longer has steps"]);
    assert!(none.stricter(&all.guards).steps && all.guards.weaker_than(&none).is_empty());
}

#[test]
fn mistakes_in_steps_are_told_with_their_place() {
    let text = "apply:\n  steps:\n    - { share: 10%, bake: 30s }\n    - { share: 1%, bake: 0s }\n    - { share: 2, bake: 8d }\n    \
                - { share: 5%, bake: 1m }\n    - { shar: 5%, bake: 1m }\n  max_error_increase: 1\n  max_latency_factor: 0\n  \
                first_replicas: { share: 0% }\n  replica: \"a b\"\n  step: 1\n";
    let told = boot(text).unwrap_err();
    let share = "expected a share such as 1% or 0.5%, from 0.01% to 100%";
    for expected in [
        "boot.yaml:7:20: apply.steps[1].bake: found \"0s\"; expected a time such as 500ms, 10s or 5m, from 1s to 7d",
        &format!("boot.yaml:8:9: apply.steps[2].share: found 2; {share}"),
        "boot.yaml:8:19: apply.steps[2].bake: found \"8d\"",
        "boot.yaml:9:9: apply.steps[3].share: 5% is not more than the step before has; expected shares that rise",
        "apply.steps[4].shar: unknown key",
        "apply.steps[4].share: missing",
        &format!("apply.max_error_increase: found 1; {share}"),
        "apply.max_latency_factor: found 0; expected a whole number from 1 to 100",
        &format!("apply.first_replicas.share: found \"0%\"; {share}"),
        "apply.first_replicas.delay: missing",
        "apply.replica: found \"a b\"; expected a name of at most 253 visible characters",
        "apply.step: unknown key",
    ] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    assert_eq!(told.lines().count(), 12, "{told}");
    for (text, expected) in
        [("apply: {}\n", "apply.steps: missing"), ("apply: { steps: [] }\n", "the list is empty")]
    {
        let told = boot(text).unwrap_err();
        assert!(told.contains(expected) && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn a_change_is_only_moves_where_nothing_but_cells_of_accounts_differs() {
    let before = compile(config(|_| {}), None);
    let of = |change: &dyn Fn(&mut Sources)| diff(&before, &config(change));
    let moved = |sources: &mut Sources| {
        let text = sources.files.get_mut("accounts.csv").unwrap();
        replace(text, "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-3,,");
    };
    let rows = |sources: &mut Sources, from: &str, to: &str| {
        replace(sources.files.get_mut("accounts.csv").unwrap(), from, to);
    };
    // Neither comments nor what a change says of itself are a change.
    let only: [&dyn Fn(&mut Sources); 3] = [
        &moved,
        &|sources| {
            moved(sources);
            rows(sources, "# Born in a cell", "# It was born in a cell");
        },
        &|sources| {
            moved(sources);
            replace(&mut sources.routing, "version: 1\n", "version: 1\nchange: { author: ann }\n");
        },
    ];
    for (number, change) in only.iter().enumerate() {
        let diff = of(change);
        assert!(diff.is_about_moves() && !diff.is_mixed(), "{number}: {diff}");
    }
    // Whatever it is: also what has no name in a diff.
    let mixed: [&dyn Fn(&mut Sources); 6] = [
        &|sources| replace(&mut sources.routing, "127.0.0.1:7102", "127.0.0.1:7109"),
        &|sources| {
            replace(&mut sources.routing, "version: 1\n", "version: 1\nlimits: { header_fields: 99 }\n")
        },
        &|sources| rows(sources, "41007,hj210,cell-1,,", "41007,hj211,cell-1,,"),
        &|sources| rows(sources, "41007,hj210,cell-1,,\n", ""),
        &|sources| rows(sources, "41007,hj210,cell-1,,", "41007,hj210,cell-1,,\n77,new77,cell-1,,"),
        &|sources| {
            let text = sources.files.get_mut("clients.yaml").unwrap();
            let more =
                String::from_utf8(text.clone().unwrap()).unwrap().replacen("name: ", "name: other-", 1);
            *text = Ok(more.into_bytes());
        },
    ];
    for (number, change) in mixed.iter().enumerate() {
        let diff = of(&|sources| {
            moved(sources);
            change(sources);
        });
        assert!(diff.is_mixed(), "{number}: {diff}");
        let diff = of(change);
        assert!(!diff.is_about_moves(), "{number} without the move: {diff}");
    }
}

#[test]
fn the_guard_against_mixed_changes_looks_where_changes_come_in_steps() {
    let before = compile(config(|_| {}), None);
    let after = config(|sources| {
        let text = sources.files.get_mut("accounts.csv").unwrap();
        replace(text, "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-3,,");
        replace(text, "41007,hj210,cell-1,,", "41007,hj211,cell-1,,");
    });
    let diff: Diff = diff(&before, &after);
    let found = |more: &str| {
        let guards = boot(more).unwrap().guards;
        let objections = judge(&guards, Change { diff: &diff, cells: &[], traffic: None });
        objections.iter().filter(|one| one.guard == Guard::Mixed).map(|one| one.refuses()).collect::<Vec<_>>()
    };
    let steps = "apply: { steps: [{ share: 1%, bake: 30s }] }\n";
    assert_eq!(found(steps), [true]);
    assert_eq!(found(&format!("{steps}guards: {{ mixed: {{ mode: observe }} }}\n")), [false]);
    assert_eq!(found(&format!("{steps}guards: {{ mixed: {{ mode: 'off' }} }}\n")), [false; 0]);
    assert_eq!(found(""), [false; 0]);
}
