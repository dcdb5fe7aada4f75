//! What can stand in the place of a configuration file, and what is said of it: the same by `check`, at a start and at
//! a reload. Folders have the example in `config` and its certificates in `certs/dev`.
#![allow(dead_code)]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// One thing that is done to a folder.
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// The file that it is done to, which is to be put back.
    pub file: &'static str,
    /// Does it.
    pub change: fn(&Path),
    /// Every problem that comes of it, as [`said`] renders it. None: the folder is sound.
    pub problems: &'static [&'static str],
}

/// A problem without line and hint: `file: key: what; expected`.
pub fn said(file: &str, key: &str, what: &str, expected: &str) -> String {
    let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
    format!("{file}: {key}{what}; expected {expected}")
}

/// Every case. What they need of the system is files.
pub const CASES: [Case; 31] = [
    // What is no file.
    Case { name: "a pipe for boot.yaml", file: "config/boot.yaml", change: pipe, problems: &[NO_BOOT] },
    Case {
        name: "a pipe for cellgate.yaml",
        file: "config/cellgate.yaml",
        change: pipe,
        problems: &["cellgate.yaml: the file is no ordinary file; expected a file that cellgate can read"],
    },
    Case { name: "a pipe for a table", file: "config/accounts.csv", change: pipe, problems: &[NO_TABLE] },
    Case {
        name: "a pipe for a key",
        file: "certs/dev/us1.key",
        change: pipe,
        problems: &[
            "cellgate.yaml: certificates[1].key: the file is no ordinary file; expected a file that cellgate can read",
        ],
    },
    Case {
        name: "a folder for boot.yaml",
        file: "config/boot.yaml",
        change: directory,
        problems: &[NO_BOOT],
    },
    Case {
        name: "a folder for a table",
        file: "config/accounts.csv",
        change: directory,
        problems: &[NO_TABLE],
    },
    Case { name: "a socket for a table", file: "config/accounts.csv", change: socket, problems: &[NO_TABLE] },
    Case {
        name: "a device for a certificate",
        file: "certs/dev/us1.pem",
        change: device,
        problems: &[
            "cellgate.yaml: certificates[1].cert: the file is no ordinary file; expected a file that cellgate can read",
        ],
    },
    Case {
        name: "a device for a table",
        file: "config/accounts.csv",
        change: device,
        problems: &[
            "cellgate.yaml: accounts.file: the file is a link that leaves the configuration folder; \
         expected a file in the configuration folder",
        ],
    },
    // Links.
    Case {
        name: "a link to itself",
        file: "config/cellgate.yaml",
        change: itself,
        problems: &[
            "cellgate.yaml: the file cannot be read: Too many levels of symbolic links (os error 40); \
         expected a file that cellgate can read",
        ],
    },
    Case {
        name: "two links in a ring",
        file: "config/accounts.csv",
        change: ring,
        problems: &[
            "cellgate.yaml: accounts.file: the file cannot be read: Too many levels of symbolic links (os error 40); \
         expected a file that cellgate can read",
        ],
    },
    Case {
        name: "a certificate that is a link to itself",
        file: "certs/dev/us1.pem",
        change: itself,
        problems: &[
            "cellgate.yaml: certificates[1].cert: the file cannot be read: Too many levels of symbolic links \
         (os error 40); expected a file that cellgate can read",
        ],
    },
    Case {
        name: "a link to nothing",
        file: "config/clients.yaml",
        change: dangling,
        problems: &[
            "cellgate.yaml: clients.file: the file cannot be read: No such file or directory (os error 2); \
         expected a file that cellgate can read",
        ],
    },
    Case { name: "a folder in itself", file: "config/loop", change: looping, problems: &[] },
    // Sizes: 2 GiB that take no room on the disk.
    Case {
        name: "2 GiB for boot.yaml",
        file: "config/boot.yaml",
        change: huge,
        problems: &["boot.yaml: the file has 2147483648 bytes; expected at most 1048576"],
    },
    Case {
        name: "2 GiB for cellgate.yaml",
        file: "config/cellgate.yaml",
        change: huge,
        problems: &["cellgate.yaml: the file has 2147483648 bytes; expected at most 1048576"],
    },
    Case {
        name: "2 GiB for a table",
        file: "config/accounts.csv",
        change: huge,
        problems: &["cellgate.yaml: accounts.file: the file has 2147483648 bytes; \
         expected at most 536870912, what is left of limits.max_config_bytes"],
    },
    Case {
        name: "2 GiB for a certificate",
        file: "certs/dev/us1.pem",
        change: huge,
        problems: &[
            "cellgate.yaml: certificates[1].cert: the file has 2147483648 bytes; expected at most 1048576",
        ],
    },
    Case {
        name: "2 GiB for a key",
        file: "certs/dev/us1.key",
        change: huge,
        problems: &[
            "cellgate.yaml: certificates[1].key: the file has 2147483648 bytes; expected at most 1048576",
        ],
    },
    // Half-written.
    Case {
        name: "nothing yet",
        file: "config/cellgate.yaml",
        change: empty,
        problems: &["cellgate.yaml: the file is empty; expected a mapping that begins with `version: 1`"],
    },
    Case {
        name: "a table with nothing yet",
        file: "config/accounts.csv",
        change: empty,
        problems: &["accounts.csv: the file is empty; \
         expected a first line with the columns account,prefixes,cell,redirect_browsers,schedule"],
    },
    Case {
        name: "a table cut in its last field",
        file: "config/credentials.csv",
        change: cut,
        problems: &[
            "credentials.csv: the last line does not end; expected a line break at the end of the file",
        ],
    },
    Case {
        name: "blocks that a crash has left empty",
        file: "config/environments.csv",
        change: blank_end,
        problems: &[
            "environments.csv: found 1 fields; expected 2, as in the first line",
            "environments.csv: the last line does not end; expected a line break at the end of the file",
        ],
    },
    Case {
        name: "the same in YAML",
        file: "config/cellgate.yaml",
        change: blank_end,
        problems: &["cellgate.yaml: found the control character U+0000; expected plain text"],
    },
    // Encodings.
    Case {
        name: "UTF-16 with a mark",
        file: "config/cellgate.yaml",
        change: utf_16,
        problems: &["cellgate.yaml: found bytes that are not UTF-8; expected a text file in UTF-8"],
    },
    Case {
        name: "a table in UTF-16",
        file: "config/accounts.csv",
        change: utf_16,
        problems: &["accounts.csv: found bytes that are not UTF-8; expected text in UTF-8"],
    },
    Case {
        name: "Latin-1",
        file: "config/cellgate.yaml",
        change: latin_1,
        problems: &["cellgate.yaml: found bytes that are not UTF-8; expected a text file in UTF-8"],
    },
    Case {
        name: "a key that is none",
        file: "config/keys/demo-fingerprint.key",
        change: latin_1,
        problems: &[
            "cellgate.yaml: identify.credentials.keys[0].file: the file does not hold a key; expected a file with a \
         key of 32 to 64 bytes in hexadecimal, as `openssl rand -hex 32` makes one",
        ],
    },
    Case { name: "a mark of UTF-8", file: "config/cellgate.yaml", change: marked, problems: &[] },
    Case { name: "a table with a mark of UTF-8", file: "config/accounts.csv", change: marked, problems: &[] },
    Case { name: "lines that end as on Windows", file: "config/accounts.csv", change: crlf, problems: &[] },
];

