//! Looks for canaries in everything that a process leaves: as they are, in any case, and as base64, percent-coded and
//! hexadecimal text; in files that are packed, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cellgate::policy::access::routes::ROUTES;

use crate::command_line::cellgate;
use crate::running::Folder;

/// What each canary begins with: nothing else in the world does.
const STEM: &str = "Canary7f3a91x";

/// How a packed frame of the spool begins (RFC 8878 section 3.1.1).
const PACKED: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// More than a frame of these tests is unpacked to.
const UNPACKED_BYTES: usize = 64 * 1024 * 1024;

/// The canary of a field. A `z` ends the name of the field, so that it is read back whatever stands behind.
pub fn canary(field: &str) -> String {
    assert!(field.bytes().all(|byte| byte.is_ascii_alphabetic() && byte != b'z'), "{field}");
    format!("{STEM}{field}z")
}

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    AccessLog,
    ProcessLog,
    /// The state folder: books, their journals, the spool, and all that outlives a process.
    State,
    Admin,
    Report,
    /// What a collector of traces gets.
    Spans,
}

/// What was found, each with where it was first seen.
#[derive(Default)]
pub struct Found {
    pub canaries: BTreeMap<(Place, String), String>,
    /// Frames that were unpacked.
    pub frames: usize,
    /// Texts that were looked at, by place: a search in nothing finds nothing.
    pub looked_at: BTreeMap<Place, usize>,
}

impl Found {
    pub fn add(&mut self, other: Self) {
        self.frames += other.frames;
        for (place, many) in other.looked_at {
            *self.looked_at.entry(place).or_default() += many;
        }
        for (what, first) in other.canaries {
            self.canaries.entry(what).or_insert(first);
        }
    }
}

/// Looks at one text or file.
pub fn search(place: Place, what: &str, bytes: &[u8]) -> Found {
    let mut found =
        Found { looked_at: BTreeMap::from([(place, usize::from(!bytes.is_empty()))]), ..Found::default() };
    let lower = bytes.to_ascii_lowercase();
    for (disguise, pattern, any_case) in disguises() {
        let text = if any_case { &lower[..] } else { bytes };
        for at in memchr::memmem::find_iter(text, &pattern) {
            let field = match disguise {
                "plain" => field(&lower[at + STEM.len()..]),
                _ => format!("something as {disguise}"),
            };
            let around = &bytes[at.saturating_sub(100)..(at + 100).min(bytes.len())];
            let around = format!("{what}: {}", String::from_utf8_lossy(around).escape_debug());
            found.canaries.entry((place, field)).or_insert(around);
        }
    }
    for at in memchr::memmem::find_iter(bytes, &PACKED) {
        // Where the frame ends is not known here; what follows it is not read.
        let mut unpacked = Vec::new();
        if let Ok(decoder) = zstd::stream::Decoder::new(&bytes[at..]) {
            let mut decoder = std::io::Read::take(decoder.single_frame(), UNPACKED_BYTES as u64);
            if std::io::Read::read_to_end(&mut decoder, &mut unpacked).is_ok() {
                found.add(search(place, &format!("{what}, unpacked"), &unpacked));
                found.frames += 1;
            }
        }
    }
    found
}

/// A file, where it is there.
pub fn file(place: Place, path: &Path) -> Found {
    search(place, &path.display().to_string(), &fs::read(path).unwrap_or_default())
}

/// All files below a folder.
pub fn folder(path: &Path) -> Found {
    let mut found = Found::default();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.add(folder(&path));
        } else if path.is_file() {
            found.add(file(Place::State, &path));
        }
    }
    found
}

/// Pages of the admin plane, as its own table of routes has them.
pub fn pages() -> Vec<String> {
    let read = ROUTES.iter().filter(|route| !route.changes());
    // A stream has no end, and what it says is what /live says.
    let read = read.filter(|route| route.path != "/live/events");
    let pages = read.map(|route| route.path.replace("{id}", "12345"));
    let more = ["/accounts?find=12345", "/report/accounts/12345.json"].map(str::to_owned);
    let pages: Vec<String> = pages.filter(|page| page != "/accounts").chain(more).collect();
    assert!(pages.len() >= 10, "{pages:?}");
    pages
}

