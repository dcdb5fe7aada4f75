//! A legacy host and its accounts as one file that needs nothing else: it can be opened from a disk, mailed and printed. It
//! loads nothing and its policy lets it load nothing; its one script only sorts and filters what stands there without it.
//!
//! What traffic made up is in it as text only. It is bounded: rows, sections, lists and texts, each with the count of what was
//! left out.

mod account;
mod chart;
mod one;
mod summary;
mod table;
mod text;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::policy::html::hash;
use crate::policy::legacy_use::verdict::Verdict;

use super::fleet::{Fleet, FleetAccount};
use super::headline;
use text::{Sentence, Text};

pub(super) use one::page_of;
pub use one::{Reader, account_page};
pub use table::ROWS;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Where a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, which has nobody to ask.
    File,
    /// On the admin plane, which has a page for each account.
    Live,
}

/// Where a live page says how old it is: nothing that traffic made up can look like this.
pub const AGE: &str = "<!--age-->";

/// The end of every page.
const FOOT: &str = "</body>\n</html>\n";

/// From a page of one account to that of all, on the admin plane.
const BACK: &str = "<p><a href=\"/report\">All accounts</a></p>";

/// The whole page.
pub fn page(fleet: &Fleet, place: Place) -> String {
    let by_weight = fleet.by_weight();
    let with_section: Vec<&FleetAccount> =
        by_weight.iter().copied().filter(|account| account::has_section(account)).collect();
    let detailed = &with_section[..with_section.len().min(account::SECTIONS)];
    let ids: BTreeSet<u64> = detailed.iter().map(|account| account.account).collect();
    let title = format!("{}: {}", headline::hosts(fleet), fleet.state().as_str());
    let mut html = head(&title, Some(SCRIPT));
    html.push_str(age(place));
    html.push_str(&summary::header(fleet));
    html.push_str("<main>\n");
    html.push_str(&summary::tiles(fleet));
    html.push_str(&summary::burn_down(fleet));
    html.push_str(&summary::movers(fleet, &ids));
    html.push_str(&table::accounts(fleet, &by_weight, &ids, place));
    let without = with_section.len() - detailed.len();
    html.push_str(&account::sections(detailed, without, fleet.generated_at));
    html.push_str(&summary::arrivals(fleet, &ids));
    html.push_str(&summary::brownouts(fleet));
    html.push_str(&summary::coverage(fleet));
    html.push_str(&summary::changes(fleet));
    html.push_str(&summary::method());
    let _ = write!(html, "</main>\n<script>{SCRIPT}</script>\n{FOOT}");
    html
}

/// A page that says why there is no other.
pub fn notice(title: &str, text: &str) -> String {
    format!(
        "{}<header>{BACK}<p class=\"eyebrow\">Legacy host report</p><h1>{}</h1><p class=\"lead\">{}</p></header>\n{FOOT}",
        head(title, None),
        Text(title),
        Sentence(text)
    )
}

/// The place for it.
const fn age(place: Place) -> &'static str {
    match place {
        Place::File => "",
        Place::Live => AGE,
    }
}

/// The policy of every page here, for a header: it names the one style and the one script by their hashes, and anything else
/// that came to stand there would not be run.
pub fn policy() -> String {
    format!("{}; frame-ancestors 'none'", policy_of(Some(SCRIPT)))
}

fn policy_of(script: Option<&str>) -> String {
    let script = script.map(|script| format!("script-src '{}'; ", hash(script))).unwrap_or_default();
    format!(
        "default-src 'none'; style-src '{}'; {script}img-src data:; base-uri 'none'; form-action 'none'",
        hash(STYLE)
    )
}

/// Up to the beginning of the body, with the policy of this page.
fn head(title: &str, script: Option<&str>) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        policy_of(script),
        Text(title),
    )
}

/// Names and values, which are HTML already.
fn facts(facts: &[(&str, String)]) -> String {
    let mut html = String::from("<dl class=\"facts\">");
    for (name, value) in facts {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    html.push_str("</dl><p class=\"quiet\">All times are UTC.</p>");
    html
}

/// A verdict with its sign: colour is never alone.
fn verdict_mark(verdict: Verdict) -> String {
    let (class, sign) = match verdict {
        Verdict::Active => ("active", "●"),
        Verdict::Returned => ("returned", "▲"),
        Verdict::Fading => ("fading", "▼"),
        Verdict::Quiet => ("quiet", "○"),
        Verdict::Ready => ("ready", "✓"),
        Verdict::Unknown => ("unknown", "?"),
        Verdict::NotMigrated => ("shared", "◇"),
        Verdict::Cut => ("cut", "×"),
    };
    format!("<span class=\"v {class}\"><i aria-hidden=\"true\">{sign}</i>{}</span>", verdict.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
