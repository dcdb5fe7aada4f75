//! The page: one file that needs nothing from elsewhere and is read without JavaScript, without colours and on a telephone. It
//! is made of the view that programs get, so that both say the same.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::policy::html::escaped;

use super::view::{
    CellView, ChangeView, NameView, OperatorsView, PlannedView, StandingView, StatusView, SurfaceView,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// When a browser without JavaScript loads it again, in seconds.
const RELOAD_S: u32 = 30;

/// The policy of the page, for a header: it names the one style and the one script by their hashes.
pub fn policy() -> String {
    format!("{}; frame-ancestors 'none'", policy_within())
}

fn policy_within() -> String {
    let hash = |text: &str| format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())));
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'",
        hash(STYLE),
        hash(SCRIPT),
    )
}

/// The page. `is_live`: whoever serves it also tells what is new.
pub(super) fn page(view: &StatusView, is_live: bool) -> String {
    let (title, summary) = (escaped(&view.title), escaped(&view.summary));
    let live = if is_live { " data-live=\"1\"" } else { "" };
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"{live}>\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <noscript><meta http-equiv=\"refresh\" content=\"{RELOAD_S}\"></noscript>\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{summary} - {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <p id=\"stale\" hidden>This page is out of date: no newer state could be loaded.</p>\n\
         <p id=\"said\" class=\"unseen\" role=\"status\"></p>\n",
        policy_within(),
    );
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        html,
        "<main data-as-of=\"{as_of}\" data-title=\"{summary} - {title}\">\n<h1>{title}</h1>\n\
         <p class=\"whole {}\">{}{summary}</p>\n<p class=\"asof quiet\">As of {}.</p>\n",
        view.state,
        sign(view.state),
        moment(&view.as_of),
        as_of = view.as_of,
    );
    cells(&mut html, &view.cells);
    planned(&mut html, &view.planned);
    changes(&mut html, &view.changes);
    if let Some(operators) = &view.operators {
        for_operators(&mut html, operators);
    }
    html.push_str(
        "</main>\n<footer><p class=\"quiet\">Times are UTC. The states follow from how requests are answered; where there are few, \
         from health checks, as far as there are any. <a href=\"status.json\">The same for programs</a>.</p></footer>\n",
    );
    let _ = write!(html, "<script>{SCRIPT}</script>\n</body>\n</html>\n");
    html
}

/// Those with trouble first, each group in the order of the configuration.
fn cells(html: &mut String, cells: &[CellView]) {
    let mut sorted: Vec<&CellView> = cells.iter().collect();
    sorted.sort_by_key(|cell| std::cmp::Reverse(weight(cell.standing.state)));
    html.push_str("<div class=\"cells\">\n");
    for cell in sorted {
        let _ = write!(
            html,
            "<section class=\"cell\">\n<div class=\"head\"><h3>{}</h3>{}</div>\n",
            escaped(&cell.name),
            state(&cell.standing),
        );
        if let Some(told) = told(&cell.standing) {
            let _ = writeln!(html, "<small>{told}</small>");
        }
        if let Some(percent) = cell.standing.ramp_percent {
            let _ = writeln!(
                html,
                "<progress max=\"100\" value=\"{percent}\" aria-label=\"share of its capacity that is let in\">{percent} %</progress>"
            );
        }
        let slow = cell.slow.then_some("Answers take far longer than usual.");
        let measures: Vec<&str> = slow.into_iter().chain(cell.measures.iter().map(|one| one.text)).collect();
        if !measures.is_empty() {
            let lines: String = measures.iter().map(|text| format!("<li>{text}</li>")).collect();
            let _ = writeln!(html, "<ul class=\"measures\">{lines}</ul>");
        }
        html.push_str("<ul class=\"surfaces\">\n");
        cell.surfaces.iter().for_each(|surface| row(html, surface, &cell.standing));
        html.push_str("</ul>\n</section>\n");
    }
    html.push_str("</div>\n");
}

/// What is said of the cell is not said again of each of its surfaces.
fn row(html: &mut String, surface: &SurfaceView, of: &StandingView) {
    let _ = write!(
        html,
        "<li class=\"row {}\"><span>{}</span>{}",
        surface.standing.state,
        escaped(&surface.name),
        state(&surface.standing)
    );
    let own = &surface.standing;
    let told = told(&StandingView {
        state: if own.state == of.state { "operating" } else { own.state },
        basis: if own.basis == of.basis { "requests" } else { own.basis },
        ..own.clone()
    });
    if let Some(told) = told {
        let _ = write!(html, "<small>{told}</small>");
    }
    html.push_str("</li>\n");
}

