//! Files that are none, are not whole, or are being written, in the folder of a process that serves: what serves goes
//! on, what is said is what `check` says, and what is put right is taken over whole.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cellgate::config::parse_all;
use cellgate::load::load;
use fastrand::Rng;
use serde_json::Value;

use super::rejected::Site;
use crate::bad_files::{CASES, as_config_map, put, remove, said};
use crate::broken::{self, broken};
use crate::running::{Folder, eventually};

/// Broken configurations that one process is made to read, and with `CELLGATE_TEST_LONG=1`. Ten thousand are read in
/// `tests/config/broken.rs`; these show that what is refused there changes nothing here.
const BROKEN: usize = 150;
const BROKEN_LONG: usize = 10_000;

/// Times that a ConfigMap is given other content.
const SWAPS: usize = 10;

/// Most reloads while a file grows, and how often it must be seen to grow.
const GROWING: usize = 100;
const SEEN_TO_GROW: usize = 5;

/// Rows that it grows by before it begins anew.
const ROWS: u64 = 200;

fn now() -> i64 {
    cellgate::telemetry::wall_time::unix_seconds(std::time::SystemTime::now())
}

/// Generation and hash.
fn in_force(site: &Site) -> (Value, Value) {
    let config = site.page("/config");
    (config["generation"].clone(), config["hash"].clone())
}

fn problems(reply: &Value) -> Vec<String> {
    let text = |problem: &Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let problem = |problem: &Value| {
        let part = |key| text(problem, key);
        said(&part("file"), &part("path"), &part("what"), &part("expected"))
    };
    reply["problems"].as_array().into_iter().flatten().map(problem).collect()
}

#[test]
fn whatever_stands_in_the_place_of_a_file_changes_nothing_that_serves() {
    let site = Site::prepared(|_| {});
    for case in &CASES {
        let path = site.folder.path(case.file);
        let before =
            path.exists().then(|| (fs::read(&path).unwrap(), path.metadata().unwrap().permissions().mode()));
        let serving = in_force(&site);
        (case.change)(&path);
        let reply = site.reload();
        assert_eq!(problems(&reply.json()), case.problems, "{}: {}", case.name, reply.text());
        assert_eq!(reply.status, if case.problems.is_empty() { 200 } else { 422 }, "{}", case.name);
        if !case.problems.is_empty() {
            assert_eq!(in_force(&site), serving, "{}", case.name);
        }
        assert_eq!(site.cell(), "cell-2", "{}", case.name);
        remove(&path);
        if let Some((content, mode)) = before {
            put(&path, &content, mode & 0o777);
        }
        assert_eq!(site.reload().status, 200, "{}", case.name);
    }
}

#[test]
#[allow(clippy::print_stdout)] // How long it took.
fn a_broken_configuration_changes_nothing_that_serves() {
    let site = Site::prepared(|_| {});
    let config = site.folder.path("config");
    let good = load(&config);
    let serving = in_force(&site);
    let mut rng = Rng::with_seed(8);
    let most = if std::env::var_os("CELLGATE_TEST_LONG").is_some() { BROKEN_LONG } else { BROKEN };
    let (mut refused, started) = (0, Instant::now());
    while refused < most {
        let (mut sources, how) = broken(&good, &mut rng);
        if parse_all(&sources, now()).is_ok() {
            continue;
        }
        let name = how.split(':').next().unwrap();
        let path = config.join(name);
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        put(&path, broken::file(&mut sources, name).as_ref().unwrap(), mode);
        let reply = site.reload();
        assert_eq!(reply.status, 422, "{how}: {}", reply.text());
        let expect = parse_all(&load(&config), now()).err().unwrap();
        let expect: Vec<String> =
            expect.iter().map(|of| said(&of.file, &of.path, &of.what, &of.expected)).collect();
        assert_eq!(problems(&reply.json()), expect, "{how}");
        assert_eq!(in_force(&site), serving, "{how}");
        refused += 1;
        put(&path, broken::file(&mut good.clone(), name).as_ref().unwrap(), mode);
    }
    println!("{refused} broken configurations after {:.1?}", started.elapsed());
    assert_eq!((site.cell().as_str(), site.reload().status), ("cell-2", 200));
    assert_eq!(in_force(&site), serving);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_never_read_in_part() {
    // Thousands of rows come and go, which is what guards are against.
    let no_guards = |folder: &Folder| folder.edit("config/boot.yaml", "guards: {", "guards: { mode: 'off',");
    let site = Site::prepared(no_guards);
    let path = site.folder.path("config/accounts.csv");
    let stop = AtomicBool::new(false);
    let (mut applied, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            let bytes = file.metadata().unwrap().len();
            let mut rows = (0..ROWS).cycle();
            while let (Some(row), false) = (rows.next(), stop.load(Ordering::Relaxed)) {
                if row == 0 {
                    file.set_len(bytes).unwrap();
                }
                // In two pieces, as a program that is not careful writes it.
                write!(file, "{},,", 100_000 + row).unwrap();
                writeln!(file, "cell-1,,").unwrap();
            }
        });
        while refused < SEEN_TO_GROW && applied + refused < GROWING {
            let reply = site.reload();
            assert_eq!(site.cell(), "cell-2");
            if reply.status == 200 {
                applied += 1;
                continue;
            }
            refused += 1;
            assert_eq!(reply.status, 422, "{}", reply.text());
            for problem in problems(&reply.json()) {
                let known = [
                    "the file was written to while it was read; ",
                    "the file changes while it is read; ",
                    "accounts.csv: found ",
                    "accounts.csv: the last line does not end; ",
                ];
                assert!(known.iter().any(|known| problem.contains(known)), "{problem}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(refused, SEEN_TO_GROW, "{applied} times it did not grow");
    // Whole again: the table has every row.
    assert_eq!(site.reload().status, 200);
    let last =
        site.folder.read("config/accounts.csv").lines().last().unwrap().split(',').next().unwrap().to_owned();
    let page =
        crate::raw_http::admin(&site.folder.path("state/admin.sock"), "GET", &format!("/accounts/{last}"));
    assert_eq!(page.json()["cell"], "cell-1", "{}", page.text());
}

/// A configuration folder that Kubernetes fills.
struct ConfigMap<'a> {
    folder: &'a Folder,
    versions: usize,
}

impl ConfigMap<'_> {
    /// Before the process starts.
    fn make(folder: &Folder) {
        as_config_map(&folder.path("config"), &Self::version(0));
    }

    fn version(number: usize) -> String {
        format!("..2026_11_20_00_00_00.{number}")
    }

    /// A new version: all files in a new folder, the link put in place of the old one, the old folder gone.
    fn publish(&mut self, change: impl Fn(&str, String) -> String) {
        let config = self.folder.path("config");
        let (old, new) = (Self::version(self.versions - 1), Self::version(self.versions));
        copy(&config.join(&old), &config.join(&new), &change);
        self.point(&new);
        fs::remove_dir_all(config.join(old)).unwrap();
        self.versions += 1;
    }

    fn point(&self, target: &str) {
        let config = self.folder.path("config");
        symlink(target, config.join("..data_tmp")).unwrap();
        fs::rename(config.join("..data_tmp"), config.join("..data")).unwrap();
    }
}

fn copy(from: &Path, to: &Path, change: &dyn Fn(&str, String) -> String) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name), change);
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            fs::write(to.join(&name), change(&name, text)).unwrap();
        }
    }
}

