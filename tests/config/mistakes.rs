//! Mistakes that people make, and the lines they read. All of a folder's come at once.

use cellgate::config::{FileText, Sources, Unreadable, parse_all, parse_for_deciding};

use super::{NOW, authority, example, lines, replace};
use devcerts::{Authority, Usage};

/// What is said about the example after a change.
fn problems(change: impl FnOnce(&mut Sources)) -> String {
    let mut sources = example();
    change(&mut sources);
    lines(&parse_all(&sources, NOW).err().unwrap_or_default())
}

/// A table of the example.
fn table<'s>(sources: &'s mut Sources, name: &str) -> &'s mut FileText {
    sources.files.get_mut(name).unwrap()
}

/// Changes one piece of `cellgate.yaml`; exactly one problem must come of it, with this text.
fn routing(from: &str, to: &str, expect: &str) {
    one(&format!("{from:?} -> {to:?}"), |sources| replace(&mut sources.routing, from, to), expect);
}

fn one(name: &str, change: impl FnOnce(&mut Sources), expect: &str) {
    let found = problems(change);
    assert_eq!(found.lines().count(), 1, "{name}: expected one problem, found\n{found}");
    assert!(found.contains(expect), "{name}: expected {expect:?}, found\n{found}");
}

/// So many problems must come of a change, one of them with this text.
fn some(count: usize, change: impl FnOnce(&mut Sources), expect: &str) {
    let found = problems(change);
    assert_eq!(found.lines().count(), count, "found\n{found}");
    assert!(found.contains(expect), "expected {expect:?}, found\n{found}");
}

#[test]
fn a_folder_with_many_mistakes_tells_all_of_them_at_once() {
    let found = problems(|sources| {
        sources.boot = Ok(include_bytes!("wrong/boot.yaml").to_vec());
        sources.routing = Ok(include_bytes!("wrong/cellgate.yaml").to_vec());
        sources.files.insert("accounts.csv".into(), Ok(include_bytes!("wrong/accounts.csv").to_vec()));
        sources
            .files
            .insert("environments.csv".into(), Ok(include_bytes!("wrong/environments.csv").to_vec()));
        sources.files.insert("clients.yaml".into(), Ok(include_bytes!("wrong/clients.yaml").to_vec()));
        sources.files.insert("credentials.csv".into(), Ok(include_bytes!("wrong/credentials.csv").to_vec()));
    });
    insta::with_settings!({ snapshot_path => "../golden", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("config_problems", found);
    });
}

#[test]
fn hosts_and_cells_fit_together() {
    let sunset = "sunset_at: 2026-11-01T00:00:00Z";
    routing(sunset, "sunset_at: 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z is before deprecated_since");
    let shared = "accounts.csv:11: cell: there is no cell \"shared\"; expected the name of a cell";
    some(3, |sources| replace(&mut sources.routing, "- name: shared\n", "- name: cell-4\n"), shared);
    routing(
        "endpoints: [127.0.0.1:7104]",
        "endpoints: [127.0.0.1]",
        "cells[3].groups[0].endpoints[0]: found",
    );
    routing("- name: cell-3\n", "- name: cell-3\n    shared: true\n", "is the shared one already");
    let last = "  - pattern: \"{prefix}.{surface}.us1.dbt.com\"\n    role: cell\n";
    let more = "  - pattern: \"{prefix}.metadata.us1.dbt.com\"\n    role: legacy\n    schedule: legacy\n";
    let overlap = "hosts[7].pattern: it matches hosts that the pattern in line";
    routing(last, &format!("{last}{more}"), overlap);
    let exact = "  - pattern: acme.us1.dbt.com\n    role: legacy\n    schedule: legacy\n";
    let hidden = "accounts.csv:8: prefixes: \"acme\" is the first label of a host";
    routing(last, &format!("{last}{exact}"), hidden);
    routing(
        "first: 70437463654400",
        "first: 70437463654399",
        "id_ranges[1]: the range shares ids with the one in line",
    );
    routing(
        "path: /api/v2/whoami",
        "path: /api/v3/accounts",
        "it matches the same paths as the template in line",
    );
    routing(
        "cell: cell-3, first",
        "cell: cel-3, first",
        "there is no cell \"cel-3\"; expected the name of a cell (did you",
    );
    routing(
        "schedules:\n",
        "schedules:\n  - [a]\n",
        "schedules[0]: found a list; expected a mapping with the keys",
    );
    routing("guide: https://docs.getdbt.com/docs", "guide: docs", "guide: found \"docs/platform");
}

