//! What differs between two documents of one replica, in words: the list that somebody reads who was not looking.

use std::collections::BTreeMap;

use super::super::steps;
use super::document::{Cell, Document, Endpoint, Word};
use super::header::SAID_BELOW;

/// What happened, and whether it is bad news.
pub type Change = (String, bool);

/// `45s`, `4m 10s`, `2h 5m`.
pub fn span(seconds: u64) -> String {
    steps::span(seconds)
}

/// From an older document to a newer one of the same replica.
pub fn between(old: &Document, new: &Document) -> Vec<Change> {
    let mut found = Vec::new();
    if old.process != new.process {
        found.push((format!("another process serves: {} (program {})", new.process, new.program), false));
    }
    if (old.generation, &old.hash) != (new.generation, &new.hash) {
        found.push((format!("generation {} serves ({})", new.generation, short(&new.hash)), false));
    }
    if old.ready != new.ready {
        let what = if new.ready { "is ready" } else { "is not ready" };
        found.push((what.to_owned(), !new.ready));
    }
    reloads(old, new, &mut found);
    let reasons = |of: &Document| {
        let told = of.reasons.iter().filter(|one| !SAID_BELOW.contains(&&*one.reason));
        told.map(|one| (one.reason.clone(), one.detail.to_string())).collect()
    };
    appeared(&reasons(old), &reasons(new), ("note:", "no longer:"), &mut found);
    let verdicts = |of: &Document| named(&of.verdicts, |one| (one.verdict.clone(), one.evidence.to_string()));
    appeared(&verdicts(old), &verdicts(new), ("sick:", "no longer sick:"), &mut found);
    let levers = |of: &Document| {
        named(&of.levers, |one| {
            (format!("{}: {}", one.id, one.lever).as_str().into(), format!("by {}: {}", one.by, one.reason))
        })
    };
    appeared(&levers(old), &levers(new), ("lever pulled:", "lever ended:"), &mut found);
    let brownouts = |of: &Document| {
        let in_force = of.brownouts.iter().filter(|one| one.in_force);
        in_force.map(|one| (one.id.clone(), format!("{} {}", one.mode, one.share))).collect()
    };
    appeared(&brownouts(old), &brownouts(new), ("brownout begins:", "brownout over:"), &mut found);
    cells(old, new, &mut found);
    found
}

/// The first digits of a hash, as people compare them.
pub fn short(hash: &str) -> String {
    hash.chars().take(steps::SHORT).collect()
}

fn named<T>(all: &[T], of: impl Fn(&T) -> (Word, String)) -> BTreeMap<Word, String> {
    all.iter().map(of).collect()
}

/// Those that are new, with their words, and those that are gone.
fn appeared(
    old: &BTreeMap<Word, String>,
    new: &BTreeMap<Word, String>,
    (came, went): (&str, &str),
    found: &mut Vec<Change>,
) {
    for (name, words) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        found.push((format!("{came} {name} ({words})"), true));
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        found.push((format!("{went} {name}"), false));
    }
}

fn reloads(old: &Document, new: &Document, found: &mut Vec<Change>) {
    let news = new.reloads.iter().take_while(|reload| old.reloads.first() != Some(*reload));
    // The newest stands first, and is told last.
    for reload in news.collect::<Vec<_>>().into_iter().rev() {
        let is_bad = !matches!(&*reload.outcome, "unchanged" | "applied" | "staged");
        found.push((format!("reload by {} ended as {}", reload.trigger, reload.outcome), is_bad));
    }
    match (&old.candidate, &new.candidate) {
        (None, Some(candidate)) => {
            found.push((format!("generation {} is on trial", candidate.generation), false));
        }
        (Some(before), Some(now)) if before.step != now.step => {
            let share = now.share.as_deref().unwrap_or("nothing");
            let what = format!(
                "trial of generation {}: step {} of {}, {share}",
                now.generation, now.step, now.steps
            );
            found.push((what, false));
        }
        (Some(before), None) => {
            found.push((format!("the trial of generation {} is over", before.generation), false));
        }
        _ => {}
    }
}

fn cells(old: &Document, new: &Document, found: &mut Vec<Change>) {
    let before: BTreeMap<&Word, &Cell> = old.cells.iter().map(|cell| (&cell.name, cell)).collect();
    for cell in &new.cells {
        match before.get(&cell.name) {
            Some(before) => of_cell(before, cell, found),
            None => found.push((format!("cell {} is new", cell.name), false)),
        }
    }
    for cell in old.cells.iter().filter(|cell| !new.cells.iter().any(|other| other.name == cell.name)) {
        found.push((format!("cell {} is gone", cell.name), false));
    }
}

fn of_cell(old: &Cell, new: &Cell, found: &mut Vec<Change>) {
    let (Some(before), Some(now)) = (&old.standing, &new.standing) else { return };
    let name = &new.name;
    if before.phase != now.phase {
        let is_bad = &*now.phase == "down";
        found.push((format!("cell {name}: {}, was {}", now.phase, before.phase), is_bad));
    }
    if before.panic != now.panic {
        let is_bad = &*now.panic != "calm";
        found.push((format!("cell {name}: panic {}, was {}", now.panic, before.panic), is_bad));
    }
    for group in &now.groups {
        let Some(then) = before.groups.iter().find(|then| then.zone == group.zone) else { continue };
        if let (Some(was), Some(is)) = (&then.standing, &group.standing)
            && was != is
        {
            found.push((format!("cell {name}: group {} is {is}, was {was}", group.zone), &**is == "lost"));
        }
        let states: BTreeMap<&Word, &Endpoint> =
            then.endpoints.iter().map(|endpoint| (&endpoint.address, endpoint)).collect();
        for endpoint in &group.endpoints {
            if let Some(was) = states.get(&endpoint.address)
                && was.state != endpoint.state
            {
                let what =
                    format!("cell {name}: {} is {}, was {}", endpoint.address, endpoint.state, was.state);
                found.push((what, matches!(&*endpoint.state, "down" | "ejected")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::sample;

    #[test]
    fn nothing_has_changed_between_a_document_and_itself() {
        for document in [sample::good_day(), sample::bad_day()] {
            assert_eq!(between(&document, &document), []);
        }
    }

    #[test]
    fn each_turn_of_a_bad_day_is_told_once_and_its_end_too() {
        let (good, bad) = (sample::good_day(), sample::bad_day());
        let told = |changes: Vec<Change>| {
            let line = |(what, is_bad)| format!("{} {what}", if is_bad { "!" } else { " " });
            changes.into_iter().map(line).collect::<Vec<_>>().join("\n")
        };
        insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("changes_to_bad", told(between(&good, &bad)));
            insta::assert_snapshot!("changes_to_good", told(between(&bad, &good)));
        });
    }
}
