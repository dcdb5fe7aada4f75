//! From one configuration to the next: what is carried over, what is told, and that equal files are equal.

use std::sync::Arc;

use cellgate::config::boot::LogTarget;
use cellgate::config::{Config, Sources, boot_changes, compile, diff, parse_all, parse_boot};
use cellgate::policy::snapshot::Snapshot;

use super::{NOW, authority, example, lines, replace};

fn config(change: impl FnOnce(&mut Sources)) -> Config {
    let mut sources = example();
    change(&mut sources);
    parse_all(&sources, NOW).map(|(_, config)| config).map_err(|problems| lines(&problems)).unwrap()
}

fn accounts(change: impl FnOnce(&mut cellgate::config::FileText)) -> Config {
    config(|sources| change(sources.files.get_mut("accounts.csv").unwrap()))
}

#[test]
fn generations_count_up_and_counters_live_on() {
    let first = compile(config(|_| {}), None);
    let load = |snapshot: &Snapshot, cell: usize| Arc::clone(&snapshot.cells[cell].load);
    let permit = load(&first, 2).try_acquire(10).unwrap();
    // The cell moves up one place: it is carried over by name.
    let group = "    groups:\n      - zone: local\n        endpoints: [127.0.0.1:7102]\n";
    let second = config(|sources| {
        replace(
            &mut sources.routing,
            &format!("  - name: cell-2\n    domain: us1.dbt.com\n    protocol: auto\n{group}"),
            "",
        );
        replace(
            &mut sources.routing,
            "    - { cell: cell-2, first: 70437463654400, last: 70471823392767 }\n",
            "",
        );
        let text = sources.files.get_mut("accounts.csv").unwrap();
        *text =
            Ok(String::from_utf8(text.clone().unwrap()).unwrap().replace("cell-2", "cell-1").into_bytes());
    });
    let second = compile(second, Some(&first));
    assert_eq!((first.generation.0, second.generation.0), (1, 2));
    assert_eq!(second.cells[1].name.as_str(), "cell-3");
    assert_eq!(load(&second, 1).in_flight(), 1);
    assert_eq!(load(&second, 0).in_flight(), 0);
    drop(permit);
    assert_eq!(load(&second, 1).in_flight(), 0);
    let third = compile(config(|_| {}), Some(&second));
    assert_eq!(third.generation.0, 3);
    assert!(Arc::ptr_eq(&load(&third, 2), &load(&first, 2)), "cell-3 is the same cell after two reloads");
    assert!(
        !Arc::ptr_eq(&load(&third, 1), &load(&first, 1)),
        "cell-2 was gone in between and starts at nothing"
    );
}

#[test]
fn tls_sessions_resume_across_reloads_while_trust_is_the_same() {
    let with = |sni: &str| {
        config(|sources| {
            let cell = "- name: cell-1\n    domain: us1.dbt.com\n";
            replace(&mut sources.routing, cell, &format!("{cell}    tls: {{ ca: ca.pem, sni: {sni} }}\n"));
            sources.files.insert("ca.pem".into(), Ok(authority().ca_pem().into()));
        })
    };
    let tls = |snapshot: &Snapshot| snapshot.cells[0].tls.clone().unwrap();
    let first = compile(with("a.internal"), None);
    let same = compile(with("a.internal"), Some(&first));
    assert!(
        Arc::ptr_eq(&tls(&first).http1, &tls(&same).http1)
            && Arc::ptr_eq(&tls(&first).http2, &tls(&same).http2)
    );
    let other = compile(with("b.internal"), Some(&same));
    assert!(!Arc::ptr_eq(&tls(&same).http1, &tls(&other).http1));
}