#[test]
fn tables_may_be_missing_but_not_wrong() {
    let file = "accounts: { file: accounts.csv }";
    routing(file, "accounts: { file: accounts.txt }", "accounts.file: the file is no known kind of table");
    routing(
        file,
        "accounts: { file: ../a.csv }",
        "accounts.file: \"../a.csv\" leaves the configuration folder",
    );
    routing(file, "accounts: { file: /a.csv }", "accounts.file: \"/a.csv\" leaves the configuration folder");
    routing(
        file,
        "accounts: accounts.csv",
        "accounts: found \"accounts.csv\"; expected a mapping with the keys file",
    );
    routing(file, "", "accounts: missing; expected a mapping");
    let unreadable =
        Unreadable { what: "cannot be read: permission denied".into(), expected: "a file".into() };
    let lost = |sources: &mut Sources| *table(sources, "accounts.csv") = Err(unreadable);
    one("unreadable", lost, "accounts.file: the file cannot be read: permission denied; expected a file");
    assert_eq!(
        problems(|sources| replace(&mut sources.routing, "environments: { file: environments.csv }", "")),
        ""
    );
}

#[test]
fn tables_name_their_rows() {
    let check = |name: &'static str, text: &[u8], expect: &str| {
        let change = |sources: &mut Sources| *table(sources, name) = Ok(text.to_vec());
        one(&String::from_utf8_lossy(text), change, expect);
    };
    let accounts = |text: &str, expect: &str| {
        // Those that the other tables name.
        let known = "70403103966603,,cell-1\n70437463654557,,cell-2\n70471823417825,,cell-3\n12345,,cell-2\n26228,,cell-3\n1001,,shared\n";
        check("accounts.csv", format!("account,prefixes,cell\n{known}{text}").as_bytes(), expect);
    };
    accounts("1,,cell-7\n", "accounts.csv:8: cell: there is no cell \"cell-7\"");
    accounts("1,,\n", "accounts.csv:8: cell: there is no cell \"\"");
    accounts("x,,cell-1\n", "accounts.csv:8: account: found \"x\", which must be plain digits");
    accounts(
        "12345,,cell-1\n",
        "accounts.csv:8: account: account 12345 is already in line 5; expected it in one row only",
    );
    accounts("1,a,cell-1\n2,b a,cell-1\n", "accounts.csv:9: prefixes: prefix \"a\" is already in line 8");
    accounts("1,metadata,cell-1\n", "prefixes: \"metadata\" is a surface");
    accounts("1,us1,cell-1\n", "prefixes: \"us1\" is the name of a region");
    accounts("1,status,cell-1\n", "prefixes: \"status\" is a reserved label");
    accounts("1,cloud,cell-1\n", "prefixes: \"cloud\" is the");
    accounts("1,,cell-1,true\n", "accounts.csv:8: found 4 fields; expected 3, as in the first line");
    accounts("# a\n\n1,c,\n", "accounts.csv:10: cell: there is no cell \"\"");
    accounts(
        "1,\"a\nb\",cell-1\n2,c,cell-1\n",
        "accounts.csv:8: prefixes: found a line break; expected a row on one line",
    );
    let none = "accounts.csv: the table has no accounts; expected at least one account (if accounts are missing, the file was";
    check("accounts.csv", b"account,prefixes,cell\n", none);
    check("accounts.csv", b"", "accounts.csv:1: the file is empty");
    check("accounts.csv", b"account,prefix,cell\n", "accounts.csv:1: unknown column \"prefix\"");
    check(
        "accounts.csv",
        b"account,prefixes\n",
        "accounts.csv:1: no column cell; expected a first line with",
    );
    check("accounts.csv", b"account,cell,cell\n", "accounts.csv:1: column \"cell\" stands twice");
    check("accounts.csv", b"account,cell,\xff\n", "accounts.csv:1: found bytes that are not UTF-8");
    check(
        "environments.csv",
        b"environment,account\n1,12345\n1,12345\n",
        "environments.csv:3: environment: environment 1 is already in line 2",
    );
    check(
        "environments.csv",
        b"environment,account\n1,4\n",
        "environments.csv:2: account: account 4 has no row",
    );
    check(
        "environments.csv",
        b"environment,account\n1,\xff\n",
        "environments.csv:2: found bytes that are not UTF-8",
    );
    let tag = "036e23033eb608d924e3d75c2557d6b2";
    let credentials = |rows: &str, expect: &str| {
        check("credentials.csv", format!("key_id,fingerprint,account\n{rows}").as_bytes(), expect);
    };
    credentials(
        &format!("demo,{tag},12345\ndemo,{tag},12345\n"),
        "credentials.csv:3: fingerprint: it is already in line 2",
    );
    credentials(
        &format!("dem,{tag},12345\n"),
        "key_id: there is no fingerprint key \"dem\"; expected the name of a fingerprint key (did you",
    );
    credentials(
        "demo,dbtc_secret,12345\n",
        "fingerprint: found something else; expected 32 hexadecimal digits",
    );
}