/// Every report in every form, and the letters.
pub fn reports(folder: &Folder) -> Found {
    let config = folder.path("config").display().to_string();
    let mut found = Found::default();
    let lists = ["", "integrations", "new", "returned", "unattributed", "clients", "impact", "lost"];
    let mut printed = 0;
    for list in lists {
        for output in ["table", "json", "csv", "markdown", "html"] {
            for more in ["", "--account 12345", "--all"] {
                let time = "--from 2020-01-01T00:00Z --to 2100-01-01T00:00Z";
                let time = if matches!(list, "impact" | "lost") { time } else { "" };
                let line = format!("report {list} -o {output} {more} {time}");
                let mut arguments: Vec<&str> = line.split_whitespace().collect();
                arguments.extend(["--config", &config]);
                let said = cellgate(folder, &arguments);
                printed += usize::from(said.status.success());
                found.add(search(Place::Report, &line, &[said.stdout, said.stderr].concat()));
            }
        }
    }
    assert!(printed > 60, "{printed} reports were printed");
    let letters: PathBuf = folder.path("letters");
    let said = cellgate(folder, &["outreach", &letters.display().to_string(), "--config", &config]);
    assert!(said.status.success(), "{said:?}");
    for path in [letters.join("accounts.csv"), letters.join("letters/12345.md")] {
        found.add(search(Place::Report, &path.display().to_string(), &fs::read(&path).unwrap()));
    }
    let said = cellgate(folder, &["books", "forget", "12345"]);
    found.add(search(Place::Report, "books forget", &[said.stdout, said.stderr].concat()));
    found
}

/// Name, what to look for, and whether in any case.
fn disguises() -> Vec<(&'static str, Vec<u8>, bool)> {
    let lower = STEM.to_lowercase();
    let coded = |format: &dyn Fn(u8) -> String, text: &str| text.bytes().map(format).collect::<String>();
    let mut all =
        vec![("plain", lower.clone().into_bytes(), true), ("reversed", lower.bytes().rev().collect(), true)];
    for text in [STEM, &lower, &STEM.to_uppercase()] {
        all.push(("percent-coded", coded(&|byte| format!("%{byte:02x}"), text).into_bytes(), true));
        all.push(("hexadecimal", coded(&|byte| format!("{byte:02x}"), text).into_bytes(), true));
        for before in 0..3 {
            // What stands around it decides about the first and the last characters.
            let padded = [&" ".repeat(before), text].concat();
            let from = [0, 2, 3][before];
            let to = padded.len() / 3 * 4;
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = engine.encode(&padded);
                all.push(("base64", text[from..to].to_owned().into_bytes(), false));
            }
        }
    }
    all
}

/// The name of a field, up to its end.
fn field(rest: &[u8]) -> String {
    let name = rest.iter().take_while(|byte| byte.is_ascii_lowercase() && **byte != b'z');
    String::from_utf8(name.copied().collect()).unwrap()
}

#[test]
fn a_canary_is_found_in_every_disguise() {
    let canary = canary("cookie");
    let percent: String = canary.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hex: String = canary.bytes().map(|byte| format!("{byte:02X}")).collect();
    let json = serde_json::to_string(&["user:", &canary].concat()).unwrap();
    let reversed: String = canary.chars().rev().collect();
    let packed = zstd::bulk::compress(canary.as_bytes(), 1).unwrap();
    let mut texts = vec![canary.clone(), canary.to_uppercase(), percent, hex, json, reversed];
    for before in 0..4 {
        texts.push(STANDARD_NO_PAD.encode(format!("{}{canary} and so on", "b".repeat(before))));
    }
    let texts = texts.into_iter().map(String::into_bytes).chain([packed]);
    for text in texts {
        let text = [b"before ", &text[..], b" behind"].concat();
        let found = search(Place::Admin, "a page", &text);
        assert!(!found.canaries.is_empty(), "{}", String::from_utf8_lossy(&text));
    }
    assert!(search(Place::Admin, "a page", b"canary 7f3a91").canaries.is_empty());
}
