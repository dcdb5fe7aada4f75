//! The demonstration at a terminal: background traffic, the live view, and what its keys do.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::place::Place;
use crate::process::Processes;
use crate::screen::{Pressed, Screen};
use crate::start::{CELLGATE, Edge, start_shared};
use crate::tour;
use crate::traffic::Traffic;
use crate::view::{Shown, view};
use crate::{deletion, port};

/// Between two pictures: numbers that change more often cannot be read.
const DRAW_EVERY: Duration = Duration::from_millis(500);

/// How long a report may take: a tenth of a second here, and seconds on a machine that builds something.
const REPORT_WITHIN: Duration = Duration::from_secs(20);

/// The name of the shared cell's process.
const SHARED: &str = "shared";

/// Shows the view until somebody quits.
pub async fn run(place: &Place, edge: &mut Edge, processes: &mut Processes) -> Result<ExitCode> {
    let traffic = Traffic::start(place, edge)?;
    let mut screen = Screen::open()?;
    let mut due = tokio::time::interval(DRAW_EVERY);
    let mut note = String::new();
    loop {
        let pressed = tokio::select! {
            _ = due.tick() => None,
            pressed = screen.pressed() => Some(pressed),
        };
        look(place, edge, processes, &traffic, &mut note)?;
        let page = match pressed {
            None => None,
            Some(Pressed::Stop | Pressed::Sign('q')) => return Ok(ExitCode::SUCCESS),
            Some(Pressed::Sign('k')) => {
                note = kill_or_start(place, edge, processes, &traffic).await?;
                None
            }
            Some(Pressed::Sign('r')) => Some(fitted(&report(place).await?, screen.size().0)),
            Some(Pressed::Sign('d')) => Some(deletion::tried(place).await?),
            Some(Pressed::Sign('s')) => Some(pages(place, edge)),
            Some(Pressed::Sign('l')) => Some(lines(place, edge, &traffic)?),
            Some(Pressed::Sign(_) | Pressed::Other) => None,
        };
        if let Some(text) = page
            && matches!(screen.page(&text).await?, Pressed::Stop | Pressed::Sign('q'))
        {
            return Ok(ExitCode::SUCCESS);
        }
        let (columns, rows) = screen.size();
        let rows = view(&Shown { tally: &traffic.tally(), now: traffic.now(), note: &note }, columns, rows);
        screen.draw(&rows)?;
    }
}

/// Notices what has ended without a key: killed from another terminal, or broken.
fn look(
    place: &Place,
    edge: &mut Edge,
    processes: &mut Processes,
    traffic: &Traffic,
    note: &mut String,
) -> Result<()> {
    for (name, status) in processes.ended()? {
        match name.as_str() {
            CELLGATE => bail!("cellgate ended by itself; {} says why", place.log(CELLGATE).display()),
            SHARED => {
                edge.shared_pid = None;
                traffic.tally().shared_died(traffic.now());
            }
            other => *note = format!("{other} is gone ({status})."),
        }
    }
    Ok(())
}

/// Returns what is to be said.
async fn kill_or_start(
    place: &Place,
    edge: &mut Edge,
    processes: &mut Processes,
    traffic: &Traffic,
) -> Result<String> {
    if processes.kill_one(SHARED).await? {
        edge.shared_pid = None;
        traffic.tally().shared_died(traffic.now());
        return Ok(String::new());
    }
    match start_shared(place, edge, processes).await {
        Ok(()) => {
            traffic.tally().shared_restarted(traffic.now());
            Ok(String::new())
        }
        Err(_) if port::taken(edge.shared.port()).is_some() => {
            Ok("The shared cell was started in another terminal: Ctrl-C there ends it.".to_owned())
        }
        Err(error) => Ok(format!("The shared cell does not start: {error:#}")),
    }
}

/// What `cellgate report` says, as it is.
async fn report(place: &Place) -> Result<String> {
    let (program, state) = (place.program(CELLGATE), place.state.display().to_string());
    let config = place.config.display().to_string();
    let mut command = Command::new(&program);
    command.args(["report", "--state-dir", &state, "--config", &config]).kill_on_drop(true);
    let output = tokio::time::timeout(REPORT_WITHIN, command.output()).await;
    let output = output.context("the report took too long")?.context("running the report")?;
    let text = [output.stdout, output.stderr].concat();
    Ok(format!(
        "$ {} report --state-dir {state} --config {config}\n{}\nWho still calls the old address, with what; counted every ten seconds. \
         READY is who could be cut.\n",
        program.display(),
        String::from_utf8_lossy(&text)
    ))
}

/// With tables cut to the width of the terminal: wrapped, nobody can read them. What is prose wraps.
fn fitted(text: &str, columns: usize) -> String {
    let fit = |line: &str| match line.contains("   ") && line.chars().count() > columns {
        true => line.chars().take(columns.saturating_sub(1)).chain(['>']).collect(),
        false => line.to_owned(),
    };
    text.lines().map(|line| fit(line) + "\n").collect()
}

/// The lines that work now.
fn lines(place: &Place, edge: &Edge, traffic: &Traffic) -> Result<String> {
    let shared = traffic.tally().shared(traffic.now());
    tour::text(place, edge, &tour::steps(place, edge, shared))
}

fn pages(place: &Place, edge: &Edge) -> String {
    let admin = edge.admin;
    let state = place.state.display();
    format!(
        "For a browser on this machine:\n\n  http://{admin}/status\n  http://{admin}/console\n  http://{admin}/report\n  \
         http://{admin}/metrics\n\nWhat changes something is on {state}/admin.sock. Logs: {state}/*.log.\n"
    )
}