#[test]
fn the_account_table_can_be_yaml() {
    let with = |text: &str| {
        let mut sources = example();
        replace(&mut sources.routing, "accounts.csv", "accounts.yaml");
        replace(
            &mut sources.routing,
            "environments: { file: environments.csv }",
            "environments: { file: e.yml }",
        );
        replace(&mut sources.routing, "    table: credentials.csv\n", "");
        sources.files.insert("accounts.yaml".into(), Ok(text.into()));
        sources.files.insert(
            "e.yml".into(),
            Ok("version: 1\nenvironments: [{ environment: 5, account: '1' }]".into()),
        );
        parse_all(&sources, NOW).map(|(_, config)| config).map_err(|problems| lines(&problems))
    };
    let config = with("version: 1\naccounts:\n  - { account: 1, prefixes: [a, b], cell: cell-1 }\n").unwrap();
    assert_eq!(config.accounts.by_prefix("b").unwrap().id.value(), 1);
    assert_eq!(config.environments.len(), 1);
    let wrong = with(
        "version: 1\naccounts:\n  - { account: 1, cell: cell-1 }\n  - { account: 1, cell: c, prefixes: x }\n",
    );
    let expect = "\
accounts.yaml:4:7: accounts[1].account: account 1 is already in line 3; expected it in one row only [E0305]
accounts.yaml:4:19: accounts[1].cell: there is no cell \"c\"; expected the name of a cell [E0144]
accounts.yaml:4:28: accounts[1].prefixes: found \"x\"; expected a list [E0123]
";
    assert_eq!(wrong.unwrap_err(), expect);
}

