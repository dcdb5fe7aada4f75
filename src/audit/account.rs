//! One account in words, and as Markdown for an issue or a chat: why it has its verdict line by line, when in the week it comes,
//! each of its integrations, and what their owners change. The page of one account and the letters say the same.

use std::fmt::Write as _;

use crate::policy::legacy_use::verdict::Verdict;

use super::fleet::{Fleet, FleetAccount, WeekHours};
use super::headline::{date, from_now, hosts, sparkline};
use super::markdown::{Text, made};
use super::outreach::{INTEGRATIONS, fixes};
use super::render::{age, rfc3339};

/// Days as a week is shown.
pub(super) const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// How it stands, as a heading.
pub(super) fn title(fleet: &Fleet, account: &FleetAccount) -> String {
    let (id, hosts) = (account.account, hosts(fleet));
    match account.judged.verdict {
        Verdict::Active | Verdict::Returned | Verdict::Fading => format!("Account {id} still uses {hosts}"),
        Verdict::Quiet | Verdict::Unknown => {
            format!(
                "Account {id} has not used {hosts} for {}",
                silence(fleet.generated_at - account.last_seen)
            )
        }
        Verdict::Ready => format!("Account {id} can be cut off from {hosts}"),
        Verdict::NotMigrated => {
            format!("Account {id} still lives in the shared cell, and has no other address than {hosts}")
        }
        Verdict::Cut => format!("Account {id} is cut off from {hosts}"),
    }
}

/// Where it has to go, and until when.
pub(super) fn lead(fleet: &Fleet, account: &FleetAccount) -> String {
    let mut sentences = Vec::new();
    sentences.extend(account.address.as_ref().map(|address| format!("Its own address is {address}.")));
    if let Some(sunset) = fleet.sunset_at {
        sentences.push(switched_off(fleet, sunset));
    }
    sentences.join(" ")
}

/// When the hosts go, as a sentence.
pub(super) fn switched_off(fleet: &Fleet, sunset: i64) -> String {
    let verb = match (sunset <= fleet.generated_at, fleet.hosts.len() == 1) {
        (true, true) => "was",
        (true, false) => "were",
        (false, true) => "is",
        (false, false) => "are",
    };
    let from_now = from_now(sunset, fleet.generated_at);
    format!("{} {verb} to be switched off on {} ({from_now}).", hosts(fleet), date(sunset))
}

/// Why it is judged so, one fact a line.
pub(super) fn why(account: &FleetAccount) -> Vec<String> {
    let judged = &account.judged;
    let mut lines: Vec<String> = judged.reasons.iter().map(ToString::to_string).collect();
    lines.extend(
        judged
            .ready_at
            .map(|at| format!("READY on {} at the earliest, if nobody comes until then", date(at))),
    );
    lines
}

/// All the hosts, with the account's prefix in those that have one, where there are more than a heading names; each made
/// harmless by itself so that none is cut.
pub(super) fn all_hosts(
    fleet: &Fleet,
    account: &FleetAccount,
    harmless: impl Fn(&str) -> String,
) -> Option<String> {
    let own = |host: &String| match &account.prefix {
        Some(prefix) => harmless(&host.replace("{prefix}", prefix)),
        None => harmless(host),
    };
    (fleet.hosts.len() > 1).then(|| fleet.hosts.iter().map(own).collect::<Vec<_>>().join(", "))
}

/// The account of this id as Markdown, for issues and chat.
pub fn markdown(fleet: &Fleet, id: u64) -> String {
    let Some(account) = fleet.accounts.iter().find(|of| of.account == id) else {
        return format!("# Account {id}\n\nThe books know nothing of it.\n");
    };
    let verdict = account.judged.verdict.as_str();
    let mut text = format!("# {}\n\n{}\n", Text(&title(fleet, account)), Text(&lead(fleet, account)))
        .replace("\n\n\n", "\n\n");
    if let Some(hosts) = all_hosts(fleet, account, |host| Text(host).to_string()) {
        let _ = write!(text, "\nHosts: {hosts}\n");
    }
    let _ = write!(text, "\n**{verdict}**\n\n");
    for line in why(account) {
        let _ = writeln!(text, "- {}", Text(&line));
    }
    let of = &account.requests;
    let _ = write!(
        text,
        "\n| Cell | 24 h | 7 d | 30 d | Writes a day | First seen | Last seen |\n|---|--:|--:|--:|--:|---|---|\n\
         | {} | {} | {} | {} | {:.0} | {} | {} |\n",
        Text(account.cell.as_deref().unwrap_or("–")),
        of.day,
        of.week,
        of.month,
        account.writes_daily,
        rfc3339(account.first_seen),
        rfc3339(account.last_seen),
    );
    text.push_str(&week(&account.hours()));
    text.push_str(&integrations(account, fleet.generated_at));
    text.push_str(&made(fleet));
    text
}

