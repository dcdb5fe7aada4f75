//! A deletion, tried: cell-3 is taken out of the configuration that serves, as by a deployment that went wrong, cellgate is told
//! to read it, and everything is put back. What it had to say is what is shown.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::place::Place;

/// The cell that is deleted.
const CELL: &str = "cell-3";

/// The files that name it.
const FILES: [&str; 3] = ["cellgate.yaml", "accounts.csv", "environments.csv"];

/// Where the files are kept meanwhile, in the state folder.
const KEPT: &str = "before-deletion";

/// What came of it, in words.
pub async fn tried(place: &Place) -> Result<String> {
    let deleted = Deleted::new(place)?;
    let refused = reload(place).await;
    drop(deleted);
    let back = reload(place).await?;
    Ok(format!(
        "{CELL} with its accounts was deleted from {} (the files that are served), and cellgate was told to read them.\n\n\
         {}\n\nThe files were put back, and read again: {}.\n\
         Nothing of it reached a request: look at {CELL} in the live view.\n",
        place.config.display(),
        said(&refused?),
        back["outcome"].as_str().unwrap_or("no outcome"),
    ))
}

/// Puts back what a demonstration that was killed in the middle has left deleted.
pub fn mended(place: &Place) -> Result<()> {
    let kept = place.state.join(KEPT);
    if kept.is_dir() {
        put_back(place, &kept)?;
        println!(
            "An earlier demonstration was killed while {CELL} was deleted: {} is as it was.",
            place.config.display()
        );
    }
    Ok(())
}

/// Files without the cell, until this is dropped.
struct Deleted<'a> {
    place: &'a Place,
    kept: PathBuf,
}

impl<'a> Deleted<'a> {
    fn new(place: &'a Place) -> Result<Self> {
        let kept = place.state.join(KEPT);
        let read = |name: &str| {
            let path = place.config.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let [routing, accounts, environments] = FILES.map(read);
        let (routing, accounts, environments) = (routing?, accounts?, environments?);
        let without = without(&routing, &accounts, &environments);
        ensure!(without[0] != routing, "{} names no {CELL}; somebody has deleted it", FILES[0]);
        // Complete before it has its name: only then is it put back.
        let half = place.state.join(format!("{KEPT}.half"));
        fs::create_dir_all(&half).with_context(|| format!("making {}", half.display()))?;
        for (name, text) in FILES.iter().zip([&routing, &accounts, &environments]) {
            write(&half.join(name), text)?;
        }
        fs::rename(&half, &kept).with_context(|| format!("making {}", kept.display()))?;
        let deleted = Self { place, kept };
        for (name, text) in FILES.iter().zip(&without) {
            write(&place.config.join(name), text)?;
        }
        Ok(deleted)
    }
}

impl Drop for Deleted<'_> {
    fn drop(&mut self) {
        // Where the disk does not take it now, the next start does it.
        let _ = put_back(self.place, &self.kept);
    }
}

fn put_back(place: &Place, kept: &Path) -> Result<()> {
    for name in FILES {
        let path = kept.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        write(&place.config.join(name), &text)?;
    }
    fs::remove_dir_all(kept).with_context(|| format!("removing {}", kept.display()))
}

/// Whole or not at all: cellgate may read it at any moment.
fn write(path: &Path, text: &str) -> Result<()> {
    let half = path.with_extension("half");
    fs::write(&half, text).with_context(|| format!("writing {}", half.display()))?;
    fs::rename(&half, path).with_context(|| format!("writing {}", path.display()))
}

/// The three files without the cell and whatever needs it.
fn without(routing: &str, accounts: &str, environments: &str) -> [String; 3] {
    let mut inside = false;
    let routing = routing.split_inclusive('\n').filter(|line| {
        let begins = line.starts_with("  - name: ");
        let ends = begins || !line.starts_with("    ");
        inside = if begins { line.trim_end() == format!("  - name: {CELL}") } else { inside && !ends };
        !inside && !line.contains(&format!("cell: {CELL},"))
    });
    let routing = routing.collect();
    let of_cell = |row: &&str| row.split(',').nth(2) == Some(CELL);
    let gone: BTreeSet<&str> =
        accounts.lines().filter(of_cell).filter_map(|row| row.split(',').next()).collect();
    let kept = accounts.split_inclusive('\n').filter(|row| !of_cell(row)).collect();
    let leads_there =
        |row: &&str| row.trim_end().split(',').nth(1).is_some_and(|account| gone.contains(account));
    let environments = environments.split_inclusive('\n').filter(|row| !leads_there(row)).collect();
    [routing, kept, environments]
}

/// Asks cellgate to read its configuration, on the socket in its state folder.
async fn reload(place: &Place) -> Result<Value> {
    let socket = place.state.join("admin.sock");
    let ask = async {
        let mut stream = UnixStream::connect(&socket).await?;
        stream
            .write_all(
                b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = ask.await.with_context(|| format!("asking {}", socket.display()))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).with_context(|| format!("reading the answer {answer:?}"))
}

/// An outcome as lines for people.
fn said(outcome: &Value) -> String {
    let lines = |key: &str| outcome[key].as_array().cloned().unwrap_or_default();
    let mut said = vec![format!("cellgate: {}", outcome["outcome"].as_str().unwrap_or("?").to_uppercase())];
    for objection in lines("objections") {
        let text = |key: &str| objection[key].as_str().unwrap_or_default().to_owned();
        said.push(format!("  {}: {}\n    {}", text("guard"), text("what"), text("hint")));
    }
    for problem in lines("problems") {
        said.push(format!("  {}", problem["what"].as_str().unwrap_or_default()));
    }
    said.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_example_loses_its_third_cell_and_nothing_else() {
        let read = |name: &str| {
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)).unwrap()
        };
        let files = FILES.map(read);
        let without = without(&files[0], &files[1], &files[2]);
        let gone: Vec<usize> = files
            .iter()
            .zip(&without)
            .map(|(before, after)| before.lines().count() - after.lines().count())
            .collect();
        // The cell's six lines and its id range; two accounts; their two environments.
        assert_eq!(gone, [7, 2, 2], "{}", without[0]);
        assert!(without.iter().all(|text| !text.contains(&format!("{CELL}\n")) && !text.contains("7103")));
        assert!(without[0].contains("  - name: shared\n    shared: true\n"));
    }
}
