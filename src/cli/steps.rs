//! `cellgate steps`: what is on trial, and what each cell does with it and without it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::admin_socket::ask;
use super::audit::plain;
use super::form::Form;
use super::{OK, print, print_line};

/// An admin plane that answers at all answers within milliseconds.
const WITHIN: Duration = Duration::from_secs(2);

/// Something is on trial.
const ON_TRIAL: u8 = 2;

/// The files were taken back.
const ROLLED_BACK: u8 = 3;

/// Digits of a hash that people compare.
pub(super) const SHORT: usize = 12;

/// Say what comes in force in steps, how far it is, and what each cell does with it and without it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is on trial, 1 nobody answers, 2 something is, 3 nothing is and the last push \
                        was rolled back, 64 wrong arguments"
)]
pub struct Args {
    /// The admin socket
    #[arg(long, value_name = "PATH", default_value = "state/admin.sock")]
    socket: PathBuf,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket, "GET /config", WITHIN)?;
    let config: Value = serde_json::from_str(&answer.body)
        .ok()
        .filter(|config: &Value| answer.is_ok && config["hash"].is_string())
        .with_context(|| format!("{} does not answer as cellgate does", args.socket.display()))?;
    if args.form.is_json() {
        print_line(&as_value(&config).to_string())?;
    } else {
        print(as_text(&config)?.as_bytes())?;
    }
    let rolled_back = config["last_reload"]["outcome"] == "rolled_back";
    Ok(match (config["candidate"].is_object(), rolled_back) {
        (true, _) => ON_TRIAL,
        (false, true) => ROLLED_BACK,
        (false, false) => OK,
    }
    .into())
}

/// The part of the answer that this is about.
fn as_value(config: &Value) -> Value {
    let serving = json!({ "generation": config["generation"], "hash": config["hash"] });
    json!({ "serving": serving, "candidate": config["candidate"], "last_reload": config["last_reload"] })
}

fn as_text(config: &Value) -> anyhow::Result<String> {
    let version = |of: &Value| format!("generation {}, {}…", of["generation"], short(&of["hash"]));
    let mut text = format!("Serving:  {}\n", version(config));
    let candidate = &config["candidate"];
    if !candidate.is_object() {
        let last = &config["last_reload"];
        let (outcome, at) = (word(&last["outcome"]), word(&last["at"]));
        text.push_str(&format!("On trial: nothing. The last reload, at {at}, ended as {outcome}.\n"));
        for reason in last["reasons"].as_array().into_iter().flatten() {
            text.push_str(&format!("  {}\n", word(reason)));
        }
        return Ok(text);
    }
    let Some(left) = candidate["seconds_left"].as_u64() else {
        bail!("the running cellgate is of an older version and does not say how long a step lasts");
    };
    text.push_str(&format!("On trial: {} since {}\n", version(candidate), word(&candidate["since"])));
    let (step, steps) = (&candidate["step"], &candidate["steps"]);
    text.push_str(&match candidate["share"].as_str() {
        Some(share) => {
            format!(
                "          step {step} of {steps}: {} of the accounts, {} left\n",
                plain(share),
                span(left)
            )
        }
        None => format!("          waits for the first replicas, {} left\n", span(left)),
    });
    let cells: Vec<&Value> = candidate["cells"].as_array().into_iter().flatten().collect();
    text.push_str(&match cells[..] {
        [] => "\nNo request has been counted yet.\n".to_owned(),
        _ => table(&cells),
    });
    text.push_str(
        "\nTo stop it, put the files back. To skip the steps: POST /reload with {\"at_once\": true} on the socket.\n",
    );
    Ok(text)
}

/// A cell a line, both sides beside each other.
fn table(cells: &[&Value]) -> String {
    let names: Vec<String> = cells.iter().map(|cell| word(&cell["cell"])).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("cell".len());
    let sides = "----- with it -----------   ----- without it --------";
    let heads = "requests  failed     4xx   requests  failed     4xx";
    let mut text = format!("\n{:width$}  {sides}\n{:width$}   {heads}\n", "", "cell");
    for (cell, name) in cells.iter().zip(&names) {
        let side = |of: &Value| {
            let [requests, failed, denied] =
                ["requests", "failed", "denied"].map(|key| of[key].as_u64().unwrap_or(0));
            format!("{requests:>8}  {failed:>6}  {denied:>6}")
        };
        text.push_str(&format!("{name:width$}   {}   {}\n", side(&cell["with"]), side(&cell["without"])));
    }
    text
}

/// What a foreign answer says, fit for a terminal.
fn word(value: &Value) -> String {
    plain(value.as_str().unwrap_or("?"))
}

fn short(hash: &Value) -> String {
    word(hash).chars().take(SHORT).collect()
}

/// `45s`, `4m 10s`, `2h 5m`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HASH: &str = "4fd1c2aa9900112233";

    fn on_trial() -> Value {
        let side =
            |requests, failed, denied| json!({ "requests": requests, "failed": failed, "denied": denied });
        let cell = |name, with, without| json!({ "cell": name, "with": with, "without": without });
        json!({
            "generation": 2, "hash": HASH, "last_reload": { "outcome": "staged", "at": "now" },
            "candidate": {
                "generation": 3, "hash": HASH.replace('4', "5"), "share": "10%", "step": 1, "steps": 2,
                "since": "2026-11-22T05:00:00Z", "seconds_left": 250,
                "cells": [cell("us1", side(12, 0, 1), side(1200, 3, 40)), cell("a-long-name", side(5, 5, 0), side(0, 0, 0))],
            },
        })
    }

    #[test]
    fn both_sides_of_every_cell_stand_beside_each_other() {
        let text = as_text(&on_trial()).unwrap();
        let expect = "\
Serving:  generation 2, 4fd1c2aa9900…
On trial: generation 3, 5fd1c2aa9900… since 2026-11-22T05:00:00Z
          step 1 of 2: 10% of the accounts, 4m 10s left

             ----- with it -----------   ----- without it --------
cell          requests  failed     4xx   requests  failed     4xx
us1                 12       0       1       1200       3      40
a-long-name          5       5       0          0       0       0

To stop it, put the files back. To skip the steps: POST /reload with {\"at_once\": true} on the socket.
";
        assert_eq!(text, expect);
    }

    #[test]
    fn what_waits_and_what_is_over_say_so_and_control_characters_do_not_reach_the_terminal() {
        let mut waits = on_trial();
        waits["candidate"]["share"].take();
        waits["candidate"]["cells"].take();
        let text = as_text(&waits).unwrap();
        assert!(text.contains("waits for the first replicas, 4m 10s left"), "{text}");
        assert!(text.contains("No request has been counted yet."), "{text}");
        let over = json!({
            "generation": 2, "hash": "\u{1b}[2Jfeed",
            "last_reload": { "outcome": "rolled_back", "at": "now", "reasons": ["cell us1: 5 of 5\u{7}"] },
        });
        let text = as_text(&over).unwrap();
        assert!(text.ends_with("ended as rolled_back.\n  cell us1: 5 of 5 \n"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
        assert_eq!([0, 59, 60, 3_599, 7_500].map(span), ["0s", "59s", "1m 0s", "59m 59s", "2h 5m"]);
    }
}
