//! The parts of the page about the host as a whole: how it stands, what moves it most, and what the numbers mean.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::policy::legacy_use::forecast::{Forecast, LEAST_WEEKS};
use crate::policy::legacy_use::verdict::{LONGEST_WINDOW, Verdict};

use super::super::fleet::{Fleet, Mover, State, VERDICTS};
use super::super::headline::{exact_percent, from_now, headline, hosts};
use super::super::render::{gap_text, percent};
use super::chart::{Size, burn_down as drawing, requests};
use super::text::{Sentence, Text, minute, number, or_dash};
use super::verdict_mark;

/// Client families and integrations in a list: what is below them moves little.
const MOVERS: usize = 12;

/// The last of brownouts, changes and gaps, and accounts in a list.
const LISTED: usize = 50;

/// How it stands, in a sentence, and what one must know to believe it.
pub(super) fn header(fleet: &Fleet) -> String {
    let said = headline(fleet);
    let tone = match said.state {
        State::Zero | State::OnPace => "good",
        State::OffPace | State::PastSunset => "bad",
        State::TooEarly | State::NoSunset => "open",
    };
    let mut html = format!(
        "<header><p class=\"eyebrow\">Legacy host report<span class=\"badge {tone}\"><i aria-hidden=\"true\">{}</i>{}</span></p>\
         <h1>{}</h1><p class=\"lead\">{}</p>",
        said.state.sign(),
        said.state.as_str(),
        Sentence(&said.who),
        Sentence(&said.when),
    );
    if let Some(doubt) = &said.doubt {
        let _ = write!(html, "<p class=\"doubt\"><i aria-hidden=\"true\">!</i>{}</p>", Sentence(doubt));
    }
    let mut facts = vec![("Host", Text(&hosts(fleet)).to_string())];
    facts.extend(fleet.deprecated_since.map(|at| ("Deprecated since", minute(at))));
    facts.extend(
        fleet.sunset_at.map(|at| ("Sunset", format!("{}, {}", minute(at), from_now(at, fleet.generated_at)))),
    );
    facts.push((
        "Books complete",
        format!("{} of {} days", exact_percent(fleet.coverage.share), fleet.coverage.days),
    ));
    facts.push(("Made", minute(fleet.generated_at)));
    html.push_str(&super::facts(&facts));
    html.push_str(NAVIGATION);
    html.push_str("</header>\n");
    html
}

const NAVIGATION: &str = "<nav><a href=\"#pace\">Pace</a><a href=\"#movers\">What moves it most</a>\
    <a href=\"#accounts\">Accounts</a><a href=\"#details\">What to tell whom</a><a href=\"#brownouts\">Brownouts</a>\
    <a href=\"#coverage\">Coverage</a><a href=\"#method\">Method</a></nav>";

/// How many accounts have which verdict.
pub(super) fn tiles(fleet: &Fleet) -> String {
    let mut html = String::from("<section class=\"tiles\" aria-label=\"Accounts by verdict\">");
    for verdict in VERDICTS {
        let count = fleet.verdicts.get(&verdict).copied().unwrap_or_default();
        let change = match count.week_ago {
            Some(before) if before > count.now => format!("▼ {} in a week", number(before - count.now)),
            Some(before) if before < count.now => format!("▲ {} in a week", number(count.now - before)),
            Some(_) => "as a week ago".to_owned(),
            None => "&nbsp;".to_owned(),
        };
        let _ = write!(
            html,
            "<div class=\"tile\">{}<b>{}</b><small>{change}</small></div>",
            verdict_mark(verdict),
            number(count.now)
        );
    }
    let _ = writeln!(
        html,
        "<div class=\"tile\"><span class=\"v\">Unattributed</span><b>{}</b><small>of {} requests in 7 d</small></div></section>",
        Text(&percent(fleet.unattributed, fleet.requests)),
        number(fleet.requests)
    );
    html
}

