//! Whether what only watches would have acted for a minute: the process that serves knows, and writes it into its state
//! folder. What is not known is no good news: with `--strict` it fails as well.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::super::admin_socket::ask;
use crate::config::time::show_duration;
use crate::policy::guard::Mode;
use crate::policy::protection::judge::SavedCell;
use crate::policy::snapshot::Snapshot;
use crate::standing_file;

/// An admin plane that answers at all answers within milliseconds.
const WITHIN: Duration = Duration::from_secs(2);

/// It is written once a minute; what is older than three of that is of a process that serves no more.
const OLDEST_SECS: i64 = 180;

/// What is to be said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acting {
    pub remarks: Vec<String>,
    /// Why `--strict` fails.
    pub fails: Option<String>,
}

/// What somebody knows of what would have acted: the verdicts, and each cell, in seconds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    by: String,
    verdicts: Option<u64>,
    cells: Vec<(String, Option<u64>)>,
}

/// Looks where the configuration has anything in observe; otherwise there is nothing to be known.
pub(super) fn look(snapshot: &Snapshot, socket: Option<&Path>, state_dir: Option<&Path>, now: i64) -> Acting {
    let cells = snapshot.cells.iter().filter(|cell| cell.protection.modes.observed().next().is_some());
    let cells: Vec<&str> = cells.map(|cell| cell.name.as_str()).collect();
    let verdicts = snapshot.protection.verdict == Mode::Observe;
    if cells.is_empty() && !verdicts {
        return Acting::default();
    }
    if socket.is_none() && state_dir.is_none() {
        let remark = "whether what is in observe would have acted is not known: name --socket or --state-dir";
        return Acting { remarks: vec![remark.to_owned()], fails: None };
    }
    let mut remarks = Vec::new();
    let asked = socket.map(asked);
    if let (Some(Err(error)), true) = (&asked, state_dir.is_some()) {
        remarks.push(format!("the process does not say ({error}), so the state folder is read"));
    }
    let known = match (asked, state_dir) {
        (Some(Err(_)) | None, Some(state_dir)) => read(state_dir, now),
        (Some(asked), _) => asked,
        (None, None) => Err("nobody is asked".to_owned()),
    };
    let known = match known {
        Ok(known) => known,
        Err(error) => {
            let fails = format!("nobody can say whether what is in observe would have acted: {error}");
            return Acting { remarks, fails: Some(fails) };
        }
    };
    let acted = |what: &str, secs: u64| {
        format!("{what}: in observe, and would have acted for {}, says {}", show(secs), known.by)
    };
    let of_verdicts = known.verdicts.filter(|_| verdicts).map(|secs| acted("protection.verdict", secs));
    let unknown = cells.iter().find(|cell| known.cells.iter().all(|(name, _)| name != *cell));
    if let Some(unknown) = unknown {
        let fails = format!("nobody can say whether cell {unknown} would have acted: {} has none", known.by);
        return Acting { remarks, fails: Some(fails) };
    }
    let acting = known.cells.iter().filter_map(|(name, secs)| Some((name, (*secs)?)));
    let of_cells = acting.filter(|(name, _)| cells.contains(&name.as_str()));
    let found: Vec<String> = of_verdicts
        .into_iter()
        .chain(of_cells.map(|(name, secs)| acted(&format!("cell {name}"), secs)))
        .collect();
    if found.is_empty() {
        remarks.push(format!("what is in observe would not have acted for a minute, says {}", known.by));
        return Acting { remarks, fails: None };
    }
    let many = found.len();
    remarks.extend(found);
    Acting {
        remarks,
        fails: Some(format!("{many} of the warnings are of what would have acted: enforce it")),
    }
}

/// What the process says that serves.
fn asked(socket: &Path) -> Result<Known, String> {
    let answer = ask(socket, "GET /cells", WITHIN).map_err(|error| format!("{error:#}"))?;
    let by = format!("the process behind {}", socket.display());
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let cells = said["cells"].as_array().filter(|_| answer.is_ok);
    let cells = cells.ok_or_else(|| format!("{by} does not answer as cellgate does"))?;
    if cells.iter().any(|cell| cell["standing"].get("would_act_s").is_none()) {
        return Err(format!("{by} is of an older version, or has not looked at its cells yet"));
    }
    let cell =
        |cell: &Value| Some((cell["name"].as_str()?.to_owned(), cell["standing"]["would_act_s"].as_u64()));
    Ok(Known {
        by,
        verdicts: said["verdict_would_act_s"].as_u64(),
        cells: cells.iter().filter_map(cell).collect(),
    })
}

/// What it wrote down last.
fn read(state_dir: &Path, now: i64) -> Result<Known, String> {
    let file = state_dir.join(standing_file::FILE_NAME);
    let (saved, told) = standing_file::load(state_dir);
    if let Some(told) = told {
        return Err(format!("{} cannot be read: {told}", file.display()));
    }
    let at = saved.cells.iter().map(|cell| cell.ramp.at_secs).max();
    let at = at.ok_or_else(|| format!("{} is not there, or says nothing of any cell", file.display()))?;
    let old = now.saturating_sub(i64::try_from(at).unwrap_or(i64::MAX)).max(0);
    if old > OLDEST_SECS {
        let old = show(old.unsigned_abs());
        return Err(format!("{} is {old} old, and who serves writes it each minute", file.display()));
    }
    let acted = |cell: &SavedCell| cell.would_act.map(|acted| acted.as_secs());
    let cells = saved.cells.iter().map(|cell| (cell.cell.to_string(), acted(cell))).collect();
    Ok(Known {
        by: file.display().to_string(),
        verdicts: saved.would_act.map(|acted| acted.as_secs()),
        cells,
    })
}

