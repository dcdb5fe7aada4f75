//! `cellgate report impact` and `cellgate report lost`: what an incident took from whom, and which calls have to be made again.

use anyhow::{Context, Result};

use super::report::{ListArg, Output, ReportArgs, configured, printed};
use crate::audit::impact::{self, Incident};
use crate::config;

/// Every reason why such a report cannot be what these arguments ask for.
pub(super) fn wrong(args: &ReportArgs, of: ListArg) -> Vec<String> {
    let name = if of == ListArg::Lost { "lost" } else { "impact" };
    let mut wrong = Vec::new();
    match (args.from, args.to) {
        (Some(from), Some(to)) if to <= from => wrong.push("--to must be later than --from".to_owned()),
        (Some(_), Some(_)) => {}
        _ => wrong.push("say when it was: --from 2026-04-09T10:04Z --to 2026-04-09T11:13Z".to_owned()),
    }
    for (is_given, option) in
        [(args.exit_code, "--exit-code"), (args.all, "--all"), (args.since.is_some(), "--since")]
    {
        if is_given {
            wrong.push(format!("{option} says nothing of an incident: leave it out of `report {name}`"));
        }
    }
    match (of, args.output) {
        (ListArg::Lost, Output::Markdown | Output::Html) => {
            wrong.push("lost calls are printed as table, json or csv".to_owned());
        }
        (ListArg::Impact, Output::Csv | Output::Markdown | Output::Html) => {
            wrong.push(
                "an impact is printed as table or json; `report lost -o csv` lists the calls".to_owned(),
            );
        }
        _ => {}
    }
    if of == ListArg::Impact && args.account.is_some() {
        wrong.push(
            "how an incident went is counted by cell and endpoint class and not by account; `report lost --account` lists \
             one account's calls"
                .to_owned(),
        );
    }
    if of == ListArg::Lost && args.shared_was_down {
        wrong.push("--shared-was-down is for `report impact`: a call is lost whoever was down".to_owned());
    }
    wrong
}

/// What it took, or the calls that it lost. Of arguments in which nothing is [`wrong`].
pub(super) fn incident(args: &ReportArgs, of: ListArg, now: i64) -> Result<Vec<u8>> {
    let (from, to) = args.from.zip(args.to).context("an incident has a beginning and an end")?;
    // The books have minutes: those in which the first and the last second lie are counted whole.
    let (from, to) = (from.div_euclid(60) * 60, to.div_euclid(60) * 60 + if to % 60 == 0 { 0 } else { 60 });
    if of == ListArg::Lost {
        let lost = impact::lost_calls(args.books.source(), from, to)?;
        let lost = args.account.into_iter().fold(lost, |lost, account| lost.of_account(account.value()));
        return printed(&lost, args.output, now);
    }
    let snapshot = configured(&args.config, now);
    let cells = snapshot.iter().flat_map(|snapshot| &snapshot.cells);
    let shared = cells.filter(|cell| cell.shared).map(|cell| cell.name.to_string()).collect();
    let incident = Incident { from, to, shared, declared_down: args.shared_was_down };
    let impact = impact::read(args.books.source(), incident)?;
    match args.output {
        Output::Json => Ok(impact.json().context("writing JSON")?.into_bytes()),
        _ => Ok(impact.table().into_bytes()),
    }
}

/// A moment in UTC, with or without seconds.
pub(super) fn parse_moment(text: &str) -> Result<i64, String> {
    let whole = text.strip_suffix('Z').filter(|rest| rest.len() == "2026-04-09T10:04".len());
    let whole = whole.map_or_else(|| text.to_owned(), |minutes| format!("{minutes}:00Z"));
    config::time::parse_moment(&whole).ok_or_else(|| "expected a moment in UTC: 2026-04-09T10:04Z".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::report::tests::parse;
    use super::*;

    #[test]
    fn moments_are_in_utc_with_or_without_seconds() {
        let moments = ["2026-04-09T10:04Z", "2026-04-09T10:04:30Z", "2026-04-09", "10:04Z"]
            .map(|text| parse_moment(text).ok());
        assert_eq!(moments, [Some(1_775_729_040), Some(1_775_729_070), None, None]);
    }

    #[test]
    fn every_argument_that_an_incident_does_not_use_is_refused() {
        let when = "--from 2026-04-09T10:04Z --to 2026-04-09T11:13Z";
        for (line, expect) in [
            ("impact", &["say when it was"][..]),
            ("lost --from 2026-04-09T10:04Z", &["say when it was"]),
            ("impact --from 2026-04-09T10:04Z --to 2026-04-09T10:04Z", &["must be later"]),
            ("impact --exit-code --all", &["say when it was", "--exit-code says nothing", "--all says"]),
            (&format!("lost {when} --since 7d"), &["--since says nothing of an incident"]),
            (&format!("impact {when} -o csv"), &["table or json"]),
            (&format!("lost {when} -o html"), &["table, json or csv"]),
            (&format!("impact {when} --account 7"), &["`report lost --account` lists"]),
            (&format!("lost {when} --account 7"), &[]),
            (&format!("lost {when} --shared-was-down"), &["is for `report impact`"]),
            (&format!("impact {when} --shared-was-down -o json"), &[]),
        ] {
            let args = parse(&format!("report {line}")).unwrap();
            let said = wrong(&args, args.view.unwrap());
            assert_eq!(said.len(), expect.len(), "{line}: {said:?}");
            for (said, expect) in said.iter().zip(expect) {
                assert!(said.contains(expect), "{line}: {said}");
            }
        }
    }
}
