//! The configurations that are shipped: `cellgate check --strict` has nothing against them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use cellgate::config::{Boot, Config, parse_all};
use cellgate::load::{Place, load};
use cellgate::telemetry::wall_time::unix_seconds;
use devcerts::{Authority, Usage};
use serde_json::Value;
use tempfile::TempDir;

use crate::checkers::{ended, said};

/// Where they say that keys and certificates are.
const SECRETS: &str = "/etc/cellgate-secrets";

/// The routing configuration of all of them, and one `boot.yaml`, in a folder of its own with keys beside it.
pub struct Example {
    folder: TempDir,
}

impl Example {
    pub fn with(boot: &str) -> Self {
        let example = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["config", "secrets"] {
            fs::create_dir(example.path(folder)).unwrap();
        }
        let secrets = example.path("secrets");
        for entry in fs::read_dir(crate::path("packaging/example")).unwrap() {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap().replace(SECRETS, secrets.to_str().unwrap());
            fs::write(example.path("config").join(entry.file_name()), text).unwrap();
        }
        let names = ["legacy.example.com", "*.cells.example.com"];
        let pair = Authority::new("packaging").unwrap().issue(&names, Usage::Server).unwrap();
        for (name, text) in
            [("tls.crt", &*pair.cert_pem), ("tls.key", &*pair.key_pem), ("fingerprint.key", &"5a".repeat(32))]
        {
            fs::write(secrets.join(name), text).unwrap();
        }
        fs::copy(crate::path(boot), example.path("boot.yaml")).unwrap();
        example
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self) -> (Boot, Config) {
        let place = Place { folder: self.path("config"), boot: Some(self.path("boot.yaml")) };
        parse_all(&load(place), unix_seconds(SystemTime::now())).unwrap()
    }

    /// `cellgate COMMAND --config ... --boot ...`.
    pub fn cellgate(&self, command: &str) -> Command {
        let mut cellgate = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        cellgate.arg(command).arg("--config").arg(self.path("config"));
        cellgate.arg("--boot").arg(self.path("boot.yaml"));
        cellgate
    }
}

/// One for each place that cellgate is shipped for.
pub const BOOTS: [&str; 4] = [
    "packaging/debian/boot.yaml",
    "packaging/docker/boot.yaml",
    "packaging/kubernetes/boot.yaml",
    "packaging/nlb/boot.yaml",
];

#[test]
fn a_strict_check_has_nothing_against_any_configuration_that_is_shipped() {
    for boot in BOOTS {
        let example = Example::with(boot);
        let output = ended(example.cellgate("check").args(["--strict", "-o", "json"]));
        assert_eq!(output.status.code(), Some(0), "{boot}: {}", said(&output));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&told["listeners"], &told["accounts"]), (&2.into(), &3.into()), "{boot}");
        // Where cellgate is not installed, whether its state lasts cannot be known; there is nothing else.
        let warnings = told["warnings"].as_array().unwrap().iter();
        let other = warnings.filter(|warning| !warning.to_string().contains("is not on this machine"));
        assert_eq!(other.count(), 0, "{boot}: {told}");
    }
}

#[test]
fn a_strict_check_fails_where_the_state_folder_is_in_memory() {
    let example = Example::with("packaging/docker/boot.yaml");
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let boot = fs::read_to_string(example.path("boot.yaml")).unwrap();
    let boot = boot.replace("/var/lib/cellgate", memory.path().to_str().unwrap());
    fs::write(example.path("boot.yaml"), boot).unwrap();
    let plain = ended(&mut example.cellgate("check"));
    assert_eq!(plain.status.code(), Some(0), "{}", said(&plain));
    let strict = ended(example.cellgate("check").arg("--strict"));
    assert_eq!(strict.status.code(), Some(64), "{}", said(&strict));
    let told = said(&strict);
    for word in [
        "does not last: it lies in memory",
        "the last good configuration, the books",
        "on a volume that stays",
    ] {
        assert!(told.contains(word), "{word} in {told}");
    }
}
