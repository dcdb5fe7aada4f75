//! What is sent to the owners of accounts: a table for mail merge, and a page for each of them. Only of accounts whose owner has
//! something to do, and only what is theirs: no other account, no name of a cell, nothing of the fleet.

use std::fmt::Write as _;

use crate::policy::legacy_use::verdict::Verdict;

use super::account::{all_hosts, switched_off, title};
use super::fleet::{Fleet, FleetAccount};
use super::html::{Reader, page_of};
use super::markdown::Text;
use super::render::{inert, rfc3339};

/// Integrations on one page: more are made up, or nobody's to change by hand.
pub(super) const INTEGRATIONS: usize = 500;

/// A page for the owner of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its id.
    pub account: u64,
    /// As Markdown.
    pub text: String,
    /// As a page for a browser, with the hours of its week.
    pub page: String,
}

/// One line an account, with a heading.
///
/// # Errors
/// Never when writing to memory; the type is csv's.
pub fn csv(fleet: &Fleet) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "account",
        "prefix",
        "new_address",
        "verdict",
        "clients",
        "fixes",
        "requests_30d",
        "last_seen",
        "deprecated_since",
        "sunset",
    ])?;
    let at = |at: Option<i64>| at.map(rfc3339).unwrap_or_default();
    for account in addressees(fleet) {
        writer.write_record([
            account.account.to_string(),
            inert(account.prefix.as_deref().unwrap_or_default()),
            inert(account.address.as_deref().unwrap_or_default()),
            account.judged.verdict.as_str().to_owned(),
            inert(&clients(account).join("; ")),
            inert(
                &fixes(account)
                    .map(|(client, how)| format!("{client}: {how}"))
                    .collect::<Vec<_>>()
                    .join("; "),
            ),
            account.requests.month.to_string(),
            rfc3339(account.last_seen),
            at(fleet.deprecated_since),
            at(fleet.sunset_at),
        ])?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// A page for each of them, one at a time: a hundred thousand are not to be in memory together.
pub fn letters(fleet: &Fleet) -> impl Iterator<Item = Letter> {
    addressees(fleet).map(|account| Letter {
        account: account.account,
        text: letter(fleet, account),
        page: page_of(fleet, account, Reader::Owner),
    })
}

/// Who has something to do, those with the most to do first.
fn addressees(fleet: &Fleet) -> impl Iterator<Item = &FleetAccount> {
    let accounts = fleet.by_weight().into_iter();
    let is_done =
        |of: &FleetAccount| matches!(of.judged.verdict, Verdict::Ready | Verdict::NotMigrated | Verdict::Cut);
    accounts.filter(move |account| !is_done(account))
}

fn letter(fleet: &Fleet, account: &FleetAccount) -> String {
    let mut text = format!("# {}\n\n", Text(&title(fleet, account)));
    let _ = match &account.address {
        Some(address) => write!(text, "Its own address is **{}**. ", Text(address)),
        None => write!(text, "Ask us for its own address. "),
    };
    if let Some(sunset) = fleet.sunset_at {
        let _ = write!(text, "{} ", Text(&switched_off(fleet, sunset)));
    }
    let _ = writeln!(
        text,
        "These requests came to the old address until {}; all times are UTC.",
        rfc3339(fleet.generated_at)
    );
    if let Some(all) = all_hosts(fleet, account, |host| Text(host).to_string()) {
        let _ = writeln!(text, "\nThe old addresses, all of which go: {all}.");
    }
    text.push_str(&integrations(account));
    let fixes: Vec<_> = fixes(account).collect();
    if !fixes.is_empty() {
        text.push_str("\n## What to change\n\n");
    }
    for (client, how) in fixes {
        let _ = writeln!(text, "- **{}**: {}", Text(client), Text(how));
    }
    if account.details.iter().any(|integration| integration.recipe.is_none()) {
        text.push_str(
            "\nOf the others we know no more than the table says: look for the old address where their settings are.\n",
        );
    }
    text
}

fn integrations(account: &FleetAccount) -> String {
    if account.details.is_empty() {
        let last = rfc3339(account.last_seen);
        return format!("\n{} requests in 30 days, the last at {last}.\n", account.requests.month);
    }
    let mut text = "\n| Client | Credential | From | Calls | Requests in 30 days | Last seen |\n|---|---|---|---|--:|---|\n".to_owned();
    for integration in account.details.iter().take(INTEGRATIONS) {
        let or_dash = |text: &Option<String>| Text(text.as_deref().unwrap_or("-")).to_string();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            Text(&integration.client),
            or_dash(&integration.credential),
            or_dash(&integration.network),
            integration.endpoints.iter().map(|name| Text(name).to_string()).collect::<Vec<_>>().join(", "),
            integration.requests,
            rfc3339(integration.last_seen)
        );
    }
    if let Some(more @ 1..) = account.details.len().checked_sub(INTEGRATIONS) {
        let _ = write!(text, "\n{more} more with fewer requests; ask us for them.\n");
    }
    text
}

/// Each client once.
fn clients(account: &FleetAccount) -> Vec<&str> {
    let mut clients: Vec<&str> = Vec::new();
    let named = account.details.iter().map(|integration| &*integration.client);
    for client in named.chain(account.top_client.as_deref().filter(|_| account.details.is_empty())) {
        if !clients.contains(&client) {
            clients.push(client);
        }
    }
    clients
}