/// Two files that belong together: where account 12345 lives, and the number of the version in the guide's address.
fn version(number: usize) -> impl Fn(&str, String) -> String {
    move |name, text| match name {
        "accounts.csv" => {
            let row = |line: &str| match line.strip_prefix("12345,acme ac345,") {
                Some(_) => format!("12345,acme ac345,cell-{},,\n", number % 3 + 1),
                None => format!("{line}\n"),
            };
            text.lines().map(row).collect()
        }
        "cellgate.yaml" => {
            let line = |line: &str| match line.strip_prefix("guide: ") {
                Some(_) => format!("guide: https://docs.example.com/{number}\n"),
                None => format!("{line}\n"),
            };
            text.lines().map(line).collect()
        }
        _ => text,
    }
}

#[test]
fn a_config_map_is_taken_over_whole_and_a_broken_one_not_at_all() {
    let site = Site::prepared(ConfigMap::make);
    let mut map = ConfigMap { folder: &site.folder, versions: 1 };
    let hash = || parse_all(&load(&site.folder.path("config")), now()).unwrap().1.hash;
    let mut before = hash();
    // Nobody asks for a reload.
    for number in 1..=SWAPS {
        map.publish(version(number));
        let expect = hash();
        eventually("the new version", || {
            let (_, serving) = in_force(&site);
            let serving = serving.as_str().unwrap();
            assert!([&*before, &*expect].contains(&serving), "half of a version serves: {serving}");
            (*serving == *expect).then_some(())
        });
        assert_eq!(site.cell(), format!("cell-{}", number % 3 + 1));
        before = expect;
    }
    let serving = in_force(&site);
    assert_eq!(serving.0, 1 + SWAPS);
    let sound = ConfigMap::version(map.versions - 1);
    let refused = |why: &str| {
        let reply = site.reload();
        let expect = ["boot.yaml", "cellgate.yaml"].map(|file| {
            format!("{file}: the file cannot be read: {why}; expected a file that cellgate can read")
        });
        assert_eq!((reply.status, problems(&reply.json())), (422, expect.to_vec()), "{}", reply.text());
        assert_eq!(in_force(&site), serving);
        assert_eq!(site.cell(), format!("cell-{}", SWAPS % 3 + 1));
    };
    map.point("..2026_11_20_00_00_00.gone");
    refused("No such file or directory (os error 2)");
    map.point("..data");
    refused("Too many levels of symbolic links (os error 40)");
    map.point(&sound);
    assert_eq!(site.reload().status, 200);
    assert_eq!(in_force(&site), serving, "what serves was never gone");
    // A version that is good but for one file.
    map.publish(|name, text| match name {
        "accounts.csv" => text.replace("cell-3", "cell-9"),
        "cellgate.yaml" => text.replace("docs.example.com", "other.example.com"),
        _ => text,
    });
    assert_eq!(site.reload().status, 422);
    assert_eq!(in_force(&site), serving);
}