const NO_BOOT: &str = "boot.yaml: the file is no ordinary file; expected a file that cellgate can read";

const NO_TABLE: &str =
    "cellgate.yaml: accounts.file: the file is no ordinary file; expected a file that cellgate can read";

/// What a configuration folder of the example consists of.
const ENTRIES: [&str; 7] = [
    "boot.yaml",
    "cellgate.yaml",
    "accounts.csv",
    "clients.yaml",
    "credentials.csv",
    "environments.csv",
    "keys",
];

/// Makes of a configuration folder what Kubernetes makes of a ConfigMap: names that are links into `..data`, which is a
/// link to the folder of one version.
pub fn as_config_map(config: &Path, version: &str) {
    fs::create_dir(config.join(version)).unwrap();
    for name in ENTRIES {
        fs::rename(config.join(name), config.join(version).join(name)).unwrap();
        symlink(format!("..data/{name}"), config.join(name)).unwrap();
    }
    symlink(version, config.join("..data")).unwrap();
}

/// Puts a file there, in one step, that everybody may read and only its owner write; the file that was there is gone.
pub fn put(path: &Path, content: &[u8], mode: u32) {
    let beside = path.with_extension("being-written");
    fs::write(&beside, content).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// Takes away what is there, whatever it is.
pub fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn pipe(path: &Path) {
    remove(path);
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
}

fn directory(path: &Path) {
    remove(path);
    fs::create_dir(path).unwrap();
}

fn socket(path: &Path) {
    remove(path);
    drop(UnixListener::bind(path).unwrap());
}

fn device(path: &Path) {
    remove(path);
    symlink("/dev/zero", path).unwrap();
}

fn itself(path: &Path) {
    remove(path);
    symlink(path.file_name().unwrap(), path).unwrap();
}

fn ring(path: &Path) {
    let other = path.with_extension("other");
    remove(path);
    remove(&other);
    symlink(other.file_name().unwrap(), path).unwrap();
    symlink(path.file_name().unwrap(), other).unwrap();
}

fn dangling(path: &Path) {
    remove(path);
    symlink("nowhere", path).unwrap();
}

fn looping(path: &Path) {
    symlink(".", path).unwrap();
}

fn huge(path: &Path) {
    put(path, b"version: 1\n", 0o600);
    File::options().write(true).open(path).unwrap().set_len(2 << 30).unwrap();
}

fn empty(path: &Path) {
    put(path, b"", 0o644);
}

fn changed(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    put(path, &change(fs::read(path).unwrap()), 0o644);
}

fn cut(path: &Path) {
    changed(path, |text| text[..text.len() - 5].to_vec());
}

fn blank_end(path: &Path) {
    changed(path, |text| [text, vec![0; 4096]].concat());
}

fn utf_16(path: &Path) {
    let wide =
        |text: Vec<u8>| String::from_utf8(text).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
    changed(path, |text| [vec![0xff, 0xfe], wide(text)].concat());
}

fn latin_1(path: &Path) {
    changed(path, |text| [text, b"# M\xfcnchen\n".to_vec()].concat());
}

fn marked(path: &Path) {
    changed(path, |text| [b"\xef\xbb\xbf".to_vec(), text].concat());
}

fn crlf(path: &Path) {
    changed(path, |text| String::from_utf8(text).unwrap().replace('\n', "\r\n").into_bytes());
}