/// Client and what to set, each once.
pub(super) fn fixes(account: &FleetAccount) -> impl Iterator<Item = (&str, &str)> {
    let mut fixes: Vec<(&str, &str)> = Vec::new();
    for integration in &account.details {
        let how = integration.recipe.as_ref().map(|recipe| &*recipe.how);
        fixes.extend(how.map(|how| (&*integration.client, how)));
    }
    fixes.sort_unstable();
    fixes.dedup();
    fixes.into_iter()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fleet::Integration;
    use super::super::made_up::made_up;
    use super::super::recipes::Recipe;
    use super::*;

    /// One account of two integrations.
    fn one() -> Fleet {
        let mut fleet = made_up(40);
        let is_active = |account: &FleetAccount| account.judged.verdict == Verdict::Active;
        let mut account = fleet.accounts.iter().find(|account| is_active(account)).unwrap().clone();
        let mut integration = account.details.remove(0);
        integration.client = "airflow".into();
        integration.credential = Some("k1:9f3a1c20be41".into());
        integration.network = Some("34.201.7.0/24".into());
        integration.endpoints = vec!["trigger-run".into(), "poll-run".into()];
        integration.recipe =
            Some(Recipe { why: None, how: "Admin, Connections: Host = ab123.us1.dbt.com".into() });
        (integration.requests, integration.last_seen) = (8_640, fleet.generated_at - 200);
        let other = Integration {
            client: "my|script".into(),
            credential: None,
            requests: 30,
            recipe: None,
            ..integration.clone()
        };
        account.details = vec![integration, other];
        (account.account, account.integrations) = (70_471, 3);
        (account.prefix, account.address) = (Some("ab123".into()), Some("ab123.us1.dbt.com".into()));
        (account.requests.month, account.last_seen) = (8_670, fleet.generated_at - 200);
        fleet.accounts = vec![account];
        fleet
    }

    #[test]
    fn a_letter_says_what_to_change_and_until_when() {
        let letters: Vec<Letter> = letters(&one()).collect();
        assert_eq!(letters.iter().map(|letter| letter.account).collect::<Vec<_>>(), [70_471]);
        assert_eq!(
            letters[0].text,
            "\
# Account 70471 still uses cloud.getdbt.com

Its own address is **ab123.us1.dbt.com**. cloud.getdbt.com is to be switched off on 2027-01-31 (in 72 days). These requests \
came to the old address until 2026-11-20T10:00:00Z; all times are UTC.

| Client | Credential | From | Calls | Requests in 30 days | Last seen |
|---|---|---|---|--:|---|
| airflow | k1:9f3a1c20be41 | 34.201.7.0/24 | trigger-run, poll-run | 8640 | 2026-11-20T09:56:40Z |
| my\\|script | - | 34.201.7.0/24 | trigger-run, poll-run | 30 | 2026-11-20T09:56:40Z |

## What to change

- **airflow**: Admin, Connections: Host = ab123.us1.dbt.com

Of the others we know no more than the table says: look for the old address where their settings are.
"
        );
    }

    #[test]
    fn a_letter_has_all_addresses_and_all_that_somebody_calls() {
        let mut fleet = one();
        fleet.hosts = ["cloud", "metadata.cloud", "semantic-layer.cloud"]
            .map(|name| format!("{name}.getdbt.com"))
            .to_vec();
        let endpoint = |number| format!("an-endpoint-class-with-a-long-name-{number}");
        fleet.accounts[0].details[0].endpoints = (0..20).map(endpoint).collect();
        let one = fleet.accounts[0].details[1].clone();
        fleet.accounts[0].details.extend(vec![one; INTEGRATIONS]);
        let text = letters(&fleet).next().unwrap().text;
        assert!(
            text.contains(
                "all of which go: cloud.getdbt.com, metadata.cloud.getdbt.com, semantic-layer.cloud.getdbt.com."
            ),
            "{text}"
        );
        assert!((0..20).all(|number| text.contains(&endpoint(number))), "{text}");
        assert!(text.contains("\n2 more with fewer requests; ask us for them."), "{text}");
    }

    #[test]
    fn mail_merge_has_one_line_an_account_and_starts_no_formula() {
        let mut fleet = one();
        fleet.accounts[0].prefix = Some("=cmd()".into());
        fleet.accounts[0].details[0].client = "@SUM(A1)\r\n".into();
        fleet.accounts[0].address = None;
        let text = String::from_utf8(csv(&fleet).unwrap()).unwrap();
        assert_eq!(
            text,
            "\
account,prefix,new_address,verdict,clients,fixes,requests_30d,last_seen,deprecated_since,sunset
70471,'=cmd(),,ACTIVE,'@SUM(A1)\u{fffd}\u{fffd}; my|script,\"'@SUM(A1)\u{fffd}\u{fffd}: Admin, Connections: Host = \
ab123.us1.dbt.com\",8670,2026-11-20T09:56:40Z,2026-02-01T00:00:00Z,2027-01-31T00:00:00Z
"
        );
    }

    #[test]
    fn nobody_is_written_to_who_has_nothing_to_do() {
        let fleet = made_up(200);
        let written: Vec<u64> = letters(&fleet).map(|letter| letter.account).collect();
        assert_eq!(written.len() as u64, fleet.coming() + fleet.waiting());
        let lines = String::from_utf8(csv(&fleet).unwrap()).unwrap().lines().count();
        assert_eq!(lines, written.len() + 1);
        // Nothing of another account is in a letter.
        for letter in letters(&fleet) {
            let mut others = written.iter().filter(|other| **other != letter.account);
            let named = |other: &&u64| {
                [&letter.text, &letter.page].iter().any(|text| text.contains(&format!("Account {other}")))
            };
            assert_eq!(others.find(named), None, "{}", letter.text);
            assert!(letter.page.starts_with("<!doctype html>") && !letter.page.contains("Books complete"));
        }
    }
}
