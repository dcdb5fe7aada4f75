//! What nobody means: requests that some reader could take for something else, and files that went
//! wrong on their way.

use cellgate::config::{FileText, Sources};
use fastrand::Rng;
use http::{HeaderName, HeaderValue};

use crate::snapshot::Request;
use crate::world::{World, token};

/// Texts that servers, decoders or tables treat specially.
const PIECES: [&str; 26] = [
    "/",
    "//",
    "/.",
    "/..",
    "/%2e%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    ";a=b",
    "%",
    "%25",
    "%2561",
    "%00",
    "?",
    "&",
    "?account_id=1",
    "&account_id=2",
    "&account%5fid=3",
    "/api/v2/accounts/4",
    "/deploy/5",
    "%c0%af",
    "0",
    "-1",
    "/../../deploy/",
    "*",
];

/// The same request, made strange in some way. Its host stays: that is what must decide.
pub fn twist(mut request: Request, world: &World, rng: &mut Rng) -> Request {
    for _ in 0..rng.u32(1..4) {
        match rng.u32(..8) {
            0..=3 => {
                // Targets are ASCII here, so that every place is between characters.
                let at = rng.usize(1..=request.target.len());
                request.target.insert_str(at, PIECES[rng.usize(..PIECES.len())]);
            }
            4 => {
                let id = world.any_account(rng);
                request.target.push_str(&format!("/../../accounts/{id}"));
            }
            5 => {
                let names = [
                    "environmentid",
                    "x-account-id",
                    "x-cellgate-account",
                    "x-cellgate-cell",
                    "x_account_id",
                ];
                append(&mut request, names[rng.usize(..5)], &world.any_account(rng).to_string());
            }
            6 => {
                let text = format!("account={}; sessionid={}", world.any_account(rng), token(rng.usize(..4)));
                append(&mut request, "cookie", &text);
            }
            _ => {
                let (name, value) = [
                    ("authorization", "Token dbtc_simulation0001"),
                    ("x-forwarded-host", "ac1.us1.dbt.com"),
                    ("x-original-url", "/api/v2/accounts/1"),
                    ("forwarded", "host=ac1.us1.dbt.com"),
                    ("connection", "x-account-id"),
                    ("sec-fetch-mode", "navigate"),
                ][rng.usize(..6)];
                append(&mut request, name, value);
            }
        }
    }
    if rng.u32(..6) == 0 {
        request.host = request.host.to_ascii_uppercase();
    }
    request
}

/// Makes files wrong. Says whether they surely are: a byte may fall where it does no harm.
pub fn spoil(sources: &mut Sources, rng: &mut Rng) -> bool {
    let accounts = "accounts.csv";
    match rng.u32(..9) {
        0 => append_row(sources, accounts, "77777,,nowhere,,"),
        1 => append_row(sources, accounts, "not-a-number,,nowhere,,"),
        2 => truncate_to_header(sources, accounts),
        3 => append_row(sources, "environments.csv", "5,999999999"),
        4 => append_text(&mut sources.routing, "\nunheard_of: true\n"),
        5 => append_text(&mut sources.routing, "\nversion: 1\n"),
        6 => drop(sources.files.remove("accounts.csv")),
        7 => {
            let first_row = String::from_utf8(sources.files[accounts].clone().unwrap()).unwrap();
            append_row(sources, accounts, first_row.lines().nth(1).unwrap());
        }
        _ => {
            let names: Vec<Box<str>> = sources.files.keys().cloned().collect();
            let file = match rng.usize(..names.len() + 2) {
                at if at < names.len() => sources.files.get_mut(&names[at]).unwrap(),
                _ => &mut sources.routing,
            };
            scramble(file.as_mut().unwrap(), rng);
            return false;
        }
    }
    true
}

fn scramble(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.u32(1..4) {
        let at = rng.usize(..=bytes.len());
        match rng.u32(..4) {
            0 => bytes.insert(at, rng.u8(..)),
            1 => bytes.insert(at, b" \n:{}[]&*!|>'\"%@`,#-\t\0"[rng.usize(..22)]),
            2 if at < bytes.len() => drop(bytes.drain(at..(at + rng.usize(1..40)).min(bytes.len()))),
            _ => bytes.truncate(at),
        }
        if bytes.is_empty() {
            return;
        }
    }
}

fn append(request: &mut Request, name: &'static str, value: &str) {
    request.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
}

fn append_row(sources: &mut Sources, file: &str, row: &str) {
    append_text(sources.files.get_mut(file).unwrap(), &format!("{row}\n"));
}

fn truncate_to_header(sources: &mut Sources, file: &str) {
    let text = sources.files.get_mut(file).unwrap().as_mut().unwrap();
    let end = text.iter().position(|byte| *byte == b'\n').unwrap();
    text.truncate(end + 1);
}

fn append_text(file: &mut FileText, text: &str) {
    file.as_mut().unwrap().extend(text.bytes());
}