#[test]
fn id_ranges_end_when_an_account_moves_out() {
    let enabled = |config: Config| -> Vec<bool> {
        compile(config, None).identify.id_ranges.iter().map(|range| range.enabled).collect()
    };
    assert_eq!(enabled(config(|_| {})), [true, true, true]);
    let moved = accounts(|text| {
        replace(text, "70437463654557,cd456 globex,cell-2", "70437463654557,cd456 globex,cell-3")
    });
    assert_eq!(enabled(moved), [true, false, true]);
    let at_the_edge =
        |id: u64| accounts(|text| replace(text, "41007,hj210,cell-1", &format!("{id},hj210,shared")));
    assert_eq!(enabled(at_the_edge(70_403_103_916_031)), [true, true, true]);
    assert_eq!(enabled(at_the_edge(70_403_103_916_032)), [false, true, true]);
    assert_eq!(enabled(at_the_edge(70_437_463_654_399)), [false, true, true]);
    assert_eq!(enabled(at_the_edge(70_437_463_654_400)), [true, false, true]);
}

#[test]
fn equal_files_have_equal_hashes_and_others_do_not() {
    let hash = |change: &dyn Fn(&mut Sources)| config(|sources| change(sources)).hash;
    let first = hash(&|_| {});
    assert_eq!(first, hash(&|_| {}));
    assert_eq!(
        first,
        hash(&|sources| replace(&mut sources.boot, "127.0.0.1:8080", "127.0.0.1:8081")),
        "boot.yaml is not in it"
    );
    assert_ne!(
        first,
        hash(&|sources| replace(&mut sources.routing, "# The demonstration", "# A demonstration"))
    );
    for file in
        ["accounts.csv", "clients.yaml", "environments.csv", "credentials.csv", "keys/demo-fingerprint.key"]
    {
        let changed = hash(&|sources| sources.files.get_mut(file).unwrap().as_mut().unwrap().extend(b"\n"));
        assert_ne!(first, changed, "{file}");
    }
}

#[test]
fn a_diff_says_what_changes_for_whom() {
    let before = config(|_| {});
    let check = |after: &Config, expect: &str| assert_eq!(diff(&before, after).to_string(), expect);
    check(&config(|_| {}), "no change of accounts, cells, hosts, dates or settings");
    check(
        &accounts(|text| replace(text, "1001,mt001,shared", "1001,mt001,cell-1")),
        "1 accounts moved from shared to cell-1",
    );
    check(
        &accounts(|text| {
            replace(text, "9002,,shared,,extended\n", "77,new,cell-3,,\n78,,cell-3,,\n");
            replace(text, "2044,mt044 hooli,shared,,", "2044,hooli,shared,true,");
        }),
        "2 accounts added to cell-3; 1 accounts removed from shared; 1 accounts changed",
    );
    check(
        &config(|sources| {
            replace(&mut sources.routing, "127.0.0.1:7103", "127.0.0.1:7109");
            replace(
                &mut sources.routing,
                "sunset_at: 2027-03-31T00:00:00Z",
                "sunset_at: 2027-06-30T00:00:00Z",
            );
            replace(
                &mut sources.routing,
                "  - pattern: \"{prefix}.cloud.getdbt.com\"\n    role: legacy\n",
                "  - pattern: old.getdbt.com\n    role: legacy\n",
            );
            replace(
                &mut sources.routing,
                "    role: cell\n    surface: app\n",
                "    role: cell\n    surface: app\n    no_account: { cell: shared }\n",
            );
            replace(&mut sources.boot, "protocol: https", "protocol: http");
        }),
        "cells changed: cell-3; hosts added: old.getdbt.com; hosts removed: {prefix}.cloud.getdbt.com; hosts changed: \
         {prefix}.us1.dbt.com; sunset of extended moved from 2027-03-31T00:00:00Z to \
         2027-06-30T00:00:00Z; cells[cell-3].groups[local].endpoints: [127.0.0.1:7103] -> \
         [127.0.0.1:7109]; hosts[old.getdbt.com].pattern: (not set) -> old.getdbt.com; \
         hosts[old.getdbt.com].role: (not set) -> legacy; 3 other settings",
    );
    check(
        &config(|sources| {
            let path = "- path: \"/deploy/{account}\"";
            replace(&mut sources.routing, path, "- path: \"/delay/{account}\"");
            replace(&mut sources.routing, "last: 70437463654399", "last: 70437463654398");
            let clients = sources.files.get_mut("clients.yaml").unwrap();
            replace(clients, "user_agent_prefix: axios/", "user_agent_prefix: axios");
        }),
        "clients.families[axios].user_agent_prefix: axios/ -> axios; identify.id_ranges[#1].last: 70437463654399 -> \
         70437463654398; identify.paths[/delay/{account}].path: (not set) -> /delay/{account}; 2 other settings",
    );
    let other_key = config(|sources| {
        let key = Ok("513182179ca0d8c0579fe3827fe0cc1ce2690643e3bcc7b6262f3bfc34d40e28\n".into());
        sources.files.insert("keys/demo-fingerprint.key".into(), key);
    });
    let told = diff(&before, &other_key).to_string();
    assert!(told.starts_with("keys/demo-fingerprint.key (content): ") && !told.contains(';'), "{told}");
    let running = compile(config(|_| {}), None);
    assert!(diff(&running, &before).is_empty());
}

