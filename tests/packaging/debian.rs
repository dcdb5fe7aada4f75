//! What `make deb` packs: every file is there, the scripts are scripts, and nothing is started by installing. The package
//! itself takes a release build, so it is built by `make deb` alone, which runs lintian over it.

#![allow(clippy::panic)] // Ends a test with words.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::checkers::{objects, passes, with};
use crate::markdown::links;

fn metadata() -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let all: Value = serde_json::from_str(&passes(cargo.current_dir(env!("CARGO_MANIFEST_DIR")))).unwrap();
    let packages = all["packages"].as_array().unwrap();
    packages.iter().find(|one| one["name"] == "cellgate").unwrap()["metadata"]["deb"].clone()
}

#[test]
fn every_file_of_the_debian_package_is_there_and_goes_where_the_unit_looks_for_it() {
    let deb = metadata();
    let assets = deb["assets"].as_array().unwrap();
    let manuals = tempfile::tempdir().unwrap();
    let mut script = Command::new(crate::path("scripts/manuals"));
    passes(script.arg(env!("CARGO_BIN_EXE_cellgate")).arg(manuals.path()));
    // What make deb makes has its place elsewhere here; the rest is in the repository.
    let place = |source: &str| match source.strip_prefix("target/manuals/") {
        Some(made) => manuals.path().join(made),
        None => crate::path(source).into(),
    };
    let mut targets = Vec::new();
    for asset in assets {
        let (source, target) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        let name = source.rsplit('/').next().unwrap();
        targets.push(if target.ends_with('/') { format!("/{target}{name}") } else { format!("/{target}") });
        let (folder, pattern) = source.rsplit_once('/').unwrap_or((".", source));
        let is_there = match pattern.split_once('*') {
            Some((before, after)) => std::fs::read_dir(place(folder)).unwrap().any(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.starts_with(before) && name.ends_with(after)
            }),
            None => source == "target/release/cellgate" || place(source).is_file(),
        };
        assert!(is_there, "{source}");
    }
    for target in [
        "/usr/bin/cellgate",
        "/etc/cellgate/boot.yaml",
        "/usr/lib/systemd/system/cellgate-https.socket",
        "/usr/share/man/man1/*.1",
        "/usr/share/bash-completion/completions/cellgate",
        "/usr/share/zsh/vendor-completions/_cellgate",
        "/usr/share/fish/vendor_completions.d/cellgate.fish",
    ] {
        assert!(targets.iter().any(|found| found == target), "{target} in {targets:?}");
    }
    for page in ["cellgate.1", "cellgate-serve.1", "cellgate-brownout-cancel.1"] {
        let page = manuals.path().join("man").join(page);
        assert!(std::fs::read_to_string(&page).unwrap().contains(".TH cellgate"), "{}", page.display());
    }
    for file in ["license-file", "changelog"]
        .map(|key| deb[key].as_str().or(deb[key][0].as_str()).unwrap().to_owned())
    {
        assert!(!crate::read(&file).is_empty(), "{file}");
    }
    let units = &deb["systemd-units"];
    for key in ["enable", "start", "restart-after-upgrade", "stop-on-upgrade"] {
        assert_eq!(units[key], Value::Bool(false), "{key}: there are no accounts yet, or somebody is served");
    }
    let service = crate::read("packaging/systemd/cellgate.service");
    assert!(
        service.contains(
            "ExecStart=/usr/bin/cellgate serve --config /etc/cellgate --state-dir /var/lib/cellgate "
        )
    );
    assert!(service.contains("\nUser=cellgate\n"));
    assert!(crate::read("packaging/debian/cellgate.sysusers").contains("\nu cellgate "));
}

/// Every file below `/usr/share/doc/cellgate` with what it is in the repository.
fn packed_documents() -> BTreeMap<PathBuf, PathBuf> {
    let deb = metadata();
    let mut packed = BTreeMap::new();
    for asset in deb["assets"].as_array().unwrap() {
        let (source, target) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        let Some(folder) = target.strip_prefix("usr/share/doc/cellgate/") else { continue };
        let (from, pattern) = source.rsplit_once('/').unwrap();
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        for entry in std::fs::read_dir(crate::path(from)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_file() && name.starts_with(before) && name.ends_with(after) {
                packed.insert(Path::new(folder).join(name), path);
            }
        }
    }
    packed
}

