//! What there is to say to one account: why it is judged so, when in the week it comes, each of its integrations, and what
//! their owners change.

use std::fmt::Write as _;

use crate::policy::legacy_use::verdict::Verdict;

use super::super::account::{DAYS, why};
use super::super::fleet::{FleetAccount, Integration, WeekHours};
use super::super::headline::date;
use super::super::recipes::Recipe;
use super::text::{Sentence, Text, ago, number, or_dash};
use super::verdict_mark;

/// Accounts with a section of their own: a few weeks of letters to write.
pub(super) const SECTIONS: usize = 150;

/// Of how many integrations of an account is told, and of how many things that one of them calls.
#[derive(Clone, Copy)]
pub(super) struct Most {
    pub integrations: usize,
    pub endpoints: usize,
}

/// Of a section among others. Whoever has more has a page of its own, which has all.
const OF_A_SECTION: Most = Most { integrations: 10, endpoints: 5 };

/// One hour, in units of the drawing, with the gap to the next.
const HOUR: usize = 12;

/// Room for the names of days, and below for hours.
const NAMES: usize = 30;
const DIGITS: usize = 14;

/// Shades of the drawing, each four times as much as the one before: who comes each minute is not to hide who comes once.
const SHADES: u32 = 4;

/// Whether there is anything to say to its owner.
pub(super) fn has_section(account: &FleetAccount) -> bool {
    let is_done = matches!(account.judged.verdict, Verdict::Ready | Verdict::NotMigrated | Verdict::Cut);
    !account.details.is_empty() && !is_done
}

/// The sections of these accounts.
pub(super) fn sections(accounts: &[&FleetAccount], without: usize, now: i64) -> String {
    let mut html = String::from("<section id=\"details\"><h2>What to tell whom</h2>");
    if without > 0 {
        let _ = write!(
            html,
            "<p class=\"quiet\">The {} accounts that matter most. {} more are not READY and have no section here; \
             <code>cellgate report --account ID</code> shows each.</p>",
            number(accounts.len() as u64),
            number(without as u64)
        );
    } else if accounts.is_empty() {
        html.push_str("<p class=\"quiet\">Nobody is left to write to.</p>");
    }
    for account in accounts {
        html.push_str(&section(account, now));
    }
    html.push_str("</section>\n");
    html
}

fn section(account: &FleetAccount, now: i64) -> String {
    let id = account.account;
    let mut html = format!(
        "<details><summary>{}<b>{id}</b><span>{}</span><span class=\"quiet\">{} in 7 days, seen {} ago</span></summary>\
         <div class=\"account\" id=\"a{id}\"><div class=\"two\"><div><h3>Why</h3><ul>",
        verdict_mark(account.judged.verdict),
        or_dash(account.address.as_deref().or(account.prefix.as_deref())),
        number(account.requests.week),
        ago(now, account.last_seen),
    );
    for line in why(account) {
        let _ = write!(html, "<li>{}</li>", Sentence(&line));
    }
    let _ = write!(
        html,
        "</ul></div><div><h3>When in the week, UTC</h3>{}</div></div>",
        heat_map(&account.hours())
    );
    html.push_str(&integrations(account, now, OF_A_SECTION));
    html.push_str(&fixes(&account.details, OF_A_SECTION.integrations));
    html.push_str("</div></details>\n");
    html
}

/// A table of them.
pub(super) fn integrations(account: &FleetAccount, now: i64, most: Most) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Client</th><th scope=\"col\">Credential</th>\
         <th scope=\"col\">From</th><th scope=\"col\">Calls</th><th scope=\"col\" class=\"n\">30 d</th>\
         <th scope=\"col\">First seen</th><th scope=\"col\" class=\"n\">Seen</th></tr></thead><tbody>",
    );
    for integration in account.details.iter().take(most.integrations) {
        let _ = write!(
            html,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td>\
             <td class=\"n\">{}</td></tr>",
            Text(&integration.client),
            Text(integration.credential.as_deref().unwrap_or("-")),
            or_dash(integration.network.as_deref()),
            endpoints(&integration.endpoints, most.endpoints),
            number(integration.requests),
            date(integration.first_seen),
            ago(now, integration.last_seen),
        );
    }
    html.push_str("</tbody></table></div>");
    if let Some(more @ 1..) = account.details.len().checked_sub(most.integrations) {
        let _ = write!(
            html,
            "<p class=\"quiet\">{more} more with fewer requests; <code>cellgate report --account {}</code> has all.</p>",
            account.account
        );
    }
    html
}

