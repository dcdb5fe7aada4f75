//! One cell, opened: why it stands where it does in the list, what it answers by surface, its groups and endpoints, its permits,
//! and what only watches.

use super::commands::Target;
use super::document::{Cell, Declared, Endpoint, Group, Standing, Surface, Window};
use super::page::{Page, whose};
use super::rows::{REFUSED, Row, Sort, Trouble, rows};
use super::table::{phase, phase_trouble};
use super::view::Top;
use super::words::{bar, count, left, ms, rate, right};

/// Width of a bar of permits.
const BAR: usize = 20;

/// A cell by its name.
pub fn page(top: &Top, name: &str, width: usize) -> Page {
    let mut page = Page::default();
    let all = rows(&top.fleet, name, Sort::Name);
    let Some(row) = all.iter().find(|row| row.name == name) else {
        let back = if top.view.is_printed { "" } else { " Esc goes back." };
        let words = format!("Cell {name} is gone, or nobody has answered yet.{back}");
        page.text(Trouble::Some, &words, None, width);
        return page;
    };
    let target = Target::Cell(name.to_owned());
    summary(&mut page, row, &target, width);
    for (replica, cell) in &row.seen {
        of_replica(&mut page, &whose(&top.fleet, replica), cell, width);
    }
    page
}

fn summary(page: &mut Page, row: &Row, target: &Target, width: usize) {
    let (_, cell) = row.seen[0];
    let kind = if cell.shared { "the shared environment, " } else { "" };
    let words = format!("cell {}: {} ({kind}{}, {})", row.name, phase(row), cell.domain, cell.protocol);
    page.text(phase_trouble(row.phase), &words, Some(target), width);
    for (trouble, why) in &row.why {
        page.text(*trouble, why, Some(target), width);
    }
    if row.why.is_empty() {
        page.text(Trouble::None, "nothing is wrong with it", Some(target), width);
    }
}

fn of_replica(page: &mut Page, whose: &str, cell: &Cell, width: usize) {
    if let Some(standing) = &cell.standing {
        page.title(&format!("{whose}permits"));
        permits(page, cell, standing, width);
    }
    page.title(&format!("{whose}what it answers, by surface"));
    surfaces(page, cell, width);
    page.title(&format!("{whose}groups and endpoints"));
    match &cell.standing {
        None => page.note("Nobody has looked at it yet.", width),
        Some(standing) => {
            for group in &standing.groups {
                let declared = cell.groups.iter().find(|declared| declared.zone == group.zone);
                self::group(page, &cell.name, group, declared, width);
            }
            watches(page, whose, standing, width);
        }
    }
}

fn permits(page: &mut Page, cell: &Cell, standing: &Standing, width: usize) {
    let part = if standing.limit == 0 { 0.0 } else { standing.in_flight as f64 / standing.limit as f64 };
    let taken = format!(
        "{} {} of {} taken; {} wait, room for {}; {} open for long (tunnels, streams)",
        bar(part, BAR),
        standing.in_flight,
        standing.limit,
        standing.queued,
        standing.queue_room,
        standing.long_lived,
    );
    let trouble = if standing.queued > 0 { Trouble::Some } else { Trouble::None };
    page.text(trouble, &taken, None, width);
    let limit = format!(
        "the limit is {} because: {} (configured: {} at most)",
        standing.limit,
        limit_words(&standing.limit_why),
        cell.max_in_flight
    );
    page.text(Trouble::None, &limit, None, width);
    if let Some(admitted) = standing.admitted_rps {
        let of = standing.ramp.capacity_rps.map_or_else(
            || "its capacity is not known".to_owned(),
            |most| format!("of {} rps that it has room for ({})", rate(most), standing.ramp.capacity_from),
        );
        page.text(
            Trouble::Some,
            &format!("{} rps are let through while it comes back, {of}", rate(admitted)),
            None,
            width,
        );
    }
    let usual = ms(standing.usual_p95_ms);
    let retries = if standing.retries { "" } else { "; requests are not sent again now" };
    page.text(
        Trouble::None,
        &format!("p95 {} ms, usually {usual} ms{retries}", ms(standing.p95_ms)),
        None,
        width,
    );
}

/// The word, and what it means.
fn limit_words(why: &str) -> String {
    let means = match why {
        "quiet" => "too few requests, or less than half of it used: nothing is known",
        "losses" => "the cell lost requests",
        "late" => "its answers come late",
        "slower" => "its answers come as early with fewer",
        "growing" => "all is well, and it may have more",
        _ => return why.to_owned(),
    };
    format!("{why}, {means}")
}

