//! How contestants' programs are called.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Kind, Site, files};
use crate::tied::tied_to_us;

/// On certain processors, where some are given (taskset does it, for the standard library cannot), and by another program, where
/// one is named.
pub fn pinned(program: &Path, site: &Site) -> Command {
    let cpus = site.cpus.as_ref().map(|cpus| ["taskset".into(), "-c".into(), cpus.into()]);
    let mut words: Vec<OsString> = cpus.into_iter().flatten().chain(site.under.iter().cloned()).collect();
    words.push(program.into());
    let mut command = tied_to_us(Path::new(&words[0])).into_std();
    command.args(&words[1..]);
    command
}

/// The command line of a contestant's program.
pub fn arguments(
    kind: Kind,
    site: &Site,
    folder: &Path,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
) -> Vec<OsString> {
    let config = folder.join("config");
    let words = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<_>>();
    let with_file = |first: &[&str], file: PathBuf| [words(first), vec![file.into()]].concat();
    match kind {
        Kind::Cellgate => with_file(&["serve", "--bootstrap", "--config"], config),
        // Its tables and certificate are beside its configuration.
        Kind::Haproxy => {
            // To read its tables again it needs a process above the one that serves.
            let first: &[&str] = if site.reloads { &["-W"] } else { &[] };
            with_file(&[first, &["-db", "-f", "haproxy.cfg", "-C"]].concat(), config)
        }
        Kind::Relay => with_file(&["-db", "-f"], config.join("relay.cfg")),
        Kind::Nginx => [
            with_file(&["-p"], folder.to_owned()),
            words(&["-e", "error.log"]),
            with_file(&["-c"], config.join("nginx.conf")),
        ]
        .concat(),
        Kind::Envoy => with_file(
            &[
                "--concurrency",
                &site.workers.to_string(),
                "--disable-hot-restart",
                "--log-level",
                "warn",
                "--config-path",
            ],
            config.join("envoy.yaml"),
        ),
        Kind::Floor => {
            let mut all = words(&["--plain", &plain.to_string(), "--workers", &site.workers.to_string()]);
            all.extend(words(&["--accounts", &site.table.accounts.to_string()]));
            if let Some(tls) = tls {
                all.extend(words(&["--tls", &tls.to_string()]));
            }
            for (option, name) in [("--certificate", files::CERTIFICATE), ("--key", files::KEY)] {
                all.extend(with_file(&[option], config.join(name)));
            }
            all.extend(site.origins.iter().flat_map(|origin| words(&["--cell", &origin.to_string()])));
            all
        }
    }
}