#[test]
fn certificates_fit_keys_hosts_and_the_day() {
    let pem = |file: &str| format!("../certs/dev/{file}");
    let set = |file: &str, text: &str| {
        let (file, text) = (pem(file), text.to_owned());
        move |sources: &mut Sources| *table(sources, &file) = Ok(text.into_bytes())
    };
    let other = authority().issue(&["*.example.com"], Usage::Server).unwrap();
    let legacy = &super::certificates()["legacy"];
    one(
        "other key",
        set("us1.key", &other.key_pem),
        "certificates[1].key: the key does not belong to the certificate",
    );
    one("no key", set("us1.key", &legacy.cert_pem), "certificates[1].key: the file holds no private key");
    one("no certificate", set("us1.pem", "nothing"), "certificates[1].cert: the file holds no certificates");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    one("garbage", set("us1.pem", garbage), "certificates[1].cert: the first certificate cannot be read");

    let found = problems(|sources| {
        set("legacy.pem", &other.cert_pem)(sources);
        set("legacy.key", &other.key_pem)(sources);
    });
    assert_eq!(found.lines().count(), 6, "five hosts and a useless certificate:\n{found}");
    assert!(
        found.contains("certificates[0].cert: the certificate is for *.example.com and no host needs it"),
        "{found}"
    );
    assert!(
        found.contains(
            "hosts[3].pattern: no certificate covers *.cloud.getdbt.com, and a listener serves https"
        ),
        "{found}"
    );

    let us1 = authority().issue(&["*.us1.dbt.com", "*.metadata.us1.dbt.com"], Usage::Server).unwrap();
    let short = |sources: &mut Sources| {
        set("us1.pem", &us1.cert_pem)(sources);
        set("us1.key", &us1.key_pem)(sources);
    };
    one("one family short", short, "hosts[6].pattern: no certificate covers *.semantic-layer.us1.dbt.com");
    let plain = |sources: &mut Sources| {
        short(sources);
        replace(&mut sources.boot, "protocol: https", "protocol: http");
    };
    assert_eq!(problems(plain), "", "without an https listener nothing needs a certificate");
}

#[test]
fn certificates_hold_now_or_are_refused() {
    use std::time::{Duration, SystemTime};
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
    let check = |from: i64, until: i64, expect: &str| {
        let validity = devcerts::Validity { not_before: at(NOW + from), not_after: at(NOW + until) };
        let authority = devcerts::Authority::with_validity("of its time", validity).unwrap();
        let pair = authority.issue(
            &["*.us1.dbt.com", "*.metadata.us1.dbt.com", "*.semantic-layer.us1.dbt.com"],
            Usage::Server,
        );
        let found = problems(|sources| {
            let pair = pair.unwrap();
            *table(sources, "../certs/dev/us1.pem") = Ok(pair.cert_pem.into());
            *table(sources, "../certs/dev/us1.key") = Ok(pair.key_pem.into());
        });
        assert!(
            found.contains(expect) && found.is_empty() == expect.is_empty(),
            "{from} to {until}: {found}"
        );
    };
    check(-10, 10, "");
    check(0, 0, "");
    check(
        -10,
        -1,
        "certificates[1].cert: the certificate expired at 2026-11-19T23:59:59Z; expected a certificate that is",
    );
    check(1, 10, "certificates[1].cert: the certificate is valid from 2026-11-20T00:00:01Z");
}

#[test]
fn tls_towards_a_cell_is_built_or_refused() {
    let client = authority().issue(&["cellgate"], Usage::Client).unwrap();
    let other = authority().issue(&["other"], Usage::Client).unwrap();
    let with = |tls: &str| {
        let mut sources = example();
        let cell = "- name: cell-1\n    domain: us1.dbt.com\n";
        replace(&mut sources.routing, cell, &format!("{cell}    tls: {tls}\n"));
        let files = [
            ("ca.pem", authority().ca_pem().to_owned()),
            ("c.pem", client.cert_pem.clone()),
            ("c.key", client.key_pem.clone()),
            ("o.pem", other.cert_pem.clone()),
            ("o.key", other.key_pem.clone()),
            ("other-ca.pem", Authority::new("another").unwrap().ca_pem().to_owned()),
            ("leaf.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
        ];
        sources.files.extend(files.map(|(name, text)| (name.into(), Ok(text.into_bytes()))));
        parse_all(&sources, NOW).map(|(_, config)| config).map_err(|problems| lines(&problems))
    };
    let key = |config: &cellgate::config::Config| config.cells[0].groups[0].endpoints[0].key.0.to_string();
    let one_way = with("{ ca: ca.pem, sni: cell-1.internal }").unwrap();
    let mutual = with("{ ca: ca.pem, sni: cell-1.internal, client_cert: c.pem, client_key: c.key }").unwrap();
    let renamed = with("{ ca: ca.pem, sni: cell-2.internal }").unwrap();
    let plain = parse_all(&example(), NOW).map(|(_, config)| config).unwrap();
    let distrusting = with("{ ca: other-ca.pem, sni: cell-1.internal }").unwrap();
    let renewed =
        with("{ ca: ca.pem, sni: cell-1.internal, client_cert: o.pem, client_key: o.key }").unwrap();
    let keys = [&one_way, &mutual, &renamed, &plain, &distrusting, &renewed].map(key);
    let different: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "trust is part of the pool key: {keys:?}");
    let tls = mutual.cells[0].tls.as_ref().unwrap();
    assert_eq!(
        (tls.http1.alpn_protocols.as_slice(), tls.http2.alpn_protocols.as_slice()),
        (&[b"http/1.1".to_vec()][..], &[b"h2".to_vec()][..])
    );
    assert!(tls.http1.client_auth_cert_resolver.has_certs());

    let refused = |tls: &str, expect: &str| {
        let found = with(tls).err().unwrap_or_default();
        assert!(
            found.lines().count() == 1 && found.contains(expect),
            "{tls}: expected {expect:?}, found {found:?}"
        );
    };
    refused("{ sni: a.b }", "tls.ca: missing");
    refused("{ ca: ca.pem }", "tls.sni: missing");
    refused("{ ca: leaf.pem, sni: a.b }", "tls.ca: 1 of 1 certificates are not authorities");
    refused("{ ca: c.key, sni: a.b }", "tls.ca: the file holds no certificates");
    refused("{ ca: ca.pem, sni: a.b, client_cert: c.pem }", "tls.client_key: missing");
    refused(
        "{ ca: ca.pem, sni: a.b, client_cert: c.pem, client_key: o.key }",
        "tls.client_key: the key does not belong",
    );
    refused(
        "{ ca: ca.pem, sni: a.b, client_cert: c.pem, client_key: ca.pem }",
        "client_cert: the key file holds no private key",
    );
}