fn told(standing: &StandingView) -> Option<String> {
    let quiet = match standing.basis {
        "health" => Some("little traffic, judged by its health checks"),
        "nothing" => Some("little traffic, and nothing asks for its health"),
        _ => None,
    };
    let since = (standing.state != "operating").then(|| format!("since {}", moment(&standing.since)));
    let told: Vec<&str> = since.as_deref().into_iter().chain(quiet).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn planned(html: &mut String, planned: &[PlannedView]) {
    if planned.is_empty() {
        return;
    }
    html.push_str("<h2>Planned</h2>\n<ul class=\"lines\">\n");
    for window in planned {
        let verb = if window.in_force { "are answered" } else { "will be answered" };
        let _ = writeln!(
            html,
            "<li><span class=\"quiet\">{}</span><span>Some requests to retired addresses {verb} with errors on purpose, until {}.</span></li>",
            moment(&window.from),
            moment(&window.until),
        );
    }
    html.push_str("</ul>\n");
}

fn changes(html: &mut String, changes: &[ChangeView]) {
    html.push_str("<h2>Lately</h2>\n");
    if changes.is_empty() {
        html.push_str("<p class=\"quiet\">Nothing has changed since this page began to watch.</p>\n");
        return;
    }
    html.push_str("<ol class=\"lines\">\n");
    // A surface that turns as its cell does is told with it.
    let is_own = |change: &&ChangeView| {
        let is_whole = |other: &ChangeView| {
            other.surface.is_none()
                && (&other.cell, other.to, &other.at) == (&change.cell, change.to, &change.at)
        };
        change.surface.is_none() || !changes.iter().any(is_whole)
    };
    for change in changes.iter().filter(is_own) {
        let surface = change.surface.as_ref().map(|NameView { name, .. }| format!(", {}", escaped(name)));
        let _ = writeln!(
            html,
            "<li><span class=\"quiet\">{}</span><span>{}{}: <span class=\"state {}\">{}{}</span></span></li>",
            moment(&change.at),
            escaped(&change.cell.name),
            surface.unwrap_or_default(),
            change.to,
            sign(change.to),
            word(change.to),
        );
    }
    html.push_str("</ol>\n");
}

fn for_operators(html: &mut String, operators: &OperatorsView) {
    let _ = writeln!(html, "<h2>For operators</h2>\n<ul class=\"lines\">");
    let mut line = |what: &str, text: String| {
        let _ = writeln!(html, "<li><span class=\"quiet\">{what}</span><span>{text}</span></li>");
    };
    line("Generation", operators.generation.to_string());
    operators.verdicts.iter().for_each(|verdict| line("Network", escaped(verdict)));
    operators.levers.iter().for_each(|lever| line("Lever", format!("<code>{}</code>", escaped(lever))));
    for cell in &operators.observing {
        line("Only observing", format!("{}: {}", escaped(&cell.cell), cell.policies.join(", ")));
    }
    html.push_str("</ul>\n");
}

/// A sign and a word: colour is never alone.
fn state(standing: &StandingView) -> String {
    let state = standing.state;
    let percent = standing.ramp_percent.map(|percent| format!(", {percent} %")).unwrap_or_default();
    format!("<span class=\"state {state}\">{}{}{percent}</span>", sign(state), word(state))
}

fn sign(state: &str) -> String {
    let sign = match state {
        "operating" => "\u{2713}",
        "recovering" => "\u{2191}",
        "held" => "\u{2016}",
        "degraded" => "!",
        _ => "\u{2715}",
    };
    format!("<span class=\"sign {state}\" aria-hidden=\"true\">{sign}</span>")
}

fn word(state: &str) -> &'static str {
    match state {
        "operating" => "Operating",
        "recovering" => "Recovering",
        "held" => "Waiting",
        "degraded" => "Degraded",
        _ => "Down",
    }
}

fn weight(state: &str) -> u8 {
    match state {
        "operating" => 0,
        "recovering" => 1,
        "held" => 2,
        "degraded" => 3,
        _ => 4,
    }
}

