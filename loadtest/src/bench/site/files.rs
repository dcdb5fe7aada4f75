//! What contestants read: their configurations, filled in, and the same table in the form that each of them takes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Kind, Site};
use crate::bench::table::{DOMAIN, Edition, Table};

/// The certificate, PEM, in a contestant's folder `config`.
pub const CERTIFICATE: &str = "server.pem";

/// Its key.
pub const KEY: &str = "server.key";

/// Writes all that a contestant reads.
pub fn write(kind: Kind, site: &Site, folder: &Path, plain: SocketAddr, tls: SocketAddr) -> io::Result<()> {
    let config = folder.join("config");
    for (name, text) in templates(kind) {
        fs::write(config.join(name), filled(text, site, folder, plain, tls))?;
    }
    write_tables(kind, site.table, Edition::First, &config)?;
    write_certificate(kind, site, &config)
}

/// Writes the files of a table into this folder.
pub fn write_tables(kind: Kind, all: Table, edition: Edition, to: &Path) -> io::Result<()> {
    for table in tables(kind) {
        let mut file = BufWriter::new(File::create(to.join(table.name))?);
        write!(file, "{}", table.head)?;
        for account in 0..all.accounts {
            let row =
                Row { id: all.id(account), prefix: all.prefix(account), cell: all.cell_in(edition, account) };
            (table.row)(&mut file, &row)?;
        }
        file.flush()?;
    }
    Ok(())
}

/// Moves the files of a table, each whole, in place of those that stand.
pub fn replace_tables(kind: Kind, from: &Path, to: &Path) -> io::Result<()> {
    tables(kind).iter().try_for_each(|table| fs::rename(from.join(table.name), to.join(table.name)))
}

fn templates(kind: Kind) -> Vec<(&'static str, &'static str)> {
    match kind {
        Kind::Cellgate => vec![
            ("boot.yaml", include_str!("../../../peers/bench/cellgate/boot.yaml")),
            ("cellgate.yaml", include_str!("../../../peers/bench/cellgate/cellgate.yaml")),
        ],
        Kind::Haproxy => vec![("haproxy.cfg", include_str!("../../../peers/bench/haproxy.cfg"))],
        Kind::Nginx => vec![("nginx.conf", include_str!("../../../peers/bench/nginx.conf"))],
        Kind::Envoy => vec![("envoy.yaml", include_str!("../../../peers/bench/envoy.yaml"))],
        Kind::Relay => vec![("relay.cfg", include_str!("../../../peers/bench/relay.cfg"))],
        // It is told on its command line.
        Kind::Floor => Vec::new(),
    }
}

/// A file with a row for each account.
struct TableFile {
    name: &'static str,
    head: &'static str,
    row: fn(&mut dyn Write, &Row) -> io::Result<()>,
}

/// What a table says of an account.
struct Row {
    id: u64,
    prefix: String,
    cell: u16,
}

fn tables(kind: Kind) -> Vec<TableFile> {
    let table = |name, head, row| TableFile { name, head, row };
    match kind {
        Kind::Cellgate => vec![table("accounts.csv", "account,prefixes,cell\n", |to, row| {
            writeln!(to, "{},{},cell-{}", row.id, row.prefix, row.cell)
        })],
        Kind::Haproxy => vec![
            table("prefixes.map", "", |to, row| writeln!(to, "{} cell-{}", row.prefix, row.cell)),
            table("ids.map", "", |to, row| writeln!(to, "{} cell-{}", row.id, row.cell)),
        ],
        Kind::Nginx => vec![
            table("hosts.map", "", |to, row| writeln!(to, "{}.{DOMAIN} cell-{};", row.prefix, row.cell)),
            table("ids.map", "", |to, row| writeln!(to, "{} cell-{};", row.id, row.cell)),
        ],
        Kind::Envoy => vec![table("table.csv", "", |to, row| {
            writeln!(to, "{},cell-{cell}\n{},cell-{cell}", row.prefix, row.id, cell = row.cell)
        })],
        Kind::Relay | Kind::Floor => Vec::new(),
    }
}

/// HAProxy wants certificate and key in one file; the others have a file for each. A key is its owner's alone.
fn write_certificate(kind: Kind, site: &Site, config: &Path) -> io::Result<()> {
    let pair = &site.certificate.pair;
    let secret = |name: &str, text: &str| {
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(config.join(name));
        file?.write_all(text.as_bytes())
    };
    match kind {
        Kind::Relay => Ok(()),
        Kind::Haproxy => secret(CERTIFICATE, &format!("{}{}", pair.cert_pem, pair.key_pem)),
        Kind::Cellgate | Kind::Nginx | Kind::Envoy | Kind::Floor => {
            fs::write(config.join(CERTIFICATE), &pair.cert_pem)?;
            secret(KEY, &pair.key_pem)
        }
    }
}