#[test]
fn our_own_cookie_has_keys_and_a_name_of_its_own() {
    let hex = "0123456789abcdef".repeat(4);
    let read = |cookie: &str, rules: &str| {
        let mut sources = example();
        let rule = "  cookies:\n    - { name: sessionid, names: credential }\n";
        replace(&mut sources.routing, rule, &format!("{rules}  routing_cookie: {cookie}\n"));
        for (file, text) in [("new.key", hex.as_str()), ("old.key", hex.as_str()), ("no.key", "x")] {
            sources.files.insert(file.into(), Ok(text.as_bytes().to_vec()));
        }
        parse_all(&sources, NOW).map(|(_, config)| config).map_err(|problems| lines(&problems))
    };
    let rules = "  cookies: [{ name: sessionid, names: credential }]\n";
    let named = |cookie: &str| {
        let cookie = read(cookie, rules).unwrap().identify.routing_cookie.unwrap();
        let keys = cookie.keys.iter().map(|key| key.id.to_string()).collect::<Vec<_>>();
        format!("{} {} {}", cookie.name, cookie.max_age_secs, keys.join(","))
    };
    assert_eq!(named("{ keys: [{ id: a, file: new.key }] }"), "__Host-cellgate 43200 a");
    let all = "{ name: __Host-r, keys: [{ id: b, file: new.key }, { id: a, file: old.key }], max_age: 1d }";
    assert_eq!(named(all), "__Host-r 86400 b,a");
    let refused = |cookie: &str, rules: &str, expect: &str| {
        let found = read(cookie, rules).err().unwrap_or_default();
        assert!(
            found.lines().count() == 1 && found.contains(expect),
            "{cookie}: expected {expect:?}, found {found:?}"
        );
    };
    let keys = "keys: [{ id: a, file: new.key }]";
    refused("{ max_age: 1h }", rules, "identify.routing_cookie.keys: missing");
    refused("{ keys: [] }", rules, "identify.routing_cookie.keys: the list is empty");
    refused("{ keys: [{ id: a, file: no.key }] }", rules, "keys[0].file: the file does not hold a key");
    refused("{ keys: [{ id: a, file: lost.key }] }", rules, "keys[0].file: the file was not read");
    let twice = "{ keys: [{ id: a, file: new.key }, { id: a, file: old.key }] }";
    refused(twice, rules, "keys[1].id: the cookie key \"a\" is already in line");
    for name in ["cellgate", "__Secure-cellgate", "__Host-", "\"__Host-a b\""] {
        let expect = "routing_cookie.name: found \"";
        refused(&format!("{{ name: {name}, {keys} }}"), rules, expect);
    }
    refused(&format!("{{ {keys}, max_age: 59s }}"), rules, "max_age: found \"59s\"; expected a time");
    refused(&format!("{{ {keys}, max_age: 32d }}"), rules, "from 1m to 31d");
    let account = "  cookies: [{ name: account, names: account }]\n";
    refused(&format!("{{ {keys} }}"), account, "routing_cookie: no browser would ever get it");
    let same = "  cookies: [{ name: __Host-cellgate, names: credential }]\n";
    refused(&format!("{{ {keys} }}"), same, "routing_cookie.name: identify.cookies names the same cookie");
}

