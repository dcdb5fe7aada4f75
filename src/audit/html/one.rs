//! One account as a page of its own, under the same policy as the page of all: why it has its verdict line by line, when in the
//! week it comes, each of its integrations, and what their owners change. It has no script.

use std::fmt::Write as _;

use super::super::account::{all_hosts, lead, title, why};
use super::super::fleet::{CURVE_DAYS, Fleet, FleetAccount};
use super::super::headline::{exact_percent, from_now};
use super::super::outreach::INTEGRATIONS;
use super::account::{Most, fixes, heat_map, integrations};
use super::chart::columns;
use super::summary::{coverage, meaning};
use super::text::{Sentence, Text, ago, minute, number, or_dash};
use super::{AGE, FOOT, Place, head, verdict_mark};
use crate::policy::legacy_use::DAY;

/// For whom a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Who runs cellgate.
    Operator(Place),
    /// Whose account it is: nothing of cells, and nothing of the fleet.
    Owner,
}

/// The page of the account of this id.
pub fn account_page(fleet: &Fleet, id: u64, reader: Reader) -> String {
    match fleet.accounts.iter().find(|of| of.account == id) {
        Some(account) => page_of(fleet, account, reader),
        None => unknown(id, reader),
    }
}

/// The page of an account that is there.
pub(in super::super) fn page_of(fleet: &Fleet, account: &FleetAccount, reader: Reader) -> String {
    let title = title(fleet, account);
    let mut html = head(&title, None);
    let _ = write!(
        html,
        "{}<header><p class=\"eyebrow\">Legacy host report<span class=\"badge open\">{}</span></p><h1>{}</h1>\
         <p class=\"lead\">{}</p>",
        back(reader),
        verdict_mark(account.judged.verdict),
        Text(&title),
        Sentence(&lead(fleet, account)),
    );
    html.push_str(&facts(fleet, account, reader));
    html.push_str("</header>\n<main>\n<section class=\"two\"><div><h2>Why</h2>");
    let _ = write!(
        html,
        "<p>{}: {}.</p><ul>",
        verdict_mark(account.judged.verdict),
        meaning(account.judged.verdict)
    );
    for line in why(account) {
        let _ = write!(html, "<li>{}</li>", Sentence(&line));
    }
    let _ = writeln!(
        html,
        "</ul></div><div><h2>When in the week</h2><p class=\"quiet\">The last four weeks, UTC</p>{}</div></section>",
        heat_map(&account.hours())
    );
    html.push_str(&changes(account));
    html.push_str(&calls(fleet, account));
    html.push_str(&days(fleet, account));
    if matches!(reader, Reader::Operator(_)) {
        html.push_str(&coverage(fleet));
    }
    html.push_str("</main>\n");
    html.push_str(FOOT);
    html
}

fn unknown(id: u64, reader: Reader) -> String {
    format!(
        "{}{}<header><p class=\"eyebrow\">Legacy host report</p><h1>The books know nothing of account {id}</h1>\
         <p class=\"lead\">It has not used a legacy host for as long as they were kept, or its id is another one.</p></header>\n{FOOT}",
        head(&format!("Account {id}"), None),
        back(reader)
    )
}

/// The way back and the age, where there are any.
fn back(reader: Reader) -> String {
    match reader {
        Reader::Operator(Place::Live) => format!("{}{AGE}", super::BACK),
        Reader::Operator(Place::File) | Reader::Owner => String::new(),
    }
}

fn facts(fleet: &Fleet, account: &FleetAccount, reader: Reader) -> String {
    let of = &account.requests;
    let mut facts = vec![("Own address", or_dash(account.address.as_deref()).to_string())];
    if matches!(reader, Reader::Operator(_)) {
        facts.push(("Prefix", or_dash(account.prefix.as_deref()).to_string()));
        facts.push(("Cell", or_dash(account.cell.as_deref()).to_string()));
    }
    facts.extend([
        ("Requests in 24 h", number(of.day)),
        ("In 7 d", number(of.week)),
        ("In 30 d", number(of.month)),
        ("Writes a day", number(account.writes_daily.round() as u64)),
        ("First seen", minute(account.first_seen)),
        ("Last seen", format!("{} ago", ago(fleet.generated_at, account.last_seen))),
    ]);
    facts.extend(fleet.deprecated_since.map(|at| ("Deprecated since", minute(at))));
    facts.extend(
        fleet.sunset_at.map(|at| ("Sunset", format!("{}, {}", minute(at), from_now(at, fleet.generated_at)))),
    );
    if matches!(reader, Reader::Operator(_)) {
        let (share, days) = (exact_percent(fleet.coverage.share), fleet.coverage.days);
        facts.push(("Books complete", format!("{share} of {days} days")));
    }
    facts.push(("Made", minute(fleet.generated_at)));
    let mut html = super::facts(&facts);
    if let Some(hosts) = all_hosts(fleet, account, |host| Text(host).to_string()) {
        let _ = write!(html, "<p class=\"quiet\">All old addresses: {hosts}.</p>");
    }
    html
}

/// What to set, in boxes.
fn changes(account: &FleetAccount) -> String {
    let fixes = fixes(&account.details, INTEGRATIONS);
    let known = account.details.iter().all(|integration| integration.recipe.is_some());
    let rest = match (fixes.is_empty(), known) {
        (_, true) => "",
        (true, _) => {
            "<p>Nothing is known of how these clients are set: look for the old address in their settings.</p>"
        }
        (false, _) => {
            "<p class=\"quiet\">Of the others no more is known than stands below: look for the old address in their settings.</p>"
        }
    };
    match account.details.is_empty() {
        true => String::new(),
        false => format!("<section><h2>How to fix it</h2>{fixes}{rest}</section>\n"),
    }
}

fn calls(fleet: &Fleet, account: &FleetAccount) -> String {
    if account.details.is_empty() {
        return "<section><h2>Integrations</h2><p>None was seen in the last 30 days.</p></section>\n"
            .to_owned();
    }
    let most = Most { integrations: INTEGRATIONS, endpoints: usize::MAX };
    format!(
        "<section><h2>Integrations</h2><p class=\"quiet\">The last 30 days. Each is one client with one credential, from one \
         network.</p>{}</section>\n",
        integrations(account, fleet.generated_at, most)
    )
}

/// Requests of each of the last days.
fn days(fleet: &Fleet, account: &FleetAccount) -> String {
    let first = fleet.generated_at.div_euclid(DAY) - (CURVE_DAYS as i64 - 1);
    let days: Vec<(i64, u64)> = (first..).zip(account.curve).collect();
    let drawn = columns(&days).unwrap_or_else(|| "<p>Nothing.</p>".to_owned());
    format!("<section><h2>Requests a day, today until now</h2>{drawn}</section>\n")
}