fn filled(template: &str, site: &Site, folder: &Path, plain: SocketAddr, tls: SocketAddr) -> String {
    let either = |said: bool, yes: &str, no: &str| if said { yes.to_owned() } else { no.to_owned() };
    let mut values = vec![
        ("PLAIN".to_owned(), plain.to_string()),
        ("PLAIN_PORT".to_owned(), plain.port().to_string()),
        ("TLS".to_owned(), tls.to_string()),
        ("TLS_PORT".to_owned(), tls.port().to_string()),
        ("WORKERS".to_owned(), site.workers.to_string()),
        ("FOLDER".to_owned(), folder.display().to_string()),
        ("HASH_SIZE".to_owned(), (HASH_SIZE_LEAST.max(4 * site.table.accounts)).to_string()),
        ("LOG".to_owned(), either(site.log, "", "# ")),
        ("NGINX_LOG".to_owned(), either(site.log, "access.log json buffer=64k flush=1s", "off")),
        (
            "ENVOY_LOG".to_owned(),
            either(site.log, ENVOY_LOG, "").replace("@FOLDER@", &folder.display().to_string()),
        ),
        ("CELLGATE_LOG".to_owned(), either(site.log, CELLGATE_LOG, CELLGATE_NO_LOG)),
        ("PROTO".to_owned(), either(site.grpc, " proto h2", "")),
        ("NGINX_PASS".to_owned(), either(site.grpc, "grpc_pass grpc", "proxy_pass http")),
        ("ENVOY_HTTP2".to_owned(), either(site.grpc, ENVOY_HTTP2, "{}")),
    ];
    values.extend(site.origins.first().map(|origin| ("FIRST_CELL".to_owned(), origin.to_string())));
    let repeated = for_each_cell(template, &site.origins);
    values.iter().fold(repeated, |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

/// What stands between the line that ends with `@EACH_CELL@` and the one that ends with `@END@`, once for each cell.
fn for_each_cell(template: &str, origins: &[SocketAddr]) -> String {
    let mut text = String::new();
    let mut block = None::<String>;
    for line in template.split_inclusive('\n') {
        match &mut block {
            None if line.trim_end().ends_with("@EACH_CELL@") => block = Some(String::new()),
            None => text.push_str(line),
            Some(each) if line.trim_end().ends_with("@END@") => {
                let filled = |(cell, origin): (usize, &SocketAddr)| {
                    let named = each.replace("@CELL@", &cell.to_string());
                    named
                        .replace("@ADDRESS@", &origin.to_string())
                        .replace("@PORT@", &origin.port().to_string())
                };
                text.extend(origins.iter().enumerate().map(filled));
                block = None;
            }
            Some(each) => each.push_str(line),
        }
    }
    text
}

/// nginx needs this for its own words.
const HASH_SIZE_LEAST: u32 = 4_096;

/// Each line is in a file.
const CELLGATE_LOG: &str = "access_log: { path: ../state/access.log }";

/// Without lines; those of requests that fail remain, and there are none.
const CELLGATE_NO_LOG: &str = "access_log: { sample: { ok: 0% } }";

/// Speaks HTTP/2 to a cell.
const ENVOY_HTTP2: &str = r#"{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: { http2_protocol_options: {} } } }"#;

/// What the others write, under the same names.
const ENVOY_LOG: &str = r#"                access_log:
                  - name: envoy.access_loggers.file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: "@FOLDER@/envoy.log"
                      log_format:
                        json_format: { time: "%START_TIME%", client: "%DOWNSTREAM_REMOTE_ADDRESS%", method: "%REQ(:METHOD)%", host: "%REQ(:AUTHORITY)%", target: "%REQ(:PATH)%", status: "%RESPONSE_CODE%", bytes: "%BYTES_SENT%", ms: "%DURATION%", cell: "%UPSTREAM_CLUSTER%" }"#;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_each_cell_is_said_once_for_each() {
        let origins = ["127.0.0.1:81", "127.0.0.2:82"].map(|origin| origin.parse().unwrap());
        let template = "a\n# @EACH_CELL@\ncell-@CELL@ @ADDRESS@\n  port: @PORT@\n# @END@\nb @CELL@\n";
        let filled = "a\ncell-0 127.0.0.1:81\n  port: 81\ncell-1 127.0.0.2:82\n  port: 82\nb @CELL@\n";
        assert_eq!(for_each_cell(template, &origins), filled);
        for kind in [Kind::Cellgate, Kind::Haproxy, Kind::Nginx, Kind::Envoy] {
            let files = templates(kind).into_iter().map(|(_, text)| for_each_cell(text, &origins));
            assert!(files.collect::<String>().contains("cell-1"), "{kind}");
        }
    }

    #[test]
    fn the_second_edition_differs_in_the_cell_of_the_first_account_and_takes_the_place_of_the_first() {
        let table = Table::of(10);
        let [old, new] = [Edition::First, Edition::Second].map(|edition| table.cell_in(edition, 0));
        let [old, new] = [old, new].map(Table::cell_name);
        for kind in Kind::ALL.into_iter().filter(|kind| kind.reload_signal().is_some()) {
            let folder = tempfile::tempdir().unwrap();
            let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
            for (edition, to) in [(Edition::First, &first), (Edition::Second, &second)] {
                fs::create_dir(to).unwrap();
                write_tables(kind, table, edition, to).unwrap();
            }
            let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).unwrap();
            let files = tables(kind);
            assert!(!files.is_empty(), "{kind}");
            let after: Vec<String> = files.iter().map(|file| read(&second, file.name)).collect();
            for (file, after) in files.iter().zip(&after) {
                let before = read(&first, file.name);
                assert_eq!(before.lines().count(), after.lines().count(), "{kind}");
                let mut differing =
                    before.lines().zip(after.lines()).filter(|(before, after)| before != after);
                let (before, after) = differing.next().unwrap();
                assert_eq!((before.replace(&old, &new).as_str(), differing.next()), (after, None), "{kind}");
            }
            replace_tables(kind, &second, &first).unwrap();
            let now: Vec<String> = files.iter().map(|file| read(&first, file.name)).collect();
            assert_eq!(now, after, "{kind}");
        }
    }
}