/// As little as a `boot.yaml` can say; what the example says beyond it is its own matter.
const BOOT: &str = "\
version: 1
listeners:
  - { name: http, address: 127.0.0.1:8080, protocol: http }
  - { name: https, address: 127.0.0.1:8443, protocol: https }
";

#[test]
fn changes_that_need_a_restart_are_named_by_field() {
    let boot = |text: String| {
        let mut sources = example();
        sources.boot = Ok(text.into_bytes());
        parse_boot(&sources).map_err(|problems| lines(&problems)).unwrap()
    };
    let before = boot(BOOT.to_owned());
    let replaced = |from: &str, to: &str, expect: &[&str]| {
        assert!(BOOT.contains(from), "{from}");
        assert_eq!(boot_changes(&before, &boot(BOOT.replace(from, to))), expect, "{to}");
    };
    let added = |keys: &str, expect: &[&str]| {
        assert_eq!(boot_changes(&before, &boot(format!("{BOOT}{keys}\n"))), expect, "{keys}");
    };
    added("# nothing", &[]);
    replaced("127.0.0.1:8443", "127.0.0.1:8444", &["listeners[https]"]);
    replaced("name: https", "name: tls", &["listeners[https]", "listeners[tls]"]);
    added("state_dir: ../other", &["state_dir", "admin.unix"]);
    added("max_last_good_age: 7d", &["max_last_good_age"]);
    added("workers: 4", &["workers"]);
    added("admin: { loopback: 127.0.0.1:9900, unix_mode: '0660' }", &["admin.unix_mode", "admin.loopback"]);
    added("admin: { unix: a.sock, allowed_hosts: [a] }", &["admin.unix", "admin.allowed_hosts"]);
    added("admin: { loopback_report: true }", &["admin.loopback_report"]);
    added("access_log: { path: a.log }", &["access_log.path"]);
    added(
        "access_log: { path: /dev/stderr, profile: ecs, sample: { ok: 1% }, exclude_paths: [/healthz] }",
        &["access_log.path", "access_log.profile", "access_log.sample", "access_log.exclude_paths"],
    );
    added("access_log: { path: /dev/stdout, sample: { ok: 100% } }", &[]);
    added("traces: { endpoint: 'http://127.0.0.1:4318' }", &["traces"]);
    added("limits: { head_timeout: 5s, connections: 7 }", &["limits.connections", "limits.head_timeout"]);
    for (key, value) in [
        ("connections_per_address", "7"),
        ("requests", "7"),
        ("shared_addresses", "[10.0.0.0/8]"),
        ("handshakes", "7"),
        ("handshake_timeout", "7s"),
        ("preface_timeout", "7s"),
        ("body_timeout", "7s"),
        ("idle_timeout", "7s"),
        ("keep_alive_timeout", "7s"),
        ("h2_idle_timeout", "7s"),
        ("connection_lifetime", "7s"),
        ("requests_per_connection", "7"),
        ("streams_per_connection", "7"),
        ("max_config_bytes", "7"),
    ] {
        added(&format!("limits: {{ {key}: {value} }}"), &[&format!("limits.{key}")]);
    }
    added("drain: { grace: 0s, deadline: 1s }", &["drain.grace", "drain.deadline"]);
    added("books: { window: 1s, spool_bytes: 8000000 }", &["books.window", "books.spool_bytes"]);
}