/// `2026-11-20 10:00`, of RFC 3339 in UTC.
fn moment(rfc3339: &str) -> String {
    let shown = rfc3339.get(..16).unwrap_or(rfc3339).replace('T', " ");
    format!("<time datetime=\"{rfc3339}\">{shown}</time>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::view::{MeasureView, ObservingView};

    fn standing(state: &'static str, ramp_percent: Option<u8>) -> StandingView {
        let since = "2026-11-20T10:00:00Z".into();
        StandingView { state, since, ramp_percent, little_traffic: false, basis: "requests" }
    }

    /// A cell in each state, with a name that would be markup.
    fn view() -> StatusView {
        let states = ["operating", "recovering", "held", "degraded", "down"];
        let name = || NameView { id: "c1".into(), name: "<b>&".into() };
        let cell = |(at, state): (usize, &&'static str)| CellView {
            id: format!("c{at}"),
            name: format!("Cell {at} <script>"),
            standing: standing(state, (*state == "recovering").then_some(40)),
            slow: *state == "degraded",
            measures: vec![MeasureView { kind: "part_out", text: "A part of its servers is out." }],
            surfaces: ["app", "api"]
                .map(|name| SurfaceView {
                    id: name.into(),
                    name: name.into(),
                    standing: standing(if name == "api" { state } else { "operating" }, None),
                })
                .into(),
        };
        let (from, until) = ("2026-11-21T09:00:00Z".to_owned(), "2026-11-21T10:00:00Z".to_owned());
        let change =
            ChangeView { cell: name(), surface: None, from: "operating", to: "down", at: from.clone() };
        let of_surface = ChangeView { surface: Some(name()), ..change.clone() };
        StatusView {
            version: 1,
            title: "Status of <i>".into(),
            state: "degraded",
            summary: "Some of it".into(),
            as_of: "2026-11-20T10:00:00Z".into(),
            cells: states.iter().enumerate().map(cell).collect(),
            planned: vec![PlannedView { kind: "retired_addresses", from, until, in_force: false }],
            changes: vec![change, of_surface],
            operators: Some(OperatorsView {
                generation: 7,
                observing: vec![ObservingView { cell: "us1".into(), policies: vec!["health"] }],
                verdicts: vec!["zone <a>".into()],
                levers: vec!["hold cell us1".into()],
            }),
        }
    }

    #[test]
    fn each_state_has_a_sign_and_a_word_and_no_name_is_markup() {
        let html = page(&view(), true);
        let signs = ["\u{2713}", "\u{2191}", "\u{2016}", "!", "\u{2715}"];
        let words = ["Operating", "Recovering, 40 %", "Waiting", "Degraded", "Down"];
        for (sign, word) in signs.into_iter().zip(words) {
            assert!(html.contains(&format!("aria-hidden=\"true\">{sign}</span>{word}")), "{word}: {html}");
        }
        assert!(html.contains("Cell 0 &lt;script&gt;") && html.contains("Status of &lt;i&gt;"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "our own");
        for banned in ["src=", "@import", "url(", "<b>", "zone <a>", "<i>", "style=\""] {
            assert!(!html.contains(banned), "{banned}");
        }
        // The worst is read first, and a surface that turns with its cell is not told once more.
        assert!(html.find("Cell 4").zip(html.find("Cell 0")).is_some_and(|(down, well)| down < well));
        assert_eq!(html.matches("&lt;b&gt;&amp;").count(), 1);
    }

    #[test]
    fn where_few_ask_it_says_what_it_is_judged_by_and_once() {
        for (basis, said, never) in [
            ("requests", "", "little traffic"),
            ("operators", "", "little traffic"),
            ("health", "little traffic, judged by its health checks", "nothing asks"),
            ("nothing", "little traffic, and nothing asks for its health", "judged by"),
        ] {
            let mut view = view();
            view.cells.truncate(1);
            let surfaces = view.cells[0].surfaces.iter_mut().map(|surface| &mut surface.standing);
            let standings: Vec<&mut StandingView> = surfaces.collect();
            standings.into_iter().for_each(|standing| standing.basis = basis);
            view.cells[0].standing.basis = basis;
            let html = page(&view, true);
            assert!(!html.contains(never), "{basis}: {html}");
            assert!(said.is_empty() || html.matches(said).count() == 1, "{basis}: {html}");
        }
    }

    #[test]
    fn what_others_serve_waits_for_no_events() {
        assert!(page(&view(), true).contains("data-live=\"1\""));
        assert!(!page(&view(), false).contains("data-live"));
        let of_page = policy_within();
        assert!(policy().starts_with(&of_page) && page(&view(), false).contains(&of_page));
    }
}
