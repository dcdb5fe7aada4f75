//! `status` of `boot.yaml`: where people outside see how the service stands.

use cellgate::config::boot::Boot;
use cellgate::config::{boot_changes, parse_boot};

use super::{example, lines};

const BOOT: &str = "version: 1\nlisteners:\n  - { name: http, address: 127.0.0.1:8080, protocol: http }\n";

fn boot(more: &str) -> Result<Boot, String> {
    let mut sources = example();
    sources.boot = Ok(format!("{BOOT}{more}").into_bytes());
    parse_boot(&sources).map_err(|problems| lines(&problems))
}

#[test]
fn nothing_is_shown_outside_unless_somebody_says_where() {
    let status = boot("").unwrap().status;
    assert_eq!((status.address, status.publish, status.webhook), (None, None, None));
    assert!(!status.internal_names && status.cells.is_empty() && status.surfaces.is_empty());
    assert_eq!(status.title, "Service status");
}

#[test]
fn names_are_one_line_and_nobody_s_twice() {
    let of = |keys: &str| boot(&format!("status: {{ {keys} }}\n"));
    let status = of("title: ' Example ', cells: [{ name: us1, shown_as: Europe }]").unwrap().status;
    assert_eq!((&*status.title, &*status.cells["us1"]), ("Example", "Europe"));
    let long = format!("title: {}", "x".repeat(61));
    for (keys, expect) in [
        (&*long, "status.title: found"),
        ("title: \"a\\nb\"", "one line of 1 to 60 characters"),
        ("title: \"a\\u202eb\"", "one line of 1 to 60 characters"),
        ("cells: [{ name: us1, shown_as: \"a\\u2066b\" }]", "one line of 1 to 60 characters"),
        ("cells: [{ name: us1 }]", "status.cells[0].shown_as"),
        ("cells: [{ name: us1, shown_as: A }, { name: us2, shown_as: A }]", "two are called \"A\""),
        ("surfaces: [{ name: app, shown_as: A }, { name: app, shown_as: B }]", "app has two public names"),
        ("cells: [{ name: 'a b', shown_as: A }]", "status.cells[0].name"),
        ("address: 8090", "status.address"),
        ("publish: {}", "status.publish.folder"),
        ("webhook: { url: hooks, secret_file: s }", "an address such as https://"),
        ("webhook: { url: 'https://a/' }", "status.webhook.secret_file"),
        ("webhook: { url: 'https://kim:pass@a/', secret_file: s }", "without a name and a password"),
        (
            "webhook: { url: 'http://hooks.example.com/', secret_file: s }",
            "status.webhook.url: everybody on the way",
        ),
        ("names: {}", "unknown key \"names\""),
    ] {
        let told = of(keys).map(|boot| boot.status).unwrap_err();
        assert!(told.contains(expect), "{keys}: {told}");
    }
    boot("status: { webhook: { url: 'http://127.0.0.1:8080/', secret_file: s } }\n").unwrap();
}

#[test]
fn no_two_doors_have_one_address() {
    let tls = |address: &str| {
        format!(
            "tls: {{ address: \"{address}\", cert: c, key: k, client_ca: a, clients: [{{ name: n, role: read }}] }}"
        )
    };
    let admin = |more: &str| format!("admin: {{ {more} }}\n");
    let status = |address: &str| format!("status: {{ address: \"{address}\" }}\n");
    let listener =
        |address: &str| format!("  - {{ name: second, address: \"{address}\", protocol: http }}\n");
    let both = |one: String, other: String| format!("{one}{other}");
    for (more, expect) in [
        (listener("127.0.0.1:8080"), "listeners[1].address: listener http has the same address"),
        (listener("0.0.0.0:8080"), "listener http has 127.0.0.1:8080, and both cannot listen there"),
        (listener("127.0.0.2:8080"), ""),
        // Those of version 6 are no others.
        (listener("[::]:8080"), ""),
        (both(listener("[::]:9000"), status("0.0.0.0:9000")), ""),
        (
            both(listener("0.0.0.0:9000"), status("[::]:9000")),
            "status.address: listener second has 0.0.0.0:9000",
        ),
        (both(listener("[::1]:9000"), status("[::]:9000")), "status.address: listener second has [::1]:9000"),
        (admin("loopback: 127.0.0.1:8080"), "admin.loopback: listener http has the same address"),
        (admin(&tls("0.0.0.0:8080")), "admin.tls.address: listener http has 127.0.0.1:8080"),
        (status("[::]:8080"), "status.address: listener http has 127.0.0.1:8080"),
        (
            both(admin("loopback: 127.0.0.1:9900"), status("127.0.0.1:9900")),
            "admin.loopback has the same address",
        ),
        (
            both(admin(&tls("10.0.0.5:9901")), status("10.0.0.5:9901")),
            "status.address: admin.tls.address has the same",
        ),
        (both(admin("loopback: 127.0.0.1:0"), status("127.0.0.1:0")), ""),
        (both(listener("0.0.0.0:0"), status("127.0.0.1:0")), ""),
    ] {
        match boot(&more) {
            Ok(_) => assert_eq!(expect, "", "{more}"),
            Err(told) => assert!(!expect.is_empty() && told.contains(expect), "{more}: {told}"),
        }
    }
}

#[test]
fn a_change_needs_a_restart_and_is_told_by_its_key() {
    let before = boot("").unwrap();
    for (keys, expect) in [
        ("title: A", "status.title"),
        ("address: 127.0.0.1:0", "status.address"),
        ("publish: { folder: a }", "status.publish"),
        ("webhook: { url: 'https://a/', secret_file: s }", "status.webhook"),
        ("internal_names: true", "status.internal_names"),
        ("cells: [{ name: a, shown_as: A }]", "status.cells"),
        ("surfaces: [{ name: a, shown_as: A }]", "status.surfaces"),
    ] {
        let after = boot(&format!("status: {{ {keys} }}\n")).unwrap();
        assert_eq!(boot_changes(&before, &after), [expect]);
    }
}