fn surfaces(page: &mut Page, cell: &Cell, width: usize) {
    let Some(traffic) = &cell.traffic else {
        page.note("No request for a minute.", width);
        return;
    };
    let numbers = |window: &Window| {
        [
            rate(window.rps()),
            rate(window.per_second(&["failed"])),
            rate(window.per_second(&REFUSED)),
            rate(window.per_second(&["by_client"])),
            ms(window.p50_ms),
            ms(window.p95_ms),
            ms(window.p99_ms),
        ]
        .map(|number| right(&number, 7))
        .concat()
    };
    let wide = if width < 72 { 12 } else { 18 };
    let heads =
        ["RPS", "FAIL", "REFU", "CLIENT", "P50ms", "P95ms", "P99ms"].map(|head| right(head, 7)).concat();
    page.row(Trouble::None, left("", wide) + &heads, None);
    let troubled = |window: &Window| if window.count("failed") > 0 { Trouble::Some } else { Trouble::None };
    let mut row = |name: &str, window: &Window| {
        page.row(troubled(window), left(name, wide) + &numbers(window), None);
    };
    for Surface { surface, last_10s, .. } in &traffic.surfaces {
        row(surface, last_10s);
    }
    row("all, 10 s", &traffic.last_10s);
    row("all, a minute", &traffic.last_60s);
}

fn group(page: &mut Page, cell: &str, group: &Group, declared: Option<&Declared>, width: usize) {
    let target = Target::Group { cell: cell.to_owned(), zone: group.zone.to_string() };
    let is_lost = group.standing.as_deref().is_some_and(|standing| standing != "serving");
    let mut words = format!("group {}", group.zone);
    if let Some(standing) = &group.standing {
        words.push_str(&format!(", {standing}"));
    }
    if let Some(declared) = declared {
        words.push_str(&format!(", priority {}", declared.priority));
        if let Some(capacity) = declared.capacity_rps {
            words.push_str(&format!(", made for {capacity} rps"));
        }
    }
    words.push_str(&format!(
        "; in flight {}/{}, connections {}/{}",
        count(group.in_flight),
        count(group.limit.unwrap_or(group.max_in_flight)),
        count(group.connections),
        count(group.max_connections)
    ));
    if let Some(why) = &group.limit_why {
        words.push_str(&format!(", limit: {why}"));
    }
    if let Some(failover) = &group.failover {
        if failover.kept < 1.0 {
            words.push_str(&format!("; {:.0} % of what is its own stays", failover.kept * 100.0));
        }
        let here = failover.moved_here_rps + failover.overflow_here_rps;
        if here > 0.0 {
            words.push_str(&format!(", {} rps come from others", rate(here)));
        }
    }
    page.text(if is_lost { Trouble::Much } else { Trouble::None }, &words, Some(&target), width);
    for endpoint in &group.endpoints {
        self::endpoint(page, cell, endpoint, width);
    }
}

fn endpoint(page: &mut Page, cell: &str, endpoint: &Endpoint, width: usize) {
    let target = Target::Endpoint { cell: cell.to_owned(), address: endpoint.address.to_string() };
    let mut words = format!(
        "  {} {}  {} of {} failed in 10 s, median {} ms",
        left(&endpoint.address, 22),
        left(&endpoint.state, 8),
        endpoint.failed_10s,
        endpoint.requests_10s,
        ms(endpoint.median_ms)
    );
    if endpoint.out_for_s > 0 {
        words.push_str(&format!(", out for {} s more", endpoint.out_for_s));
    }
    if endpoint.ejections > 0 {
        words.push_str(&format!(", ejected {} times lately", endpoint.ejections));
    }
    if let Some((should, because)) = &endpoint.held {
        words.push_str(&format!(", should be out ({should}) and is not ({because})"));
    }
    let trouble = match &*endpoint.state {
        "up" if endpoint.held.is_some() => Trouble::Some,
        "up" => Trouble::None,
        "probing" => Trouble::Some,
        _ => Trouble::Much,
    };
    page.text(trouble, &words, Some(&target), width);
}

fn watches(page: &mut Page, whose: &str, standing: &Standing, width: usize) {
    let is_idle = standing.would_have.is_empty() && standing.would_have_refused.is_empty();
    if is_idle && standing.observe_alarm.is_none() {
        return;
    }
    page.title(&format!("{whose}what only watches"));
    for (part, act, count) in &standing.would_have {
        page.text(Trouble::Some, &format!("{part} would have {act}: {count} times"), None, width);
    }
    for (why, count) in &standing.would_have_refused {
        page.text(Trouble::Some, &format!("{count} requests would have been refused ({why})"), None, width);
    }
    if let Some(acted) = standing.would_act_s {
        page.text(Trouble::Some, &format!("it would have acted for {acted} s at most"), None, width);
    }
    if let Some(alarm) = &standing.observe_alarm {
        page.text(Trouble::Some, &format!("somebody should look at it: {alarm}"), None, width);
    }
}
