//! Reading a folder: what may be read, and what is refused because of who else could have written or read it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cellgate::config::{Boot, parse_all};
use cellgate::load::load;
use tempfile::TempDir;

use super::{NOW, certificates, example_folder, lines};

/// A copy of the example in `config`, with certificates beside it.
pub(super) fn folder() -> TempDir {
    let root = TempDir::new().unwrap();
    copy(example_folder(), &root.path().join("config"));
    let certs = root.path().join("certs/dev");
    fs::create_dir_all(&certs).unwrap();
    for (name, pair) in certificates() {
        fs::write(certs.join(format!("{name}.pem")), &pair.cert_pem).unwrap();
        let key = certs.join(format!("{name}.key"));
        fs::write(&key, &pair.key_pem).unwrap();
        mode(&key, 0o600);
    }
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    mode(to, 0o755);
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
            mode(&target, 0o644);
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn read(root: &TempDir) -> Result<Boot, String> {
    let sources = load(&root.path().join("config"));
    parse_all(&sources, NOW).map(|(boot, _)| boot).map_err(|problems| lines(&problems))
}

/// Changes a copy of the example; every problem that comes of it must be one of these.
fn check(name: &str, change: impl FnOnce(&Path), expect: &[&str]) {
    let root = folder();
    change(root.path());
    let found = read(&root).err().unwrap_or_default();
    let met = found.lines().count() == expect.len() && expect.iter().all(|expect| found.contains(expect));
    assert!(met, "{name}: expected {expect:#?}, found\n{found}");
}

#[test]
fn a_folder_is_read_with_what_it_names() {
    let root = folder();
    let boot = read(&root).unwrap();
    assert_eq!(boot.state_dir, root.path().join("config/../state"));
    let sources = load(&root.path().join("config"));
    assert_eq!(sources.files.len(), 9, "{:?}", sources.files.keys());
}

#[test]
fn what_was_looked_for_in_vain_is_named() {
    let root = folder();
    fs::remove_file(root.path().join("certs/dev/us1.key")).unwrap();
    fs::remove_file(root.path().join("config/boot.yaml")).unwrap();
    let found = read(&root).err().unwrap_or_default();
    let config = root.path().join("config");
    for tried in [
        "boot.yaml; --config DIR names another folder, and `cellgate init` writes a new one)",
        "../certs/dev/us1.key)",
    ] {
        let tried = format!("(tried {}/{tried}", config.display());
        assert!(found.contains(&tried), "{tried} in {found}");
    }
}

#[test]
fn files_that_are_not_there_are_problems_where_they_are_named() {
    let remove = |file: &'static str| move |root: &Path| fs::remove_file(root.join(file)).unwrap();
    check(
        "boot",
        remove("config/boot.yaml"),
        &["boot.yaml: the file cannot be read: No such file or directory"],
    );
    check(
        "routing",
        remove("config/cellgate.yaml"),
        &["cellgate.yaml: the file cannot be read: No such file or directory"],
    );
    check(
        "table",
        remove("config/clients.yaml"),
        &["clients.file: the file cannot be read: No such file or directory"],
    );
    check(
        "key",
        remove("certs/dev/us1.key"),
        &["certificates[1].key: the file cannot be read: No such file or directory"],
    );
    let gone = |root: &Path| fs::remove_dir_all(root.join("config")).unwrap();
    check("folder", gone, &["boot.yaml: the file cannot be read", "cellgate.yaml: the file cannot be read"]);
    let swap = |root: &Path| {
        fs::remove_file(root.join("config/clients.yaml")).unwrap();
        fs::create_dir(root.join("config/clients.yaml")).unwrap();
    };
    check("a folder in place of a file", swap, &["clients.file: the file is no ordinary file"]);
}

#[test]
fn what_everybody_can_write_is_not_believed() {
    let writable = |file: &'static str| move |root: &Path| mode(&root.join(file), 0o666);
    check(
        "boot",
        writable("config/boot.yaml"),
        &["boot.yaml: the file can be written by everybody; expected chmod o-w"],
    );
    check("table", writable("config/clients.yaml"), &["clients.file: the file can be written by everybody"]);
    check(
        "certificate",
        writable("certs/dev/us1.pem"),
        &["certificates[1].cert: the file can be written by everybody"],
    );
    let folder = |root: &Path| mode(&root.join("config"), 0o777);
    let said = "the file is in a folder that everybody can write to";
    check("folder", folder, &[&format!("boot.yaml: {said}"), &format!("cellgate.yaml: {said}")]);
}

#[test]
fn keys_are_read_only_by_their_owner_unless_that_is_allowed() {
    for bits in [0o640, 0o604, 0o644] {
        let expect =
            format!("certificates[1].key: the file has mode {bits:04o}, so that others can read the key");
        check("key", |root| mode(&root.join("certs/dev/us1.key"), bits), &[&expect]);
    }
    check("owner reads only", |root| mode(&root.join("certs/dev/us1.key"), 0o400), &[]);
    let allow = |root: &Path| {
        mode(&root.join("certs/dev/us1.key"), 0o640);
        edit(root, "key: ../certs/dev/us1.key", "key: ../certs/dev/us1.key, allow_readable: true");
    };
    check("allowed", allow, &[]);
    // As a checkout makes them under umask 002.
    let written = |root: &Path| {
        allow(root);
        mode(&root.join("certs/dev/us1.key"), 0o664);
    };
    check("allowed, with a group that may write", written, &[]);
    let forbid = |root: &Path| edit(root, ", allow_readable: true", "");
    check("demonstration key", forbid, &["identify.credentials.keys[0].file: the file has mode 0644"]);
}

#[test]
fn ticket_keys_are_read_and_kept_secret() {
    let with = |bits: u32| {
        move |root: &Path| {
            let key = root.join("config/keys/ticket.key");
            fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
            mode(&key, bits);
            let tls = "\ntls: { ticket_keys: [{ file: keys/ticket.key }] }\nguide: https";
            edit(root, "\nguide: https", tls);
        }
    };
    check("owner only", with(0o600), &[]);
    check("others", with(0o640), &["tls.ticket_keys[0].file: the file has mode 0640"]);
}

#[test]
fn keys_of_our_own_cookie_are_read_and_kept_secret() {
    let with = |bits: u32| {
        move |root: &Path| {
            let key = root.join("config/keys/cookie.key");
            fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
            mode(&key, bits);
            let from = "  credentials:\n    schemes:";
            let cookie = "  routing_cookie: { keys: [{ id: a, file: keys/cookie.key }] }\n";
            edit(root, from, &format!("{cookie}{from}"));
        }
    };
    check("owner only", with(0o600), &[]);
    check("others", with(0o644), &["identify.routing_cookie.keys[0].file: the file has mode 0644"]);
}

fn edit(root: &Path, from: &str, to: &str) {
    let path = root.join("config/cellgate.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from:?} must stand there once");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn links_may_not_lead_tables_out_of_the_folder() {
    let relink = |file: &'static str, target: &'static str| {
        move |root: &Path| {
            let path = root.join("config").join(file);
            let moved = root.join("config").join(target);
            fs::create_dir_all(moved.parent().unwrap()).unwrap();
            fs::rename(&path, moved).unwrap();
            symlink(target, path).unwrap();
        }
    };
    // As Kubernetes mounts a ConfigMap.
    check("inside", relink("clients.yaml", "..data/clients.yaml"), &[]);
    let leaves = "the file is a link that leaves the configuration folder";
    check("outside", relink("clients.yaml", "../clients.yaml"), &[&format!("clients.file: {leaves}")]);
    check("boot outside", relink("boot.yaml", "../boot.yaml"), &[&format!("boot.yaml: {leaves}")]);
    let certificate = |root: &Path| {
        let path = root.join("certs/dev/us1.pem");
        fs::rename(&path, root.join("us1.pem")).unwrap();
        symlink("../../us1.pem", path).unwrap();
    };
    check("certificates may be links", certificate, &[]);
}

#[test]
fn sizes_are_bounded() {
    let large = |root: &Path| fs::write(root.join("config/boot.yaml"), "#".repeat(1024 * 1024 + 1)).unwrap();
    check("boot", large, &["boot.yaml: the file has 1048577 bytes; expected at most 1048576"]);
    let boot = |root: &Path| {
        let path = root.join("config/boot.yaml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}\nlimits: {{ max_config_bytes: 400 }}\n")).unwrap();
    };
    let root = folder();
    boot(root.path());
    let found = read(&root).unwrap_err();
    assert!(
        found.contains("clients.file: the file has ") && found.contains("limits.max_config_bytes"),
        "{found}"
    );
    let pipe = |root: &Path| {
        fs::remove_file(root.join("certs/dev/us1.pem")).unwrap();
        symlink("/dev/zero", root.join("certs/dev/us1.pem")).unwrap();
    };
    check("a certificate without end", pipe, &["certificates[1].cert: the file is no ordinary file"]);
    let endless = |root: &Path| {
        let path = root.join("config/clients.yaml");
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", path).unwrap();
    };
    check("a device", endless, &["clients.file: the file is a link that leaves the configuration folder"]);
}