#[test]
fn another_state_folder_takes_along_what_lies_below_it() {
    let check = |keys: &str, expect: [&str; 2]| {
        let mut sources = example();
        sources.boot = Ok(format!("{BOOT}{keys}\n").into_bytes());
        let boot = parse_boot(&sources).map_err(|problems| lines(&problems)).unwrap();
        let boot = boot.in_state_dir("/var/lib/cellgate".as_ref());
        let log = match &boot.access_log.target {
            LogTarget::File(path) => path.display().to_string(),
            LogTarget::Stdout => "-".to_owned(),
            LogTarget::Stderr => "/dev/stderr".to_owned(),
        };
        assert_eq!(boot.state_dir.display().to_string(), "/var/lib/cellgate", "{keys}");
        assert_eq!([&*boot.admin.unix.display().to_string(), &*log], expect, "{keys}");
    };
    let state = "/var/lib/cellgate/admin.sock";
    check("", [state, "-"]);
    check("access_log: { path: ../state/log/a }", [state, "/var/lib/cellgate/log/a"]);
    check("admin: { unix: ../state/admin.sock }", [state, "-"]);
    check(
        "state_dir: /srv\nadmin: { unix: /run/a.sock }\naccess_log: { path: /srv-2/a }",
        ["/run/a.sock", "/srv-2/a"],
    );
}

#[test]
fn the_last_good_configuration_serves_at_any_age_unless_the_operator_says_otherwise() {
    let check = |keys: &str, expect: Result<Option<u64>, &str>| {
        let mut sources = example();
        sources.boot = Ok(format!("{BOOT}{keys}\n").into_bytes());
        let found = parse_boot(&sources).map(|boot| boot.max_last_good_age.map(|age| age.as_secs()));
        match (found.map_err(|problems| lines(&problems)), expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{keys}"),
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{keys}: {found}"),
            (found, expect) => assert_eq!(found, expect.map_err(ToOwned::to_owned), "{keys}"),
        }
    };
    check("", Ok(None));
    check("max_last_good_age: 7d", Ok(Some(7 * 86_400)));
    check("max_last_good_age: 1m", Ok(Some(60)));
    let expected = "expected a time such as 500ms, 10s or 5m, from 1m to 3650d";
    check("max_last_good_age: 59s", Err(&format!("max_last_good_age: found \"59s\"; {expected}")));
    check("max_last_good_age: 7", Err(&format!("max_last_good_age: found 7; {expected}")));
    check("max_last_good_age: 3651d", Err(expected));
}

#[test]
fn listeners_say_how_clients_spoke() {
    let boot = |listener: &str| {
        let mut sources = example();
        let text = format!("version: 1\nlisteners:\n  - {listener}\n");
        sources.boot = Ok(text.into_bytes());
        parse_boot(&sources).map_err(|problems| lines(&problems)).unwrap().listeners.remove(0)
    };
    let check = |options: &str, expect: &str| {
        assert_eq!(
            boot(&format!("{{ name: a, address: '[::]:0', {options} }}")).scheme.as_str(),
            expect,
            "{options}"
        );
    };
    check("protocol: http", "http");
    check("protocol: https", "https");
    check("protocol: h2c", "http");
    check("protocol: http, forwarded_scheme: https", "https");
    let redirect =
        boot("{ name: a, address: 127.0.0.1:0, protocol: http, redirect_to_https: true, https_port: 8443 }");
    assert_eq!(redirect.redirect_to_https, Some(8443));
    let behind = boot(
        "{ name: a, address: 127.0.0.1:0, protocol: http, proxy_protocol: { trusted: [10.0.0.0/8, '::1'] } }",
    );
    let networks = behind.proxy_protocol.unwrap();
    assert_eq!(networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
}