/// The drawing, and what its lines are.
pub(super) fn burn_down(fleet: &Fleet) -> String {
    let mut html = String::from(
        "<section id=\"pace\"><h2>Pace</h2><p class=\"quiet\">Accounts seen in the seven days up to each day</p>",
    );
    let drawings = drawing(fleet, Size::Wide).zip(drawing(fleet, Size::Narrow));
    let Some((wide, narrow)) = drawings else {
        html.push_str("<p>There is no curve yet: the books know less than eight days.</p></section>\n");
        return html;
    };
    let _ = write!(html, "<figure>{wide}{narrow}<figcaption>{}", key("seen", "seen"));
    if let Forecast::Known(outlook) = &fleet.forecast {
        html.push_str(&key("next", "at this pace"));
        html.push_str(&key("band", "in 4 of 5 futures"));
        if outlook.required_weekly.is_some() {
            html.push_str(&key("need", "needed"));
        }
    }
    if !fleet.brownouts.is_empty() {
        html.push_str("<span><svg class=\"key\" viewBox=\"0 0 24 12\"><path class=\"tick\" d=\"M12 1l-5 9h10z\"/></svg>brownout</span>");
    }
    html.push_str("</figcaption></figure>");
    if let Some(columns) = requests(fleet) {
        let _ = write!(html, "<h3>Requests a day, today until now</h3>{columns}");
    }
    html.push_str("</section>\n");
    html
}

fn key(class: &str, name: &str) -> String {
    let path = if class == "band" { "M0 1h24v10H0z" } else { "M0 6h24" };
    format!(
        "<span><svg class=\"key\" viewBox=\"0 0 24 12\"><path class=\"{class}\" d=\"{path}\"/></svg>{name}</span>"
    )
}

/// What many accounts have in common, and the largest accounts.
pub(super) fn movers(fleet: &Fleet, detailed: &BTreeSet<u64>) -> String {
    let mut html = String::from(
        "<section id=\"movers\"><h2>What moves it most</h2><p class=\"quiet\">Last seven days. Who changes one of these moves all \
         accounts that use it; <code>{host}</code> stands for an account's own address.</p><div class=\"two\">",
    );
    html.push_str(&mover_table("Client", &fleet.clients));
    html.push_str(&mover_table("Integration", &fleet.integrations));
    html.push_str("</div><h3>Largest accounts</h3><ol class=\"top\">");
    for account in fleet.top_accounts() {
        let _ = write!(
            html,
            "<li>{}<span class=\"quiet\">{}</span><b>{}</b></li>",
            link(account.account, detailed),
            or_dash(account.top_client.as_deref()),
            number(account.requests.week)
        );
    }
    html.push_str("</ol></section>\n");
    html
}

fn mover_table(what: &str, movers: &[Mover]) -> String {
    let most = movers.iter().map(|mover| mover.accounts).max().unwrap_or(0).max(1);
    let mut html = format!(
        "<div><table class=\"movers\"><thead><tr><th scope=\"col\">{what}</th><th scope=\"col\" class=\"n\">Accounts</th>\
         <th scope=\"col\" class=\"n\">Requests</th></tr></thead><tbody>"
    );
    for mover in movers.iter().take(MOVERS) {
        let fix = mover.recipe.as_ref().map(|recipe| format!("<small>{}</small>", Sentence(&recipe.how)));
        let _ = write!(
            html,
            "<tr><td>{}<svg class=\"bar\" viewBox=\"0 0 100 3\" preserveAspectRatio=\"none\"><path d=\"M0 0h{}v3H0z\"/></svg>{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Text(&mover.name),
            u128::from(mover.accounts) * 100 / u128::from(most),
            fix.filter(|_| what == "Client").unwrap_or_default(),
            number(mover.accounts),
            number(mover.requests)
        );
    }
    html.push_str("</tbody></table>");
    if let Some(more @ 1..) = movers.len().checked_sub(MOVERS) {
        let _ = write!(html, "<p class=\"quiet\">{more} more with fewer accounts.</p>");
    }
    html.push_str("</div>");
    html
}

/// Who is new, and who came back.
pub(super) fn arrivals(fleet: &Fleet, detailed: &BTreeSet<u64>) -> String {
    let list = |ids: &[u64]| match ids {
        [] => "<p>Nobody.</p>".to_owned(),
        ids => {
            let mut links: Vec<String> = ids.iter().take(LISTED).map(|id| link(*id, detailed)).collect();
            if ids.len() > LISTED {
                links.push(format!("{} more", ids.len() - LISTED));
            }
            format!("<p>{}</p>", links.join(", "))
        }
    };
    format!(
        "<section id=\"arrivals\" class=\"two\"><div><h2>New this week</h2>{}</div><div><h2>Came back after READY</h2>{}</div></section>\n",
        list(&fleet.new_accounts),
        list(&fleet.returned)
    )
}

fn link(id: u64, detailed: &BTreeSet<u64>) -> String {
    if detailed.contains(&id) { format!("<a href=\"#a{id}\">{id}</a>") } else { id.to_string() }
}

