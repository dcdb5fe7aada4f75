//! A legacy host as Markdown, for issues and chat: how it stands, what moves it, and the largest accounts. Everybody else is in
//! the other forms.

use std::fmt::{self, Write as _};

use crate::policy::legacy_use::forecast::{Forecast, Outlook};

use super::fleet::{Fleet, Mover, VERDICTS};
use super::foreign::shown;
use super::headline::{date, exact_percent, headline, hosts, pace, sparkline, weekly};
use super::render::{age, percent, rfc3339};

/// Client families, integrations, and accounts in a line: what somebody reads in an issue.
const LISTED: usize = 10;

/// Characters of one text. A way to change something needs as many.
const LONGEST: usize = 300;

/// Weeks in the curve: half a year.
const WEEKS: usize = 26;

/// Everything that fits into an issue.
pub fn print(fleet: &Fleet) -> String {
    let said = headline(fleet);
    let (sign, state) = (said.state.sign(), said.state.as_str());
    let mut text = format!(
        "# {sign} {state}: {}\n\n**{}** {}\n",
        Text(&hosts(fleet)),
        Text(&said.who),
        Text(&said.when)
    );
    if let Some(doubt) = &said.doubt {
        let _ = write!(text, "\n> **!** {}\n", Text(doubt));
    }
    text.push_str(&verdicts(fleet));
    text.push_str(&paces(fleet));
    text.push_str(&movers("Client", &fleet.clients));
    text.push_str(&movers("Integration", &fleet.integrations));
    text.push_str(&top(fleet));
    text.push_str(&brownouts(fleet));
    text.push_str(&named("New this week", &fleet.new_accounts));
    text.push_str(&named("Came back after READY", &fleet.returned));
    text.push_str(&made(fleet));
    text
}

/// What a report is made of, and when: its last line.
pub(super) fn made(fleet: &Fleet) -> String {
    format!(
        "\nThe books are complete for {} of {} days. Made {}; all times are UTC.\n",
        exact_percent(fleet.coverage.share),
        fleet.coverage.days,
        rfc3339(fleet.generated_at)
    )
}

/// Text in Markdown, also in a table: nothing in it is markup, a link, a mention of somebody, or of an issue.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub &'a str);

/// Behind `@` and `#`: programs look for names of people and issues in what is shown, where an escape is no longer seen.
const WORD_JOINER: char = '\u{2060}';

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in shown(self.0, LONGEST) {
            match character {
                // As chat programs want them, too.
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '@' | '#' => write!(f, "\\{character}{WORD_JOINER}")?,
                // These begin nothing within a line; the colon of a link and the dot of `www.` are not among them.
                '-' | ',' | '/' | '%' | ';' | '=' | '?' | '!' | '+' | '(' | ')' | '{' | '}' | '\'' | '"' => {
                    f.write_char(character)?;
                }
                '.' if !self.0.contains("www.") => f.write_char('.')?,
                ':' if !self.0.contains("://") => f.write_char(':')?,
                character if character.is_ascii_punctuation() => write!(f, "\\{character}")?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

fn verdicts(fleet: &Fleet) -> String {
    let mut text = "\n| Verdict | Accounts | In a week |\n|---|--:|--:|\n".to_owned();
    for verdict in VERDICTS {
        let count = fleet.verdicts.get(&verdict).copied().unwrap_or_default();
        let change = match count.week_ago {
            Some(before) if before > count.now => format!("▼ {}", before - count.now),
            Some(before) if before < count.now => format!("▲ {}", count.now - before),
            Some(_) => "0".to_owned(),
            None => "–".to_owned(),
        };
        let _ = writeln!(text, "| {} | {} | {change} |", verdict.as_str(), count.now);
    }
    let _ = write!(
        text,
        "\n{} of {} requests in the last seven days name no account.\n",
        Text(&percent(fleet.unattributed, fleet.requests)),
        fleet.requests
    );
    text
}

fn paces(fleet: &Fleet) -> String {
    let weeks = weekly(&fleet.days);
    let mut text = format!(
        "\n## Pace\n\nAccounts seen in seven days, week by week: `{}`{}\n",
        sparkline(&weeks[weeks.len().saturating_sub(WEEKS)..]),
        weeks.last().map(|last| format!(", now {last}")).unwrap_or_default()
    );
    if let Forecast::Known(outlook) = &fleet.forecast {
        text.push_str(&outlook_table(outlook));
    }
    text
}

fn outlook_table(outlook: &Outlook) -> String {
    let mut text = format!("\n| | |\n|---|--:|\n| accounts a week, now | {} |\n", pace(outlook.pace_weekly));
    if let Some(required) = outlook.required_weekly {
        let _ = writeln!(text, "| accounts a week, needed | {} |", pace(required));
    }
    if let Some(band) = outlook.at_sunset {
        let _ = writeln!(
            text,
            "| left at the sunset | {:.0} (80 %: {:.0} to {:.0}) |",
            band.expected, band.low, band.high
        );
    }
    text
}

fn movers(what: &str, movers: &[Mover]) -> String {
    if movers.is_empty() {
        return String::new();
    }
    let is_client = what == "Client";
    let heading = if is_client { "\n## What moves it most\n" } else { "" };
    let (fix, line) = if is_client { (" Fix |", "---|") } else { ("", "") };
    let mut text = format!("{heading}\n| {what} | Accounts | Requests |{fix}\n|---|--:|--:|{line}\n");
    for mover in movers.iter().take(LISTED) {
        let _ = write!(text, "| {} | {} | {} |", Text(&mover.name), mover.accounts, mover.requests);
        if is_client {
            let how = mover.recipe.as_ref().map_or("–", |recipe| &recipe.how);
            let _ = write!(text, " {} |", Text(how));
        }
        text.push('\n');
    }
    if let Some(more @ 1..) = movers.len().checked_sub(LISTED) {
        let _ = write!(text, "\n{more} more with fewer accounts.\n");
    }
    text
}

fn top(fleet: &Fleet) -> String {
    let accounts = fleet.top_accounts();
    if accounts.is_empty() {
        return String::new();
    }
    let mut text = "\n## Largest accounts\n\n| Verdict | Account | Address | Cell | 7 d | Seen | Main client | Ready on |\n\
                    |---|--:|---|---|--:|--:|---|---|\n"
        .to_owned();
    for account in accounts {
        let or_dash = |text: &Option<String>| Text(text.as_deref().unwrap_or("–")).to_string();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} ago | {} | {} |",
            account.judged.verdict.as_str(),
            account.account,
            or_dash(&account.address),
            or_dash(&account.cell),
            account.requests.week,
            age(fleet.generated_at, account.last_seen),
            or_dash(&account.top_client),
            account.judged.ready_at.map_or_else(|| "–".to_owned(), date),
        );
    }
    text
}

