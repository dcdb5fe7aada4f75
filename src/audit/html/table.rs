//! The table of accounts: those that matter most, and how many of the others are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::policy::legacy_use::verdict::Verdict;

use super::super::fleet::{CURVE_DAYS, Fleet, FleetAccount, VERDICTS};
use super::super::headline::date;
use super::super::render::why;
use super::text::{Sentence, Text, ago, number, or_dash};
use super::{Place, verdict_mark};

/// Rows of the table: with so many the page stays under two megabytes, and nobody reads more of them.
pub const ROWS: usize = 1_500;

/// Height of a little curve, and width of one of its days, in units of the drawing.
const HEIGHT: u64 = 16;
const DAY_WIDTH: usize = 3;

/// Heading, whether it holds numbers, and what is said of it.
const COLUMNS: [(&str, bool, &str); 12] = [
    ("Verdict", false, "What the books say of it; the reasons are in its own section"),
    ("Account", false, "Its id, and its own address"),
    ("Cell", false, "Where it lives"),
    ("Seen", true, "How long ago it was last seen"),
    ("24 h", true, "Requests in the last 24 hours"),
    ("7 d", true, "Requests in the last 7 days"),
    ("30 d", true, "Requests in the last 30 days"),
    ("30 days", false, "Requests of each day, each row by its own largest"),
    ("Main client", false, "The client with the most requests, and how many integrations there are besides"),
    ("Writes/d", true, "Requests a day that change something"),
    ("Comes", false, "How often"),
    ("Ready on", false, "The earliest day on which it can be READY"),
];

/// Heading, filter, table and what is missing in it. Accounts in the order in which they matter; those that are `detailed` have a
/// section of their own, and the others a page where there is one.
pub(super) fn accounts(
    fleet: &Fleet,
    by_weight: &[&FleetAccount],
    detailed: &BTreeSet<u64>,
    place: Place,
) -> String {
    let listed = &by_weight[..by_weight.len().min(ROWS)];
    let mut html = String::with_capacity(listed.len() * 1_000);
    html.push_str("<section id=\"accounts\"><h2>Accounts</h2>");
    html.push_str(&left_out(by_weight));
    html.push_str(FILTER_BEFORE);
    for verdict in VERDICTS {
        let _ = write!(html, "<option>{}</option>", verdict.as_str());
    }
    html.push_str(FILTER_AFTER);
    html.push_str("<div class=\"scroll\"><table id=\"table\" class=\"accounts\"><thead><tr>");
    for (name, is_number, title) in COLUMNS {
        let class = if is_number { " class=\"n\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class} title=\"{title}\">{name}</th>");
    }
    html.push_str("</tr></thead><tbody>\n");
    for account in listed {
        let link = match place {
            _ if detailed.contains(&account.account) => format!("#a{}", account.account),
            Place::Live => format!("/report/accounts/{}", account.account),
            Place::File => String::new(),
        };
        row(&mut html, account, fleet.generated_at, &link);
    }
    html.push_str("</tbody></table></div></section>\n");
    html
}

/// Shown by the script, which alone can filter.
const FILTER_BEFORE: &str = "<form id=\"filter\" hidden><label>Find <input id=\"find\" type=\"search\" \
    placeholder=\"id, address, cell, client\" autocomplete=\"off\"></label><label>Verdict <select id=\"verdict\">\
    <option value=\"\">all</option>";
const FILTER_AFTER: &str = "</select></label><output id=\"shown\"></output></form>";

/// How many accounts have no row.
fn left_out(by_weight: &[&FleetAccount]) -> String {
    let all = number(by_weight.len() as u64);
    let rest = by_weight.get(ROWS..).unwrap_or_default();
    if rest.is_empty() {
        return format!(
            "<p class=\"quiet\">All {all} accounts of this report; those that come first, then by requests in 7 days.</p>"
        );
    }
    let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
    for account in rest {
        *counts.entry(account.judged.verdict).or_default() += 1;
    }
    let counts = counts.iter().map(|(verdict, many)| format!("{} {}", number(*many), verdict.as_str()));
    format!(
        "<p class=\"quiet\">The {} accounts that matter most, of {all}: those that come first, then by requests in 7 days. \
         <strong>Not in this table: {}.</strong> <code>cellgate report --all -o csv</code> and <code>-o json</code> have \
         everybody.</p>",
        number(ROWS as u64),
        counts.collect::<Vec<_>>().join(", ")
    )
}

fn row(html: &mut String, account: &FleetAccount, now: i64, link: &str) {
    let id = account.account;
    let _ = write!(
        html,
        "<tr><td title=\"{}\">{}</td>",
        Sentence(&why(&account.judged)),
        verdict_mark(account.judged.verdict)
    );
    let own = account.address.as_deref().or(account.prefix.as_deref());
    let own = own.map(|own| format!("<small>{}</small>", Text(own))).unwrap_or_default();
    let _ = match link {
        "" => write!(html, "<td>{id}{own}</td>"),
        link => write!(html, "<td><a href=\"{link}\">{id}</a>{own}</td>"),
    };
    let recent = &account.requests;
    let [day, week, month] = [recent.day, recent.week, recent.month].map(number);
    let more = match account.integrations.saturating_sub(1) {
        0 => String::new(),
        more => format!(" <small>+{more}</small>"),
    };
    let _ = writeln!(
        html,
        "<td>{}</td><td class=\"n\">{}</td><td class=\"n\">{day}</td><td class=\"n\">{week}</td><td class=\"n\">{month}</td>\
         <td>{}</td><td>{}{more}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
        or_dash(account.cell.as_deref()),
        ago(now, account.last_seen),
        curve(&account.curve),
        or_dash(account.top_client.as_deref()),
        number(account.writes_daily.round() as u64),
        account.judged.cadence.map_or("–", |cadence| cadence.as_str()),
        account.judged.ready_at.map_or_else(|| "–".to_owned(), date),
    );
}

/// Thirty little columns; what is there is never drawn as nothing.
fn curve(days: &[u64; CURVE_DAYS]) -> String {
    let most = u128::from(days.iter().copied().max().unwrap_or(0));
    if most == 0 {
        return "–".to_owned();
    }
    let mut path = String::new();
    for (at, requests) in days.iter().enumerate().filter(|(_, requests)| **requests > 0) {
        let high = (u128::from(*requests) * u128::from(HEIGHT)).div_ceil(most);
        let _ = write!(path, "M{} {HEIGHT}v-{high}", at * DAY_WIDTH + 1);
    }
    format!("<svg class=\"s\" viewBox=\"0 0 {} {HEIGHT}\"><path d=\"{path}\"/></svg>", CURVE_DAYS * DAY_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_with_one_request_beside_a_million_is_seen() {
        let mut days = [0; CURVE_DAYS];
        (days[0], days[29]) = (1, 1_000_000);
        assert_eq!(
            curve(&days),
            "<svg class=\"s\" viewBox=\"0 0 90 16\"><path d=\"M1 16v-1M88 16v-16\"/></svg>"
        );
        assert_eq!(curve(&[0; CURVE_DAYS]), "–");
    }
}
