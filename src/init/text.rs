//! The words of a configuration to start with.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{ACCOUNTS_FILE, Starting};
use crate::config::time::show_moment;

/// From the deprecation of an address to its end, until somebody writes other dates: a year, as customers are used to.
const SUNSET_AFTER_SECS: i64 = 365 * 86_400;

const DAY_SECS: i64 = 86_400;

/// `boot.yaml`: what cannot be changed while cellgate runs.
pub(super) fn boot() -> String {
    BOOT.to_owned()
}

const BOOT: &str = r#"# What cannot be changed while cellgate runs. Every key is explained in docs/config-reference.md.
version: 1

# Books, last good configuration, admin socket. Beside this folder, so that what is written there is never read as
# configuration. Nobody else may be able to write there.
state_dir: ../state

# One line of JSON for each request; "-" is the standard output.
access_log:
  path: ../state/access.log

listeners:
  # To start with: HTTP/1.1 on this machine only. Behind a balancer write 0.0.0.0:8080.
  - name: http
    address: 127.0.0.1:8080
    protocol: http
  # HTTPS, when there are certificates: take the # away here and under `certificates` of cellgate.yaml.
  # - name: https
  #   address: 0.0.0.0:8443
  #   protocol: https

admin:
  # Answers questions, to this machine only. Changes go through admin.sock in state_dir.
  loopback: 127.0.0.1:9900

# Guards refuse a change that takes too much away, whoever wrote it: the outage of 9 April 2026 was one deletion. All of
# them are on where nothing is said (docs/guards.md). Two have conditions that a first configuration does not meet:
guards:
  # Wants each cell in two zones, with a declared capacity. Enforce it when your cells have both.
  capacity: { mode: observe }
  # Wants accounts to change their cell by `cellgate move`, which holds writes meanwhile. Enforce it before the first real move.
  hold: { mode: observe }
"#;

/// `cellgate.yaml`: what a reload can change.
pub(super) fn routing(starting: &Starting) -> String {
    let mut text = HEAD.to_owned();
    // A String takes everything.
    let _ = hosts(&mut text, starting)
        .and_then(|()| cells(&mut text, starting))
        .and_then(|()| identify(&mut text, starting));
    text
}

const HEAD: &str = "# Hosts, cells and accounts. Everything here can be changed while cellgate runs: it reads the folder as soon as a file\n\
                    # changes, and takes it over whole or not at all. Every key is explained in docs/config-reference.md.\n\
                    version: 1\n\n\
                    # Products with a host label of their own; one to start with. `errors: problem` is RFC 9457.\n\
                    surfaces:\n  - { name: app, errors: problem }\n\n\
                    # The page that tells people how to change their address. CHANGE THIS.\n\
                    guide: https://example.com/change-me\n\n";

fn hosts(text: &mut String, starting: &Starting) -> std::fmt::Result {
    writeln!(text, "hosts:")?;
    if !starting.legacy_hosts.is_empty() {
        writeln!(
            text,
            "  # The old addresses. Requests say elsewhere whose they are, and answers carry the dates."
        )?;
    }
    for host in &starting.legacy_hosts {
        writeln!(text, "  - {{ pattern: \"{host}\", role: legacy, surface: app, schedule: legacy }}")?;
    }
    writeln!(text, "  # The accounts' own addresses: the prefix alone says whose a request is.")?;
    let domains: BTreeSet<&str> = starting.cells.iter().map(|cell| cell.domain.as_str()).collect();
    for domain in domains {
        writeln!(text, "  - {{ pattern: \"{{prefix}}.{domain}\", role: cell, surface: app }}")?;
    }
    if !starting.legacy_hosts.is_empty() {
        let today = starting.now - starting.now.rem_euclid(DAY_SECS);
        writeln!(
            text,
            "\n# What clients of the old addresses are told (RFC 9745, RFC 8594). CHANGE THESE DATES to those that you announce.\n\
             schedules:\n  - name: legacy\n    deprecated_since: {}\n    sunset_at: {}",
            show_moment(today),
            show_moment(today + SUNSET_AFTER_SECS)
        )?;
    }
    Ok(())
}

fn cells(text: &mut String, starting: &Starting) -> std::fmt::Result {
    writeln!(text, "\ncells:")?;
    for cell in &starting.cells {
        // In quotes: `y` and `no` are names of cells, too.
        writeln!(text, "  - name: \"{}\"", cell.name)?;
        if starting.shared.as_ref() == Some(&cell.name) {
            writeln!(
                text,
                "    # The old environment: one more cell, and nobody else notices when it dies.\n    shared: true"
            )?;
        }
        let endpoints: Vec<String> =
            cell.endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
        writeln!(
            text,
            "    domain: \"{}\"\n    groups:\n      # One group for each zone that the cell stands in.\n      - zone: zone-a\n        \
             endpoints: [{}]",
            cell.domain,
            endpoints.join(", ")
        )?;
    }
    Ok(())
}

fn identify(text: &mut String, starting: &Starting) -> std::fmt::Result {
    writeln!(
        text,
        "\n# Where a request to an old address says whose it is. Tokens, cookies and headers can say it too.\nidentify:"
    )?;
    writeln!(text, "  paths:")?;
    for path in &starting.paths {
        writeln!(text, "    - {{ path: \"{path}\", authenticated: true }}")?;
    }
    writeln!(
        text,
        "\n# One row an account; an account without a row is refused, also one of the shared cell, so that a table that was cut\n\
         # short is never read as \"all others live there\".\naccounts: {{ file: {ACCOUNTS_FILE} }}\n\n\
         # For https: each host above needs a certificate here. Paths are relative to this folder; keep keys outside of it,\n\
         # mode 0600.\n# certificates:\n#   - {{ cert: ../certs/example.pem, key: ../certs/example.key }}"
    )
}
