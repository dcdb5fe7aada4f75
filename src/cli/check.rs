//! `cellgate check`: exit code 0 when the configuration could be served, 64 with every problem when not.

mod acting;
mod state;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use super::form::Form;
use super::{ConfigFolder, OK, USAGE, complain, now, print_line, progress};
use crate::audit::learned_use::{self, LearnedUse};
use crate::config::{brownouts, protection};
use crate::policy::snapshot::Snapshot;
use crate::telemetry::wall_time::{Seconds, from_unix_seconds};
use crate::{access_files, config, load};

/// How far back it is looked for what a replica that has learned nothing could not place: a week, so that every
/// job that runs weekly is in it.
const LOOK_BACK_SECS: i64 = 7 * 86_400;

/// Read the configuration and report every problem in it.
///
/// Exit codes: 0 it could be served, 1 the books cannot be read, 64 it has problems. With --strict also 64: a protection
/// only watches past its time, would have acted for a minute, or nobody can say whether it would have; or a brownout, an
/// exemption or an extension is over and still stands in the files; or the state folder does not last.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// Also say how many requests of the last 7 days a replica that has learned nothing could not have placed, by
    /// the books in this state folder
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Fail also where a brownout or a promise in the files is over, or a protection is in observe for longer than it was meant to be, or would have acted for a minute by
    /// what the process behind --socket says, or else by what it wrote into --state-dir; and where the state folder does not outlive its container or machine
    #[arg(long)]
    strict: bool,
    /// The admin socket of the process that serves, for --strict
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let busy = progress::busy("reading the configuration");
    let sources = load::load(args.config.place());
    let parsed = config::parse_all(&sources, now());
    let of_admin = of_admin(&sources);
    drop(busy);
    let problems = match parsed {
        Ok((boot, config)) if of_admin.is_empty() => {
            let snapshot = config::compile(config, None);
            let mut remarks = boot.guards.remarks(&snapshot);
            let mut standing = protection::remarks(&snapshot.protection, snapshot.cells.iter(), now());
            standing.extend(brownouts::remarks(&snapshot, now()));
            let overdue = standing.iter().filter(|remark| remark.is_overdue).count();
            remarks.extend(standing.into_iter().map(|remark| remark.what));
            let (acting, state) = match args.strict {
                true => (
                    acting::look(&snapshot, args.socket.as_deref(), args.state_dir.as_deref(), now()),
                    state::look(args.state_dir.as_deref(), &boot.state_dir),
                ),
                false => (acting::Acting::default(), Ok(None)),
            };
            remarks.extend(acting.remarks.iter().chain(state.iter().flatten()).cloned());
            if !args.form.is_json() {
                remarks.iter().for_each(|remark| complain(&format!("warning: {remark}")));
            }
            let cold = args.state_dir.as_deref().map(|folder| Cold::read(folder, &snapshot)).transpose()?;
            print_line(&good(args.form, &snapshot, boot.listeners.len(), &remarks, cold.as_ref()))?;
            if overdue > 0 && args.strict {
                complain(&format!(
                    "--strict: {overdue} of the warnings are overdue: enforce or say until when, and take out what is over"
                ));
            }
            let fails: Vec<&String> = acting.fails.iter().chain(state.as_ref().err()).collect();
            for why in &fails {
                complain(&format!("--strict: {why}"));
            }
            if args.strict && overdue > 0 || !fails.is_empty() {
                return Ok(USAGE.into());
            }
            return Ok(OK.into());
        }
        Ok(_) => of_admin,
        Err(problems) => problems.into_iter().chain(of_admin).collect(),
    };
    args.form.tell(&problems)?;
    Ok(USAGE.into())
}

/// What is wrong with the files that say who may do what on the admin plane. A process serves without them.
fn of_admin(sources: &config::Sources) -> Vec<config::Problem> {
    let Ok(boot) = config::parse_boot(sources) else { return Vec::new() };
    let text = sources.boot.as_deref().unwrap_or_default();
    config::access::access(&boot.admin, &access_files::read(&boot.admin), text, now()).1
}

fn good(
    form: Form,
    snapshot: &Snapshot,
    listeners: usize,
    remarks: &[String],
    cold: Option<&Cold>,
) -> String {
    let (cells, accounts) = (snapshot.cells.len(), snapshot.accounts.len());
    match form.is_json() {
        false => {
            let hash = &snapshot.hash[..12];
            let more = cold.map_or_else(String::new, |cold| format!("\n{}", cold.said()));
            format!(
                "The configuration is good: {listeners} listeners, {cells} cells, {accounts} accounts, hash {hash}.{more}"
            )
        }
        true => {
            let mut told = serde_json::json!({
                "ok": true, "hash": snapshot.hash, "listeners": listeners, "cells": cells, "accounts": accounts,
                "warnings": remarks,
            });
            if let Some(cold) = cold {
                told["cold_replica"] = cold.to_json();
            }
            told.to_string()
        }
    }
}

/// What a replica that has this configuration and has learned nothing could not have placed.
struct Cold {
    books: LearnedUse,
    requests: u64,
    credentials: usize,
}

impl Cold {
    fn read(state_dir: &Path, snapshot: &Snapshot) -> anyhow::Result<Self> {
        let books = learned_use::read(state_dir, now().saturating_sub(LOOK_BACK_SECS))?;
        let mut missing = books.by_credential.clone();
        for (known, _) in snapshot.identify.credentials.table.iter() {
            missing.remove(&known.to_string());
        }
        let requests = missing.values().sum::<u64>() + books.without_detail;
        Ok(Self { books, requests, credentials: missing.len() })
    }

    fn said(&self) -> String {
        let Some(kept) = self.books.kept_since else {
            return "The books do not say yet what learned credentials place: they begin with the next start.".into();
        };
        let since = Seconds(from_unix_seconds(kept.max(self.books.since)));
        let (requests, all) = (self.requests, self.books.requests);
        if requests == 0 {
            return format!(
                "A replica that has learned nothing could have placed all that this one placed since {since} \
                 ({all} requests on legacy hosts)."
            );
        }
        let credentials = self.credentials;
        format!(
            "A replica that has learned nothing could not have placed {requests} of {all} requests on legacy hosts \
             since {since}: they name no account, and {credentials} credentials that were learned are not in the \
             table. `cellgate credentials export` and `merge` put them there."
        )
    }

    fn to_json(&self) -> Value {
        let time = |seconds: i64| Seconds(from_unix_seconds(seconds)).to_string();
        serde_json::json!({
            "since": time(self.books.since), "books_since": self.books.kept_since.map(time),
            "legacy_requests": self.books.requests, "unplaced_requests": self.requests,
            "unplaced_credentials": self.credentials,
        })
    }
}