/// Without `..`, by the names alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            assert!(plain.pop(), "{}", path.display())
        } else {
            plain.push(part)
        }
    }
    plain
}

#[test]
fn links_between_packed_pages_and_those_of_alerts_and_units_lead_to_what_is_packed() {
    let packed = packed_documents();
    let is_packed = |path: &Path| packed.keys().any(|there| there.starts_with(path));
    let (mut looked, mut dead) = (0, Vec::new());
    for (page, source) in packed.iter().filter(|(page, _)| page.extension().is_some_and(|kind| kind == "md"))
    {
        for link in links(&std::fs::read_to_string(source).unwrap()) {
            let target = link.split('#').next().unwrap();
            looked += 1;
            if !target.is_empty() && !is_packed(&plain(&page.parent().unwrap().join(target))) {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(looked > 100, "there are links to look at: {looked}");
    assert!(dead.is_empty(), "links that lead nowhere in the package:\n{}", dead.join("\n"));

    let rules = crate::read("monitoring/cellgate.rules.yaml");
    let runbooks: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert!(runbooks.len() > 40, "{runbooks:?}");
    for runbook in runbooks {
        assert!(is_packed(Path::new(runbook.split('#').next().unwrap())), "{runbook}");
    }
    let service = crate::read("packaging/systemd/cellgate.service");
    let manual = service.split("Documentation=file:///usr/share/doc/cellgate/").nth(1).unwrap();
    assert!(is_packed(Path::new(manual.lines().next().unwrap())));
}

#[test]
fn the_check_before_the_first_start_is_made_by_who_serves_and_who_can_read_the_keys() {
    let guide = crate::read("docs/deploy.md");
    let steps = guide.split("apt install ").nth(1).unwrap().split("```").next().unwrap();
    let service = crate::read("packaging/systemd/cellgate.service");
    let user = service.lines().find_map(|line| line.strip_prefix("User=")).unwrap();
    let at = |words: &str| steps.find(words).unwrap_or_else(|| panic!("{words} in {steps}"));
    let keys =
        at(&format!("install -m 0400 -o {user} -g {user} fingerprint.key tls.key /etc/cellgate-secrets"));
    let check = at(&format!("runuser -u {user} -- cellgate check --strict --config /etc/cellgate\n"));
    assert!(keys < check && check < at("systemctl enable --now cellgate-https.socket cellgate\n"));
    assert_eq!(steps.matches("cellgate check").count(), 1, "none by root, who can read every key");
}

/// Directives of a logrotate rule, in order, without the file's name and comments.
fn directives(rule: &str) -> Vec<&str> {
    let (_, inside) = rule.split_once('{').unwrap();
    let lines = inside.split('}').next().unwrap().lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn the_packed_rule_of_logrotate_is_the_documented_one_which_needs_no_signal() {
    let page = crate::read("docs/access-log.md");
    let documented = directives(page.split("```logrotate\n").nth(1).unwrap());
    let rule = crate::read("packaging/debian/cellgate.logrotate");
    let mut packed = directives(&rule);
    // Of the folder that systemd makes: logrotate goes into no folder of somebody else's as root.
    packed.retain(|line| *line != "su cellgate cellgate");
    assert_eq!(packed, documented);
    assert!(!documented.contains(&"postrotate"), "tests/e2e/access_log.rs shows that it needs none");
}

#[test]
fn shellcheck_has_nothing_against_the_scripts() {
    let shellcheck = |file: &dyn AsRef<std::ffi::OsStr>| {
        let mut shellcheck = Command::new("shellcheck");
        shellcheck.arg(file.as_ref());
        shellcheck
    };
    for script in ["packaging/debian/postinst", "scripts/deb", "scripts/manuals", "scripts/setup"] {
        passes(&mut shellcheck(&crate::path(script)));
    }
    let (_folder, wrong) = with("packaging/debian/postinst", "-n \"$2\"", "-n $2", "postinst");
    assert!(objects(&mut shellcheck(&wrong)).contains("SC2070"));
}