fn brownouts(fleet: &Fleet) -> String {
    if fleet.brownouts.is_empty() {
        return String::new();
    }
    let mut text =
        "\n## Brownouts\n\n| Name | Began | Mode | Accounts | Requests | Writes | Gone since |\n|---|---|---|--:|--:|--:|--:|\n"
            .to_owned();
    for of in fleet.brownouts.iter().rev().take(LISTED) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            Text(&of.id),
            rfc3339(of.started_at),
            of.mode_told(),
            of.accounts,
            of.requests,
            of.writes,
            of.left.map_or_else(|| "–".to_owned(), |left| left.to_string()),
        );
    }
    text
}

fn named(what: &str, ids: &[u64]) -> String {
    let mut names: Vec<String> = ids.iter().take(LISTED).map(ToString::to_string).collect();
    if ids.len() > LISTED {
        names.push(format!("{} more", ids.len() - LISTED));
    }
    if names.is_empty() { String::new() } else { format!("\n{what}: {}\n", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::made_up;
    use super::*;

    #[test]
    fn text_is_no_markup_and_calls_nobody() {
        for (text, expect) in [
            ("airflow-providers 8.2, x", "airflow-providers 8.2, x"),
            ("a|b*c_d`e[f](g)", "a\\|b\\*c\\_d\\`e\\[f\\](g)"),
            ("<!channel> & <b>", "&lt;!channel&gt; &amp; &lt;b&gt;"),
            ("@kim #12", "\\@\u{2060}kim \\#\u{2060}12"),
            ("https://evil.test", "https\\://evil.test"),
            ("www.evil.test", "www\\.evil\\.test"),
            ("a\n# b", "a\u{fffd}\\#\u{2060} b"),
        ] {
            assert_eq!(Text(text).to_string(), expect);
        }
    }

    #[test]
    fn an_issue_has_what_matters_and_no_more() {
        let fleet = made_up(300);
        let text = print(&fleet);
        assert!(text.starts_with("# ▲ Too slow: cloud.getdbt.com\n\n**131 accounts still come"), "{text}");
        for part in [
            "| ACTIVE | 98 | ▼ 11 |",
            "\n## Pace\n",
            "| accounts a week, needed | -",
            "| left at the sunset | ",
            "\n## What moves it most\n",
            "Host (Tenant) = {host} |",
            "\n## Largest accounts\n",
            "\nNew this week: 70000, 70037\n",
            "complete for 99.98 % of 196 days",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        // GitHub takes 65,536 characters.
        assert!(text.chars().count() < 10_000, "{}", text.len());
        let rows =
            text.lines().filter(|line| line.starts_with("| ACTIVE |") || line.starts_with("| FADING |"));
        assert!(rows.count() <= 2 + super::super::fleet::TOP_ACCOUNTS);
    }

    #[test]
    fn what_traffic_made_up_changes_no_row() {
        let mut fleet = made_up(30);
        let count =
            |text: &str| (text.lines().count(), text.matches('|').count() - text.matches("\\|").count());
        let calm = count(&print(&fleet));
        for account in &mut fleet.accounts {
            account.top_client = Some("x | y\n\n# z".into());
        }
        for mover in fleet.clients.iter_mut().chain(&mut fleet.integrations) {
            mover.name = "x | y\n| z |".into();
        }
        assert_eq!(count(&print(&fleet)), calm);
    }
}