fn endpoints(names: &[String], most: usize) -> String {
    let mut html: Vec<String> = names.iter().take(most).map(|name| Text(name).to_string()).collect();
    if names.len() > most {
        html.push(format!("{} more", names.len() - most));
    }
    html.join(", ")
}

/// Each thing to change once, whoever of the integrations it is for.
pub(super) fn fixes(integrations: &[Integration], most: usize) -> String {
    let mut told: Vec<(&str, &Recipe)> = Vec::new();
    for integration in integrations.iter().take(most) {
        let Some(recipe) = &integration.recipe else { continue };
        if !told.contains(&(&*integration.client, recipe)) {
            told.push((&integration.client, recipe));
        }
    }
    let mut html = String::new();
    for (client, recipe) in told {
        let _ = write!(html, "<div class=\"fix\"><b>{}</b>", Text(client));
        if let Some(why) = &recipe.why {
            let _ = write!(html, "<p>{}</p>", Sentence(why));
        }
        let _ = write!(html, "<p><span class=\"quiet\">Fix</span> {}</p></div>", Sentence(&recipe.how));
    }
    html
}

/// Seven days by twenty-four hours, darker where more comes.
pub(super) fn heat_map(hours: &WeekHours) -> String {
    let (width, height) = (NAMES + 24 * HOUR, 7 * HOUR + DIGITS);
    let Some((day, hour, most)) = busiest(hours) else {
        return "<p class=\"quiet\">Not known.</p>".to_owned();
    };
    let mut html = format!(
        "<svg class=\"heat\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Requests by day and hour; most on {} from \
         {hour}:00 UTC\">",
        DAYS[day]
    );
    for shade in 0..=SHADES {
        let mut path = String::new();
        for (day, of_day) in hours.iter().enumerate() {
            let is_shade = |hour: &usize| shade_of(of_day[*hour], most) == shade;
            for hour in (0..24).filter(is_shade) {
                let _ = write!(path, "M{} {}h10v10h-10z", NAMES + hour * HOUR, day * HOUR);
            }
        }
        if !path.is_empty() {
            let _ = write!(html, "<path class=\"h{shade}\" d=\"{path}\"/>");
        }
    }
    for (day, name) in DAYS.iter().enumerate() {
        let _ = write!(html, "<text x=\"0\" y=\"{}\">{name}</text>", day * HOUR + 9);
    }
    for hour in [0, 6, 12, 18] {
        let _ = write!(html, "<text x=\"{}\" y=\"{}\">{hour:02}</text>", NAMES + hour * HOUR, 7 * HOUR + 11);
    }
    let _ = write!(
        html,
        "</svg><p class=\"quiet\">Most on {} from {hour:02}:00: {}. Each shade is four times the one before.</p>",
        DAYS[day],
        number(most)
    );
    html
}

/// Day, hour and requests of the hour with the most.
fn busiest(hours: &WeekHours) -> Option<(usize, usize, u64)> {
    let mut busiest = None;
    for (day, of_day) in hours.iter().enumerate() {
        for (hour, requests) in of_day.iter().enumerate() {
            if *requests > busiest.map_or(0, |(_, _, most)| most) {
                busiest = Some((day, hour, *requests));
            }
        }
    }
    busiest
}

/// 0 for nothing, then by quarters of quarters of the most.
fn shade_of(requests: u64, most: u64) -> u32 {
    let is_less = |shade: &u32| requests <= most / 4_u64.pow(SHADES - shade);
    if requests == 0 { 0 } else { (1..SHADES).find(is_less).unwrap_or(SHADES) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_are_for_what_is_seldom_too() {
        for (requests, expect) in
            [(0, 0), (1, 1), (15, 1), (16, 2), (62, 2), (63, 3), (250, 3), (251, 4), (1_000, 4)]
        {
            assert_eq!(shade_of(requests, 1_000), expect, "{requests}");
        }
        assert_eq!([shade_of(1, 1), shade_of(0, 1)], [4, 0]);
    }

    #[test]
    fn a_heat_map_names_its_busiest_hour() {
        let mut hours = WeekHours::default();
        assert!(heat_map(&hours).contains("Not known"));
        (hours[2][9], hours[4][9]) = (70, 70);
        let map = heat_map(&hours);
        assert!(map.contains("most on Wed from 9:00 UTC"), "{map}");
        assert_eq!(map.matches("h10v10h-10z").count(), 7 * 24);
        assert!(map.contains("class=\"h4\"") && !map.contains("class=\"h3\""), "{map}");
    }
}
