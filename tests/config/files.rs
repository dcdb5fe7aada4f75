//! What stands in the place of a configuration file and is none, or cannot be read, or is not whole: each is refused
//! with a message that says so, and nothing is waited for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cellgate::config::{Problem, parse_all};
use cellgate::load::load;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::NOW;
use super::loading::folder;
use crate::bad_files::{CASES, as_config_map, said};

fn problems(root: &Path) -> Vec<String> {
    let problem = |problem: &Problem| said(&problem.file, &problem.path, &problem.what, &problem.expected);
    let problems = parse_all(&load(&root.join("config")), NOW).err().unwrap_or_default();
    problems.iter().map(problem).collect()
}

#[test]
fn whatever_stands_in_the_place_of_a_file_is_refused_for_what_it_is() {
    for case in &CASES {
        let root = folder();
        (case.change)(&root.path().join(case.file));
        assert_eq!(problems(root.path()), case.problems, "{}", case.name);
    }
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    let mut checked = 0;
    for (file, key) in [
        ("config/boot.yaml", "boot.yaml: "),
        ("config/cellgate.yaml", "cellgate.yaml: "),
        ("config/accounts.csv", "cellgate.yaml: accounts.file: "),
        ("certs/dev/us1.key", "cellgate.yaml: certificates[1].key: "),
    ] {
        let root = folder();
        fs::set_permissions(root.path().join(file), fs::Permissions::from_mode(0o000)).unwrap();
        let denied = "the file cannot be read: Permission denied (os error 13); expected a file that cellgate can read";
        assert_eq!(without_privileges(|| problems(root.path())), [format!("{key}{denied}")], "{file}");
        checked += 1;
    }
    let root = folder();
    fs::set_permissions(root.path().join("config"), fs::Permissions::from_mode(0o000)).unwrap();
    let found = without_privileges(|| problems(root.path()));
    fs::set_permissions(root.path().join("config"), fs::Permissions::from_mode(0o755)).unwrap();
    let expect = ["boot.yaml", "cellgate.yaml"].map(|file| {
        format!("{file}: the file cannot be read: Permission denied (os error 13); expected a file that cellgate can read")
    });
    assert_eq!(found, expect);
    assert_eq!(checked, 4);
}

/// On a thread that may read only what its user may, also where that user is root.
fn without_privileges<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    let look = || {
        let mut sets = capabilities(None).unwrap();
        sets.effective &= !(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        set_capabilities(None, sets).unwrap();
        look()
    };
    std::thread::scope(|scope| scope.spawn(look).join().unwrap())
}

#[test]
fn a_folder_as_kubernetes_mounts_it_is_read_through_its_links() {
    let root = folder();
    let config = root.path().join("config");
    let version = "..2026_11_20_00_00_00.1";
    as_config_map(&config, version);
    assert_eq!(problems(root.path()), [""; 0]);
    fs::rename(config.join(version), config.join("elsewhere")).unwrap();
    let gone = ["boot.yaml", "cellgate.yaml"].map(|file| {
        format!("{file}: the file cannot be read: No such file or directory (os error 2); expected a file that cellgate can read")
    });
    assert_eq!(problems(root.path()), gone);
}