/// What was refused on purpose.
pub(super) fn brownouts(fleet: &Fleet) -> String {
    let mut html = String::from("<section id=\"brownouts\"><h2>Brownouts</h2>");
    if fleet.brownouts.is_empty() {
        html.push_str("<p>None has met a request so far.</p></section>\n");
        return html;
    }
    html.push_str(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Began</th><th scope=\"col\">Until</th>\
         <th scope=\"col\">Mode</th><th scope=\"col\" class=\"n\">Accounts</th><th scope=\"col\" class=\"n\">Requests</th>\
         <th scope=\"col\" class=\"n\">Writes</th><th scope=\"col\" class=\"n\">Gone since</th></tr></thead><tbody>",
    );
    for brownout in fleet.brownouts.iter().rev().take(LISTED) {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Text(&brownout.id),
            minute(brownout.started_at),
            minute(brownout.ended_at),
            brownout.mode_told(),
            number(brownout.accounts),
            number(brownout.requests),
            number(brownout.writes),
            brownout.left.map_or_else(|| "–".to_owned(), number),
        );
    }
    html.push_str(
        "</tbody></table></div><p class=\"quiet\">Accounts and requests that were refused, or would have been in observe. Gone: of \
         these accounts, those that have not come for longer than usual; it takes two days until that can be said of \
         anybody.</p></section>\n",
    );
    html
}

/// What the books miss.
pub(super) fn coverage(fleet: &Fleet) -> String {
    let coverage = &fleet.coverage;
    let mut html = format!(
        "<section id=\"coverage\"><h2>Coverage</h2><p>The books are complete for {} of {} days. {} of {} requests in the last \
         seven days name no account, and may be anybody's.</p>",
        exact_percent(coverage.share),
        coverage.days,
        number(fleet.unattributed),
        number(fleet.requests)
    );
    if !coverage.gaps.is_empty() {
        html.push_str("<ul>");
        for gap in coverage.gaps.iter().rev().take(LISTED) {
            let _ = write!(html, "<li>{}</li>", Sentence(&gap_text(gap)));
        }
        html.push_str("</ul>");
    }
    html.push_str("</section>\n");
    html
}

/// What was done about the host.
pub(super) fn changes(fleet: &Fleet) -> String {
    if fleet.changes.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section id=\"changes\"><h2>Changes</h2><ul class=\"log\">");
    for change in fleet.changes.iter().rev().take(LISTED) {
        let who = change.who.as_ref().map(|who| format!(" <span class=\"quiet\">{}</span>", Text(who)));
        let _ = write!(
            html,
            "<li>{} {}{}</li>",
            minute(change.at),
            Sentence(&change.what),
            who.unwrap_or_default()
        );
    }
    html.push_str("</ul></section>\n");
    html
}

/// What the words and numbers mean.
pub(super) fn method() -> String {
    let mut html = String::from("<section id=\"method\"><h2>Method</h2><dl class=\"method\">");
    for verdict in VERDICTS {
        let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", verdict_mark(verdict), meaning(verdict));
    }
    let _ = writeln!(
        html,
        "<dt>Long enough</dt><dd>Twice the longest silence that one of its integrations has broken so far, at least 36 and at most \
         {LONGEST_WINDOW} days; the books must be complete for 99.9 % of it, and miss no more than an hour in a row at an hour at \
         which it comes.</dd>\
         <dt>Integration</dt><dd>One client with one credential, from one network: what one person changes once.</dd>\
         <dt>Pace</dt><dd>A Theil-Sen line through the accounts of the last six weeks, or through their logarithms, whichever \
         foretells a week that it was not shown better. The band holds four of five futures that are put together from the \
         differences between weeks. Plans are not in it, and below {LEAST_WEEKS} weeks nothing is said.</dd>\
         <dt>Not in it</dt><dd>Who was never seen; requests that name no account (unattributed); traffic on accounts' own \
         addresses.</dd></dl></section>"
    );
    html
}

/// What a verdict says.
pub(super) const fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Active => "comes as it always has; its owner has something to change",
        Verdict::Returned => "comes, and had been gone for so long that it was READY",
        Verdict::Fading => "comes, but makes a fifth or less of what it usually did",
        Verdict::Unknown => "has not come for long enough, but the books are not complete for that time",
        Verdict::Quiet => "has not come for longer than usual, and not for long enough",
        Verdict::Ready => {
            "has not come for long enough, and the books are complete for that time: it can be cut"
        }
        Verdict::NotMigrated => {
            "lives in the shared environment: it has no other address to go to, and is moved before it is cut"
        }
        Verdict::Cut => "is refused on purpose",
    }
}
