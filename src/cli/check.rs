//! `cellgate check`: exit code 0 when the configuration could be served, 64 with every problem when not.

use std::process::ExitCode;

use super::{ConfigFolder, OK, Output, USAGE, complain, now, print_line, print_problems};
use crate::policy::snapshot::Snapshot;
use crate::{config, load, reload};

/// Read the configuration and report every problem in it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// How to report
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = load::load(&args.config.folder);
    let problems = match config::parse_all(&sources, now()) {
        Ok((boot, config)) => {
            let snapshot = config::compile(config, None);
            let remarks = boot.guards.remarks(&snapshot);
            if args.output == Output::Text {
                remarks.iter().for_each(|remark| complain(&format!("warning: {remark}")));
            }
            print_line(&good(args.output, &snapshot, boot.listeners.len(), &remarks))?;
            return Ok(OK.into());
        }
        Err(problems) => problems,
    };
    match args.output {
        Output::Text => print_problems(&problems),
        Output::Json => {
            let views: Vec<_> = reload::views(&problems).iter().map(ToJson::to_json).collect();
            print_line(&serde_json::json!({ "ok": false, "problems": views }).to_string())?;
        }
    }
    Ok(USAGE.into())
}

fn good(output: Output, snapshot: &Snapshot, listeners: usize, remarks: &[String]) -> String {
    let (cells, accounts) = (snapshot.cells.len(), snapshot.accounts.len());
    match output {
        Output::Text => format!(
            "The configuration is good: {listeners} listeners, {cells} cells, {accounts} accounts, hash {}.",
            &snapshot.hash[..12]
        ),
        Output::Json => serde_json::json!({
            "ok": true, "hash": snapshot.hash, "listeners": listeners, "cells": cells, "accounts": accounts,
            "warnings": remarks,
        })
        .to_string(),
    }
}

trait ToJson {
    fn to_json(&self) -> serde_json::Value;
}

impl ToJson for reload::outcome::ProblemView {
    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": self.file, "line": self.line, "column": self.column, "path": self.path,
            "what": self.what, "expected": self.expected, "hint": self.hint,
        })
    }
}