#[test]
fn what_may_be_a_secret_is_never_repeated() {
    let secret = "5ecre75ecre75ecre7";
    let found = problems(|sources| {
        let from = "file: keys/demo-fingerprint.key";
        replace(&mut sources.routing, from, &format!("file: {secret}"));
        *table(sources, "credentials.csv") =
            Ok(format!("key_id,fingerprint,account\ndemo,{secret},12345\n").into_bytes());
        replace(
            &mut sources.routing,
            "- name: cell-1\n",
            &format!("- name: cell-1\n    seal: {{ key_id: k, key_file: {secret} }}\n"),
        );
    });
    assert!(found.lines().count() >= 3, "{found}");
    assert!(!found.contains(secret), "{found}");
}

#[test]
fn deciding_needs_no_certificates_and_everything_else() {
    let decide = |change: &dyn Fn(&mut Sources)| {
        let mut sources = example();
        let lost = Unreadable { what: "cannot be read: no such file".into(), expected: "a file".into() };
        for (_, text) in sources.files.iter_mut().filter(|(path, _)| path.starts_with("../certs")) {
            *text = Err(lost.clone());
        }
        change(&mut sources);
        parse_for_deciding(&sources, NOW)
            .map(|config| config.accounts.len())
            .map_err(|problems| lines(&problems))
    };
    assert_eq!(decide(&|_| {}), Ok(9));
    let tls = "- name: cell-1\n    tls: { ca: ca.pem, sni: a.b }\n    seal: { key_id: k, key_file: k.key }\n";
    assert_eq!(decide(&|sources| replace(&mut sources.routing, "- name: cell-1\n", tls)), Ok(9));
    for (from, to) in [
        ("role: cell\n    surface", "role: cel\n    surface"),
        ("keys/demo-fingerprint.key", "no.key"),
        ("accounts.csv", "a.csv"),
    ] {
        let found = decide(&|sources| replace(&mut sources.routing, from, to)).unwrap_err();
        assert!(!found.is_empty() && !found.contains("certificates"), "{to}: {found}");
    }
}

#[test]
fn endpoint_classes_fit_together() {
    let text = String::from_utf8(example().routing.unwrap()).unwrap();
    let from = text.find("endpoint_classes:\n").unwrap() + "endpoint_classes:\n".len();
    let classes = &text[from..from + text[from..].find("\n\n").unwrap()];
    let one = |lines: &str, expect: &str| routing(classes, lines, expect);
    one(
        "  - { name: stream, paths: [/a], request_timeout: infinite }",
        "endpoint_classes[0].request_timeout: found \"infinite\"; expected unlimited, or a time such as 30s",
    );
    one("  - { name: stream, paths: [] }", "endpoint_classes[0].paths: the list is empty");
    one(
        "  - { name: rest }\n  - { name: other }",
        "has no paths already; expected paths in all classes but one",
    );
    one(
        "  - { name: a, paths: [\"/x/{account}\"] }\n  - { name: b, paths: [\"/x/{entity}\"] }",
        "endpoint_classes[1].paths[0]: it matches the same paths as the one in line",
    );
    one(
        "  - { name: a, paths: [/x] }\n  - { name: a, paths: [/y] }",
        "endpoint_classes[1].name: the class \"a\" is already in line",
    );
    // A head that may be silent for longer than the default of the whole.
    one(
        "  - { name: poll, paths: [/x], response_head: 2h }",
        "response_head: 2h is more than the whole request may take; expected at most request_timeout, which is 1h",
    );
}