fn show(secs: u64) -> String {
    show_duration(Duration::from_secs(secs))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::policy::moment::Moment;
    use crate::policy::protection::judge::{Judge, Look, Saved};
    use crate::policy::protection::modes::Modes;
    use crate::policy::protection::policies::Policy;

    const NOW: u64 = 1_800_000_000;

    /// One cell, whose queue is in this mode.
    fn snapshot(mode: Mode) -> Snapshot {
        let mut snapshot = crate::test_snapshot::example().build();
        snapshot.cells.truncate(1);
        snapshot.cells[0].protection.modes = Modes::default().with(Policy::Queue, mode);
        snapshot
    }

    /// What a process wrote so long ago.
    fn saved(secs_ago: u64, would_act: Option<u64>) -> Saved {
        let snapshot = snapshot(Mode::Observe);
        let mut judge = Judge::default();
        let (now, now_secs) = (Moment::START, NOW - secs_ago);
        let late = Duration::ZERO;
        let look = Look { snapshot: &snapshot, levers: None, late, now, now_secs };
        judge.look(&look, &mut || 0.5);
        let mut saved = judge.saved(&snapshot, now, now_secs);
        saved.cells[0].would_act = would_act.map(Duration::from_secs);
        saved
    }

    /// The last remark, and why it fails.
    fn told(acting: Acting) -> (String, Option<String>) {
        (acting.remarks.last().cloned().unwrap_or_default(), acting.fails)
    }

    fn in_folder(mode: Mode, folder: &Path) -> (String, Option<String>) {
        told(look(&snapshot(mode), None, Some(folder), i64::try_from(NOW).unwrap()))
    }

    #[test]
    fn the_state_folder_says_what_would_have_acted_and_what_it_does_not_say_is_no_good_news() {
        let folder = tempfile::tempdir().unwrap();
        let check = |mode, remark: &str, fails: &str| {
            let (said, why) = in_folder(mode, folder.path());
            assert!(
                said.contains(remark) && (remark.is_empty() == said.is_empty()),
                "{said:?}, not {remark:?}"
            );
            let why = why.unwrap_or_default();
            assert!(why.contains(fails) && (fails.is_empty() == why.is_empty()), "{why:?}, not {fails:?}");
        };
        check(Mode::Observe, "", "is not there");
        check(Mode::Enforce, "", "");
        check(Mode::Off, "", "");
        standing_file::save(folder.path(), &saved(10, None)).unwrap();
        check(Mode::Observe, "would not have acted for a minute, says", "");
        standing_file::save(folder.path(), &saved(180, Some(75))).unwrap();
        check(Mode::Observe, "in observe, and would have acted for 75s", "enforce it");
        check(Mode::Enforce, "", "");
        standing_file::save(folder.path(), &saved(181, None)).unwrap();
        check(Mode::Observe, "", "181s old");
        std::fs::write(folder.path().join(standing_file::FILE_NAME), "cellgate-standing 1\n").unwrap();
        check(Mode::Observe, "", "cannot be read");
    }

    #[test]
    fn the_process_is_asked_first_and_the_state_folder_where_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let now = i64::try_from(NOW).unwrap();
        let socket = folder.path().join("admin.sock");
        let ask = |state_dir| told(look(&snapshot(Mode::Observe), Some(&socket), state_dir, now));
        assert!(ask(None).1.unwrap().contains("is cellgate running"));
        standing_file::save(folder.path(), &saved(10, None)).unwrap();
        let acting = look(&snapshot(Mode::Observe), Some(&socket), Some(folder.path()), now);
        assert!(
            acting.remarks[0].starts_with("the process does not say") && acting.fails.is_none(),
            "{acting:?}"
        );
        let neither = look(&snapshot(Mode::Observe), None, None, now);
        assert!(
            neither.remarks[0].contains("--socket or --state-dir") && neither.fails.is_none(),
            "{neither:?}"
        );
        let listener = UnixListener::bind(&socket).unwrap();
        let name = snapshot(Mode::Observe).cells[0].name.to_string();
        let folder = Some(folder.path());
        for (standing, state_dir, remark, fails) in [
            (
                r#"{"would_act_s":75}"#,
                folder,
                "would have acted for 75s, says the process behind",
                "enforce it",
            ),
            (r#"{"would_act_s":null}"#, None, "would not have acted", ""),
            (r#"{"phase":"full"}"#, None, "", "older version"),
            ("null", None, "", "has not looked"),
            ("null", folder, "would not have acted for a minute, says", ""),
        ] {
            let body = format!(r#"{{"cells":[{{"name":"{name}","standing":{standing}}}]}}"#);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let (said, why) = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let _ = stream.read(&mut [0; 1024]).unwrap();
                    stream.write_all(answer.as_bytes()).unwrap();
                });
                ask(state_dir)
            });
            assert!(said.contains(remark), "{standing}: {said:?}");
            let why = why.unwrap_or_default();
            assert!(why.contains(fails) && (fails.is_empty() == why.is_empty()), "{standing}: {why:?}");
        }
    }
}
