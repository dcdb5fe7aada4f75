//! Runs every line of the tour and looks at what comes back.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::time::Instant;

use crate::place::Place;
use crate::process::Processes;
use crate::tour::Step;

/// How long what a line shows may take to become true: the books are written every 10 s, and the machine may be busy.
/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long one line may run; the slowest streams for two seconds.
const LINE_WITHIN: Duration = Duration::from_secs(60);

/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// Name of the process that a line starts and leaves running.
const STAYING: &str = "again";

/// How many lines did not do what they should.
pub async fn run(place: &Place, steps: &[Step], processes: &mut Processes) -> Result<usize> {
    let mut failed = 0;
    for step in steps {
        match tried(place, step, processes).await? {
            Ok(()) => println!("ok    {}", step.says),
            Err(why) => {
                failed += 1;
                println!("FAIL  {}\n  {}\n{why}", step.says, step.line);
            }
        }
    }
    println!("{} passed, {failed} failed", steps.len() - failed);
    Ok(failed)
}

/// Tries a line until it shows what it should.
async fn tried(place: &Place, step: &Step, processes: &mut Processes) -> Result<Result<(), String>> {
    let until = Instant::now() + PATIENCE;
    let log = step.stays.then(|| place.log(STAYING));
    if let Some(log) = &log {
        let line = ["-c".to_owned(), format!("exec {}", step.line)];
        processes.start(STAYING, "sh".as_ref(), &line, log)?;
    }
    loop {
        let (code, output) = match &log {
            Some(log) => (0, std::fs::read_to_string(log).context("reading what the line said")?),
            None => once(&step.line).await?,
        };
        let missing: Vec<&str> = step.expect.iter().copied().filter(|text| !output.contains(text)).collect();
        let unwanted = !step.never.is_empty() && output.contains(step.never);
        if code == step.code && missing.is_empty() && !unwanted {
            return Ok(Ok(()));
        }
        if Instant::now() >= until {
            return Ok(Err(format!(
                "  exit code {code}, expected {}; missing: {missing:?}; unwanted {:?}: {unwanted}; output:\n{output}",
                step.code, step.never
            )));
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Exit code and output of a line.
async fn once(line: &str) -> Result<(i32, String)> {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(LINE_WITHIN, command.output()).await {
        Ok(output) => {
            let output = output.with_context(|| format!("running {line}"))?;
            let text = [output.stdout, output.stderr].concat();
            Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(_) => Ok((-1, format!("it did not end within {LINE_WITHIN:?}"))),
    }
}