#[test]
fn doors_of_the_admin_plane_that_nobody_can_use_are_mistakes() {
    let admin = "  loopback: 127.0.0.1:9900\n";
    let boot = |keys: &str, expect: &str| {
        let change = |sources: &mut Sources| replace(&mut sources.boot, admin, &format!("{admin}{keys}"));
        one(keys, change, expect);
    };
    boot("  loopback_operate: true\n", "admin.loopback_operate: nobody can use it without tokens");
    let tls = |more: &str| format!("  tls: {{ address: \"127.0.0.1:0\", cert: a.pem, key: a.key{more} }}\n");
    boot(&tls(""), "admin.tls: nobody can use this port; expected tokens of admin, or client_ca and clients");
    let with_tokens = |more: &str| format!("  tokens: t.csv\n{}", tls(more));
    boot(
        &with_tokens(", client_ca: c.pem"),
        "admin.tls.clients: missing; expected client_ca and clients together",
    );
    boot(&with_tokens(", clients: [{ name: a, role: read }]"), "admin.tls.client_ca: missing");
    boot(&with_tokens(", crl: c.pem"), "admin.tls.crl: it has no effect without client_ca");
    let clients = |rows: &str| with_tokens(&format!(", client_ca: c.pem, clients: [{rows}]"));
    boot(
        &clients("{ name: a, role: admin }"),
        "clients[0].role: found \"admin\"; expected read, operate or approve",
    );
    boot(
        &clients("{ name: a, role: read }, { name: a, role: operate }"),
        "clients[1].name: a stands here twice",
    );
    boot(&clients("{ name: \" \", role: read }"), "clients[0].name: found");
    boot(
        &with_tokens("").replace("127.0.0.1:0", "edge:443"),
        "admin.tls.address: found \"edge:443\"; expected an IP",
    );
    boot("  tokens: ''\n", "admin.tokens: found \"\"; expected a path");
    boot("  token: t.csv\n", "admin.token: unknown key");
    let both = |sources: &mut Sources| {
        replace(&mut sources.boot, admin, "  tokens: t.csv\n  loopback_operate: true\n");
    };
    one(
        "no loopback",
        |sources| {
            both(sources);
            replace(&mut sources.boot, "  loopback_report: true\n", "");
        },
        "admin.loopback_operate: there is no loopback address",
    );
}

#[test]
fn a_change_of_the_admin_plane_needs_a_restart_and_the_way_to_its_files_is_no_change() {
    use cellgate::config::{boot_changes, parse_boot};
    let admin = "  loopback: 127.0.0.1:9900\n";
    let with = |keys: &str| {
        let mut sources = example();
        replace(&mut sources.boot, admin, &format!("{admin}{keys}"));
        parse_boot(&sources).unwrap()
    };
    let tls = "  tls: { address: \"127.0.0.1:0\", cert: a.pem, key: a.key }\n";
    let before = with(&format!("  tokens: t.csv\n{tls}"));
    for (keys, expect) in [
        (format!("  tokens: t.csv\n{tls}"), vec![]),
        (format!("  tokens: x/../t.csv\n{tls}"), vec![]),
        (format!("  tokens: u.csv\n{tls}"), vec!["admin.tokens"]),
        (format!("  tokens: t.csv\n  allow_readable: true\n{tls}"), vec!["admin.allow_readable"]),
        (format!("  tokens: t.csv\n  loopback_operate: true\n{tls}"), vec!["admin.loopback_operate"]),
        (format!("  tokens: t.csv\n{}", tls.replace("a.key", "b.key")), vec!["admin.tls"]),
        ("  tokens: t.csv\n".to_owned(), vec!["admin.tls"]),
    ] {
        assert_eq!(boot_changes(&before, &with(&keys)), expect, "{keys}");
    }
}