fn silence(seconds: i64) -> String {
    match seconds.div_euclid(86_400) {
        ..=0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// A line of letters for each day, all against the busiest hour of the week.
fn week(hours: &WeekHours) -> String {
    let all: Vec<u64> = hours.iter().flatten().copied().collect();
    if all.iter().all(|requests| *requests == 0) {
        return String::new();
    }
    let drawn: Vec<char> = sparkline(&all).chars().collect();
    let mut text = "\n## When in the week, UTC\n\n```\n     0     6     12    18\n".to_owned();
    for (name, day) in DAYS.iter().zip(drawn.chunks(24)) {
        let _ = writeln!(text, "{name}  {}", day.iter().collect::<String>());
    }
    text.push_str("```\n");
    text
}

fn integrations(account: &FleetAccount, now: i64) -> String {
    if account.details.is_empty() {
        return String::new();
    }
    let mut text = "\n## Integrations\n\n| Client | Credential | From | Calls | 30 d | First seen | Seen |\n|---|---|---|---|--:|---|--:|\n"
        .to_owned();
    for one in account.details.iter().take(INTEGRATIONS) {
        let or_dash = |text: &Option<String>| Text(text.as_deref().unwrap_or("–")).to_string();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} ago |",
            Text(&one.client),
            or_dash(&one.credential),
            or_dash(&one.network),
            one.endpoints.iter().map(|name| Text(name).to_string()).collect::<Vec<_>>().join(", "),
            one.requests,
            date(one.first_seen),
            age(now, one.last_seen),
        );
    }
    if let Some(more @ 1..) = account.details.len().checked_sub(INTEGRATIONS) {
        let _ = write!(text, "\n{more} more with fewer requests; the table (`-o table`) has all.\n");
    }
    let mut heading = "\n## What to change\n\n";
    for (client, how) in fixes(account) {
        let _ = writeln!(text, "{heading}- **{}**: {}", Text(client), Text(how));
        heading = "";
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::made_up::made_up;
    use super::*;

    fn of(verdict: Verdict) -> (Fleet, FleetAccount) {
        let mut fleet = made_up(200);
        let account = fleet.accounts.iter().find(|of| of.judged.verdict == verdict).unwrap().clone();
        fleet.accounts = vec![account.clone()];
        (fleet, account)
    }

    #[test]
    fn a_heading_says_how_it_stands() {
        for (verdict, expect) in [
            (Verdict::Active, "still uses cloud.getdbt.com"),
            (Verdict::Quiet, "has not used cloud.getdbt.com for "),
            (Verdict::Ready, "can be cut off from cloud.getdbt.com"),
            (Verdict::Cut, "is cut off from cloud.getdbt.com"),
        ] {
            let (fleet, account) = of(verdict);
            let title = title(&fleet, &account);
            assert!(title.starts_with(&format!("Account {} {expect}", account.account)), "{title}");
        }
        for (seconds, expect) in [(0, "less than a day"), (86_400, "1 day"), (400_000, "4 days")] {
            assert_eq!(silence(seconds), expect);
        }
    }

    #[test]
    fn an_issue_has_the_verdict_line_by_line_the_week_and_every_fix() {
        let (mut fleet, account) = of(Verdict::Fading);
        fleet.hosts.push("{prefix}.cloud.getdbt.com".into());
        fleet.accounts[0].prefix = Some("ab1".into());
        let text = markdown(&fleet, account.account);
        for part in [
            "\ncloud.getdbt.com and 1 more are to be switched off on 2027-01-31 (in 72 days).\n".trim_start(),
            "\n**FADING**\n\n- last seen ",
            "\n- 112 requests in the last 7 days",
            "\n- READY on ",
            "\nHosts: cloud.getdbt.com, ab1.cloud.getdbt.com\n",
            "\nMon  ",
            "\n## Integrations\n",
            "\n## What to change\n\n- **",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let week: Vec<_> = text.lines().filter(|line| DAYS.iter().any(|day| line.starts_with(day))).collect();
        assert!(week.len() == 7 && week.iter().all(|line| line.chars().count() == 29), "{week:?}");
        assert!(week[0].contains('█') || week.iter().any(|day| day.contains('█')), "{week:?}");
        assert!(markdown(&fleet, 1).contains("The books know nothing of it."));
    }

    #[test]
    fn what_traffic_made_up_changes_no_row() {
        let (mut fleet, account) = of(Verdict::Active);
        let count =
            |text: &str| (text.lines().count(), text.matches('|').count() - text.matches("\\|").count());
        let calm = count(&markdown(&fleet, account.account));
        for one in &mut fleet.accounts[0].details {
            one.client.push_str("x | y\n\n# z");
            one.endpoints = vec!["a|b\n".into()];
        }
        assert_eq!(count(&markdown(&fleet, account.account)), calm);
    }
}
